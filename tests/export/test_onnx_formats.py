"""ONNX in fp16 and with INT8 weights: random networks beside a slow evaluation in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from fakes.network_oracle import evaluate
from fakes.network_writer import ACTIVATIONS, ATTENTION, NetworkWriter

from agent.engine.backends.onnxruntime import OnnxRuntimeBackend
from agent.events import SilentReporter
from agent.export.artifact import Format, artifacts_in
from agent.export.emit import Form
from agent.export.exporters import export
from agent.export.graph import check_file
from agent.export.network import Network
from agent.export.onnx_packed import emit_packed
from agent.export.parse import parse_network
from agent.workshop.proof import prove

ALL_BLOCKS = ["ordinary", "gpool", ["ordinary", "gpool"], [["ordinary"]]]
SIZES = [(1, 1), (5, 3), (9, 9), (8, 19)]
# Of the largest output: fp16 has 11 bits and INT8 about 8, which a few layers add up.
FP16_ERROR, INT8_ERROR = 0.004, 0.05


def exported(writer: NetworkWriter, folder: Path, format: Format) -> Path:
    source = writer.write(folder / "n.bin.gz")
    (outcome,) = export(source, [format], folder / "artifacts", prove, SilentReporter())
    assert outcome.artifact is not None, outcome.error
    return outcome.artifact.path


def packed(network: Network, form: Form, path: Path) -> Path:
    with path.open("wb") as file:
        emit_packed(network, form, file, SilentReporter())
    check_file(path)
    return path


def worst(writer: NetworkWriter, model: Path, sizes: list[tuple[int, int]], batch: int = 2) -> float:
    """The largest error as a share of the largest output of its kind."""
    backend = OnnxRuntimeBackend(model)
    random = np.random.default_rng(7)
    errors = []
    for y_size, x_size in sizes:
        spatial = (random.random((batch, 22, y_size, x_size)) < 0.3).astype(np.float32)
        spatial[:, 0] = 1
        global_ = random.standard_normal((batch, 19)).astype(np.float32) * np.float32(0.3)
        outputs = backend.evaluate(spatial, global_)._asdict()
        for index in range(batch):
            expected = evaluate(writer.tree, spatial[index].astype(np.float64), global_[index].astype(np.float64))
            for name, values in expected.items():
                assert outputs[name].dtype == np.float32
                scale = max(1.0, float(np.abs(values).max()))
                errors.append(float(np.abs(outputs[name][index] - values).max()) / scale)
    backend.close()
    return max(errors)


@pytest.mark.parametrize("version", [8, 12, 14, 15, 17])
def test_fp16_of_every_kind_of_block_and_size(version: int, tmp_path: Path) -> None:
    writer = NetworkWriter(version, ALL_BLOCKS, seed=version)
    assert worst(writer, exported(writer, tmp_path, Format.ONNX_FP16), SIZES) < FP16_ERROR


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_fp16_of_every_activation(activation: str, tmp_path: Path) -> None:
    writer = NetworkWriter(14, ["ordinary", "gpool"], activation=activation, seed=3)
    assert worst(writer, exported(writer, tmp_path, Format.ONNX_FP16), [(6, 6)]) < FP16_ERROR


@pytest.mark.parametrize("tip", ["rms", "spatial rms"])
def test_fp16_of_a_transformer(tip: str, tmp_path: Path) -> None:
    writer = NetworkWriter(15, [[*ATTENTION, "ffn"], "ordinary"], channels=24, seed=4, tip=tip)
    assert worst(writer, exported(writer, tmp_path, Format.ONNX_FP16), SIZES) < FP16_ERROR


def test_fp16_computes_maps_in_fp16_and_columns_in_fp32(tmp_path: Path) -> None:
    """Or a GPU would gain nothing, and a logit would have eleven bits."""
    path = exported(NetworkWriter(14, ALL_BLOCKS), tmp_path, Format.ONNX_FP16)
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    computed = {
        op: {types[node.output[0]] for node in model.graph.node if node.op_type == op} for op in ("Conv", "Gemm")
    }
    assert computed == {"Conv": {onnx.TensorProto.FLOAT16}, "Gemm": {onnx.TensorProto.FLOAT}}
    ends = [*model.graph.input, *model.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {onnx.TensorProto.FLOAT}
    assert [value.type.tensor_type.shape.dim[0].dim_param for value in ends] == ["batch"] * 6
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) > 100 and len(tensor.dims) > 1]
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}


# ---------------------------------------------------------------- INT8 weights


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("version", [8, 14, 17])
def test_int8_weights_of_every_kind_of_block_and_size(version: int, form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(version, ALL_BLOCKS, seed=version)
    network = parse_network(writer.write(tmp_path / "n.bin.gz"))
    assert worst(writer, packed(network, form, tmp_path / "n.onnx"), SIZES) < INT8_ERROR


@pytest.mark.parametrize("form", Form)
def test_int8_weights_of_a_transformer(form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(15, [[*ATTENTION, "ffn"], "ordinary"], channels=24, seed=4, tip="rms")
    network = parse_network(writer.write(tmp_path / "n.bin.gz"))
    assert worst(writer, packed(network, form, tmp_path / "n.onnx"), SIZES) < INT8_ERROR


def test_both_forms_hold_the_same_int8_weights(tmp_path: Path) -> None:
    """Wide enough for groups of inputs. Far closer to each other than to fp32."""
    network = parse_network(NetworkWriter(14, ["ordinary", "gpool"], channels=128).write(tmp_path / "n.bin.gz"))
    random = np.random.default_rng(1)
    spatial = (random.random((3, 22, 9, 9)) < 0.3).astype(np.float32)
    global_ = random.standard_normal((3, 19)).astype(np.float32)
    answers = []
    for form in Form:
        backend = OnnxRuntimeBackend(packed(network, form, tmp_path / f"{form.value}.onnx"))
        answers.append(backend.evaluate(spatial, global_))
        backend.close()
    for left, right in zip(*answers, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("form", Form)
def test_the_runtime_widens_the_weights_while_it_loads(form: Form, tmp_path: Path) -> None:
    """Nothing of it is left to be done at each evaluation: every Cast and every product of weights is folded."""
    network = parse_network(NetworkWriter(14, ["ordinary", ["gpool"]], channels=128).write(tmp_path / "n.bin.gz"))
    path = packed(network, form, tmp_path / "n.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    folded = onnx.load(tmp_path / "folded.onnx")
    constants = {tensor.name for tensor in folded.graph.initializer}
    left = [node.op_type for node in folded.graph.node if constants.issuperset(node.input)]
    assert left == []
    assert sum(node.op_type == "Cast" for node in folded.graph.node) == 1, "the board's area"


def test_int8_weights_take_a_quarter(tmp_path: Path) -> None:
    writer = NetworkWriter(14, ["ordinary"] * 3, channels=128)
    wide = exported(writer, tmp_path, Format.ONNX_FP32)
    narrow = exported(writer, tmp_path, Format.ONNX_INT8_WEIGHTS)
    # The nodes of the Winograd form weigh in a network so small; b18c384nbt comes to 27.5 %.
    assert narrow.stat().st_size < 0.3 * wide.stat().st_size
    forms = {artifact.manifest.format: artifact.manifest.network.form for artifact in artifacts_in(wide.parent)}
    assert forms == {"onnx-fp32": "plain", "onnx-int8-weights": "winograd"}
    assert OnnxRuntimeBackend(narrow).network.form == "winograd"


@pytest.mark.parametrize("format", [Format.ONNX_FP16, Format.ONNX_INT8_WEIGHTS])
def test_any_batch(format: Format, tmp_path: Path) -> None:
    writer = NetworkWriter(14, ["gpool"], seed=2)
    path = exported(writer, tmp_path, format)
    for batch in (1, 3):
        assert worst(writer, path, [(4, 4)], batch) < INT8_ERROR
