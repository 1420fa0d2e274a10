"""The verb that reports: from folders of artifacts and speed tables to a page and to JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest
from fakes.pull_child import start_forkserver
from fakes.stranger import STRANGER, in_child, shared_folder
from typer.testing import CliRunner, Result

from agent.__main__ import app
from agent.engine.tuning import Contender, Timing, Tuned, hardware_key, remember, runtime_versions
from agent.errors import CalibrationError, StoreUnwritable
from agent.export.artifact import ArtifactManifest, digest, write_manifest
from agent.export.info import NetworkInfo
from agent.hardware import detect
from agent.model.owner import become_owner
from agent.workshop.limits import Peaks
from agent.workshop.place import artifact_folder
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


def test_what_is_named_twice_is_reported_once(folder: Path) -> None:
    network = folder / "small.bin.gz"
    network.write_bytes(b"a network")
    sha256 = digest(network)
    table = SpeedTable("small", sha256, "a machine", {}, Peaks(2, 5e10, 1e11, 0.0), (), (0.0, 0.0))
    keep_table(folder / "own", table)
    own = ("--from", str(folder / "own"))
    result = run(folder, str(network), str(network), *own, *own, "--json")
    (found,) = json.loads(result.stdout)["networks"]
    assert len(found["tables"]) == 1


def test_what_was_chosen_counts_as_long_as_it_may_run(folder: Path) -> None:
    state = folder / "state"
    path = artifact_folder(state, SOURCE) / "small.mnn"
    path.write_bytes(b"weights")
    info = NetworkInfo(name="small", version=8, sha256=SOURCE)
    manifest = ArtifactManifest(path.name, "mnn-fp32", 7, digest(path), info, "1x1 to 19x19", {}, gate="passed")
    write_manifest(path, manifest)
    chosen = Timing(Contender("mnn", "fp32", "", manifest.sha256, str(path)), 2, 1, 4, {"19x19": 50.0}, 10**6)
    key = hardware_key(detect())
    remember(state, Tuned(key, "small", SOURCE, runtime_versions(), chosen, (chosen,), (), "race", 3.0, "2024-01-31"))

    def ticked() -> set[str]:
        (network,) = json.loads(run(folder, "--json").stdout)["networks"]
        return {check["line"] for check in network["checklist"] if check["ticked"]}

    assert ticked() >= {"Precision chosen", "Memory", "Automated"}
    write_manifest(path, msgspec.structs.replace(manifest, gate="failed"))
    assert not ticked() & {"Precision chosen", "Memory", "Automated"}


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


def refusals(place: Path) -> list[str]:
    """Of a network's file and of the state folder; for a process of its own, which may not read them any more."""
    run(place)  # what is imported at first use may be root's as well
    (place / "state").chmod(0)
    become_owner(place / "home")
    refused = [run(place, str(place / "state" / "net.bin.gz")), run(place)]
    return [type(each.exception).__name__ for each in refused]


def test_what_this_user_may_not_read_is_told() -> None:
    with shared_folder() as place:
        (place / "agent.yaml").write_text(f"state_dir: {place / 'state'}\n")
        for folder in ("state", "home"):
            (place / folder).mkdir()
        (place / "state" / "net.bin.gz").write_bytes(b"a network")
        if os.geteuid() == 0:
            os.chown(place / "home", STRANGER, -1)
        refused = in_child(start_forkserver(), refusals, place)
        (place / "state").chmod(0o700)
        assert refused == ["NetworkFormatError", "StoreUnwritable"]
