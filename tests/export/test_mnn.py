"""MNN files of random networks, against a slow evaluation that shares no code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.engine.backends.mnn import MnnBackend
from agent.errors import ConversionFailed
from agent.events import SilentReporter
from agent.export import mnn
from agent.export.artifact import Format
from agent.export.info import NetworkInfo
from agent.export.job import Job
from agent.export.network import Network
from tests.fakes.exported_network import exported, random_inputs
from tests.fakes.network_oracle import evaluate
from tests.fakes.network_writer import ACTIVATIONS, NetworkWriter

ALL_BLOCKS = ["ordinary", "gpool", ["ordinary", "gpool"], [["ordinary"]]]
SIZES = [(1, 1), (2, 2), (5, 3), (7, 9), (9, 9), (13, 13), (8, 19), (19, 19)]


def largest_error(writer: NetworkWriter, model: Path, sizes: list[tuple[int, int]]) -> float:
    backend = MnnBackend(model, 1)
    worst = 0.0
    for y_size, x_size in sizes:
        spatial, global_ = random_inputs(2, y_size, x_size, seed=7)
        outputs = backend.evaluate(spatial, global_)._asdict()
        for index in range(2):
            expected = evaluate(writer.tree, spatial[index].astype(np.float64), global_[index].astype(np.float64))
            for name, values in expected.items():
                assert outputs[name][index].shape == values.shape, (name, y_size, x_size)
                worst = max(worst, float(np.max(np.abs(outputs[name][index] - values) / (1 + np.abs(values)))))
    backend.close()
    return worst


@pytest.mark.parametrize("version", [8, 11, 14, 15, 17])
def test_every_board_size_is_exact(version: int, tmp_path: Path) -> None:
    writer = NetworkWriter(version, ALL_BLOCKS, seed=version, activation="ACTIVATION_MISH")
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), Format.MNN_FP32, tmp_path / "out")
    assert artifact.manifest.network.version == version
    assert artifact.manifest.network.precision == "fp32"
    assert largest_error(writer, artifact.path, SIZES) < 1e-3


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (5, 2)])
def test_activations_kernels_and_dilations(activation: str, kernel: int, dilation: int, tmp_path: Path) -> None:
    writer = NetworkWriter(
        11, ["ordinary", "gpool"], activation=activation, first_kernel=kernel, dilation=dilation, seed=3
    )
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), Format.MNN_FP32, tmp_path / "out")
    assert largest_error(writer, artifact.path, [(6, 6), (19, 19)]) < 1e-3


def test_smaller_files_are_smaller_and_nearly_as_exact(tmp_path: Path) -> None:
    writer = NetworkWriter(14, ["ordinary", "gpool"], channels=64, seed=5)
    source = writer.write(tmp_path / "n.bin.gz")
    sizes, errors = {}, {}
    for format in (Format.MNN_FP32, Format.MNN_FP16, Format.MNN_INT8_WEIGHTS):
        artifact = exported(source, format, tmp_path / "out")
        sizes[format] = artifact.manifest.size_bytes
        errors[format] = largest_error(writer, artifact.path, [(9, 9)])
    assert sizes[Format.MNN_FP16] < 0.6 * sizes[Format.MNN_FP32]
    assert sizes[Format.MNN_INT8_WEIGHTS] < 0.4 * sizes[Format.MNN_FP32]
    assert errors[Format.MNN_FP32] < errors[Format.MNN_FP16] < errors[Format.MNN_INT8_WEIGHTS] < 0.2


def test_the_manifest_says_what_stayed_in_fp32(tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary"], channels=64).write(tmp_path / "n.bin.gz")
    recipe = exported(source, Format.MNN_INT8_WEIGHTS, tmp_path / "out").manifest.recipe
    assert recipe["computed in"] == "fp32"
    assert "gemm" in recipe["layers in fp32"]


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
