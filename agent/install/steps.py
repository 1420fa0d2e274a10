"""The plan of `agent install`: what is done, in which order, and that a second run changes nothing.

As root where systemd runs (or in the chroot of an image, `--image`) the agent becomes a service with its own user;
anywhere else only the configuration, the network and the marker are made, for whoever runs it. Start reading at `plan`.

The marker `provisioned` is written last: as long as it is missing, the first-boot unit runs this again. The state
folder belongs to the service's user, so everything in it is written by a child process of that user: root never
follows a path that the service could have bent.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import msgspec

from agent import __version__
from agent.errors import InstallError
from agent.events import ChainStep, Reporter
from agent.install.config import TEMPLATE
from agent.install.system import System, remove, write_whole
from agent.install.units import DROP_INS, FIRST_BOOT, SERVICE, fitted_units, uses_gpu
from agent.model.disk import write_atomically
from agent.settings import SYSTEM_CONFIG, SYSTEM_STATE, data_folder, load_settings, own_command

USER: Final = "katago-agent"
MARKER: Final = "provisioned"
UNCHANGED: Final = "as it should be"


class Provisioned(msgspec.Struct, frozen=True):
    """The marker's content: which version of the agent finished its installation, and when (UTC, ISO 8601)."""

    version: str
    time: str


@dataclass(frozen=True)
class Target:
    """Where to install. `root` is /, or a folder in its place; `prefix` is the virtual environment as the service will
    see it; `as_service` tells a service for the whole machine from a set-up for this user alone; `config` and
    `state_dir` are as seen from inside `root`; `board` is the family whose devices are opened to the service, and
    `with_gpu` opens another machine's GPU. An image does not run yet: its users, network and start are left to its
    first boot."""

    root: Path
    prefix: Path
    as_service: bool
    config: Path
    state_dir: Path
    board: str = ""
    with_gpu: bool = False
    is_image: bool = False

    def inside(self, path: Path | str) -> Path:
        """A path of the installed system as a path of ours."""
        return self.root / str(path).lstrip("/")


@dataclass(frozen=True)
class Step:
    """One thing to do. `apply` does it where it is not done yet and tells what it did. It raises AgentErrors."""

    name: str
    purpose: str
    apply: Callable[[], str]


def find_target(user_state: Path, *, board: str, image: bool = False, uid: int | None = None) -> Target:
    """What an installation by this user (`uid`, if not ours) on this machine makes: a service as root, where systemd
    runs or / is an `image` that we are chrooted into; else a set-up with its state in `user_state`.

    Raises InstallError for an image without root, ConfigError for a wrong configuration of the service.
    """
    root, prefix = Path("/"), Path(sys.prefix)
    as_root = (os.geteuid() if uid is None else uid) == 0
    if image and not as_root:
        raise InstallError("only root installs into an image", fix="Run the same with sudo.")
    if image:
        # The chroot's board is not the one that boots, and its configuration is read there, when this runs again.
        return Target(root, prefix, True, SYSTEM_CONFIG, SYSTEM_STATE, is_image=True)
    if as_root and Path("/run/systemd/system").is_dir():
        if not SYSTEM_CONFIG.is_file():
            return Target(root, prefix, True, SYSTEM_CONFIG, SYSTEM_STATE, board)
        settings = load_settings(SYSTEM_CONFIG)
        with_gpu = uses_gpu(settings.engine, board)
        return Target(root, prefix, True, SYSTEM_CONFIG, settings.state_dir, board, with_gpu)
    config = SYSTEM_CONFIG if as_root else Path.home() / ".config" / "katago-agent" / "agent.yaml"
    return Target(root, prefix, False, config, user_state)


def plan(target: Target, system: System, provision: Callable[[], None], *, start: bool) -> list[Step]:
    """All steps in order. `provision` pulls and converts the network as the current user."""
    config = Step("configuration", f"write {target.config}, if it is not there", lambda: _write_config(target))
    if not target.as_service:
        return [config, *plan_network(target.inside(target.state_dir), provision)]
    steps = [
        config,
        Step("units", "write the systemd units and enable them", lambda: _write_units(target, system)),
        Step("user", f"make the system user {USER}", lambda: _make_user(target, system)),
        Step("state", f"make {target.state_dir}", lambda: _make_state_folders(target, system)),
        Step("command", "make /usr/local/bin/katago-agent and katago-agent-katago", lambda: _link_commands(target)),
    ]
    if not target.is_image:
        steps.append(Step("network", f"as {USER}: pull the network, then write {MARKER}", lambda: _as_user(system)))
        if start:
            steps.append(Step("service", f"start {SERVICE} and wait until it is ready", lambda: _start(system)))
    return steps


def plan_network(state_dir: Path, provision: Callable[[], None]) -> list[Step]:
    """The steps inside the state folder, for the user it belongs to: the network, and last the marker."""
    return [
        Step("network", "choose a profile, pull and convert its network", lambda: _provision(provision)),
        Step("marker", f"write {state_dir / MARKER}", lambda: write_marker(state_dir / MARKER)),
    ]


def install(steps: list[Step], reporter: Reporter) -> None:
    """Apply every step; each is reported when it is done. Raises the AgentError of the first that fails."""
    for step in steps:
        reporter.report(ChainStep(step.name, step.apply()))


def write_marker(path: Path) -> str:
    """Tell the first-boot unit that nothing is left to do. Raises InstallError."""
    if _read_marker(path) == __version__:
        return UNCHANGED
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, msgspec.json.encode(Provisioned(__version__, now)) + b"\n")
    except OSError as error:
        raise InstallError(f"cannot write {path}: {error}") from error
    return f"{path} written"


def _read_marker(path: Path) -> str | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Provisioned).version
    except (OSError, msgspec.MsgspecError):
        return None


def _write_config(target: Target) -> str:
    path = target.inside(target.config)
    if path.exists():
        return f"{path} is the owner's, left as it is"
    write_whole(path, TEMPLATE)
    return f"{path} written; everything in it is optional"


def _write_units(target: Target, system: System) -> str:
    own_state = target.state_dir if target.state_dir != SYSTEM_STATE else None
    files = fitted_units(
        data_folder("systemd"), target.prefix, board=target.board, with_gpu=target.with_gpu, state_dir=own_state
    )
    written = [path for path, text in files.items() if write_whole(target.root / path, text)]
    written += [path for path in DROP_INS.values() if path not in files and remove(target.root / path)]
    where = [f"--root={target.root}"] if target.is_image else []
    if written and not target.is_image:
        system.run(["systemctl", "daemon-reload"])
    system.run(["systemctl", "--quiet", *where, "enable", SERVICE, FIRST_BOOT])
    return f"{len(written)} of {len(files)} files written, units enabled" if written else UNCHANGED


def _make_user(target: Target, system: System) -> str:
    # An image makes the user when it boots, from the same file.
    if target.is_image:
        return "left to the image's first boot (systemd-sysusers)"
    system.run(["systemd-sysusers", "/etc/sysusers.d/katago-agent.conf"])
    return f"{USER} exists"


def _make_state_folders(target: Target, system: System) -> str:
    """systemd's own, where the marker lies, and the configured one, which is given away only where it was not there:
    it may be somebody's folder."""
    home, path = target.inside(SYSTEM_STATE), target.inside(target.state_dir)
    is_new = not path.is_dir()
    try:
        for folder in (home, path):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise InstallError(f"cannot make {path}: {error}") from error
    if target.is_image:
        return f"{path} made; systemd gives it to {USER}"
    system.own(home, USER)
    if path == home:
        return f"{path} belongs to {USER}"
    if not is_new:
        return f"{path} is there, left as it is"
    system.own(path, USER)
    return f"{path} belongs to {USER}"


# Not as `agent`: that name is common, and /usr/local/bin is everybody's.
_COMMANDS: Final = {"katago-agent": "agent", "katago-agent-katago": "katago-agent-katago"}


def _link_commands(target: Target) -> str:
    told = [_link_command(target, name, command) for name, command in _COMMANDS.items()]
    return UNCHANGED if set(told) == {UNCHANGED} else "; ".join(each for each in told if each != UNCHANGED)


def _link_command(target: Target, name: str, target_name: str) -> str:
    link, command = target.inside(f"usr/local/bin/{name}"), target.prefix / "bin" / target_name
    try:
        if link.is_symlink() and link.readlink() == command:
            return UNCHANGED
        if link.exists() and not link.is_symlink():
            return f"{link} is something else, left as it is"
        link.parent.mkdir(parents=True, exist_ok=True)
        fresh = link.with_name(link.name + ".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(command)
        fresh.replace(link)
    except OSError as error:
        raise InstallError(f"cannot make {link}: {error}") from error
    return f"{link} → {command}"


def _provision(provision: Callable[[], None]) -> str:
    provision()
    return "ready to serve"


def _as_user(system: System) -> str:
    environment = ["env", f"STATE_DIRECTORY={SYSTEM_STATE}"]
    system.run([*environment, *own_command(), "install", "--only-network"], user=USER)
    return "ready to serve"


def _start(system: System) -> str:
    system.run(["systemctl", "start", SERVICE])
    return f"{SERVICE} is up"
