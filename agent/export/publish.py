"""Puts an artifact into its folder so that it is offered whole or not at all. Start at `publishing`, then `publish`.

Work in progress lies in `<folder>/.export/`, which nobody reads. Whoever holds the lock on the folder is the only one
who exports into it, so what lies in `.export/` when the lock is taken was left by a process that died, and goes. An
artifact moves to its place by one rename, after its bytes are on the disk and it has run; its manifest follows by
another. Between the two there is no manifest, and an artifact without one does not count (`artifact.py`).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import ConversionFailed, StorageFull, StoreBusy, StoreUnwritable
from agent.export.artifact import Artifact, ArtifactManifest, held, manifest_path, read_artifact
from agent.model import disk

STAGING: Final = ".export"
# What is left of a disk that a tool has filled up: less than this. The smallest network that people use takes 4 MB.
_NO_ROOM_BYTES: Final = 1 << 20

# Writes the artifact to a path and returns its manifest.
Make = Callable[[Path], ArtifactManifest]
# Runs the artifact through the runtime it is for; raises AgentError when it does not work. Its manifest lies beside it.
# The runtimes are above this part, so the caller brings it.
Prove = Callable[[Artifact], None]


@contextlib.contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """Hold `folder`, which is made if need be, and sweep it; gives the folder for work in progress, removed at the end.

    Raises:
        StoreBusy: another process exports into `folder`.
        StorageFull, StoreUnwritable: nothing can be written there.
    """
    made = [each for each in (folder, *folder.parents) if not disk.is_there(each)]
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not disk.try_lock(descriptor, folder):
            raise StoreBusy(
                f"another process exports into {folder}", fix="Wait for it to finish, or give another --out."
            )
        try:
            with _staging(folder) as staging:
                yield staging
        finally:
            with contextlib.suppress(OSError):
                for each in made:
                    each.rmdir()
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    staging = folder / STAGING
    try:
        with storage_errors(folder):
            _sweep(folder)
            staging.mkdir()
        yield staging
    finally:
        # What cannot be removed now is swept next time.
        shutil.rmtree(staging, ignore_errors=True)


def publish(staging: Path, file_name: str, make: Make, prove: Prove) -> Artifact:
    """Have `make` write `file_name` into a folder of its own below `staging` and `prove` run it there, and put the
    result beside `staging`, in the place of an older one. When either raises, the older one is untouched.

    Raises what they raise; an OSError becomes StorageFull or StoreUnwritable.
    """
    target = staging.parent / file_name
    with storage_errors(target):
        room = Path(tempfile.mkdtemp(dir=staging))
    try:
        fresh = room / file_name
        with storage_errors(target), _room_errors(target):
            manifest = make(fresh)
            manifest_path(fresh).write_bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1))
            prove(Artifact(fresh, manifest))
            for path in (fresh, manifest_path(fresh)):
                _sync(path)
            if read_artifact(fresh) is None:
                raise ConversionFailed(f"{file_name} is not what its manifest says")
            _replace(target, fresh)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    return Artifact(target, manifest)


def _replace(target: Path, fresh: Path) -> None:
    """Put `fresh` and its manifest in the place of `target` and its own. Who is just writing down what was found out
    about the older one is waited for: their manifest must not come to lie beside the new one."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # there is none yet
            stack.enter_context(held(target))
        manifest_path(target).unlink(missing_ok=True)
        if target.is_dir():
            target.replace(fresh.with_name("replaced"))
        fresh.replace(target)
        disk.sync_file(target.parent)
        manifest_path(fresh).replace(manifest_path(target))
        disk.sync_file(target.parent)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """As `disk.storage_errors`, with what helps here."""
    try:
        with disk.storage_errors(path):
            yield
    except StorageFull as error:
        if error.fix != StorageFull.fix:
            raise  # a limit on the size of files is no matter of room
        raise StorageFull(str(error), fix="Free some space, or export to a larger disk with --out.") from error
    except StoreUnwritable as error:
        raise StoreUnwritable(str(error), fix="Choose a folder that can be written to with --out.") from error


@contextlib.contextmanager
def _room_errors(target: Path) -> Iterator[None]:
    """A tool of others tells a full disk in words of its own, or not at all: then its file does not run."""
    try:
        yield
    except ConversionFailed as error:
        if disk.free_bytes(target.parent) < _NO_ROOM_BYTES:
            raise StorageFull(f"the disk of {target} is full: {error}") from error
        raise


def _sweep(folder: Path) -> None:
    """Remove what dead processes left: work in progress, and files that were being written."""
    shutil.rmtree(folder / STAGING, ignore_errors=True)
    disk.remove_unfinished(folder)


def _sync(artifact: Path) -> None:
    """Return when the artifact is on the disk."""
    for path in [*artifact.rglob("*"), artifact] if artifact.is_dir() else [artifact]:
        disk.sync_file(path)
