"""What was measured on this machine and what was chosen: `tuning.json` in the state folder. Start at `recall`.

Written by `agent tune`, read by whoever provisions an engine. An entry is good for one hardware, one network and one
set of runtime versions; anything else has to be measured again. No numpy and no runtime here. The choice itself
(`choose`) is a pure function of what was measured.
"""

from __future__ import annotations

import collections
import contextlib
import importlib.metadata
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from agent import __version__
from agent.engine.library import ABI_VERSION
from agent.engine.way import Way
from agent.errors import TuningDamaged
from agent.export.info import EXPORTER
from agent.hardware import Hardware, Unknown
from agent.model import disk

log = logging.getLogger(__name__)

FILE = "tuning.json"
FORMAT = 1

# The board that decides; what is measured on others is told beside it.
MAIN_BOARD = "19x19"

# A small batch searches better than a large one of the same speed: more of a search's visits know what came before.
# Half of the 5 % that a choice may lose.
SMALLER_IS_WORTH = 0.025

# Hardware × networks × versions on one device; older entries go first.
MAX_ENTRIES = 32

# Another `agent tune` holds the lock for one write.
LOCK_WAIT_S = 10.0

# Packages whose version decides what a measurement is worth, as pip names them.
RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "MNN", "ai-edge-litert", "tflite-runtime", "tensorrt")


class Contender(msgspec.Struct, frozen=True):
    """A file and the backend that runs it. `form` says how a converted file writes its convolutions, empty where that
    is not ours to say. `sha256` is the file's; `path` where it lay then."""

    backend: str
    precision: str
    form: str
    sha256: str
    path: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.backend, self.precision, self.form) if part)


class Timing(msgspec.Struct, frozen=True):
    """One way to run one contender: evaluations/s on each board that was measured ("19x19", …) and the peak resident
    memory of the process that did it."""

    contender: Contender
    threads: int
    sessions: int
    batch: int
    evals_per_s: dict[str, float]
    peak_rss_bytes: int

    @property
    def way(self) -> Way:
        return Way(self.threads, self.sessions, self.batch)

    @property
    def rate(self) -> float:
        """On the board that decides."""
        return self.evals_per_s.get(MAIN_BOARD, 0.0)


class SetAside(msgspec.Struct, frozen=True):
    """A contender that cannot serve here, and the sentence why."""

    contender: Contender
    reason: str


class Tuned(msgspec.Struct, frozen=True):
    """What one run of `agent tune` found. `timings` are in order, the fastest first; `chosen` is one of them. `sweep`
    is "race" or "all"; `taken_s` what it took; `when` its day (ISO 8601)."""

    hardware: str
    network: str
    network_sha256: str
    versions: dict[str, str]
    chosen: Timing
    timings: tuple[Timing, ...]
    set_aside: tuple[SetAside, ...]
    sweep: str
    taken_s: float
    when: str

    def is_for(self, hardware: str, network_sha256: str) -> bool:
        return (self.hardware, self.network_sha256) == (hardware, network_sha256)


class Memory(msgspec.Struct, frozen=True):
    """The file. The newest entry is the last."""

    tuned: tuple[Tuned, ...] = ()
    format: int = FORMAT


class Recall(msgspec.Struct, frozen=True):
    """What is remembered for a machine and a network, or None and the sentence why."""

    tuned: Tuned | None
    reason: str = ""


# ---------------------------------------------------------------- the choice


def choose(
    timings: Iterable[Timing],
    *,
    memory_bytes: int | None = None,
    threads: int | None = None,
    backend: str | None = None,
) -> Timing | None:
    """The fastest of `timings` on the main board that needs at most `memory_bytes`, and, where the owner set them, has
    so many `threads` and this `backend`; among those that are nearly as fast, the one with the fewest positions under
    way. None where none is left."""
    fitting = [
        timing
        for timing in timings
        if timing.rate > 0
        and (memory_bytes is None or timing.peak_rss_bytes <= memory_bytes)
        and threads in (None, timing.threads)
        and backend in (None, timing.contender.backend)
    ]
    if not fitting:
        return None
    best = max(timing.rate for timing in fitting)
    near = [timing for timing in fitting if timing.rate >= best * (1 - SMALLER_IS_WORTH)]
    return min(near, key=lambda timing: (timing.threads * timing.batch, -timing.rate))


def in_order(timings: Iterable[Timing]) -> tuple[Timing, ...]:
    """The fastest first."""
    return tuple(sorted(timings, key=lambda timing: (-timing.rate, timing.threads * timing.batch)))


# ---------------------------------------------------------------- the key


def hardware_key(hardware: Hardware) -> str:
    """What the speed of a network depends on: how many cores of which kind with which instruction sets, and the GPU.
    Memory is no part of it: what a choice needs is compared with what there is whenever it is used."""
    kinds: collections.Counter[str] = collections.Counter()
    for core in hardware.cores if isinstance(hardware.cores, tuple) else ():
        sets = core.instruction_sets if isinstance(core.instruction_sets, tuple) else ()
        name = core.name if isinstance(core.name, str) else core.part if isinstance(core.part, str) else "unknown core"
        part = core.part if isinstance(core.part, str) else ""
        kinds[f"{name} ({part}; {' '.join(sets)})"] += 1
    cores = " + ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items())) or "unknown cores"
    usable = "?" if isinstance(hardware.usable_cores, Unknown) else hardware.usable_cores
    gpu = hardware.gpu.name if isinstance(hardware.gpu.name, str) else "no GPU"
    return f"{usable} of {cores}, {gpu}"


def runtime_versions() -> dict[str, str]:
    """The runtimes that are installed, by package, our own kernels, and the exporter that wrote the converted files.
    Imports none."""
    found = {"exporter": EXPORTER, "core": f"{__version__}, interface {ABI_VERSION}"}
    for package in RUNTIMES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


# ---------------------------------------------------------------- the file


def read_memory(state: Path) -> Memory:
    """What is remembered under the state folder `state`; nothing where there is no file.

    Raises:
        TuningDamaged: the file cannot be read or is of another format.
    """
    path = state / FILE
    try:
        memory = msgspec.json.decode(path.read_bytes(), type=Memory)
    except FileNotFoundError:
        return Memory()
    except (OSError, msgspec.MsgspecError) as error:
        raise TuningDamaged(f"{path} cannot be used: {error}") from error
    if memory.format != FORMAT:
        raise TuningDamaged(f"{path} has format {memory.format}, this version knows {FORMAT}")
    return memory


def recall(state: Path, hardware: str, network_sha256: str, versions: dict[str, str]) -> Recall:
    """What was measured for this hardware and network with these versions. A damaged file is logged and counts as
    none; the next `agent tune` makes it anew."""
    try:
        memory = read_memory(state)
    except TuningDamaged as error:
        log.warning("%s; it is ignored", error)
        return Recall(None, f"{error}; run `agent tune` to make it anew")
    entries = [tuned for tuned in memory.tuned if tuned.is_for(hardware, network_sha256)]
    if not entries:
        return Recall(None, "never tuned: run `agent tune`")
    for tuned in reversed(entries):
        if tuned.versions == versions:
            return Recall(tuned)
    changed = _differences(entries[-1].versions, versions)
    return Recall(None, f"tuned with other versions ({changed}): run `agent tune` again")


def remember(state: Path, tuned: Tuned) -> None:
    """Put `tuned` in the place of what was remembered for the same hardware, network and versions, in one step.

    Raises:
        StorageFull, StoreUnwritable, StoreBusy: what was remembered before is still there.
    """
    locks = state / "locks"
    with disk.storage_errors(locks):
        locks.mkdir(parents=True, exist_ok=True)
    with disk.hold_lock(locks / "tuning", wait_s=LOCK_WAIT_S), disk.storage_errors(state / FILE):
        try:
            before: Sequence[Tuned] = read_memory(state).tuned
        except TuningDamaged as error:
            log.warning("%s; it is replaced", error)
            before = ()
        others = [
            entry
            for entry in before
            if not (entry.is_for(tuned.hardware, tuned.network_sha256) and entry.versions == tuned.versions)
        ]
        memory = Memory((*others, tuned)[-MAX_ENTRIES:])
        disk.write_atomically(state / FILE, msgspec.json.format(msgspec.json.encode(memory), indent=1))


def _differences(before: dict[str, str], now: dict[str, str]) -> str:
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return ", ".join(f"{name} was {before.get(name, 'absent')}, is {now.get(name, 'absent')}" for name in names)
