"""An operating system that writes down what it is asked, and fails where it is told to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agent.errors import InstallError


class RecordingSystem:
    """Implements agent.install.system.System. `asked` holds commands as text, led by "USER: " where run as another
    user. A command that begins with `fails` raises InstallError."""

    def __init__(self, fails: str = "") -> None:
        self.asked: list[str] = []
        self.fails = fails

    def run(self, argv: Sequence[str], *, user: str | None = None) -> None:
        line = " ".join(argv)
        self.asked.append(f"{user}: {line}" if user else line)
        if self.fails and line.startswith(self.fails):
            raise InstallError(f"`{line}` failed")

    def own(self, path: Path, user: str) -> None:
        self.asked.append(f"own {path} {user}")
