"""The networks on this machine: a folder per file, named by its SHA-256, written once and never changed.

```
networks/<sha256>/<file>        the network, read-only
networks/<sha256>/manifest.json what it is, where it came from, under what licence
current -> networks/<sha256>    the one in use; `previous` the one before, for rollback
partial/                        downloads that go on (`partial.py`)
staging/<random>/               work in progress; its `.lock` is held by whoever works there
locks/                          flock files: `store` for every change, `pull-<sha256>` for one download
```
A folder appears in `networks/` by one rename, after its bytes are checked and on the disk. So a reader needs no lock:
whatever it finds is whole. Start reading at `add_file`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import DownloadCorrupt, ModelError, StoreBusy, StoreDamaged
from agent.model import disk
from agent.model.catalogue import Licence, Name, Sha256
from agent.model.owner import refuse_root

MANIFEST: Final = "manifest.json"

# A change of the store takes milliseconds; copying a 400 MB network onto a slow SD card (10 MB/s) is done unlocked.
CHANGE_WAIT_S: Final = 30.0

# Link errors of file systems that have no hard links (FAT, some network mounts) or forbid them.
NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS, errno.EXDEV})


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one stored file is. `source` says where the bytes came from. A converted file names the network it was made
    of (`source_sha256`), its `precision` and the `exporter` that made it; a downloaded one has none of these.
    """

    name: Name
    file: Name
    size_bytes: int
    sha256: Sha256
    source: str
    licence: Licence
    source_sha256: Sha256 | None = None
    precision: str | None = None
    exporter: str | None = None


class StoredNetwork(msgspec.Struct, frozen=True):
    """A network in the store. `path` is the file itself."""

    sha256: str
    path: Path
    manifest: Manifest


class Store:
    """The store under `root` (the state folder). Creates nothing until something is written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.networks = root / "networks"
        self.partials = root / "partial"
        self._staging = root / "staging"
        self._locks = root / "locks"

    # ---------------------------------------------------------------- reading, without a lock

    def find(self, sha256: str) -> StoredNetwork | None:
        """The network of that hash if it is here whole: manifest readable, file there with its size. Does not hash."""
        folder = self.networks / sha256
        try:
            manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
            size_bytes = (folder / manifest.file).stat().st_size
        except (OSError, msgspec.DecodeError):
            return None
        if manifest.sha256 != sha256 or size_bytes != manifest.size_bytes:
            return None
        return StoredNetwork(sha256, folder / manifest.file, manifest)

    def entries(self) -> list[StoredNetwork]:
        """All whole networks, by name."""
        names = [path.name for path in self.networks.iterdir()] if self.networks.is_dir() else []
        found = [stored for name in names if (stored := self.find(name))]
        return sorted(found, key=lambda stored: (stored.manifest.name, stored.sha256))

    def find_converted(self, source_sha256: str, precision: str, exporter: str) -> StoredNetwork | None:
        """The file that this exporter made of that network in that precision."""
        wanted = (source_sha256, precision, exporter)
        for stored in self.entries():
            manifest = stored.manifest
            if (manifest.source_sha256, manifest.precision, manifest.exporter) == wanted:
                return stored
        return None

    def current(self) -> StoredNetwork | None:
        """The network in use, if it is still whole."""
        return self._follow("current")

    def previous(self) -> StoredNetwork | None:
        """The network that was in use before."""
        return self._follow("previous")

    def verify(self, stored: StoredNetwork) -> None:
        """Reads the whole file again.

        Raises StoreDamaged.
        """
        try:
            found = disk.sha256_of(stored.path)
        except OSError as error:
            raise StoreDamaged(f"{stored.path} cannot be read: {error.strerror}") from error
        if found != stored.sha256:
            raise StoreDamaged(f"{stored.path} has changed since it was stored; its SHA-256 is now {found}")

    def _follow(self, link: str) -> StoredNetwork | None:
        try:
            return self.find((self.root / link).readlink().name)
        except OSError:
            return None

    # ---------------------------------------------------------------- changing

    def add_file(self, path: Path, manifest: Manifest) -> StoredNetwork:
        """Puts a file under its hash, after checking size and hash against the manifest. A file inside the store's own
        `partial/` or `staging/` is linked, any other copied; it stays where it is. A network that is already here whole
        is left as it is, a damaged one replaced.

        Raises DownloadCorrupt when the file is not what the manifest says, StorageFull, StoreUnwritable, StoreBusy.
        """
        with self.staging() as folder:
            with disk.storage_errors(path):
                fresh = folder / "entry"
                fresh.mkdir()
                self._bring(path, fresh / manifest.file)
                check_file(fresh / manifest.file, manifest)
                # The partial download is the same inode. A power cut must not leave it read-only before it is whole:
                # nobody but root could go on with it.
                disk.sync_file(fresh / manifest.file)
                (fresh / manifest.file).chmod(0o444)
                disk.sync_file(fresh / manifest.file)
                disk.write_atomically(fresh / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=2))
            with self._changing():
                self._publish(fresh, manifest.sha256, folder / "replaced")
        stored = self.find(manifest.sha256)
        if stored is None:
            raise StoreDamaged(f"{manifest.name} vanished from {self.networks} right after it was stored")
        return stored

    def activate(self, sha256: str) -> StoredNetwork:
        """Makes that network the current one and keeps the one before as `previous`. Nothing happens if it is current,
        so that a user who may only read the store can start with what is there.

        Raises StoreDamaged when it is not here whole; then nothing changes. StoreUnwritable, StorageFull, StoreBusy.
        """
        if (current := self.current()) and current.sha256 == sha256:
            return current
        with self._changing():
            return self._switch(sha256)

    def rollback(self) -> StoredNetwork:
        """Makes the previous network the current one again; the two change places.

        Raises StoreDamaged when there is none.
        """
        with self._changing():
            previous = self.previous()
            if previous is None:
                raise StoreDamaged("there is no previous network to go back to", fix="Run `agent pull NAME`.")
            return self._switch(previous.sha256)

    def drop_conversions(self, converted: StoredNetwork) -> None:
        """Removes what other exporters made of the same network in the same precision: 157 MB each, which fill a small
        card. A process that has such a file open keeps it; one that would open it again must not run. A precision may
        have another form of the graph behind it ("fp32 plain"); of the same exporter's work that form stays. What
        imitated other players ("fp32 as rank_9d") goes."""
        own = converted.manifest

        def is_old(manifest: Manifest) -> bool:
            if manifest.source_sha256 is None or manifest.source_sha256 != own.source_sha256:
                return False
            precision, own_precision = ((each.precision or "").partition(" as ")[0] for each in (manifest, own))
            other_form = precision.startswith(f"{own_precision} ")
            return precision == own_precision or (other_form and manifest.exporter != own.exporter)

        self._drop([each for each in self.entries() if each.sha256 != converted.sha256 and is_old(each.manifest)])

    def drop_foreign_conversions(self, exporter: str) -> bool:
        """Removes what other exporters made of any network, which `exporter`'s version runs nowhere. Whether there was
        something. As for `drop_conversions`, nobody else may be at work with it."""
        made = [each for each in self.entries() if each.manifest.source_sha256 is not None]
        foreign = [each for each in made if each.manifest.exporter != exporter]
        self._drop(foreign)
        return bool(foreign)

    def drop_damaged_conversions(self, source_sha256: str) -> list[StoredNetwork]:
        """Removes what was made of that network and is no longer what it was; reads all of it. Who has such a file open
        keeps it. Nobody would find the fault otherwise: looking for a conversion does not read it."""
        made = [each for each in self.entries() if each.manifest.source_sha256 == source_sha256]
        damaged = [each for each in made if not self._is_sound(each)]
        self._drop(damaged)
        return damaged

    def _drop(self, networks: Sequence[StoredNetwork]) -> None:
        if not networks:
            return
        with self.staging() as folder, self._changing(), disk.storage_errors(self.networks):
            for stored in networks:
                # Whole or gone for every reader, also when we are killed: staging is swept.
                (self.networks / stored.sha256).rename(folder / stored.sha256)
            disk.sync_file(self.networks)

    def collect_garbage(self) -> None:
        """Removes what dead processes left in `staging/`, and partial downloads of networks that are here, unless a
        process is at them or the network is damaged: then they are to replace it."""
        with self._changing():
            for folder in self._staging.iterdir() if self._staging.is_dir() else ():
                if _is_abandoned(folder):
                    shutil.rmtree(folder, ignore_errors=True)
        found = {path.name[:64] for path in self.partials.iterdir()}
        here = [stored for sha256 in found if (stored := self.find(sha256)) and self._is_sound(stored)]
        self._unlink_partials({stored.sha256 for stored in here})

    def drop_partials(self, *, keep: str) -> None:
        """Gives up the partial downloads of other networks, unless a process is at them."""
        found = self.partials.iterdir() if self.partials.is_dir() else ()
        self._unlink_partials({path.name[:64] for path in found} - {keep})

    def _unlink_partials(self, networks: Collection[str]) -> None:
        for sha256 in networks:
            with contextlib.suppress(StoreBusy), self.pulling(sha256, wait_s=0):
                for partial in self.partials.glob(f"{sha256}*"):
                    partial.unlink(missing_ok=True)

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """A fresh folder on the store's own disk, removed at the end; or by `collect_garbage` if the process dies."""
        with contextlib.ExitStack() as stack:
            with disk.storage_errors(self._staging), self._changing():
                self._staging.mkdir(exist_ok=True)
                folder = Path(tempfile.mkdtemp(dir=self._staging))
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
                stack.enter_context(disk.hold_lock(folder / ".lock", wait_s=0))
            yield folder

    @contextlib.contextmanager
    def pulling(self, sha256: str, *, wait_s: float, waiting: Callable[[str], None] | None = None) -> Iterator[None]:
        """Only one process at a time fetches a network; the others wait and then find it here.

        Raises StoreBusy.
        """
        self._make_folders()
        with disk.hold_lock(self._locks / f"pull-{sha256}", wait_s=wait_s, waiting=waiting):
            yield

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        self._make_folders()
        with disk.hold_lock(self._locks / "store", wait_s=CHANGE_WAIT_S):
            yield

    def _make_folders(self) -> None:
        refuse_root(self.root)
        with disk.storage_errors(self.root):
            for folder in (self.networks, self.partials, self._locks):
                folder.mkdir(parents=True, exist_ok=True)

    def _bring(self, path: Path, to: Path) -> None:
        """Links keep the partial download until the network is published: a process that is killed in between must
        not have to download again."""
        if path.is_relative_to(self.root):
            try:
                os.link(path, to)
                return
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
        shutil.copyfile(path, to)

    def _publish(self, fresh: Path, sha256: str, replaced: Path) -> None:
        target = self.networks / sha256
        with disk.storage_errors(target):
            if target.exists():
                if (stored := self.find(sha256)) and self._is_sound(stored):
                    return
                target.rename(replaced)
            fresh.rename(target)
            disk.sync_file(self.networks)

    def _is_sound(self, stored: StoredNetwork) -> bool:
        try:
            self.verify(stored)
        except StoreDamaged:
            return False
        return True

    def _switch(self, sha256: str) -> StoredNetwork:
        stored = self.find(sha256)
        if stored is None:
            raise StoreDamaged(f"network {sha256} is not whole in {self.networks}")
        before = self.current()
        if before and before.sha256 == sha256:
            return stored
        with disk.storage_errors(self.root):
            # In this order: killed in between, `current` is still the old one and running again completes both.
            if before:
                disk.point_to(self.root / "previous", self.networks / before.sha256)
            disk.point_to(self.root / "current", self.networks / sha256)
        return stored


def check_file(path: Path, manifest: Manifest) -> None:
    """The one gate that every byte passes before anybody may see it.

    Raises DownloadCorrupt.
    """
    size_bytes = path.stat().st_size
    if size_bytes != manifest.size_bytes:
        raise DownloadCorrupt(f"{manifest.file} has {size_bytes} bytes, not {manifest.size_bytes}")
    found = disk.sha256_of(path)
    if found != manifest.sha256:
        raise DownloadCorrupt(f"{manifest.file} is not the network we know: its SHA-256 is {found}")


def _is_abandoned(folder: Path) -> bool:
    """Nobody holds its lock. Called under the store's lock, so nobody is about to take it."""
    try:
        with disk.hold_lock(folder / ".lock", wait_s=0):
            return True
    except ModelError:
        return False
