"""What is MNN's own; `test_interpreted_formats.py` has what its files share with TFLite's."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.errors import ConversionFailed
from agent.events import SilentReporter
from agent.export import mnn
from agent.export.artifact import Format
from agent.export.info import NetworkInfo
from agent.export.job import Job
from agent.export.network import Network
from tests.fakes.exported_network import exported
from tests.fakes.network_writer import NetworkWriter

# ---------------------------------------------------------------- what goes wrong


def job(tmp_path: Path, onnx: Path) -> Job:
    def no_network() -> Network:
        raise AssertionError("the converter starts from ONNX")

    out = tmp_path / "n.mnn"
    return Job(tmp_path, NetworkInfo("n", 14), out, no_network, lambda: onnx, None, SilentReporter())


@pytest.mark.parametrize("content", [b"", b"not ONNX", None])
def test_a_file_that_is_no_onnx_fails_here_not_in_the_converter(content: bytes | None, tmp_path: Path) -> None:
    onnx = tmp_path / "n.onnx"
    if content is not None:
        onnx.write_bytes(content)
    for write in (mnn.write_fp32, mnn.write_int8_weights):
        with pytest.raises(ConversionFailed, match="MNN's converter"):
            write(job(tmp_path, onnx))
    assert not (tmp_path / "n.mnn").exists()


def test_a_damaged_onnx_file_is_made_again_before_the_converter_sees_it(tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary"]).write(tmp_path / "n.bin.gz")
    onnx = exported(source, Format.ONNX_FP32, tmp_path / "out").path
    whole = onnx.read_bytes()
    onnx.write_bytes(b"damaged" + whole[7:])
    exported(source, Format.MNN_FP32, tmp_path / "out")
    assert onnx.read_bytes() == whole
