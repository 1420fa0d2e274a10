"""What every fix has in common: commands that are there for the one who reads it."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from agent.errors import NetworkMissing, install_extra, pip_install


@pytest.mark.parametrize(
    ("called", "name"),
    [
        ("/usr/local/bin/katago-agent", "katago-agent"),
        ("/opt/katago-agent/bin/katago-agent-katago", "katago-agent"),
        ("/home/u/clone/.venv/bin/agent", "agent"),
        ("/opt/katago-agent/lib/python3.11/site-packages/agent/launch.py", "agent"),
        ("", "agent"),
    ],
)
def test_commands_are_advised_under_the_name_that_was_called(
    called: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [called, "tune"])
    error = NetworkMissing("`agent tune` needs a network", fix="Run `agent pull`, or `sudo katago-agent pull`.")
    first, second = error.explain().split("\n")
    assert first == f"{name}: `{name} tune` needs a network"
    assert second == f"fix: Run `{name} pull`, or `sudo katago-agent pull`."


def test_the_installed_command_says_its_name_in_help_and_errors(tmp_path: Path) -> None:
    command = tmp_path / "katago-agent"
    command.write_text("from agent.launch import agent\nagent()\n")

    def said(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        run = [sys.executable, str(command), *arguments]
        done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=120)
        return done.stdout + done.stderr

    assert "Usage: katago-agent pull" in said("pull", "--help")
    wrong = tmp_path / "agent.yaml"
    wrong.write_text("visits: none\n")
    assert said("status", "--config", str(wrong)).startswith(f"katago-agent: {wrong}: ")
    wrong.write_text(f"state_dir: {tmp_path}\n")
    assert "Start it with `katago-agent run`" in said("status", "--config", str(wrong))


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
