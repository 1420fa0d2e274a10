"""What `agent install` asks of the operating system: commands, files written whole, owners. No decisions here."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from agent.errors import InstallError
from agent.model.disk import write_atomically

# `systemctl start` waits for readiness, which on a first start includes the network's download and conversion.
COMMAND_TIMEOUT_S = 1800.0


class System(Protocol):
    """The operating system that is installed on; tests give one that only records."""

    def run(self, argv: Sequence[str], *, user: str | None = None) -> None:
        """Run a command to its end, as `user` where given, its output going to ours.

        Raises InstallError, naming the command, when it is missing, fails or takes longer than COMMAND_TIMEOUT_S.
        """

    def own(self, path: Path, user: str) -> None:
        """Give a file or folder to a user and its group. Raises InstallError."""


class LiveSystem:
    """This machine."""

    def run(self, argv: Sequence[str], *, user: str | None = None) -> None:
        account = _account(user) if user is not None else None
        environment = dict(os.environ)
        if account:
            environment |= {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
        # Asked beforehand: with a folder on PATH that we may not read, exec reports that instead.
        if shutil.which(argv[0]) is None:
            raise InstallError(f"the command {argv[0]} is missing", fix=f"Install the package with {argv[0]}.")
        try:
            subprocess.run(
                argv,
                check=True,
                timeout=COMMAND_TIMEOUT_S,
                env=environment,
                cwd=account.pw_dir if account else None,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        except subprocess.TimeoutExpired as error:
            raise InstallError(f"`{' '.join(argv)}` took longer than {COMMAND_TIMEOUT_S:.0f} s") from error
        except subprocess.CalledProcessError as error:
            told = f"ended with status {error.returncode}; the reason stands above"
            raise InstallError(f"`{' '.join(argv)}` {told}") from error
        except OSError as error:
            raise InstallError(f"`{' '.join(argv)}` failed: {error}") from error

    def own(self, path: Path, user: str) -> None:
        entry = _account(user)
        try:
            os.chown(path, entry.pw_uid, entry.pw_gid)
        except OSError as error:
            raise InstallError(f"cannot give {path} to {user}: {error}") from error


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError as error:
        raise InstallError(
            f"there is no user {user}", fix="Run `agent install` as root; it makes that user."
        ) from error


def write_whole(path: Path, text: str, mode: int = 0o644) -> bool:
    """Leave `text` in the file, or the file as it was; true when that changed anything.

    Folders above are made. The file appears whole and is on the disk when this returns.
    Raises InstallError.
    """
    try:
        if path.is_file() and path.read_bytes() == text.encode():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode())
        # Whatever root's umask is, the service reads its configuration and everybody may read the units.
        path.chmod(mode)
    except OSError as error:
        raise InstallError(f"cannot write {path}: {error}", fix="Run as root, and check the disk's space.") from error
    return True


def remove(path: Path) -> bool:
    """Remove the file; true when there was one. Raises InstallError."""
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InstallError(f"cannot remove {path}: {error}", fix="Run as root.") from error
    return True
