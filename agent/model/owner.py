"""Whose the state folder is. Root never writes below another user's (docs/decisions/0006): somebody who took over the
service could have left a link there that leads root elsewhere; and what root makes there the service cannot use.

Start reading at `become_owner`.
"""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path
from typing import Final, NamedTuple

from agent.errors import StoreUnwritable

# What systemd/gpu.conf and systemd/pi.conf add to the service's groups; whoever measures in its place needs the same.
DEVICE_GROUPS: Final = ("video", "render")
# As the unit's UMask=: others do not read the folder.
UMASK: Final = 0o027


class Owner(NamedTuple):
    """A user, by number and as `sudo -u` takes it."""

    uid: int
    gid: int
    name: str
    home: Path


def other_owner(folder: Path) -> Owner | None:
    """Who has the folder, or its nearest parent while it is not there, where this is root and that is somebody else."""
    if os.geteuid() != 0:
        return None
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        found = folder.stat()
    except OSError:  # whoever uses the folder will tell of it
        return None
    if found.st_uid == 0:
        return None
    try:
        user = pwd.getpwuid(found.st_uid)
    except KeyError:  # such as a container's volume, whose user only the host knows
        return Owner(found.st_uid, found.st_gid, f"#{found.st_uid}", folder)
    return Owner(user.pw_uid, user.pw_gid, user.pw_name, Path(user.pw_dir))


def become_owner(folder: Path) -> Owner | None:
    """Make this process, if it is root's, one of the folder's owner, with the service's groups, umask and home; call it
    before anything in the folder is opened. None where nothing had to change.

    Raises StoreUnwritable where this process may not.
    """
    owner = other_owner(folder)
    if owner is None:
        return None
    groups = {owner.gid, *_groups_of(owner)}
    try:
        # In this order: what comes later takes away the right to what comes before.
        os.setgroups(sorted(groups))
        os.setresgid(owner.gid, owner.gid, owner.gid)
        os.setresuid(owner.uid, owner.uid, owner.uid)
    except PermissionError as error:
        raise _refusal(folder, owner) from error
    os.umask(UMASK)
    os.environ["HOME"] = str(owner.home)
    return owner


def refuse_root(folder: Path) -> None:
    """Raises StoreUnwritable where root is about to write below another user's folder."""
    owner = other_owner(folder)
    if owner is not None:
        raise _refusal(folder, owner)


def _groups_of(owner: Owner) -> set[int]:
    named = [] if owner.name.startswith("#") else os.getgrouplist(owner.name, owner.gid)
    return {*named, *(group.gr_gid for group in grp.getgrall() if group.gr_name in DEVICE_GROUPS)}


def _refusal(folder: Path, owner: Owner) -> StoreUnwritable:
    return StoreUnwritable(
        f"the state folder {folder} belongs to {owner.name}, and root does not write there",
        fix=f"Run the same as that user: sudo -u '{owner.name}' katago-agent …",
    )
