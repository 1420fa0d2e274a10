"""Training: its arithmetic is that of the exported graph, it gets better, and it refuses what does not belong to it."""

# ruff: noqa: E402
from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: pip install 'katago-agent[qat]', or ./install.sh dev"
)

from fakes.network_writer import NetworkWriter
from fakes.small_networks import tree
from fakes.tiny_qat import STEPS, network_of, positions_of, rounded, run_of

from agent.errors import CalibrationError, CheckpointRefused, ConversionFailed, StoreBusy, StoreUnwritable, ToolMissing
from agent.events import Event, SilentReporter, WorkshopProgress
from agent.export.artifact import Artifact, read_artifact
from agent.export.quantization import Quantization, Scale, load_quantization
from agent.export.session import open_session
from agent.workshop.position_set import Group, PositionSet
from agent.workshop.proof import prove
from agent.workshop.qat import WORK, Run, train
from agent.workshop.qat_options import MOST_WEIGHT_RATE, QatOptions
from agent.workshop.qat_symmetries import under_symmetries
from agent.workshop.torch_quantizers import MapQuantizer, fake_quantize
from agent.workshop.torch_student import Student
from agent.workshop.torch_teacher import teacher_answers, to_tensors
from agent.workshop.torch_training import Training

# The graph adds products as integers and PyTorch as floats; a number on the edge between two integers may then become
# the other one. That happens to few positions, and changes them by about one step of a scale.
ARITHMETIC_BOUND, ONE_STEP_BOUND = 1e-4, 0.1


@pytest.fixture(scope="module")
def network_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return NetworkWriter(14, ["ordinary", "gpool"], seed=3).write(tmp_path_factory.mktemp("network") / "net.bin.gz")


class Watcher:
    """Keeps the events, and calls `at_step` with the number of each training step."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        self.losses: list[str] = []
        self._at_step = at_step

    def report(self, event: Event) -> None:
        if isinstance(event, WorkshopProgress) and event.what.startswith("loss"):
            self.losses.append(event.what)
            self._at_step(event.done)


class Stopped(Exception):
    """What a test ends a run with."""


def stop_at(step: int) -> Watcher:
    def stop(done: int) -> None:
        if done == step:
            raise Stopped

    return Watcher(stop)


# ---------------------------------------------------------------- arithmetic


def test_numbers_are_rounded_as_onnx_rounds_them() -> None:
    x = torch.tensor([-9.0, -0.3, 0.25, 0.75, 1.25, 30.0])
    quantizer = MapQuantizer(Scale(0.5, 2))
    assert quantizer(x).tolist() == pytest.approx([-1.0, -0.5, 0.0, 1.0, 1.0, 30.0])
    assert MapQuantizer(Scale(0.5, 250))(torch.tensor([9.0])).tolist() == pytest.approx([2.5])


def test_gradients_pass_where_a_number_is_in_range_and_reach_the_scale() -> None:
    x = torch.tensor([0.3, 5.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    fake_quantize(x, scale, -2, 2).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [1.0, 0.0]
    # 0.3 is 0.6 steps and becomes 1; 5.0 is cut off at 2 steps.
    assert scale.grad is not None and float(scale.grad) == pytest.approx(0.4 + 2.0)


@pytest.mark.parametrize("stored", [False, True])
def test_the_student_answers_as_the_exported_file(stored: bool, network_path: Path, tmp_path: Path) -> None:
    network = network_of(network_path)
    options = dataclasses.replace(run_of(network_path), quantization=rounded(network, stored=stored))
    artifact = train(options, tmp_path, prove, SilentReporter())
    quantization = load_quantization(tmp_path / f"{network.info.name}.qat.npz")
    assert_same(Student(network, quantization), artifact, positions_of(1))


def assert_same(student: Student, artifact: Artifact, positions: Any) -> None:
    session = open_session(artifact.path)
    for group in positions.groups:
        with torch.no_grad():
            mine = student.module(*to_tensors(group, np.arange(len(group)), "cpu"))
        for wanted, got in zip(session.run(*group.inputs(0, len(group))), mine, strict=True):
            largest = np.abs(wanted - got.numpy()).reshape(len(group), -1).max(axis=1)
            assert np.median(largest) < ARITHMETIC_BOUND
            assert largest.max() < ONE_STEP_BOUND


def test_a_student_starts_where_calibration_ended(network_path: Path) -> None:
    network = network_of(network_path)
    start = rounded(network, stored=True)
    kept = Student(network, start).value({})
    for name, conv in start.convs.items():
        assert np.array_equal(kept.convs[name].weights, conv.weights)
        assert kept.convs[name].input.scale == pytest.approx(conv.input.scale, rel=1e-6)
        np.testing.assert_allclose(kept.convs[name].weight_scale, conv.weight_scale, rtol=1e-6)


def test_corrected_biases_and_gains_are_kept(network_path: Path, tmp_path: Path) -> None:
    network = network_of(network_path)
    block = network.trunk.blocks[0]
    name, channels = block.pre_bn.name, block.pre_bn.channels  # type: ignore[union-attr]
    bias = np.linspace(-1, 1, channels, dtype=np.float32)
    gain = np.linspace(0.5, 2, channels, dtype=np.float32)
    start = dataclasses.replace(rounded(network), gains={name: gain}, biases={name: bias})
    np.testing.assert_allclose(Student(network, start).value({}).biases[name], bias, rtol=1e-5)


# ---------------------------------------------------------------- learning


def loss_of(run: Run, quantization: Quantization, folder: Path) -> float:
    """Over all positions, without learning."""
    answers = teacher_answers(run.network, run.positions, folder, "cpu", SilentReporter())
    still = QatOptions(steps=6, batch=3, weight_travel=0, bias_travel=0, map_scale_travel=0, weight_scale_travel=0)
    training = Training(Student(run.network, quantization), run.positions, answers, still)
    return sum(training.step().total for _ in range(6))


def test_training_makes_the_answers_better(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    start = run.quantization
    # Scales that cut off all above 1.3, which only training can find out.
    convs = {name: dataclasses.replace(conv, input=Scale(0.005, 0)) for name, conv in start.convs.items()}
    options = msgspec.structs.replace(run.options, map_scale_travel=1.2)
    run = dataclasses.replace(run, quantization=dataclasses.replace(start, convs=convs), options=options)
    artifact = train(run, tmp_path, prove, SilentReporter())
    trained = load_quantization(tmp_path / f"{run.network.info.name}.qat.npz")
    assert loss_of(run, trained, tmp_path) < 0.5 * loss_of(run, run.quantization, tmp_path)
    recipe = artifact.manifest.recipe
    assert recipe["training"] == "distilled from fp32" and recipe["calibration"] == "none"
    assert recipe["qat steps"] == f"{STEPS} of 3 positions"
    assert run.positions.sha256() in recipe["qat positions"]


def test_a_finished_run_is_not_made_again(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    first = train(run, tmp_path, prove, SilentReporter())
    watcher = Watcher()
    assert train(run, tmp_path, prove, watcher) == first
    assert not watcher.losses
    name = run.network.info.name
    assert set(tree(tmp_path)) == {f"{name}.qat.int8.onnx", f"{name}.qat.int8.onnx.json", f"{name}.qat.npz"}


def test_an_interrupted_run_goes_on_with_the_very_numbers(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    whole = train(run, tmp_path / "whole", prove, SilentReporter())
    with pytest.raises(Stopped):
        train(run, tmp_path / "parts", prove, stop_at(STEPS // 2))
    assert read_artifact(tmp_path / "parts" / whole.path.name) is None
    watcher = Watcher()
    again = train(run, tmp_path / "parts", prove, watcher)
    assert len(watcher.losses) < STEPS
    assert again.manifest.sha256 == whole.manifest.sha256
    assert again.manifest.recipe == whole.manifest.recipe


def test_checkpoints_come_by_the_clock(network_path: Path, tmp_path: Path) -> None:
    seconds = iter(range(10_000))
    run = dataclasses.replace(run_of(network_path), checkpoint_s=1e9, clock=lambda: float(next(seconds)))
    with pytest.raises(Stopped):
        train(run, tmp_path, prove, stop_at(STEPS // 2))
    assert not (tmp_path / WORK / "checkpoint").exists()


def test_a_short_run_does_not_hurry() -> None:
    assert QatOptions(steps=1000).weight_rate == pytest.approx(0.005)
    assert QatOptions(steps=10).weight_rate == MOST_WEIGHT_RATE
    assert QatOptions(steps=10).rate(0.5) == pytest.approx(0.1)


# ---------------------------------------------------------------- refusals


def test_a_game_that_is_held_out_is_never_trained_on(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    with pytest.raises(CalibrationError, match="16 games"):
        train(dataclasses.replace(run, held_out=run.positions), tmp_path, prove, SilentReporter())
    assert not tree(tmp_path)
    train(dataclasses.replace(run, held_out=positions_of(2)), tmp_path, prove, SilentReporter())


def test_a_checkpoint_of_another_run_is_refused(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    with pytest.raises(Stopped):
        train(run, tmp_path, prove, stop_at(3))
    before = tree(tmp_path)
    others = dataclasses.replace(run, positions=positions_of(2))
    with pytest.raises(CheckpointRefused, match="another network"):
        train(others, tmp_path, prove, SilentReporter())
    assert tree(tmp_path) == before


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: b"\x00" * 40], ids=["cut", "zeros"])
def test_a_damaged_checkpoint_is_refused(damage: Callable[[bytes], bytes], network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    with pytest.raises(Stopped):
        train(run, tmp_path, prove, stop_at(3))
    path = tmp_path / WORK / "checkpoint"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointRefused, match="checkpoint"):
        train(run, tmp_path, prove, SilentReporter())


def test_a_quantization_of_another_network_is_refused(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    convs = {f"not {name}": conv for name, conv in run.quantization.convs.items()}
    other = dataclasses.replace(run, quantization=Quantization(convs))
    with pytest.raises(CalibrationError, match="not b0"):
        train(other, tmp_path, prove, SilentReporter())


def test_two_runs_in_one_folder_are_refused(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)

    def second(step: int) -> None:
        if step == 2:
            train(run, tmp_path, prove, SilentReporter())

    with pytest.raises(StoreBusy):
        train(run, tmp_path, prove, Watcher(second))


def test_a_missing_pytorch_is_named_with_its_extra(network_path: Path, tmp_path: Path) -> None:
    """In a process whose PyTorch is a module that does not load."""
    (tmp_path / "torch.py").write_text("raise ImportError('none here')")
    script = (
        "import sys; from pathlib import Path\n"
        "from fakes.tiny_qat import run_of\n"
        "from agent.errors import ToolMissing; from agent.events import SilentReporter\n"
        "from agent.workshop.proof import prove; from agent.workshop.qat import train\n"
        "try: train(run_of(Path(sys.argv[1])), Path(sys.argv[2]), prove, SilentReporter())\n"
        "except ToolMissing as error: print(error.explain())\n"
    )
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(map(str, (tmp_path, tests.parent, tests)))
    done = subprocess.run(
        [sys.executable, "-c", script, str(network_path), str(tmp_path / "out")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "pip install 'katago-agent[qat]'" in done.stdout, done.stderr
    assert not (tmp_path / "out").exists()


def test_an_artifact_that_does_not_run_leaves_the_older_pair_as_it_was(network_path: Path, tmp_path: Path) -> None:
    def refuse(artifact: Artifact) -> None:
        raise ConversionFailed(f"{artifact.path.name} does not run")

    run = run_of(network_path)
    train(run, tmp_path, prove, SilentReporter())
    before = tree(tmp_path)
    other = dataclasses.replace(run, options=msgspec.structs.replace(run.options, seed=2))
    with pytest.raises(ConversionFailed, match="does not run"):
        train(other, tmp_path, refuse, SilentReporter())
    assert {name: content for name, content in tree(tmp_path).items() if not name.startswith(WORK)} == before


def test_a_loss_that_is_no_number_ends_the_run_at_once(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    head = run.network.value_head
    bias = np.full_like(head.v3_bias, np.inf)
    network = dataclasses.replace(run.network, value_head=dataclasses.replace(head, v3_bias=bias))
    with pytest.raises(CalibrationError, match="step 1 is no number"):
        train(dataclasses.replace(run, network=network), tmp_path, prove, SilentReporter())
    assert not (tmp_path / WORK / "checkpoint").exists()


def test_a_network_that_cannot_be_trained_leaves_no_folder(tmp_path: Path) -> None:
    source = NetworkWriter(15, ["ordinary", "fixed"], tip="rms").write(tmp_path / "transformer.bin.gz")
    before = tree(tmp_path)
    with pytest.raises(ConversionFailed, match="cannot be trained"):
        train(run_of(source), tmp_path / "new" / "folder", prove, SilentReporter())
    assert tree(tmp_path) == before and not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_to_is_named_with_what_helps(network_path: Path) -> None:
    with pytest.raises(StoreUnwritable) as caught:
        train(run_of(network_path), Path("/proc/nowhere"), prove, SilentReporter())
    assert "--out" in caught.value.fix


def test_a_device_that_is_not_there_is_named(network_path: Path, tmp_path: Path) -> None:
    run = run_of(network_path)
    there = torch.cuda.device_count()
    options = msgspec.structs.replace(run.options, device=f"cuda:{there}")
    with pytest.raises(ToolMissing, match=f"cuda:{there}"):
        train(dataclasses.replace(run, options=options), tmp_path, prove, SilentReporter())


# ---------------------------------------------------------------- positions


def test_symmetries_turn_the_board_and_its_legal_points_alike() -> None:
    start = positions_of(1)
    made = under_symmetries(start, 3, seed=5)
    for before, after in zip(start.groups, made.groups, strict=True):
        assert len(after) == 3 * len(before)
        assert np.array_equal(after.spatial[::3], before.spatial)
        assert np.array_equal(after.game, np.repeat(before.game, 3))
        for number in range(len(after)):
            # A plane that repeats the legal points goes the way that they go.
            same = dataclasses.replace(before, spatial=_legal_planes(before))
            turned = under_symmetries(PositionSet((same,), ""), 3, seed=5).groups[0]
            assert np.array_equal(turned.spatial[number, 0].reshape(-1), after.legal[number, :-1])
            assert len({planes.tobytes() for planes in after.spatial[number // 3 * 3 : number // 3 * 3 + 3]}) == 3


def _legal_planes(group: Group) -> np.ndarray:
    plane = group.legal[:, :-1].reshape(len(group), 1, group.y_size, group.x_size)
    return np.repeat(plane, 22, axis=1)
