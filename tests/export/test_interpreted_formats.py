"""MNN and TFLite files of random networks, against a slow evaluation that shares no code."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agent.engine.backends import open_backend
from agent.export.artifact import Format
from agent.export.human_profile import metadata_row
from tests.fakes.exported_network import exported, random_inputs
from tests.fakes.network_oracle import evaluate
from tests.fakes.network_writer import ACTIVATIONS, ATTENTION, NetworkWriter

ALL_BLOCKS = ["ordinary", "gpool", ["ordinary", "gpool"], [["ordinary"]]]
SIZES = [(1, 1), (2, 2), (5, 3), (7, 9), (9, 9), (13, 13), (8, 19), (19, 19)]
FEW_SIZES = [(1, 1), (5, 3), (8, 19), (19, 19)]
TIPS = ["batch", "rms", "spatial rms", "batch", "rms"]


@dataclass(frozen=True)
class Kind:
    """A family of formats. MNN's Winograd kernels are less exact; `smaller` come in the order of their errors, each
    with the share of fp32's size that it may have."""

    fp32: Format
    exact: float
    smaller: tuple[tuple[Format, float], ...]


KINDS = {
    "mnn": Kind(Format.MNN_FP32, 1e-3, ((Format.MNN_FP16, 0.6), (Format.MNN_INT8_WEIGHTS, 0.4))),
    "tflite": Kind(
        Format.TFLITE_FP32,
        1e-4,
        ((Format.TFLITE_FP16, 0.6), (Format.TFLITE_INT8_WEIGHTS, 0.45), (Format.TFLITE_INT8, 0.45)),
    ),
}


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def largest_error(
    writer: NetworkWriter, format: Format, model: Path, sizes: Sequence[tuple[int, int]], profile: str = ""
) -> float:
    backend = open_backend(format.facts.backend, model, threads=1)
    worst = 0.0
    for y_size, x_size in sizes:
        spatial, global_ = random_inputs(2, y_size, x_size, seed=7)
        outputs = backend.evaluate(spatial, global_)._asdict()
        row = metadata_row(profile).astype(np.float64) if profile else None
        if row is not None:
            row[86] = 0.5 * math.log(y_size * x_size / 361)
        for index in range(2):
            expected = evaluate(writer.tree, spatial[index].astype(np.float64), global_[index].astype(np.float64), row)
            if profile:
                # Native KataGo mixes no optimistic policy into such a network's.
                expected["policy"][1] = expected["policy"][0]
            for name, values in expected.items():
                assert outputs[name][index].shape == values.shape, (name, y_size, x_size)
                worst = max(worst, float(np.max(np.abs(outputs[name][index] - values) / (1 + np.abs(values)))))
    backend.close()
    return worst


@pytest.mark.parametrize("version", [8, 11, 14, 15, 16, 17])
def test_every_board_size_is_exact(kind: Kind, version: int, tmp_path: Path) -> None:
    writer = NetworkWriter(version, ALL_BLOCKS, seed=version, activation="ACTIVATION_MISH")
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), kind.fp32, tmp_path / "out")
    assert artifact.manifest.network.version == version
    assert artifact.manifest.network.precision == "fp32"
    assert largest_error(writer, kind.fp32, artifact.path, SIZES) < kind.exact


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (5, 2)])
def test_activations_kernels_and_dilations(
    kind: Kind, activation: str, kernel: int, dilation: int, tmp_path: Path
) -> None:
    writer = NetworkWriter(
        11, ["ordinary", "gpool"], activation=activation, first_kernel=kernel, dilation=dilation, seed=3, channels=7
    )
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), kind.fp32, tmp_path / "out")
    assert largest_error(writer, kind.fp32, artifact.path, [(6, 6), (4, 19)]) < kind.exact


@pytest.mark.parametrize(("attention", "tip"), list(zip(ATTENTION, TIPS, strict=True)))
def test_transformers_are_exact_on_every_board(kind: Kind, attention: str, tip: str, tmp_path: Path) -> None:
    writer = NetworkWriter(15, ["ordinary", [attention, "ordinary", "ffn"], attention, "ffn"], tip=tip, seed=9)
    artifact = exported(writer.write(tmp_path / "n.bin.gz"), kind.fp32, tmp_path / "out")
    assert largest_error(writer, kind.fp32, artifact.path, FEW_SIZES) < kind.exact


def test_a_human_style_network_imitates_its_profile(kind: Kind, tmp_path: Path) -> None:
    writer = NetworkWriter(15, ["ordinary", "gpool"], seed=2, metadata=True)
    source = writer.write(tmp_path / "n.bin.gz")
    artifact = exported(source, kind.fp32, tmp_path / "out", human_profile="rank_3k")
    assert artifact.path.name == f"random-v15.rank_3k{kind.fp32.facts.suffix}"
    assert artifact.manifest.network.human_profile == "rank_3k"
    assert largest_error(writer, kind.fp32, artifact.path, FEW_SIZES, "rank_3k") < kind.exact


def test_smaller_files_are_smaller_and_nearly_as_exact(kind: Kind, tmp_path: Path) -> None:
    writer = NetworkWriter(14, ["ordinary", "gpool"], channels=64, seed=5, activation="ACTIVATION_MISH")
    source = writer.write(tmp_path / "n.bin.gz")
    fp32 = exported(source, kind.fp32, tmp_path / "out")
    least = largest_error(writer, kind.fp32, fp32.path, [(9, 9), (19, 19)])
    for format, share in kind.smaller:
        artifact = exported(source, format, tmp_path / "out")
        assert artifact.manifest.size_bytes < share * fp32.manifest.size_bytes
        assert artifact.manifest.network.precision == format.facts.precision
        error = largest_error(writer, format, artifact.path, [(9, 9), (19, 19)])
        assert least < error < 0.5
        least = error


def test_the_manifest_says_what_stayed_in_fp32(kind: Kind, tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary"], channels=64).write(tmp_path / "n.bin.gz")
    recipe = exported(source, kind.smaller[1][0], tmp_path / "out").manifest.recipe
    assert recipe["weights"].startswith("int8") and recipe["computed in"] == "fp32"
    assert recipe["layers in fp32"]


@pytest.mark.parametrize(
    "format", [each for kind in KINDS.values() for each in (kind.fp32, *(s[0] for s in kind.smaller))]
)
def test_the_same_network_gives_the_same_bytes(format: Format, tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary"], seed=4).write(tmp_path / "n.bin.gz")
    first, again = (exported(source, format, tmp_path / folder) for folder in ("first", "again"))
    assert first.path.read_bytes() == again.path.read_bytes()
