"""The systemd units as they lie in `systemd/`, fitted to where this agent is installed. Nothing is written here."""

from __future__ import annotations

from pathlib import Path

from agent.errors import InstallError
from agent.settings import Engine

SERVICE = "katago-agent.service"
FIRST_BOOT = "katago-agent-firstboot.service"
SYSUSERS = "sysusers.conf"
GPU = "gpu.conf"
# Board family → what opens its devices to the service, whatever serves.
BOARDS = {"jetson": GPU, "raspberry-pi": "pi.conf"}
# Written where the owner keeps networks elsewhere than systemd's own state folder.
STATE = "state.conf"
# Below the root: what is written here or is not to be there.
DROP_INS = {name: f"etc/systemd/system/{SERVICE}.d/{name}" for name in (*BOARDS.values(), STATE)}
# What a GPU shows in /dev: a node of the kernel's own drivers, or of NVIDIA's.
GPU_NODES = ("dri/renderD*", "nvidia[0-9]*")
# The runtimes of ours that compute on one.
GPU_RUNTIMES = ("cuda", "cuda-tensorrt", "tensorrt")

# The prefix that the units in `systemd/` name.
USUAL_PREFIX = "/opt/katago-agent"
# ProtectHome= makes these empty for the service.
HIDDEN_FROM_SERVICE = ("/home", "/root", "/run/user")
# PrivateTmp= gives the service other ones.
PRIVATE_TO_SERVICE = ("/tmp", "/var/tmp")


def uses_gpu(engine: Engine, board: str, dev: Path = Path("/dev")) -> bool:
    """Whether what serves on a machine that is none of BOARDS may compute on a GPU, and one is there. A katago may be
    built for one; nobody asks it."""
    may = board not in BOARDS and (engine.wants_native or engine.runtime in GPU_RUNTIMES)
    return may and any(True for pattern in GPU_NODES for _ in dev.glob(pattern))


def fitted_units(
    folder: Path, prefix: Path, *, board: str = "", with_gpu: bool = False, state_dir: Path | None = None
) -> dict[str, str]:
    """Path below the root → text, of every file for systemd, with `prefix` in the place of the usual one. `board` is
    the family of agent.hardware; `with_gpu` opens the GPU of a machine that is none of BOARDS; `state_dir` is given
    where it is not systemd's own state folder.

    Raises InstallError for a prefix that the service could not read, or a state folder that it could not write.
    """
    if _lies_in(prefix, HIDDEN_FROM_SERVICE):
        raise InstallError(
            f"the agent lies in {prefix}, which its service may not read",
            fix="Run `sudo ./install.sh run`; it installs under /opt/katago-agent.",
        )
    if _is_special(prefix):
        raise InstallError(
            f"systemd cannot start a command from {str(prefix)!r}",
            fix="Install to a folder without spaces, quotes, %, $ and backslashes.",
        )
    files = {
        f"etc/systemd/system/{name}": _read(folder / name).replace(USUAL_PREFIX, str(prefix))
        for name in (SERVICE, FIRST_BOOT)
    }
    files["etc/sysusers.d/katago-agent.conf"] = _read(folder / SYSUSERS)
    opened = BOARDS.get(board, GPU if with_gpu else None)
    if opened is not None:
        files[DROP_INS[opened]] = _read(folder / opened)
    if state_dir is not None:
        files[DROP_INS[STATE]] = _state_drop_in(state_dir)
    return files


def _state_drop_in(state_dir: Path) -> str:
    if _lies_in(state_dir, (*HIDDEN_FROM_SERVICE, *PRIVATE_TO_SERVICE)) or _is_special(state_dir):
        raise InstallError(
            f"the service cannot keep its state in {state_dir}",
            fix="Set `state_dir` to a plain path outside /home, /root, /run/user and /tmp, such as /srv/katago-agent.",
        )
    # With "-" a folder that went missing is told by the agent, not by systemd's status 226.
    return f"""\
# From `state_dir` in agent.yaml: ProtectSystem=strict leaves nothing else writable.
[Unit]
RequiresMountsFor={state_dir}

[Service]
ReadWritePaths=-{state_dir}
"""


def _lies_in(path: Path, folders: tuple[str, ...]) -> bool:
    return any(path == Path(folder) or Path(folder) in path.parents for folder in folders)


def _is_special(path: Path) -> bool:
    return any(character.isspace() or character in "%$\"'\\" for character in str(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InstallError(f"cannot read {path}: {error}", fix="Run ./install.sh again.") from error
