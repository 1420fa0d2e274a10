"""Random networks of every version and block, converted, against a slow evaluation that shares no code."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import onnx
import pytest

from agent.engine.backends.onnxruntime import OnnxRuntimeBackend
from agent.errors import ConversionFailed, NetworkFormatError, StorageFull
from agent.events import Converting, Event
from agent.export.convert import convert
from agent.export.emit import Form
from agent.export.human_profile import metadata_row
from agent.export.info import EXPORTER
from tests.fakes.misfits import MISFITS
from tests.fakes.network_oracle import evaluate
from tests.fakes.network_writer import ACTIVATIONS, ATTENTION, NetworkWriter

ALL_BLOCKS = ["ordinary", "gpool", ["ordinary", "gpool"], [["ordinary"]]]
SIZES = [(1, 1), (1, 5), (2, 2), (4, 4), (5, 3), (7, 9), (9, 9), (13, 13), (8, 19), (19, 19)]


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)


def assert_agrees(writer: NetworkWriter, model: Path, sizes: list[tuple[int, int]]) -> None:
    backend = OnnxRuntimeBackend(model)
    random = np.random.default_rng(7)
    for y_size, x_size in sizes:
        spatial = (random.random((2, 22, y_size, x_size)) < 0.3).astype(np.float32)
        spatial[:, 0] = 1
        global_ = random.standard_normal((2, 19)).astype(np.float32) * np.float32(0.3)
        outputs = backend.evaluate(spatial, global_)._asdict()
        for index in range(2):
            expected = evaluate(writer.tree, spatial[index].astype(np.float64), global_[index].astype(np.float64))
            for name, values in expected.items():
                found = outputs[name][index]
                assert found.shape == values.shape, (name, y_size, x_size)
                np.testing.assert_allclose(found, values, rtol=1e-4, atol=3e-4, err_msg=f"{name} {y_size}×{x_size}")
    backend.close()


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("version", range(8, 18))
def test_every_version_agrees_with_a_plain_evaluation(version: int, form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(version, ALL_BLOCKS, seed=version)
    info = convert(writer.write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", form=form)
    assert (info.version, info.form, info.exporter) == (version, form.value, EXPORTER)
    assert info.prefer_pass_alive == (version >= 15)
    assert info.shortterm_score_error_multiplier == (150.0 if version >= 13 else 30.0)
    assert_agrees(writer, tmp_path / "n.onnx", [(5, 3), (9, 9)])


@pytest.mark.parametrize("form", Form)
def test_every_board_size_is_exact(form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(14, ALL_BLOCKS, seed=1, activation="ACTIVATION_MISH")
    convert(writer.write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", form=form)
    assert_agrees(writer, tmp_path / "n.onnx", SIZES)


# Transformer blocks alone, nested, between convolutions, and narrower than the trunk.
TRANSFORMERS = ["attention", "ffn", "ordinary", ["shared keys", "ffn", "gpool", "one key"], "fixed", "placeless", "ffn"]


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(("version", "tip"), [(8, "batch"), (14, "batch"), (15, "rms"), (17, "spatial rms")])
def test_transformers_agree_with_a_plain_evaluation(version: int, tip: str, form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(version, TRANSFORMERS, seed=version, activation="ACTIVATION_SILU", tip=tip)
    convert(writer.write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", form=form)
    assert_agrees(writer, tmp_path / "n.onnx", [(5, 3), (9, 9)])


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_is_exact_on_every_board(kind: str, form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(17, [kind, "ffn"], seed=5, activation="ACTIVATION_MISH")
    convert(writer.write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", form=form)
    assert_agrees(writer, tmp_path / "n.onnx", SIZES)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(11, ["ordinary", "gpool"], activation=activation, seed=3)
    convert(writer.write(tmp_path / "n.bin"), tmp_path / "n.onnx", form=form)
    assert_agrees(writer, tmp_path / "n.onnx", [(6, 6)])


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (5, 1), (3, 2)])
def test_kernels_and_dilations(kernel: int, dilation: int, form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(8, ["ordinary", "gpool"], first_kernel=kernel, dilation=dilation)
    convert(writer.write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", form=form)
    assert_agrees(writer, tmp_path / "n.onnx", [(3, 3), (7, 7)])


@pytest.mark.parametrize("channels", [2, 4])
def test_version_17_says_how_many_policy_channels(channels: int, tmp_path: Path) -> None:
    writer = NetworkWriter(17, ["ordinary"], policy_channels=channels)
    assert convert(writer.write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx").policy_channels == channels
    assert_agrees(writer, tmp_path / "n.onnx", [(5, 5)])


@pytest.mark.parametrize("name", ["n.txt", "n.txt.gz"])
def test_text_files(name: str, tmp_path: Path) -> None:
    writer = NetworkWriter(10, ["gpool"], text=True)
    convert(writer.write(tmp_path / name), tmp_path / "n.onnx")
    assert_agrees(writer, tmp_path / "n.onnx", [(5, 5)])


def test_wide_networks_take_the_faster_form(tmp_path: Path) -> None:
    narrow = NetworkWriter(8, ["ordinary"], channels=96).write(tmp_path / "narrow.bin.gz")
    wide = NetworkWriter(8, ["ordinary"], channels=128).write(tmp_path / "wide.bin.gz")
    tokens = NetworkWriter(15, ["attention", "ffn"], channels=96).write(tmp_path / "tokens.bin.gz")
    assert convert(narrow, tmp_path / "narrow.onnx").form == "plain"
    assert convert(tokens, tmp_path / "tokens.onnx").form == "winograd"
    assert convert(wide, tmp_path / "wide.onnx").form == "winograd"


@pytest.mark.parametrize("form", Form)
def test_the_file_is_valid_onnx_to_others(form: Form, tmp_path: Path) -> None:
    convert(NetworkWriter(15, ALL_BLOCKS).write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", form=form)
    model = onnx.load(tmp_path / "n.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.output] == ["policy", "value", "score", "ownership"]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    recorder = Recorder()
    convert(NetworkWriter(8, ALL_BLOCKS).write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", recorder)
    steps = [event for event in recorder.events if isinstance(event, Converting)]
    assert [step.done for step in steps] == list(range(1, len(steps) + 1))
    assert steps[-1].done == steps[-1].total


# ---------------------------------------------------------------- human-style networks


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("version", range(15, 18))
def test_a_human_profile_becomes_a_part_of_the_graph(version: int, form: Form, tmp_path: Path) -> None:
    writer = NetworkWriter(version, ["ordinary"], policy_channels=4, seed=2, metadata=True)
    info = convert(writer.write(tmp_path / "n.bin.gz"), tmp_path / "n.onnx", form=form, human_profile="rank_3k")
    assert info.human_profile == "rank_3k"
    backend = OnnxRuntimeBackend(tmp_path / "n.onnx")
    for side in (9, 19):
        spatial, global_ = np.zeros((2, 22, side, side), np.float32), np.zeros((2, 19), np.float32)
        spatial[:, 0] = 1
        row = metadata_row("rank_3k").astype(np.float64)
        row[86] = 0.5 * np.log(side * side / 361)
        expected = evaluate(writer.tree, spatial[0].astype(np.float64), global_[0].astype(np.float64), row)
        # Native KataGo mixes no optimistic policy into such a network's, so the graph has none.
        expected["policy"][1] = expected["policy"][0]
        for name, values in backend.evaluate(spatial, global_)._asdict().items():
            np.testing.assert_allclose(values[1], expected[name], rtol=1e-4, atol=3e-4, err_msg=name)
    backend.close()


@pytest.mark.parametrize(("metadata", "profile", "message"), MISFITS)
def test_profiles_and_networks_that_do_not_fit(metadata: bool, profile: str, message: str, tmp_path: Path) -> None:
    source = NetworkWriter(15, ["ordinary"], metadata=metadata).write(tmp_path / "n.bin.gz")
    with pytest.raises(ConversionFailed, match=message) as error:
        convert(source, tmp_path / "n.onnx", human_profile=profile)
    assert error.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["n.bin.gz"]


# ---------------------------------------------------------------- failures leave the folder as it was


def test_a_bad_network_leaves_the_old_file(tmp_path: Path) -> None:
    out = tmp_path / "n.onnx"
    out.write_bytes(b"old")
    source = tmp_path / "n.bin"
    source.write_bytes(NetworkWriter(8, ["ordinary"]).data[:-9])
    with pytest.raises(NetworkFormatError):
        convert(source, out)
    assert out.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["n.bin", "n.onnx"]


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    data = NetworkWriter(8, ["ordinary"]).data
    first = data.index(b"@BIN@") + 5
    huge = np.full(22 * 8 * 9, 3e38, "<f4").tobytes()
    source = tmp_path / "n.bin"
    source.write_bytes(data[:first] + huge + data[first + len(huge) :])
    with pytest.raises(ConversionFailed, match="not finite"):
        convert(source, tmp_path / "n.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["n.bin"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    source = NetworkWriter(8, ["ordinary"]).write(tmp_path / "n.bin.gz")
    with pytest.raises(ConversionFailed, match="No such file"):
        convert(source, tmp_path / "missing" / "n.onnx")


def test_no_room(tmp_path: Path) -> None:
    source = NetworkWriter(8, ["ordinary"]).write(tmp_path / "n.bin.gz")
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, usual[1]))
    try:
        with pytest.raises(StorageFull):
            convert(source, tmp_path / "n.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert [path.name for path in tmp_path.iterdir()] == ["n.bin.gz"]


def test_too_little_memory_is_said_before_anything_is_read(tmp_path: Path) -> None:
    source = NetworkWriter(8, ["ordinary"]).write(tmp_path / "n.bin.gz")
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 90000 kB\nMemAvailable: 30000 kB\nSwapFree: 0 kB\n")
    with pytest.raises(ConversionFailed, match=r"takes 70 MB of memory; 31 MB are free"):
        convert(source, tmp_path / "n.onnx", meminfo=meminfo)
    meminfo.write_text("garbage")
    convert(source, tmp_path / "n.onnx", meminfo=meminfo)
