"""Core ML packages: what the bytes say is computed here and compared with ONNX Runtime. Apple's runtime is not here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from agent.engine.backends.onnxruntime import OnnxRuntimeBackend
from agent.errors import ConversionFailed
from agent.events import SilentReporter
from agent.export.artifact import digest, size_bytes
from agent.export.convert import convert
from agent.export.coreml import MAX_BATCH, MAX_SIDE, NEVER_RUN, OUTPUTS, check_package, program_operators, write_coreml
from agent.export.coreml_graph import MilGraph
from agent.export.coreml_operators import NOT_OPERATORS, OPERATORS
from agent.export.emit import Form
from agent.export.info import METADATA_KEY, NetworkInfo
from agent.export.job import Job, Written
from agent.export.parse import parse_network
from tests.fakes.mil_interpreter import MilProgram
from tests.fakes.network_writer import NetworkWriter

ALL_BLOCKS = ["ordinary", "gpool", ["ordinary", "gpool"]]
MODEL = "Data/com.apple.CoreML/model.mlmodel"


def export(source: Path, out: Path) -> Written:
    network = parse_network(source)

    def nothing() -> Path:
        raise AssertionError("Core ML needs no ONNX file")

    return write_coreml(Job(source, network.info, out, lambda: network, nothing, None, SilentReporter()))


def positions(count: int, y_size: int, x_size: int) -> tuple[Any, Any]:
    random = np.random.default_rng(7)
    spatial = (random.random((count, 22, y_size, x_size)) < 0.3).astype(np.float32)
    spatial[:, 0] = 1
    return spatial, random.standard_normal((count, 19)).astype(np.float32) * np.float32(0.3)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coreml")
    writer = NetworkWriter(14, ALL_BLOCKS, seed=14, activation="ACTIVATION_MISH")
    export(writer.write(folder / "n.bin.gz"), folder / "n.mlpackage")
    convert(folder / "n.bin.gz", folder / "n.onnx", form=Form.PLAIN)
    return folder / "n.mlpackage"


def assert_computes_the_same(package: Path, onnx: Path) -> None:
    backend, program = OnnxRuntimeBackend(onnx), MilProgram(package)
    for y_size, x_size in ((1, 1), (5, 3), (9, 9), (19, 19)):
        spatial, global_ = positions(2, y_size, x_size)
        expected = backend.evaluate(spatial, global_)._asdict()
        found = program.run(spatial=spatial, **{"global": global_})
        assert set(found) == set(OUTPUTS)
        for name, values in expected.items():
            assert found[name].dtype == np.float32 and found[name].shape == values.shape
            # Half precision keeps 1 part in 2048; sums over a dozen layers lose two bits, a few of them four.
            errors, spread = np.abs(found[name] - values), max(1.0, float(np.abs(values).max()))
            assert errors.mean() < spread / 500 and errors.max() < spread / 50, (name, y_size, x_size)
    backend.close()


def test_the_package_computes_what_onnx_runtime_does(package: Path) -> None:
    assert_computes_the_same(package, package.with_name("n.onnx"))


@pytest.mark.parametrize(
    ("version", "activation", "blocks", "tip"),
    [
        (8, "ACTIVATION_RELU", ["gpool"], "batch"),
        (16, "ACTIVATION_SILU", ["attention", "ffn", "ordinary"], "spatial rms"),
        (17, "ACTIVATION_SILU", [["shared keys", "ffn"], "fixed", "placeless"], "rms"),
    ],
)
def test_other_versions_and_blocks(version: int, activation: str, blocks: list[Any], tip: str, tmp_path: Path) -> None:
    writer = NetworkWriter(version, blocks, seed=version, activation=activation, first_kernel=5, tip=tip)
    source = writer.write(tmp_path / "n.bin.gz")
    export(source, tmp_path / "n.mlpackage")
    convert(source, tmp_path / "n.onnx", form=Form.PLAIN)
    assert_computes_the_same(tmp_path / "n.mlpackage", tmp_path / "n.onnx")


def test_the_interface_is_that_of_the_onnx_file(package: Path) -> None:
    about = MilProgram(package).spec.description
    shapes = {
        each.name: [(size.lowerBound, size.upperBound) for size in each.type.multiArrayType.shapeRange.sizeRanges]
        for each in about.input
    }
    batch, side = (1, MAX_BATCH), (1, MAX_SIDE)
    assert shapes == {"spatial": [batch, (22, 22), side, side], "global": [batch, (19, 19)]}
    assert [each.name for each in about.output] == list(OUTPUTS)
    info = msgspec.json.decode(about.metadata.userDefined[METADATA_KEY], type=NetworkInfo)
    assert (info.name, info.version) == ("random-v14", 14)
    assert NEVER_RUN in about.metadata.shortDescription


def test_weights_are_half_precision(package: Path) -> None:
    weights = size_bytes(package / "Data/com.apple.CoreML/weights")
    # The small network's names weigh more than its numbers; the numbers are halved.
    assert weights < 0.51 * size_bytes(package.with_name("n.onnx"))


def test_two_exports_are_the_same_bytes(package: Path, tmp_path: Path) -> None:
    export(package.parent / "n.bin.gz", tmp_path / "n.mlpackage")
    assert digest(tmp_path / "n.mlpackage") == digest(package)
    entries = json.loads((package / "Manifest.json").read_text())
    assert entries["rootModelIdentifier"] in entries["itemInfoEntries"]
    assert b"conversion_date" not in (package / MODEL).read_bytes()


def test_every_operator_is_one_of_ios_16(package: Path) -> None:
    import coremltools
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    assert program_operators(MilProgram(package).spec) <= OPERATORS | NOT_OPERATORS
    old = {coremltools.target.iOS15, coremltools.target.iOS16}
    registered = {name for name, classes in SSAOpRegistry.core_ops.items() if old & set(classes)}
    assert registered >= OPERATORS


def test_a_package_with_an_operator_of_a_later_system_is_refused(package: Path, tmp_path: Path) -> None:
    spec = MilProgram(package).spec
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    block.operations[-1].type = "scaled_dot_product_attention"
    altered = Path(shutil.copytree(package, tmp_path / "n.mlpackage"))
    (altered / MODEL).write_bytes(spec.SerializeToString())
    with pytest.raises(ConversionFailed, match="iOS 16 does not have: scaled_dot_product_attention"):
        check_package(altered)
    spec.description.output[0].name = "moves"
    (altered / MODEL).write_bytes(spec.SerializeToString())
    with pytest.raises(ConversionFailed, match=r"gives .*moves"):
        check_package(altered)
    (altered / MODEL).write_bytes(b"\xff" * 64)
    with pytest.raises(ConversionFailed, match="coremltools says"):
        check_package(altered)


def test_an_unknown_operator_is_named() -> None:
    from coremltools.converters.mil import Builder

    with pytest.raises(ConversionFailed, match="Einsum has no translation"):
        MilGraph(Builder, {}).node("Einsum", [])


def test_without_coremltools_the_extra_is_named(tmp_path: Path) -> None:
    source = NetworkWriter(8, ["ordinary"]).write(tmp_path / "n.bin.gz")
    program = (
        "import sys; sys.modules['coremltools'] = None\n"
        "from pathlib import Path\n"
        "from agent.errors import ToolMissing\n"
        "from tests.export.test_coreml import export\n"
        "try:\n    export(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except ToolMissing as error:\n    print(error.explain())\n"
    )
    argv = [sys.executable, "-c", program, str(source), str(tmp_path / "n.mlpackage")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert "coremltools is not installed" in done.stdout and "katago-agent[coreml]" in done.stdout, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.bin.gz"]
