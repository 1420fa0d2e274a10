"""`agent export`, from the words typed to the artifacts and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fakes.network_writer import NetworkWriter
from typer.testing import CliRunner

from agent.__main__ import app
from agent.export.artifact import artifacts_in


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(f"state_dir: {tmp_path / 'state'}\n")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return NetworkWriter(8, ["ordinary"]).write(tmp_path / "mine.bin.gz")


def test_a_file_to_two_formats_and_again(source: Path, config: Path, tmp_path: Path) -> None:
    words = ["export", str(source), "--to", "onnx-int8-weights", "--to", "onnx-fp32", "--config", str(config)]
    answer = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert answer.exit_code == 0, answer.output
    (folder,) = (tmp_path / "state" / "artifacts").iterdir()
    assert [artifact.manifest.format for artifact in artifacts_in(folder)] == ["onnx-int8-weights", "onnx-fp32"]
    assert "onnx-fp32" in answer.output and str(folder) in answer.output.replace("\n", "")
    again = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert again.exit_code == 0 and again.output.count("(was there)") == 2


def test_json_has_a_line_for_each_format(source: Path, config: Path, tmp_path: Path) -> None:
    words = ["export", str(source), "--to", "onnx-fp16", "--out", str(tmp_path / "out"), "--config", str(config)]
    answer = CliRunner().invoke(app, [*words, "--json"])
    assert answer.exit_code == 0, answer.output
    *progress, last = [json.loads(line) for line in answer.output.splitlines()]
    assert progress and all("type" in line for line in progress)
    assert (last["format"], last["made"], last["manifest"]["format"]) == ("onnx-fp16", True, "onnx-fp16")
    assert Path(last["path"]).parent == tmp_path / "out"


def test_a_folder_that_cannot_be_written_to(source: Path, config: Path) -> None:
    words = ["export", str(source), "--to", "onnx-fp32", "--out", "/proc/nowhere", "--config", str(config)]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 1
    assert "--out" in str(getattr(answer.exception, "fix", ""))


def test_a_format_that_fails_is_told_at_the_end(source: Path, config: Path, tmp_path: Path) -> None:
    """TensorRT's library is missing; where it is there, the positions to calibrate on cannot be read."""
    nonsense = tmp_path / "positions.npz"
    nonsense.write_text("nonsense")
    words = ["export", str(source), "--to", "onnx-fp32", "--to", "tensorrt-int8", "--config", str(config)]
    answer = CliRunner().invoke(app, [*words, "--calibration", str(nonsense)])
    assert answer.exit_code == 1
    (folder,) = (tmp_path / "state" / "artifacts").iterdir()
    assert [artifact.manifest.format for artifact in artifacts_in(folder)] == ["onnx-fp32"]
    assert "fix: " in answer.output


def test_formats_that_are_none(source: Path, config: Path) -> None:
    answer = CliRunner().invoke(app, ["export", str(source), "--to", "onnx-fp8", "--config", str(config)])
    assert answer.exit_code == 2
    assert "onnx-fp32" in answer.output


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_a_human_style_network_is_exported_as_its_profile(by: str, config: Path, tmp_path: Path) -> None:
    source = NetworkWriter(15, ["ordinary"], metadata=True).write(tmp_path / "human.bin.gz")
    words = ["export", str(source), "--to", "onnx-fp32", "--out", str(tmp_path / "out"), "--config", str(config)]
    lacking = CliRunner().invoke(app, words)
    assert lacking.exit_code == 1 and "--human-profile" in lacking.output
    if by == "option":
        words += ["--human-profile", "preaz_9d"]
    else:
        config.write_text(config.read_text() + "human_profile: preaz_9d\n")
    assert CliRunner().invoke(app, words).exit_code == 0
    (artifact,) = artifacts_in(tmp_path / "out")
    assert artifact.manifest.network.human_profile == "preaz_9d"


@pytest.mark.parametrize("kind", ["transformer", "human"])
def test_no_positions_are_played_for_what_is_not_calibrated(kind: str, config: Path, tmp_path: Path) -> None:
    blocks = ["fixed", "ffn"] if kind == "transformer" else ["ordinary"]
    source = NetworkWriter(15, blocks, metadata=kind == "human").write(tmp_path / "n.bin.gz")
    words = ["export", str(source), "--to", "onnx-int8", "--to", "onnx-fp32", "--config", str(config)]
    answer = CliRunner().invoke(app, words + (["--human-profile", "rank_1d"] if kind == "human" else []))
    assert answer.exit_code == 1 and "are not calibrated" in answer.output
    (folder,) = (tmp_path / "state" / "artifacts").iterdir()
    assert [artifact.manifest.format for artifact in artifacts_in(folder)] == ["onnx-fp32"]
    assert not (folder / "calibration.npz").exists()
