"""`agent detect` and `agent why` on recorded boards: tables for people, JSON for programs, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent.__main__ import app
from tests.boards.tree import build, find_fixture


def run(*arguments: str) -> str:
    # Wide enough that rich breaks no line.
    answer = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.fixture
def thor(tmp_path: Path) -> str:
    build(find_fixture("jetson-agx-thor 128GB jp7-r38.2.0"), tmp_path)
    return str(tmp_path)


def test_detect_shows_facts_and_reasons(thor: str) -> None:
    table = run("detect", "--root", thor)
    assert "p3834-0008 AGX Thor T5000" in table
    assert "Neoverse-V3AE (0x41 0xd83)" in table
    assert "47.0 °C" in table
    assert "unknown: only the running system can tell" in table


def test_detect_as_json(thor: str) -> None:
    facts = json.loads(run("detect", "--root", thor, "--json"))
    assert facts["l4t"] == {"release": "38.2.0", "jetpack": 7, "jetpack_version": "7.0"}
    assert len(facts["cores"]) == 14
    assert facts["live"]["heat"]["zones"][2] == {"name": "cpu-thermal", "celsius": 47.0}
    assert facts["platform"]["page_bytes"] == {"unknown": "only the running system can tell"}


def test_why_shows_choice_and_every_loser(thor: str) -> None:
    table = run("why", "--root", thor)
    assert "jetson-thor" in table
    assert "Needs chip tegra234, not tegra264." in table
    assert "jetson-native" in run("why", "--root", thor, "--native").split("Why")[0]


def test_why_as_json(thor: str) -> None:
    choice = json.loads(run("why", "--root", thor, "--json"))
    assert choice["profile"]["networks"][0]["network"] == "b18c384nbt"
    assert len(choice["rejected"]) > 10


def test_why_of_a_machine_that_is_refused(tmp_path: Path) -> None:
    build(find_fixture("jetson-nano 4GB jp4-r32.7.6"), tmp_path)
    table = run("why", "--root", str(tmp_path))
    assert "Unsupported" in table
    assert "NVIDIA ends this board (tegra210) at JetPack 4" in table
    choice = json.loads(run("why", "--root", str(tmp_path), "--json"))
    assert choice["profile"] is None
    assert choice["unsupported"]["fix"].startswith("NVIDIA ends this board")


@pytest.mark.parametrize("verb", ["detect", "why"])
def test_folder_that_is_not_there(tmp_path: Path, verb: str) -> None:
    assert "no such file or directory" in run(verb, "--root", str(tmp_path / "nowhere"))
