"""Puts each client into an environment of its own, from the registries that this machine's pip and npm are set to.

Environments outlive a run, below `$KATAGO_AGENT_TEST_CACHE` (default `~/.cache/katago-agent-tests`), under the version
that they hold; a half-made one is never seen under its name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

KATRAIN = "katrain==1.20.0"
KATAGOANAL = "katagoanal==0.4.0"
SABAKI = ("@sabaki/gtp@3.0.0", "@sabaki/go-board@1.4.3")

# KaTrain's wheel and Kivy's are some 200 MB together.
INSTALL_S = 900


class NotToBeHad(Exception):
    """Something that a client needs is missing; the text says what."""


def tool(name: str, *places: str) -> str:
    """The path of a program. Raises NotToBeHad."""
    found = shutil.which(name) or next((place for place in places if Path(place).exists()), None)
    if found is None:
        raise NotToBeHad(f"{name} is not installed")
    return found


def python_environment(*requirements: str) -> Path:
    """The folder of programs of a virtual environment with these packages. Raises NotToBeHad."""

    def make(folder: Path) -> None:
        _run([sys.executable, "-m", "venv", str(folder)])
        python = str(folder / "bin" / "python")
        _run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])

    return _made("-".join(requirements).replace("==", "-"), make) / "bin"


def node_modules(*requirements: str) -> Path:
    """A node_modules folder with these packages. Raises NotToBeHad."""
    npm = tool("npm")

    def make(folder: Path) -> None:
        folder.mkdir()
        _run([npm, "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder), *requirements])

    return _made("-".join(requirements).replace("@", "").replace("/", "-"), make) / "node_modules"


def _made(name: str, make: Callable[[Path], None]) -> Path:
    named = os.environ.get("KATAGO_AGENT_TEST_CACHE")
    cache = (Path(named) if named else Path.home() / ".cache" / "katago-agent-tests") / "clients"
    folder = cache / name
    done = folder / ".complete"
    if done.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    # A virtual environment knows its own path: it is made in place, and the mark says that it is whole.
    shutil.rmtree(folder, ignore_errors=True)
    make(folder)
    done.touch()
    return folder


def _run(command: list[str]) -> None:
    with tempfile.TemporaryFile("w+") as output:
        try:
            status = subprocess.run(command, stdout=output, stderr=output, timeout=INSTALL_S).returncode
        except subprocess.TimeoutExpired:
            status = -1
        if status != 0:
            output.seek(0)
            lines = [line.strip() for line in output if "error" in line.lower()] or [f"status {status}"]
            raise NotToBeHad(f"{' '.join(command[:4])} …: {lines[-1]}")
