"""The verb that reports: from folders of artifacts and speed tables to a page and to JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from agent.__main__ import app
from agent.errors import CalibrationError, StoreUnwritable
from agent.workshop.limits import Peaks
from agent.workshop.speed import SpeedTable, keep_table

SOURCE = "ab" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder's owner, who has timed a network and exported nothing."""
    (tmp_path / "agent.yaml").write_text(f"state_dir: {tmp_path / 'state'}\n")
    table = SpeedTable("small", SOURCE, "a machine", {}, Peaks(2, 5e10, 1e11, 0.0), (), (0.0, 0.0))
    keep_table(tmp_path / "state" / "artifacts" / SOURCE, table)
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["report", "--config", str(folder / "agent.yaml"), *arguments])


def test_a_network_that_was_only_timed_is_reported(folder: Path) -> None:
    result = run(folder, "--json")
    assert result.exit_code == 0, result.output
    (network,) = json.loads(result.stdout)["networks"]
    assert (network["name"], network["rows"], network["tables"][0]["hardware"]) == ("small", [], "a machine")
    result = run(folder, "--out", str(folder / "page.html"))
    assert result.exit_code == 0, result.output
    assert "small" in (folder / "page.html").read_text()
    assert "0 artifacts of 1 networks" in result.stdout


def test_where_there_is_nothing_to_report_it_says_how_to_make_some(folder: Path) -> None:
    (folder / "none").mkdir()
    result = run(folder, "--from", str(folder / "none"), "--out", str(folder / "page.html"))
    assert isinstance(result.exception, CalibrationError)
    assert "agent export" in result.exception.fix
    assert not (folder / "page.html").exists()


def test_a_folder_in_the_place_of_the_page_is_named_with_what_helps(folder: Path) -> None:
    (folder / "page.html").mkdir()
    result = run(folder, "--out", str(folder / "page.html"))
    assert isinstance(result.exception, StoreUnwritable) and "--out" in result.exception.fix
    assert not list((folder / "page.html").iterdir())
