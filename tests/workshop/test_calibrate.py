"""Static INT8 on small random networks: the walk, the rounding, the graph that ONNX Runtime runs, broken-off work."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from fakes.network_writer import NetworkWriter

from agent.engine.backends.interface import Outputs
from agent.errors import CalibrationError, ConversionFailed
from agent.events import Event, SilentReporter, WorkshopProgress
from agent.export.artifact import Format, artifacts_in
from agent.export.convert import convert
from agent.export.exporters import export
from agent.export.network import Network, OrdinaryBlock
from agent.export.parse import parse_network
from agent.export.quantization import Quantization, Scale, load_quantization
from agent.export.quantized import Unrounded
from agent.export.session import open_session
from agent.workshop.calibrate import QuantizedConvolutions, Recipe, calibrate
from agent.workshop.formats import FORMATS
from agent.workshop.forward import ExactConvolutions, Forward, inputs_of
from agent.workshop.gains import choose_input
from agent.workshop.position_set import Group, PositionSet
from agent.workshop.proof import prove
from agent.workshop.rounding import round_with_feedback, weight_scales
from agent.workshop.sites import sites_of
from agent.workshop.static_int8 import CACHE, write_quantized

RELU = (8, ["ordinary", "gpool", "ordinary"], "ACTIVATION_RELU")
MISH = (14, [["ordinary", "gpool"], "ordinary"], "ACTIVATION_MISH")
SILENT = SilentReporter()


def positions(count: int = 12, seed: int = 0) -> PositionSet:
    random = np.random.default_rng(seed)
    groups = []
    for number, (y_size, x_size) in enumerate([(7, 9), (5, 5)]):
        spatial = random.random((count, 22, y_size, x_size)) < 0.3
        spatial[:, 0] = True
        groups.append(
            Group(
                y_size,
                x_size,
                spatial,
                random.standard_normal((count, 19)).astype(np.float32),
                np.ones((count, y_size * x_size + 1), bool),
                (np.arange(count) + 100 * number).astype(np.int32),
                np.arange(count).astype(np.int32),
            )
        )
    return PositionSet(tuple(groups), "made up")


def network_of(folder: Path, kind: tuple[int, list[Any], str], **options: Any) -> Path:
    version, blocks, activation = kind
    return NetworkWriter(version, blocks, activation=activation, **options).write(folder / "network.bin")


def walk(network: Network, convolutions: Any, used: PositionSet) -> list[Outputs]:
    spatial, global_ = inputs_of(used)
    return list(Forward(network, convolutions).run((spatial,), (global_,))[0])


def run(model: Path, used: PositionSet) -> list[Outputs]:
    session = open_session(model)
    return [Outputs(*session.run(*group.inputs(0, len(group)))) for group in used.groups]


def apart(first: list[Outputs], second: list[Outputs]) -> float:
    """Largest difference of any output, as a share of that output's spread."""
    return max(
        float(np.abs(left - right).max() / (left.std() + 1e-6))
        for pair in zip(first, second, strict=True)
        for left, right in zip(*pair, strict=True)
    )


def noise(first: list[Outputs], second: list[Outputs]) -> float:
    """Of the worst output, root mean square as a share of its spread."""
    return max(
        float(np.sqrt(np.square(left - right).mean()) / (left.std() + 1e-6))
        for pair in zip(first, second, strict=True)
        for left, right in zip(*pair, strict=True)
    )


@pytest.mark.parametrize("kind", [RELU, MISH], ids=["relu", "nested mish"])
def test_the_walk_gives_what_the_converted_network_gives(kind: tuple[int, list[Any], str], tmp_path: Path) -> None:
    source = network_of(tmp_path, kind)
    convert(source, tmp_path / "network.onnx")
    exact = walk(parse_network(source), ExactConvolutions(), positions())
    assert apart(run(tmp_path / "network.onnx", positions()), exact) < 1e-4


@pytest.mark.parametrize("kind", [RELU, MISH], ids=["relu", "nested mish"])
def test_a_quantized_network_runs_in_integers_and_is_near_the_exact_one(
    kind: tuple[int, list[Any], str], tmp_path: Path
) -> None:
    network = parse_network(network_of(tmp_path, kind))
    quantization = calibrate(network, positions(), Recipe(last_blocks=0), None, SILENT)
    sites = sites_of(network)
    assert set(quantization.convs) == {name for name, site in sites.items() if not site.pooled}
    model = tmp_path / "int8.onnx"
    write_quantized(network, quantization, model, SILENT)
    held = positions(seed=1)
    answered = run(model, held)
    assert noise(walk(network, ExactConvolutions(), held), answered) < 0.1
    # Different roundings of the same sum may fall on different sides of a half.
    assert noise(walk(quantization.prepared(network), QuantizedConvolutions(quantization), held), answered) < 0.03
    operators = optimised(model, tmp_path / "optimised.onnx")
    chained = sum(conv.chained for conv in quantization.convs.values())
    assert operators.count("QLinearConv") == chained
    assert operators.count("ConvInteger") == len(quantization.convs) - chained


def optimised(model: Path, out: Path) -> list[str]:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(out)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(str(out)).graph.node]


def test_both_ways_of_writing_unrounded_results_mean_the_same(tmp_path: Path) -> None:
    network = parse_network(network_of(tmp_path, RELU))
    quantization = calibrate(network, positions(), Recipe(), None, SILENT)
    for way in Unrounded:
        write_quantized(network, quantization, tmp_path / way.value, SILENT, way)
    integer, qdq = (run(tmp_path / way.value, positions(2)) for way in (Unrounded.CONV_INTEGER, Unrounded.QDQ))
    assert noise(integer, qdq) < 0.03


def test_gains_change_nothing_in_exact_numbers(tmp_path: Path) -> None:
    network = parse_network(network_of(tmp_path, RELU))
    gains = calibrate(network, positions(), Recipe(), None, SILENT).gains
    random = np.random.default_rng(0)
    uneven = {name: random.uniform(0.5, 2, len(gain)).astype(np.float32) for name, gain in gains.items()}
    assert uneven
    even, changed = (Quantization({}, table).prepared(network) for table in ({}, uneven))
    exact = walk(network, ExactConvolutions(), positions())
    assert apart(exact, walk(even, ExactConvolutions(), positions())) == 0
    assert apart(exact, walk(changed, ExactConvolutions(), positions())) < 1e-4


def test_layers_that_the_recipe_names_stay_exact(tmp_path: Path) -> None:
    network = parse_network(network_of(tmp_path, RELU))
    block = network.trunk.blocks[0]
    assert isinstance(block, OrdinaryBlock)
    recipe = Recipe(exact=(block.regular_conv.name,), last_blocks=1 / 3)
    quantization = calibrate(network, positions(), recipe, None, SILENT)
    last = network.trunk.blocks[2]
    assert isinstance(last, OrdinaryBlock)
    pooled = {name for name, site in sites_of(network).items() if site.pooled}
    kept = {block.regular_conv.name, last.regular_conv.name, last.final_conv.name} | pooled
    assert set(sites_of(network)) - set(quantization.convs) == kept
    assert kept <= quantization.stored
    assert block.regular_conv.name in quantization.recipe["in fp32"]
    write_quantized(network, quantization, tmp_path / "int8.onnx", SILENT)
    answered = run(tmp_path / "int8.onnx", positions(seed=1))
    assert noise(walk(network, ExactConvolutions(), positions(seed=1)), answered) < 0.1


def test_rounding_with_feedback_is_nearer_than_rounding_to_the_nearest() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((400, 3)) @ random.standard_normal((3, 40)) + 0.1 * random.standard_normal((400, 40))
    matrix, moments = random.standard_normal((40, 8)), rows.T @ rows / len(rows)
    scales = 8 * weight_scales(matrix, np.diag(moments))

    def error(integers: np.ndarray[Any, Any]) -> float:
        return float(np.square(rows @ (integers * scales - matrix)).mean())

    nearest = np.clip(np.rint(matrix / scales), -127, 127)
    assert error(round_with_feedback(matrix, moments, scales)) < error(nearest) / 4


def test_a_channel_without_weights_or_activity_is_no_trouble() -> None:
    matrix, moments = np.zeros((6, 2)), np.zeros((6, 6))
    scales = weight_scales(matrix, np.diag(moments))
    assert (scales > 0).all()
    assert not round_with_feedback(matrix, moments, scales).any()


def test_numbers_that_are_none_calibrate_nothing(tmp_path: Path) -> None:
    network = parse_network(network_of(tmp_path, RELU))
    used = positions()
    used.groups[0].global_[0, 0] = np.inf
    with np.errstate(invalid="ignore"), pytest.raises(CalibrationError, match="numbers are not finite"):
        calibrate(network, used, Recipe(), None, SILENT)


def test_zero_is_exact_whatever_the_scale() -> None:
    scale = Scale(0.013, 22)
    assert scale.rounded(np.zeros(1, np.float32))[0] == 0
    ends = scale.rounded(np.array([-10, 10], np.float32))
    assert np.allclose(ends, [-22 * 0.013, 233 * 0.013])


# ---------------------------------------------------------------- files


class Stopped(Exception):
    pass


class StopAfter:
    """Breaks the work off when `layers` are done."""

    def __init__(self, layers: int) -> None:
        self._layers = layers

    def report(self, event: Event) -> None:
        if isinstance(event, WorkshopProgress) and "calibrating" in event.what and event.done == self._layers:
            raise Stopped


def same(first: Quantization, second: Quantization) -> bool:
    return all(
        np.array_equal(conv.weights, second.convs[name].weights)
        and np.array_equal(conv.bias, second.convs[name].bias)
        and conv.input == second.convs[name].input
        for name, conv in first.convs.items()
    )


def test_broken_off_work_goes_on_where_it_stopped(tmp_path: Path) -> None:
    network, cache = parse_network(network_of(tmp_path, RELU)), tmp_path / "cache"
    whole = calibrate(network, positions(), Recipe(), None, SILENT)
    with pytest.raises(Stopped):
        calibrate(network, positions(), Recipe(), cache, StopAfter(2))
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npz")}
    assert len(kept) == 2
    assert same(whole, calibrate(network, positions(), Recipe(), cache, SILENT))
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    # Another recipe is other work.
    calibrate(network, positions(), Recipe(rows=100), cache, SILENT)
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_layer_is_made_again(tmp_path: Path) -> None:
    network, cache = parse_network(network_of(tmp_path, RELU)), tmp_path / "cache"
    whole = calibrate(network, positions(), Recipe(), cache, SILENT)
    for number, path in enumerate(sorted(cache.rglob("*.npz"))):
        path.write_bytes(path.read_bytes()[: 100 * number])
    assert same(whole, calibrate(network, positions(), Recipe(), cache, SILENT))


def test_a_quantization_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    network = parse_network(network_of(tmp_path, MISH))
    saved = dataclasses.replace(
        calibrate(network, positions(), Recipe(), None, SILENT), biases={"x": np.ones(3, np.float32)}
    )
    saved.save(tmp_path / "saved.npz")
    loaded = load_quantization(tmp_path / "saved.npz")
    assert same(saved, loaded) and same(loaded, saved)
    assert dict(loaded.recipe) == dict(saved.recipe)
    assert np.array_equal(loaded.biases["x"], saved.biases["x"])
    for name, conv in saved.convs.items():
        assert loaded.convs[name].chained == conv.chained
        assert (loaded.convs[name].gain is None) == (conv.gain is None)


def test_what_is_no_quantization_is_refused(tmp_path: Path) -> None:
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    for content in (b"", b"PK\x03\x04", b"no archive", single.getvalue()):
        (tmp_path / "file").write_bytes(content)
        with pytest.raises(CalibrationError):
            load_quantization(tmp_path / "file")
    with pytest.raises(CalibrationError):
        Quantization({}).save(tmp_path / "missing" / "file")


@pytest.mark.parametrize(
    ("version", "blocks", "options"),
    [(15, ["attention", "ffn"], {}), (15, ["ordinary"], {"tip": "rms"}), (15, ["ordinary"], {"metadata": True})],
    ids=["transformer", "RMSNorm", "human style"],
)
def test_networks_that_are_not_calibrated_are_refused(
    version: int, blocks: list[Any], options: dict[str, Any], tmp_path: Path
) -> None:
    network = parse_network(network_of(tmp_path, (version, blocks, "ACTIVATION_MISH"), **options))
    with pytest.raises(ConversionFailed, match="not calibrated"):
        calibrate(network, positions(), Recipe(), None, SILENT)


def test_export_takes_positions_and_tells_what_it_did(tmp_path: Path) -> None:
    source, folder, file = network_of(tmp_path, RELU), tmp_path / "out", tmp_path / "set.npz"
    folder.mkdir()
    refused = list(export(source, [Format.ONNX_INT8], folder, prove, SILENT, table=FORMATS))
    assert isinstance(refused[0].error, CalibrationError)
    assert artifacts_in(folder) == []
    positions().save(file)
    made = list(export(source, [Format.ONNX_INT8], folder, prove, SILENT, calibration=file, table=FORMATS))
    assert made[0].error is None and made[0].artifact is not None
    recipe = made[0].artifact.manifest.recipe
    assert recipe["calibration positions"].startswith("24 of 24 games")
    layers = made[0].artifact.manifest.sensitivity
    assert layers and all(layer.policy_kl >= 0 and layer.kept == "int8" for layer in layers)
    assert any(layer.policy_kl > 0 for layer in layers)
    assert (folder / CACHE).is_dir()
    again = list(export(source, [Format.ONNX_INT8], folder, prove, SILENT, calibration=file, table=FORMATS))
    assert not again[0].made


def test_the_positions_with_the_largest_activations_are_not_cut_off() -> None:
    random = np.random.default_rng(0)
    usual = np.abs(random.standard_normal((3000, 16))).astype(np.float32)
    extreme = (2.5 + np.abs(random.standard_normal((50, 16)))).astype(np.float32)
    matrix = random.standard_normal((16, 8)).astype(np.float32)
    maps = (usual.reshape(30, 10, 10, 16), extreme.reshape(5, 5, 2, 16))

    def error(rare: np.ndarray[Any, Any]) -> float:
        chosen = choose_input(maps, usual, rare, matrix, 0)
        back = chosen.scale.rounded(extreme * chosen.gain) / chosen.gain
        return float(np.abs(back - extreme).max())

    assert error(extreme[:0]) > 0.5
    assert error(extreme) < 0.1


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    network = parse_network(network_of(tmp_path, RELU))
    with pytest.raises(CalibrationError):
        calibrate(network, PositionSet((), "nothing"), Recipe(), None, SILENT)
