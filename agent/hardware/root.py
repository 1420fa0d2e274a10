"""Reading facts from a filesystem root that may be the running system, a mounted card or a test's folder.

Every read is bounded in size, never blocks (a FIFO, a device or an unpowered sensor in place of a file) and returns an
`Unknown` with the reason instead of raising. Links are followed as inside a chroot: an absolute link of another root
leads into that root, so that a mounted card never answers with facts of the machine that looks at it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from agent.hardware.unknown import Unknown

# sysfs attributes are at most one page (16 KiB on a Pi 5); /proc/meminfo and device-tree strings are smaller.
SMALL_FILE_BYTES = 64 * 1024
# Linux' own limit of links in one path (MAXSYMLINKS).
MAX_LINKS = 40
# A folder of a broken tree could hold anything; 512 cores and 100 sensors fit.
MAX_ENTRIES = 4096

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class Root:
    """A filesystem root. Paths are absolute within it ("/proc/cpuinfo")."""

    def __init__(self, folder: Path = Path("/")) -> None:
        self._folder = folder.absolute()
        self._is_running_system = self._folder == Path("/")

    @property
    def is_running_system(self) -> bool:
        """True where the root is that of this process, so that system calls tell about it too."""
        return self._is_running_system

    def read(self, path: str, limit_bytes: int = SMALL_FILE_BYTES) -> bytes | Unknown:
        """The bytes of a regular file, or Unknown for anything else, anything larger and anything that fails."""
        content = self.read_start(path, limit_bytes + 1)
        if isinstance(content, bytes) and len(content) > limit_bytes:
            return Unknown(f"{path}: is larger than {limit_bytes} bytes")
        return content

    def read_start(self, path: str, size_bytes: int) -> bytes | Unknown:
        """The first bytes of a regular file, fewer where it is shorter."""
        try:
            real = self._resolve(path)
            mode = real.stat().st_mode
            if not stat.S_ISREG(mode):
                return Unknown(f"{path}: is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}, not a file")
            descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        except (OSError, ValueError) as error:
            return Unknown(f"{path}: {in_words(error)}")
        try:
            return _read_up_to(descriptor, path, size_bytes)
        finally:
            os.close(descriptor)

    def read_text(self, path: str, limit_bytes: int = SMALL_FILE_BYTES) -> str | Unknown:
        """As `read`, decoded as UTF-8 with replacement characters; an empty file is Unknown."""
        content = self.read(path, limit_bytes)
        if isinstance(content, Unknown):
            return content
        if not content.strip(b"\0 \t\r\n"):
            return Unknown(f"{path}: is empty")
        return content.decode("utf-8", "replace")

    def read_line(self, path: str) -> str | Unknown:
        """The first line, stripped of blanks and NULs, if it is printable text."""
        text = self.read_text(path)
        if isinstance(text, Unknown):
            return text
        line = text.strip("\0 \t\r\n").split("\n", 1)[0].strip("\0 \t\r")
        return line if is_plain(line) else Unknown(f"{path}: holds no printable text")

    def read_int(self, path: str) -> int | Unknown:
        """One decimal number."""
        line = self.read_line(path)
        if isinstance(line, Unknown):
            return line
        # 19 digits hold every 64-bit number; more is garbage, and huge texts are slow to convert.
        if not re.fullmatch(r"-?[0-9]{1,19}", line):
            return Unknown(f"{path}: holds no number")
        return int(line)

    def list_folder(self, path: str) -> tuple[str, ...] | Unknown:
        """Names in a folder, numbers in numeric order (thermal_zone2 before thermal_zone10)."""
        try:
            with os.scandir(self._resolve(path)) as entries:
                names = [entry.name for _, entry in zip(range(MAX_ENTRIES), entries, strict=False)]
        except (OSError, ValueError) as error:
            return Unknown(f"{path}: {in_words(error)}")
        return tuple(sorted(names, key=_natural))

    def link_target(self, path: str) -> str | Unknown:
        """Where a link leads, one step."""
        parent, _, name = path.rpartition("/")
        try:
            return str((self._resolve(parent or "/") / name).readlink())
        except (OSError, ValueError) as error:
            return Unknown(f"{path}: {in_words(error)}")

    def exists(self, path: str) -> bool:
        """Whether anything readable or not stands at `path`."""
        try:
            self._resolve(path).stat()
        except (OSError, ValueError):
            return False
        return True

    def real_path(self, path: str) -> Path | Unknown:
        """The path on the running system, for system calls that need one."""
        try:
            return self._resolve(path)
        except (OSError, ValueError) as error:
            return Unknown(f"{path}: {in_words(error)}")

    def _resolve(self, path: str) -> Path:
        """Follow every link as a chroot would. Raises OSError (ELOOP) and ValueError (a NUL in the path)."""
        if self.is_running_system:
            return Path(path)
        pending = path.split("/")[::-1]
        top = str(self._folder)
        here: list[str] = [top]  # the folders from the root down to the present one
        links = 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = here[: max(1, len(here) - 1)]
                continue
            step = f"{here[-1]}/{name}"
            try:
                target = os.readlink(step)  # noqa: PTH115 (Path objects would take most of the time of a detection)
            except OSError:
                here.append(step)
                continue
            links += 1
            if links > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            if target.startswith("/"):
                here = [top]
            pending.extend(target.split("/")[::-1])
        return Path(here[-1])


def _read_up_to(descriptor: int, path: str, size_bytes: int) -> bytes | Unknown:
    content = b""
    while len(content) < size_bytes:
        try:
            # os.read and not a file object: on EAGAIN, which Jetson sensors answer, a file object raises TypeError or
            # returns None (psutil issue 2477).
            chunk = os.read(descriptor, size_bytes - len(content))
        except OSError as error:
            return Unknown(f"{path}: {in_words(error)}")
        if not chunk:
            break
        content += chunk
    return content


def in_words(error: OSError | ValueError) -> str:
    """What an error of the filesystem means for a sensor or a file, for people."""
    if isinstance(error, ValueError):
        return "the path holds a NUL byte"
    if error.errno == errno.EAGAIN:
        return "not powered or not ready (EAGAIN)"
    if error.errno == errno.EINVAL:
        return "the driver has no value (EINVAL)"
    if error.errno is None:
        return str(error)
    return os.strerror(error.errno).lower()


def is_plain(text: str) -> bool:
    """Whether `text` is something to show a person: printable, not empty, not a page long."""
    return 0 < len(text) <= 256 and text.isprintable() and "�" not in text


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which digits count as numbers."""
    return [
        (0, int(part), "") if part.isdecimal() and len(part) < 19 else (1, 0, part)
        for part in re.split(r"([0-9]+)", name)
    ]
