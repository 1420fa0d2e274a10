"""Writing so that a crash or a full disk leaves the old state or the new one, never half of each.

Knows nothing of networks. Every OSError of the state folder becomes one of our own errors here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent.errors import ModelError, StorageFull, StoreBusy, StoreUnwritable

READ_BYTES: Final = 1 << 20

# `.<name>.<thread>.tmp`: the kernel's number of the thread that writes it; a process's first thread has the process's.
_UNFINISHED: Final = ".tmp"

# How often a waiting process looks again whether a lock is free; flock itself cannot wait with a limit.
LOCK_POLL_S: Final = 0.05


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError about `path` into StorageFull or StoreUnwritable."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: Path) -> ModelError:
    """What a failed write means for the user."""
    if error.errno == errno.EFBIG:
        return StorageFull(
            f"{path} may not grow any further: a limit on file size forbids it",
            fix="Raise the limit (`ulimit -f`, LimitFSIZE= of the unit) or allow larger files on that disk.",
        )
    if error.errno == errno.EDQUOT:
        return StorageFull(f"the disk quota of this user is used up at {path}")
    if error.errno == errno.ENOSPC:
        return StorageFull(f"the disk of {path} is full")
    return StoreUnwritable(f"{path}: {error.strerror or error}")


def is_there(path: Path) -> bool:
    """As `Path.exists`, which up to Python 3.13 raises for what lies in a folder that may not be entered."""
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """As `Path.is_file`, likewise."""
    return is_there(path) and path.is_file()


def is_folder(path: Path) -> bool:
    """As `Path.is_dir`, likewise."""
    return is_there(path) and path.is_dir()


def free_bytes(folder: Path) -> int:
    """Room for this user on the disk of `folder` or, while it does not exist, of its nearest parent."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    values = os.statvfs(folder)
    return values.f_bavail * values.f_frsize


def sync_file(path: Path) -> None:
    """Returns when the file's (or folder's) content is on the disk, not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Whoever reads `path` sees the old content or the new, also after a power cut. See `new_file`.

    Raises OSError; `path` and its folder are then as they were.
    """
    with new_file(path) as fresh:
        fresh.write_bytes(content)


def write_result(path: Path, content: bytes) -> None:
    """For a place that a user named: as `write_atomically`, but behind a link it is the link's file that changes, and
    what is no file, such as /dev/null or a pipe, is written into.

    Raises OSError.
    """
    if is_special(path):
        path.write_bytes(content)
    else:
        write_atomically(Path(os.path.realpath(path)), content)


def is_special(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder: a device, a pipe or a socket."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, to be written by name, that takes the name of `path` when the block ends well, after
    its bytes are on the disk, and is removed when the block raises. Each thread has one of its own, so of two writers
    at once the one that ends later wins. What a killed process left of `path` goes first.

    Raises OSError, also where `path` is a device or a pipe: root could rename a file onto /dev/null, and the whole
    machine would write into it.
    """
    if is_special(path) and not path.is_symlink():
        raise FileExistsError(errno.EEXIST, "there is something that is no file", str(path))
    remove_unfinished(path.parent, path.name)
    fresh = path.with_name(f".{path.name}.{threading.get_native_id()}{_UNFINISHED}")
    # A leftover may be another user's, which we may remove but not write; in a shared folder it may be a link.
    fresh.unlink(missing_ok=True)
    fresh.open("xb").close()
    try:
        yield fresh
        sync_file(fresh)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_file(path.parent)


def remove_unfinished(folder: Path, name: str = "") -> None:
    """Remove what dead processes were about to name `name` (empty: anything) in `folder`. What cannot be removed stays:
    nobody reads it."""
    for path in folder.glob(f".{glob.escape(name) or '*'}.*{_UNFINISHED}"):
        writer = path.name.removesuffix(_UNFINISHED).rpartition(".")[2]
        if writer.isdecimal() and not Path("/proc", writer).exists():
            with contextlib.suppress(OSError):
                path.unlink()


def point_to(link: Path, target: Path) -> None:
    """Makes `link` a relative symlink to `target` in one step."""
    fresh = link.with_name(link.name + ".new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(os.path.relpath(target, link.parent))
    fresh.replace(link)
    sync_file(link.parent)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def git_blob_of(path: Path) -> str:
    """The id under which git would store the file: SHA-1 of `blob <size>\\0` and the content. A second witness of which
    file this is, never a reason to trust it: SHA-1 can be forged."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def hold_lock(
    path: Path,
    *,
    wait_s: float,
    waiting: Callable[[str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[None]:
    """Holds an exclusive flock on `path`. The kernel frees it when the process dies, however it dies. The file stays:
    removing a lock file lets two processes hold "the" lock on two inodes. `waiting` hears once who holds it.

    Raises StoreBusy after `wait_s` seconds, StoreUnwritable, StorageFull.
    """
    with storage_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline: float | None = None
        while not try_lock(descriptor, path):
            holder = os.pread(descriptor, 40, 0).decode(errors="replace").strip() or "another process"
            if deadline is None:
                deadline = clock() + wait_s
                if waiting and wait_s > 0:
                    waiting(holder)
            if clock() >= deadline:
                raise StoreBusy(f"{holder} is using {path.parent.parent}")
            time.sleep(LOCK_POLL_S)
        with storage_errors(path):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()}".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, path: Path) -> bool:
    """Takes the lock if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks
        raise storage_error(error, path) from error
    return True
