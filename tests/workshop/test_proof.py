"""A fresh artifact runs before it gets its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fakes.network_writer import NetworkWriter
from fakes.small_networks import tree

from agent.errors import ConversionFailed
from agent.events import SilentReporter
from agent.export.artifact import Artifact, ArtifactManifest, Format
from agent.export.exporters import EXPORTERS, Exporter, export
from agent.export.info import NetworkInfo
from agent.export.job import Job, Writer, Written
from agent.workshop.proof import boards, prove


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    data = NetworkWriter(8, ["ordinary"]).data
    first = data.index(b"@BIN@") + 5
    huge = np.full(22 * 8 * 9, 3e38, "<f4").tobytes()
    source = tmp_path / "n.bin"
    source.write_bytes(data[:first] + huge + data[first + len(huge) :])
    (outcome,) = export(source, [Format.ONNX_FP32], tmp_path / "artifacts", prove, SilentReporter())
    assert isinstance(outcome.error, ConversionFailed) and "are not finite" in str(outcome.error)
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize("format", [Format.ONNX_FP32, Format.MNN_FP32])
def test_what_a_runtime_does_not_take_is_refused(format: Format, tmp_path: Path) -> None:
    """Whether it runs here or, as all but ONNX Runtime, in a process of its own."""

    def load() -> Writer:
        def write(job: Job) -> Written:
            job.out.write_bytes(b"nonsense" * 100)
            return Written()

        return write

    source = NetworkWriter(8, ["ordinary"]).write(tmp_path / "n.bin.gz")
    before = tree(tmp_path)
    table = {**EXPORTERS, format: Exporter(load, "1")}
    (outcome,) = export(source, [format], tmp_path / "artifacts", prove, SilentReporter(), table=table)
    assert isinstance(outcome.error, ConversionFailed) and "does not run" in str(outcome.error)
    assert tree(tmp_path) == before


def test_the_boards_of_a_manifest() -> None:
    assert boards("1x1 to 19x19") == ((9, 7), (19, 19))
    assert boards("19x19, 13x9") == ((19, 19), (13, 9))


def test_an_artifact_that_takes_no_board_is_not_proved(tmp_path: Path) -> None:
    """Nothing would have been run."""
    manifest = ArtifactManifest("n.onnx", "onnx-fp32", 7, "", NetworkInfo(name="n", version=8), "every board", {})
    with pytest.raises(ConversionFailed, match="takes no board: 'every board'"):
        prove(Artifact(tmp_path / "n.onnx", manifest))
