"""`agent qat`, from the command line to the files."""
# ruff: noqa: E402

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'katago-agent[qat]', or ./install.sh dev"
)

from fakes.network_writer import NetworkWriter
from fakes.pull_child import start_forkserver
from fakes.stranger import STRANGER, in_child, shared_folder
from fakes.tiny_qat import network_of, positions_of, rounded
from typer.testing import CliRunner, Result

from agent.__main__ import app
from agent.errors import CalibrationError, ToolMissing
from agent.export.artifact import read_artifact
from agent.export.quantization import load_quantization
from agent.workshop.place import HELD_OUT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    network = NetworkWriter(14, ["ordinary"], seed=3).write(tmp_path / "small.bin.gz")
    (tmp_path / "agent.yaml").write_text(f"state_dir: {tmp_path / 'state'}\n")
    positions_of(1).save(tmp_path / "positions.npz")
    rounded(network_of(network)).save(tmp_path / "start.npz")
    return tmp_path


def run(folder: Path, *more: str, start: str = "start.npz") -> Result:
    files = ("--positions", str(folder / "positions.npz"), *(("--from", str(folder / start)) if start else ()))
    arguments = ("qat", str(folder / "small.bin.gz"), *files, "--steps", "3", "--batch", "4")
    return CliRunner().invoke(app, [*arguments, "--config", str(folder / "agent.yaml"), *more])


def test_the_verb_trains_and_its_result_can_be_trained_again(folder: Path) -> None:
    result = run(folder, "--json")
    assert result.exit_code == 0, result.output
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert any(line.get("what", "").startswith("loss 0.") for line in said)
    (made,) = (folder / "state" / "artifacts").iterdir()
    artifact = read_artifact(made / said[-1]["file"])
    assert artifact is not None and artifact.manifest.gate == "not verified"
    trained = load_quantization(made / f"{artifact.manifest.network.name}.qat.npz")
    assert trained.recipe["qat steps"] == "3 of 4 positions"


def test_the_set_that_verification_uses_is_kept_apart(folder: Path) -> None:
    assert run(folder).exit_code == 0
    (made,) = (folder / "state" / "artifacts").iterdir()
    positions_of(1).save(made / HELD_OUT)
    result = run(folder, "--seed", "7")
    assert isinstance(result.exception, CalibrationError) and "held out" in str(result.exception)


@pytest.mark.parametrize("device", ["gpu", "cpu:first", "cuda:", "cuda:-1"])
def test_a_device_that_is_none_is_wrong_usage(folder: Path, device: str) -> None:
    assert run(folder, "--device", device).exit_code == 2


def test_what_a_run_lacks_is_told_before_minutes_of_calibration(folder: Path) -> None:
    missing = run(folder, "--device", f"cuda:{torch.cuda.device_count()}", start="")
    assert isinstance(missing.exception, ToolMissing) and "calibrating" not in missing.output
    shared = run(folder, "--held-out", str(folder / "positions.npz"), start="")
    assert isinstance(shared.exception, CalibrationError) and "calibrating" not in shared.output


def test_without_a_start_it_calibrates_first(folder: Path) -> None:
    result = run(folder, "--json", start="")
    assert result.exit_code == 0, result.output
    recipe = json.loads(result.stdout.splitlines()[-1])["recipe"]
    assert "calibration positions" in recipe and recipe["qat steps"] == "3 of 4 positions"


def owners_after(folder: Path) -> tuple[str, set[int]]:
    """The verb's end, and whose all in the state folder is then; for a process of its own, which may change users."""
    result = run(folder)
    return type(result.exception).__name__, {path.lstat().st_uid for path in (folder / "state").rglob("*")}


def test_root_goes_on_as_the_user_who_has_the_state_folder() -> None:
    owner = STRANGER if os.geteuid() == 0 else os.geteuid()
    with shared_folder() as folder:
        NetworkWriter(14, ["ordinary"], seed=3).write(folder / "small.bin.gz")
        (folder / "agent.yaml").write_text(f"state_dir: {folder / 'state'}\n")
        (folder / "state").mkdir()
        os.chown(folder / "state", owner, -1)
        # There are no positions, which comes after the store.
        assert in_child(start_forkserver(), owners_after, folder) == ("CalibrationError", {owner})
