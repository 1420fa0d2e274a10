"""What every fix has in common: commands that are there for the one who reads it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from agent.errors import install_extra, pip_install


def test_the_pip_of_a_fix_is_that_of_the_python_that_runs() -> None:
    match = re.fullmatch("Run `(?:sudo )?(.+)`.", install_extra("mnn"))
    assert match
    command = shlex.split(match[1])
    assert command == [sys.executable, "-m", "pip", "install", "katago-agent[mnn]"]
    assert "mnn" in metadata.metadata("katago-agent").get_all("Provides-Extra", [])
    # What is installed is found without any index, which may have nothing or something else under our name.
    asked = [*command[:4], "--no-index", "--no-deps", "--dry-run", "--disable-pip-version-check", command[4]]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_where_the_environment_is_another_users_it_is_done_with_sudo(tmp_path: Path) -> None:
    own = pip_install("x>=2", python="/opt/my agent/bin/python", prefix=str(tmp_path))
    assert own == "'/opt/my agent/bin/python' -m pip install 'x>=2'"
    assert pip_install("x", python="/opt/a/bin/python", prefix="/proc/1/nobody") == (
        "sudo /opt/a/bin/python -m pip install x"
    )
