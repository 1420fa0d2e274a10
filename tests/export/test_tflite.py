"""What is TFLite's own; `test_interpreted_formats.py` has what its files share with MNN's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.engine.backends import open_backend
from agent.errors import ConversionFailed
from agent.export.artifact import Format
from agent.export.tflite_file import TfliteFile
from agent.export.tflite_weights import widened
from tests.fakes.exported_network import exported, random_inputs
from tests.fakes.network_writer import NetworkWriter


def test_the_manifest_says_what_is_computed_in_int8(tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary"], channels=64).write(tmp_path / "n.bin.gz")
    recipe = exported(source, Format.TFLITE_INT8, tmp_path / "out").manifest.recipe
    assert recipe["activations"].startswith("int8")


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary", ["gpool"]]).write(tmp_path / "n.bin.gz")
    first, second = (exported(source, Format.TFLITE_INT8, tmp_path / each) for each in ("a", "b"))
    assert first.manifest.sha256 == second.manifest.sha256


@pytest.mark.parametrize("dilation", [1, 2])
def test_the_parts_of_a_kernel_are_the_kernel(dilation: int, tmp_path: Path) -> None:
    """INT8 weights differ by rounding alone; a tap in another place would be as far off as another network."""
    writer = NetworkWriter(14, ["ordinary"], channels=48, dilation=dilation, seed=4)
    source = writer.write(tmp_path / "n.bin.gz")
    policies = []
    for format in (Format.TFLITE_FP32, Format.TFLITE_INT8_WEIGHTS):
        backend = open_backend("litert", exported(source, format, tmp_path / "out").path, threads=1)
        policies.append(backend.evaluate(*random_inputs(1, 9, 7)).policy)
        backend.close()
    exact, rounded = policies
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_an_output_without_weights_has_a_scale_that_runtimes_take() -> None:
    values = np.zeros((4, 3, 3, 8), np.float32)
    values[1:3] = np.linspace(-1e-35, 1, 2 * 72, dtype=np.float32).reshape(2, 3, 3, 8)
    scales: list[float] = []

    class Listening(TfliteFile):
        def constant(
            self, name: str, values: Any, *, scales: Any = None, scaled_axis: int = 0, kept: list[float] = scales
        ) -> int:
            kept += [] if scales is None else scales.tolist()
            return super().constant(name, values, scales=scales, scaled_axis=scaled_axis)

    assert len(widened(0, Listening(), "w", values)) == 4
    assert len(scales) == 16 and all(scale >= np.finfo(np.float32).tiny for scale in scales)


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
