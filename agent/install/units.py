"""The systemd units as they lie in `systemd/`, fitted to where this agent is installed. Nothing is written here."""

from __future__ import annotations

from pathlib import Path

from agent.errors import InstallError

SERVICE = "katago-agent.service"
FIRST_BOOT = "katago-agent-firstboot.service"
SYSUSERS = "sysusers.conf"
GPU = "gpu.conf"

# The prefix that the units in `systemd/` name.
USUAL_PREFIX = "/opt/katago-agent"
# ProtectHome= makes these empty for the service.
HIDDEN_FROM_SERVICE = ("/home", "/root", "/run/user")


def fitted_units(folder: Path, prefix: Path, *, jetson: bool) -> dict[str, str]:
    """Path below the root → text, of every file for systemd, with `prefix` in the place of the usual one.

    Raises InstallError for a prefix that the service could not read.
    """
    if any(prefix == Path(hidden) or Path(hidden) in prefix.parents for hidden in HIDDEN_FROM_SERVICE):
        raise InstallError(
            f"the agent lies in {prefix}, which its service may not read",
            fix="Run `sudo ./install.sh run`; it installs under /opt/katago-agent.",
        )
    if any(character.isspace() or character in "%$\"'\\" for character in str(prefix)):
        raise InstallError(
            f"systemd cannot start a command from {str(prefix)!r}",
            fix="Install to a folder without spaces, quotes, %, $ and backslashes.",
        )
    files = {
        f"etc/systemd/system/{name}": _read(folder / name).replace(USUAL_PREFIX, str(prefix))
        for name in (SERVICE, FIRST_BOOT)
    }
    files["etc/sysusers.d/katago-agent.conf"] = _read(folder / SYSUSERS)
    if jetson:
        files[f"etc/systemd/system/{SERVICE}.d/{GPU}"] = _read(folder / GPU)
    return files


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InstallError(f"cannot read {path}: {error}", fix="Run ./install.sh again.") from error
