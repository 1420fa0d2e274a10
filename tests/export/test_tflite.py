"""TFLite files of random networks, against a slow evaluation that shares no code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agent.engine.backends.litert import LiteRtBackend
from agent.errors import ConversionFailed
from agent.export.artifact import Format
from agent.export.tflite_file import TfliteFile
from tests.fakes.exported_network import exported, random_inputs
from tests.fakes.network_oracle import evaluate
from tests.fakes.network_writer import ACTIVATIONS, ATTENTION, NetworkWriter

ALL_BLOCKS = ["ordinary", "gpool", ["ordinary", "gpool"], [["ordinary"]]]
TIPS = ["batch", "rms", "spatial rms", "batch", "rms"]
SIZES = [(1, 1), (2, 2), (5, 3), (7, 9), (9, 9), (13, 13), (8, 19), (19, 19)]


def largest_error(writer: NetworkWriter, model: Path, sizes: list[tuple[int, int]]) -> float:
    backend = LiteRtBackend(model, 1)
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


@pytest.mark.parametrize("version", [8, 11, 14, 15, 16, 17])
def test_every_board_size_is_exact(version: int, tmp_path: Path) -> None:
    writer = NetworkWriter(version, ALL_BLOCKS, seed=version, activation="ACTIVATION_MISH")
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), Format.TFLITE_FP32, tmp_path / "out")
    assert artifact.manifest.network.version == version
    assert artifact.manifest.network.precision == "fp32"
    assert largest_error(writer, artifact.path, SIZES) < 1e-4


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (5, 2), (3, 3)])
def test_activations_kernels_and_dilations(activation: str, kernel: int, dilation: int, tmp_path: Path) -> None:
    writer = NetworkWriter(
        11, ["ordinary", "gpool"], activation=activation, first_kernel=kernel, dilation=dilation, seed=3
    )
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), Format.TFLITE_FP32, tmp_path / "out")
    assert largest_error(writer, artifact.path, [(6, 6), (4, 19)]) < 1e-4


@pytest.mark.parametrize(("kind", "tip"), list(zip(ATTENTION, TIPS, strict=True)))
def test_transformers_are_exact_on_every_board(kind: str, tip: str, tmp_path: Path) -> None:
    writer = NetworkWriter(15, ["ordinary", [kind, "ordinary", "ffn"], kind, "ffn"], tip=tip, seed=9)
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), Format.TFLITE_FP32, tmp_path / "out")
    assert largest_error(writer, artifact.path, [(1, 1), (5, 3), (9, 9), (8, 19), (19, 19)]) < 1e-4


def test_smaller_files_are_smaller_and_nearly_as_exact(tmp_path: Path) -> None:
    writer = NetworkWriter(14, ["ordinary", "gpool"], channels=64, seed=5, activation="ACTIVATION_MISH")
    source = writer.write(tmp_path / "n.bin.gz")
    sizes, errors = {}, {}
    for format in (Format.TFLITE_FP32, Format.TFLITE_FP16, Format.TFLITE_INT8_WEIGHTS, Format.TFLITE_INT8):
        artifact = exported(source, format, tmp_path / "out")
        sizes[format] = artifact.manifest.size_bytes
        errors[format] = largest_error(writer, artifact.path, [(9, 9), (19, 19)])
    assert sizes[Format.TFLITE_FP16] < 0.6 * sizes[Format.TFLITE_FP32]
    assert sizes[Format.TFLITE_INT8_WEIGHTS] < 0.45 * sizes[Format.TFLITE_FP32]
    assert sizes[Format.TFLITE_INT8] < 0.45 * sizes[Format.TFLITE_FP32]
    assert errors[Format.TFLITE_FP32] < errors[Format.TFLITE_FP16] < errors[Format.TFLITE_INT8_WEIGHTS]
    assert errors[Format.TFLITE_INT8_WEIGHTS] < errors[Format.TFLITE_INT8] < 0.5


def test_the_manifest_says_what_is_computed_in_int8(tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary"], channels=64).write(tmp_path / "n.bin.gz")
    recipe = exported(source, Format.TFLITE_INT8, tmp_path / "out").manifest.recipe
    assert recipe["activations"].startswith("int8")
    weights = exported(source, Format.TFLITE_INT8_WEIGHTS, tmp_path / "out").manifest.recipe
    assert weights["computed in"] == "fp32"


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    source = NetworkWriter(14, ALL_BLOCKS).write(tmp_path / "n.bin.gz")
    first, second = (exported(source, Format.TFLITE_INT8, tmp_path / each) for each in ("a", "b"))
    assert first.manifest.sha256 == second.manifest.sha256


def test_weights_lie_where_vector_instructions_want_them(tmp_path: Path) -> None:
    file = TfliteFile()
    values = np.arange(1, 38, dtype=np.float32)
    file.constant("odd", np.arange(3, dtype=np.int8))
    given, kept = file.tensor("given", (37,)), file.constant("values", values)
    out = file.tensor("out", (37,))
    file.operator("ADD", [given, kept], out, options=("AddOptions", {}))
    path = tmp_path / "n.tflite"
    with path.open("wb") as stream:
        file.finish([given], [out], "n", "", stream)
    assert path.read_bytes().index(values.tobytes()) % 16 == 0


# ---------------------------------------------------------------- what goes wrong


def test_an_operator_without_translation_is_named() -> None:
    from agent.export.tflite_graph import TfliteGraph
    from agent.export.tflite_weights import as_fp32

    graph = TfliteGraph(TfliteFile(), as_fp32)
    x = graph.input("global", ["batch", 19])
    with pytest.raises(ConversionFailed, match="the operator Tan has no translation to TFLite"):
        graph.node("Tan", [x])
    with pytest.raises(ConversionFailed, match="Split"):
        graph.split(x, 2)
    with pytest.raises(ConversionFailed, match="a shape other than the board's"):
        graph.node("Shape", [x], start=0, end=1)


def test_without_the_package_the_extra_is_named() -> None:
    code = (
        "import sys\nsys.modules['ai_edge_litert'] = None\n"
        "from agent.errors import ToolMissing\nfrom agent.export.tflite_file import TfliteFile\n"
        "try:\n    TfliteFile()\nexcept ToolMissing as error:\n    print(error.explain())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "does not load" in done.stdout
    assert "katago-agent[litert]" in done.stdout
