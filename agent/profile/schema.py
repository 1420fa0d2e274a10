"""What a profile file may say (`Rule`), and what a profile is once it is fitted to a machine (`Profile`).

A rule is written for a class of machines and speaks in shares and bounds; a profile holds plain numbers. Unknown keys
are refused. Knows nothing of the network catalogue: networks are named here and looked up by whoever pulls them.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Positive = Annotated[int, Meta(ge=1)]
Percent = Annotated[float, Meta(gt=0, le=100)]


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One network to try, in its order. `network` is a catalogue name or alias, `runtime` a backend's name, or
    "katago" for the native engine. In MiB: `memory_mb` is the worker's peak resident memory with it and an empty cache,
    `conversion_mb` that of the process which converts it once. Disk is no condition: the network may be there already,
    and whoever pulls it checks."""

    network: Annotated[str, Meta(min_length=1, max_length=200)]
    precision: Literal["fp32"]
    runtime: Literal["onnxruntime", "core", "katago"]
    memory_mb: Positive
    conversion_mb: Annotated[int, Meta(ge=0)] = 0


class Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions, all of which must hold; an empty one always does. A list holds alternatives, but for
    `instruction_sets`, of which every core needs all. `min_memory_mb` is compared with MemTotal (or the control
    group's limit) in MiB, which is less than the size a board is sold with."""

    family: tuple[Literal["raspberry-pi", "jetson", "pc", "other"], ...] = ()
    soc: tuple[str, ...] = ()
    architecture: tuple[Literal["x86-64", "arm64"], ...] = ()
    jetpack: tuple[int, ...] = ()
    instruction_sets: tuple[str, ...] = ()
    min_cores: Positive | None = None
    min_memory_mb: Positive | None = None


class Threads(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Search threads: one for each usable core but `spare_cores`, at least `min` and at most `max`. A GPU wants more
    than there are cores."""

    max: Positive
    min: Positive = 1
    spare_cores: Annotated[int, Meta(ge=0)] = 0


class Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The evaluation cache: a share of usable memory, in positions within bounds."""

    memory_percent: Percent
    min_positions: Positive
    max_positions: Positive


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`memory_percent` is the share of usable memory that the worker may take; a network that needs more is left out.
    `max_time_s` ends a search that its visits have not ended."""

    memory_percent: Percent
    max_time_s: Annotated[float, Meta(gt=0)]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A profile as its file says it. Of the rules that match a machine, the one of the highest `priority` is taken.
    `cfg` is what a native katago is started with, `fallback` whether the built-in engine serves when that one fails."""

    name: Name
    about: Annotated[str, Meta(min_length=1)]
    priority: int
    engine: Literal["builtin", "native"]
    match: Match
    networks: tuple[Candidate, ...]
    threads: Threads
    batch: Positive
    visits: Positive
    cache: Cache
    limits: Limits
    cfg: str | None = None
    fallback: bool = True


class RuleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of profiles/."""

    profiles: tuple[Rule, ...]


class Profile(msgspec.Struct, frozen=True):
    """A rule fitted to a machine: `networks` are those of the rule that memory has room for, in order."""

    name: str
    about: str
    engine: Literal["builtin", "native"]
    cfg: str | None
    networks: tuple[Candidate, ...]
    threads: int
    batch: int
    visits: int
    cache_positions: int
    limits: Limits
    fallback: bool = True
