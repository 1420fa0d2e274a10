"""TensorRT engines: what is decided before NVIDIA's libraries are asked, and what is asked of them. Those are not here;
`fakes/tensorrt.py` stands in for the module, `fakes/libcuda.c` for the driver."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from agent.engine.backends.onnxruntime import OnnxRuntimeBackend
from agent.errors import BackendUnavailable, ConversionFailed, ToolMissing
from agent.events import Converting, Event, SilentReporter
from agent.export.artifact import Format
from agent.export.convert import convert
from agent.export.cuda_driver import CudaDriver
from agent.export.emit import Form
from agent.export.exporters import EXPORTERS, Exporter, export, has_its_tools
from agent.export.info import NetworkInfo
from agent.export.job import Job, Written
from agent.export.tensorrt import MAX_BATCH, PROFILES, inputs, write_engine
from agent.export.tensorrt_interface import NEVER_RUN, TensorRT, load_tensorrt
from agent.export.tensorrt_operators import OPERATORS, check_operators
from agent.export.tensorrt_quantized import symmetric
from tests.fakes.cuda_library import CudaLibrary
from tests.fakes.network_writer import NetworkWriter
from tests.fakes.quantized import quantize
from tests.fakes.tensorrt import FakeTensorRT

BLOCKS = ["ordinary", "gpool"]


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> CudaLibrary:
    return CudaLibrary(tmp_path_factory.mktemp("cuda"))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    source = NetworkWriter(14, BLOCKS, seed=5, activation="ACTIVATION_MISH").write(folder / "n.bin.gz")
    convert(source, folder / "n.onnx", form=Form.PLAIN)
    return folder / "n.onnx"


def job(out: Path, keeps: Path | None = None, reporter: Any = None) -> Job:
    info = NetworkInfo(name="random", version=14)

    def unused() -> Any:
        raise AssertionError("the ONNX file is given")

    return Job(out, info, out, unused, unused, None, reporter or SilentReporter(), keeps=keeps)


def build(onnx_file: Path, out: Path, module: TensorRT, library: CudaLibrary, keeps: Path | None = None) -> Written:
    cuda = CudaDriver(library.path)
    try:
        return write_engine(job(out, keeps), onnx_file, module, cuda)
    finally:
        cuda.close()


# ---------------------------------------------------------------- operators


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("version", [8, 14, 17])
def test_tensorrt_reads_every_operator_of_ours(version: int, form: Form, tmp_path: Path) -> None:
    source = NetworkWriter(version, [*BLOCKS, BLOCKS], seed=1, activation="ACTIVATION_MISH").write(
        tmp_path / "n.bin.gz"
    )
    convert(source, tmp_path / "n.onnx", form=form)
    check_operators(tmp_path / "n.onnx")
    assert {node.op_type for node in onnx.load(str(tmp_path / "n.onnx")).graph.node} <= OPERATORS


def small_model(*nodes: Any, opset: int = 17, domain: str = "", **constants: Any) -> onnx.ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])
    tensors = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [value], [end], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)])


def quantized_pair(zero: Any, scale: float = 0.1) -> onnx.ModelProto:
    return small_model(
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="before"),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], name="after"),
        s=np.asarray(scale, np.float32),
        z=np.asarray(zero),
    )


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (small_model(helper.make_node("BitwiseNot", ["x"], ["y"])), "the operator BitwiseNot is not supported"),
        (small_model(helper.make_node("ConvInteger", ["x", "x"], ["y"])), "the operator ConvInteger is not supported"),
        (small_model(helper.make_node("Relu", ["x"], ["y"]), opset=22), "opset 22"),
        (small_model(helper.make_node("Relu", ["x"], ["y"]), domain="com.microsoft"), "domain com.microsoft"),
        (quantized_pair(np.uint8(0)), "QuantizeLinear before has a zero point of UINT8"),
        (quantized_pair(np.int8(3)), "DequantizeLinear after has a zero point that is not 0"),
        (quantized_pair(np.int8(0), scale=0.0), "scale that is no positive constant"),
        (
            small_model(
                helper.make_node("DequantizeLinear", ["w", "s", "z"], ["y"], name="bias"),
                w=np.zeros(4, np.int32),
                s=np.ones((), np.float32),
                z=np.zeros((), np.int32),
            ),
            "DequantizeLinear bias takes INT32",
        ),
    ],
)
def test_what_tensorrt_does_not_read_is_named(model: onnx.ModelProto, says: str, tmp_path: Path) -> None:
    onnx.save(model, str(tmp_path / "n.onnx"))
    with pytest.raises(ConversionFailed, match=says):
        check_operators(tmp_path / "n.onnx")


def test_what_is_no_onnx_is_said(tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(b"\xff\xff\xff")
    with pytest.raises(ConversionFailed, match="no ONNX file"):
        check_operators(tmp_path / "n.onnx")


def test_a_signed_pair_passes(tmp_path: Path) -> None:
    onnx.save(quantized_pair(np.int8(0)), str(tmp_path / "n.onnx"))
    check_operators(tmp_path / "n.onnx")


# ---------------------------------------------------------------- INT8


def test_unsigned_int8_becomes_symmetric_and_says_nearly_the_same(network: Path, tmp_path: Path) -> None:
    quantize(network, tmp_path / "int8.onnx")
    with pytest.raises(ConversionFailed, match="UINT8"):
        check_operators(tmp_path / "int8.onnx")
    layers = symmetric(tmp_path / "int8.onnx", tmp_path / "signed.onnx")
    check_operators(tmp_path / "signed.onnx")
    before, after = (OnnxRuntimeBackend(tmp_path / f"{name}.onnx") for name in ("int8", "signed"))
    exact = OnnxRuntimeBackend(network)
    spatial, global_ = positions(4, 9, 9)
    outputs = [backend.evaluate(spatial, global_).policy for backend in (exact, before, after)]
    rounding = float(np.abs(outputs[1] - outputs[0]).mean())
    assert layers > 4
    assert float(np.abs(outputs[2] - outputs[0]).mean()) < 3 * rounding


def test_integer_convolutions_become_convolutions_between_dequantized_values(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    scales = random.uniform(0.001, 0.01, (1, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("ConvInteger", ["q", "w", "z", "wz"], ["i"], name="i", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Cast", ["i"], ["f"], name="f", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "k"], ["m"], name="m"),
        helper.make_node("Add", ["m", "b"], ["y"], name="y"),
    ]
    constants: dict[str, Any] = {
        "s": np.float32(0.02),
        "z": np.uint8(10),
        "w": random.integers(1, 256, (3, 2, 3, 3)).astype(np.uint8),
        "wz": np.uint8(128),
        "k": scales * np.float32(0.02),
        "b": random.standard_normal((1, 3, 1, 1)).astype(np.float32),
    }
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size, 5, 5]) for name, size in (("x", 2), ("y", 3))
    ]
    tensors = [onnx.numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "n.onnx")
    )
    with pytest.raises(ConversionFailed, match="ConvInteger is not supported"):
        check_operators(tmp_path / "n.onnx")
    assert symmetric(tmp_path / "n.onnx", tmp_path / "signed.onnx") == 1
    check_operators(tmp_path / "signed.onnx")
    x = random.uniform(-0.1, 4.5, (1, 2, 5, 5)).astype(np.float32)
    before, after = (
        onnxruntime.InferenceSession(str(tmp_path / name), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        for name in ("n.onnx", "signed.onnx")
    )
    np.testing.assert_allclose(after, before, atol=0.03 * float(np.abs(before).max()))


def test_an_integer_convolution_of_another_kind_is_refused(tmp_path: Path) -> None:
    model = small_model(
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        helper.make_node("ConvInteger", ["q", "w"], ["i"], name="i"),
        helper.make_node("Cast", ["i"], ["f"], name="f", to=TensorProto.FLOAT),
        helper.make_node("Relu", ["f"], ["y"], name="y"),
        s=np.asarray(0.1, np.float32),
        z=np.asarray(0, np.uint8),
        w=np.ones((1, 1, 1, 1), np.uint8),
    )
    onnx.save(model, str(tmp_path / "n.onnx"))
    with pytest.raises(ConversionFailed, match="y reads integers, and is no Mul"):
        symmetric(tmp_path / "n.onnx", tmp_path / "signed.onnx")


def test_a_file_without_int8_is_refused(network: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionFailed, match="nothing in eight bits"):
        symmetric(network, tmp_path / "signed.onnx")
    assert list(tmp_path.iterdir()) == []


def positions(count: int, y_size: int, x_size: int) -> tuple[Any, Any]:
    random = np.random.default_rng(7)
    spatial = (random.random((count, 22, y_size, x_size)) < 0.3).astype(np.float32)
    spatial[:, 0] = 1
    return spatial, random.standard_normal((count, 19)).astype(np.float32) * np.float32(0.3)


# ---------------------------------------------------------------- building


def test_an_engine_is_built_with_every_profile(network: Path, library: CudaLibrary, tmp_path: Path) -> None:
    module, recorder = FakeTensorRT(), Recorder()
    cuda = CudaDriver(library.path)
    written = write_engine(job(tmp_path / "n.engine", tmp_path, recorder), network, module, cuda)
    head = (tmp_path / "n.engine").read_bytes().split(b"\n")[0].decode()
    assert head.count("spatial") == len(PROFILES) and f"[{MAX_BATCH}, 22, 19, 19]" in head
    assert written.recipe["timing cache"] == "new" and len(written.recipe["onnx"]) == 64
    assert [(event.done, event.total) for event in recorder.events if isinstance(event, Converting)] == [
        (0, 2),
        (1, 2),
        (2, 2),
    ]
    cuda.close()


def test_the_timings_of_one_build_serve_the_next(network: Path, library: CudaLibrary, tmp_path: Path) -> None:
    module = FakeTensorRT()
    assert build(network, tmp_path / "1.engine", module, library, tmp_path).recipe["timing cache"] == "new"
    assert build(network, tmp_path / "2.engine", module, library, tmp_path).recipe["timing cache"] == "known"
    assert module.timings_known == [False, True]
    assert [path.name for path in tmp_path.glob(".*")] == [".timings-Fake-Orin--sm-87--10.3.0.30"]
    other = FakeTensorRT("11.1.0.106")
    build(network, tmp_path / "3.engine", other, library, tmp_path)
    assert other.timings_known == [False]


def test_what_tensorrt_says_against_a_file_is_passed_on(library: CudaLibrary, tmp_path: Path) -> None:
    # Valid operators, and shapes that do not fit together.
    model = small_model(helper.make_node("MatMul", ["x", "w"], ["y"]), w=np.zeros((3, 4), np.float32))
    onnx.save(model, str(tmp_path / "n.onnx"))
    with pytest.raises(ConversionFailed, match=r"TensorRT does not take n\.onnx: In node 0"):
        build(tmp_path / "n.onnx", tmp_path / "n.engine", FakeTensorRT(), library)
    assert not (tmp_path / "n.engine").exists()


def test_a_build_that_fails_leaves_nothing(network: Path, library: CudaLibrary, tmp_path: Path) -> None:
    module = FakeTensorRT()
    module.cannot_build = True
    with pytest.raises(ConversionFailed, match="cannot build an engine"):
        build(network, tmp_path / "n.engine", module, library, tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- where the libraries are absent


def test_without_tensorrt_each_answer_says_never_run() -> None:
    with pytest.raises(ToolMissing, match=NEVER_RUN) as raised:
        load_tensorrt("tensorrt_that_is_not_there")
    assert "JetPack" in raised.value.fix
    with pytest.raises(ToolMissing, match=f"8.6.2 is older.*{NEVER_RUN}"):
        load_tensorrt("tests.fakes.old_tensorrt")


def test_without_a_driver_that_is_said() -> None:
    with pytest.raises(BackendUnavailable, match="no CUDA driver here"):
        CudaDriver("libcuda_that_is_not_there.so.1")
    with pytest.raises(ToolMissing, match=NEVER_RUN):
        inputs("tests.fakes.new_tensorrt", "libcuda_that_is_not_there.so.1")


def test_asking_what_decides_an_engine_keeps_no_device(library: CudaLibrary) -> None:
    before = library.outstanding
    found = inputs("tests.fakes.new_tensorrt", library.path)
    assert found["device"] == "Fake Orin (sm_87)" and library.outstanding == before


def test_a_format_without_its_tools_is_known_before_anything_is_prepared() -> None:
    assert not has_its_tools(Format.TENSORRT_FP16) and not has_its_tools(Format.TENSORRT_INT8)
    assert has_its_tools(Format.ONNX_FP32)


# ---------------------------------------------------------------- the cache of engines


def test_an_engine_is_built_anew_for_another_device_or_release(library: CudaLibrary, tmp_path: Path) -> None:
    source = NetworkWriter(8, ["ordinary"]).write(tmp_path / "n.bin.gz")
    cuda = CudaDriver(library.path)
    here = {"tensorrt": "10.3.0.30", "device": "Fake Orin (sm_87)"}

    def load() -> Any:
        return lambda job: write_engine(job, job.made(Format.ONNX_FP32), FakeTensorRT(here["tensorrt"]), cuda)

    def facts() -> Mapping[str, str]:
        return dict(here)

    table = {
        Format.ONNX_FP32: EXPORTERS[Format.ONNX_FP32],
        Format.TENSORRT_FP16: Exporter(load, "1", (), facts),
    }

    def run() -> tuple[bool, Mapping[str, str]]:
        (outcome,) = export(
            source, [Format.TENSORRT_FP16], tmp_path / "out", lambda artifact: None, SilentReporter(), table=table
        )
        assert outcome.artifact is not None, outcome.error
        return outcome.made, outcome.artifact.manifest.recipe

    assert run()[0] is True
    assert run()[0] is False
    here["tensorrt"] = "10.7.0.23"
    made, recipe = run()
    assert made is True and recipe["tensorrt"] == "10.7.0.23" and recipe["device"] == "Fake Orin (sm_87)"
    here["device"] = "Fake Thor (sm_110)"
    assert run()[0] is True
    cuda.close()
