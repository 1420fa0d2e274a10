"""Gets a network into the store: candidates in order, each one's sources in order, saying why each failed.

The one place where catalogue, sources and store meet. Start reading at `pull`.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from agent.errors import (
    CatalogueWrong,
    ConfigError,
    DownloadCorrupt,
    ModelError,
    NetworkFormatError,
    SourceUnreachable,
    StorageFull,
    StoreBusy,
    StoreDamaged,
    StoreUnwritable,
)
from agent.events import ChainStep, Reporter, SilentReporter, SourceFailed
from agent.model import disk
from agent.model.catalogue import FILE_SUFFIX, Catalogue, Licence, NetworkEntry, Source
from agent.model.http_source import HttpLimits
from agent.model.owner import refuse_root
from agent.model.sources import Means, check_room, take
from agent.model.store import Manifest, Store, StoredNetwork

# A second process that wants the same network waits for the first; 98 MB at 100 kB/s take 16 minutes.
PULL_WAIT_S: Final = 1800.0

# When everything failed, the error that tells the user most is raised: these, in this order.
GRAVEST_FIRST: Final = (CatalogueWrong, StorageFull, StoreUnwritable, DownloadCorrupt, NetworkFormatError)

UNKNOWN_LICENCE: Final = Licence(name="unknown", source="a file given by this machine's owner")

# How the source of such a file begins.
_IMPORTED: Final = "file "

NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9._-]+")

# Enough of a file to see whether it is gzip at all; what is inside is the converter's to judge.
HEADER_BYTES: Final = 256


class _Failure(NamedTuple):
    """Why one network could not be had, from one source or at all."""

    network: str
    source: Source | None
    error: ModelError | NetworkFormatError

    def __str__(self) -> str:
        return f"{self.network}{f' from {self.source}' if self.source else ''}: {self.error}"


def pull(
    candidates: Sequence[NetworkEntry],
    store: Store,
    reporter: Reporter | None = None,
    *,
    refresh: bool = False,
    folders: Sequence[Path] = (),
    limits: HttpLimits | None = None,
    pip: Sequence[str] | None = None,
    wait_s: float = PULL_WAIT_S,
    converts: bool = True,
) -> StoredNetwork:
    """The first candidate that can be had, in the store; `current` is not touched.

    A candidate that is in the store already wins over a better one that would have to be fetched, so that a device
    starts at once and never changes its network by itself; `refresh` tries the better ones first. `folders` are looked
    into before each candidate's own sources. Room is asked for the network, and for its conversion where it `converts`.
    Every source that failed is reported, and every candidate passed over.

    Raises StoreBusy when another process still fetches after `wait_s`; else, when nothing could be had, the gravest of
    CatalogueWrong, StorageFull, StoreUnwritable, DownloadCorrupt, NetworkFormatError and SourceUnreachable, with every
    reason in its text.
    """
    reporter = reporter or SilentReporter()
    means = Means(store, reporter, limits or HttpLimits(), pip, converts)
    if not refresh and (stored := find_stored(candidates, store)):
        return stored
    failures: list[_Failure] = []
    for entry in candidates:
        if entry.unconvertible_blocks:
            kinds = ", ".join(entry.unconvertible_blocks)
            reason = NetworkFormatError(f"its blocks ({kinds}) cannot be converted yet")
            failures.append(_Failure(entry.alias, None, reason))
            continue
        sources = [*(Source(folder=folder) for folder in folders), *entry.sources]
        stored = _pull_one(entry, sources, means, wait_s, failures)
        if stored is not None:
            if entry is not candidates[0]:
                better = [failure for failure in failures if failure.network != entry.alias]
                why = "; ".join(dict.fromkeys(f"{failure.network}: {failure.error}" for failure in better))
                reporter.report(ChainStep("network", f"{entry.alias} instead of {candidates[0].alias} ({why})"))
            return stored
    raise _gravest(candidates, failures)


def find_stored(candidates: Sequence[NetworkEntry], store: Store) -> StoredNetwork | None:
    """The best candidate that is in the store."""
    return next((stored for entry in candidates if (stored := store.find(entry.sha256))), None)


def pull_named(
    name: str,
    catalogue: Catalogue,
    store: Store,
    reporter: Reporter | None = None,
    *,
    refresh: bool = False,
    folders: Sequence[Path] = (),
    limits: HttpLimits | None = None,
    converts: bool = True,
) -> StoredNetwork:
    """What the owner names: a network of the catalogue, the path of a .bin.gz file, or the name that such a file got in
    the store. `refresh` reads a network that is in the store already once more, and replaces it if it is damaged;
    `converts` as for `pull`.

    Raises ConfigError for a name that is none of these, and what `pull` and `import_file` raise.
    """
    # Also where it is here: callers put what they make of it beside it.
    refuse_root(store.root)
    path = Path(name)
    if path.name != name or disk.is_file(path):
        return import_file(path, store, reporter, refresh=refresh, converts=converts)
    try:
        entry = catalogue.find(name)
    except ConfigError:
        if stored := _of_name(name, store):
            return stored
        raise
    return pull([entry], store, reporter, refresh=refresh, folders=folders, limits=limits, converts=converts)


def lies_at(name: str, catalogue: Catalogue, store: Store) -> Path | None:
    """The file that `pull_named` would take as it is, and nothing else: None where it is not here yet, or unknown."""
    path = Path(name)
    if disk.is_file(path):
        return path
    if path.name != name:
        stored = _of_source(path, store)
    else:
        try:
            stored = store.find(catalogue.find(name).sha256)
        except ConfigError:
            stored = _of_name(name, store)
    return stored.path if stored else None


def import_file(
    path: Path, store: Store, reporter: Reporter | None = None, *, refresh: bool = False, converts: bool = True
) -> StoredNetwork:
    """Takes the owner's own .bin.gz into the store. It is named after its file; its licence is unknown to us. While the
    file cannot be read, as on a stick that was pulled out, what was stored of it before is taken, which is told.

    Raises NetworkFormatError when it cannot be read or is no gzip file, StorageFull, StoreUnwritable, StoreBusy.
    """
    try:
        size_bytes = path.stat().st_size
        with gzip.open(path, "rb") as file:
            if not file.read(HEADER_BYTES):
                raise EOFError("it is empty")
        sha256 = disk.sha256_of(path)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise NetworkFormatError(f"{path} is not a network file: {error}", fix="Give a KataGo .bin.gz file.") from error
    except OSError as error:
        wrong = f"{path} cannot be read: {error.strerror or error}"
        stored = _of_source(path, store)
        if stored is None:
            raise NetworkFormatError(wrong, fix=_unreadable_fix(error)) from error
        (reporter or SilentReporter()).report(ChainStep("network", f"{wrong}; takes what was stored of it"))
        return stored
    stored = store.find(sha256)
    if stored is not None and not (refresh and _is_damaged(stored, store)):
        return stored
    check_room(store, size_bytes, converts=converts)
    name = _own_name(path.name)
    return store.add_file(path, Manifest(name, name + FILE_SUFFIX, size_bytes, sha256, _source(path), UNKNOWN_LICENCE))


def _unreadable_fix(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "Put it where this user can read it, such as /srv, and name that place: the service sees no home folder."
    return "Give the path of a KataGo .bin.gz file."


def _own_name(file: str) -> str:
    """What the store calls a file of the owner's."""
    return NOT_IN_NAMES.sub("-", file.removesuffix(FILE_SUFFIX)).strip("-.") or "network"


def _source(path: Path) -> str:
    """What the store says where that file of the owner's came from."""
    return f"{_IMPORTED}{path.absolute()}"


def _of_name(name: str, store: Store) -> StoredNetwork | None:
    """The file of the owner's that the store calls so."""
    own = _own_name(name)
    return _latest([each for each in _imported(store) if each.manifest.name == own], store)


def _of_source(path: Path, store: Store) -> StoredNetwork | None:
    """What was stored of that file of the owner's."""
    return _latest([each for each in _imported(store) if each.manifest.source == _source(path)], store)


def _imported(store: Store) -> list[StoredNetwork]:
    return [each for each in store.entries() if each.manifest.source.startswith(_IMPORTED)]


def _latest(found: Sequence[StoredNetwork], store: Store) -> StoredNetwork | None:
    """The one in use, else the one that was stored last."""
    current = store.current()
    return current if current in found else max(found, key=lambda each: each.path.stat().st_mtime, default=None)


def _pull_one(
    entry: NetworkEntry, sources: Sequence[Source], means: Means, wait_s: float, failures: list[_Failure]
) -> StoredNetwork | None:
    """The candidate from the first source that serves it; None, with the reasons in `failures`, when none does."""

    def waiting(holder: str) -> None:
        means.reporter.report(ChainStep("network", f"{holder} is fetching {entry.alias}; waits for it"))

    try:
        means.store.collect_garbage()
        with means.store.pulling(entry.sha256, wait_s=wait_s, waiting=waiting):
            if stored := _sound(entry, means.store):
                return stored
            for source in sources:
                try:
                    return take(entry, source, means)
                except StoreBusy:
                    raise
                except ModelError as error:
                    means.reporter.report(SourceFailed(entry.name, str(source), str(error)))
                    failures.append(_Failure(entry.alias, source, error))
            if not sources:
                failures.append(_Failure(entry.alias, None, SourceUnreachable("the catalogue names no source")))
    except StoreBusy:
        raise
    except ModelError as error:
        failures.append(_Failure(entry.alias, None, error))
    return None


def _sound(entry: NetworkEntry, store: Store) -> StoredNetwork | None:
    """The network if it is in the store and still what it was."""
    stored = store.find(entry.sha256)
    return None if stored is None or _is_damaged(stored, store) else stored


def _is_damaged(stored: StoredNetwork, store: Store) -> bool:
    try:
        store.verify(stored)
    except StoreDamaged:
        return True
    return False


def _gravest(candidates: Sequence[NetworkEntry], failures: list[_Failure]) -> ModelError | NetworkFormatError:
    reasons = "".join(f"\n  {failure}" for failure in failures)
    names = ", ".join(entry.alias for entry in candidates) or "nothing was asked for"
    for kind in GRAVEST_FIRST:
        for failure in failures:
            if isinstance(failure.error, kind):
                return kind(f"no network could be had ({names}):{reasons}", fix=failure.error.fix)
    return SourceUnreachable(f"no network could be had ({names}):{reasons}")
