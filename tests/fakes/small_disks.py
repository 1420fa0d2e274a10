"""Small real disks: a tmpfs in a mount namespace of its own, gone with the process that runs there."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

# Mounts a tmpfs of $1 at $2 and runs the rest there.
_MOUNT_AND_RUN = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'
_NEEDED = (
    "root with the right to mount (CAP_SYS_ADMIN, which a container must be given), or a kernel that lets any user "
    "make namespaces (Debian's does; Ubuntu's from 23.10 on only with kernel.apparmor_restrict_unprivileged_userns=0)"
)


def on_disk(size: str, folder: Path, command: Sequence[str]) -> list[str]:
    """The command, run with a disk of this size (as mount understands it) at the folder. Ends the test where no disk
    can be had: as a failure in CI, which is set up for it, else as skipped."""
    if refused := _refused():
        end = pytest.fail if os.environ.get("CI") else pytest.skip
        end(f"needs {_NEEDED}: {refused}")
    return _mounting(size, folder, command)


@functools.cache
def _refused() -> str:
    """What the machine says against it; empty where it can be done."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(_mounting("64k", Path(folder), ["true"]), capture_output=True, text=True, timeout=60)
    return (done.stderr.strip() or "no reason given") if done.returncode else ""


def _mounting(size: str, folder: Path, command: Sequence[str]) -> list[str]:
    namespace = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    return [*namespace, "sh", "-c", _MOUNT_AND_RUN, "sh", size, str(folder), *command]
