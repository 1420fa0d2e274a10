"""Quantization-aware training: distils the fp32 network into its quantized form, from positions of self-play.

Start at `train`. The run lives in `<folder>/.qat/`, which goes when it is done: the teacher's answers, and a checkpoint
that is replaced in one step. Killed at any moment, it goes on from the last checkpoint and ends as if it had not been
killed; what it makes appears in `folder` whole or not at all. No PyTorch here but within `train`: the extra "qat" is
optional.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from agent.errors import CalibrationError, CheckpointRefused, StoreBusy, ToolMissing, install_extra
from agent.events import Reporter, WorkshopProgress
from agent.export.artifact import Artifact, ArtifactManifest, Format, artifacts_in, digest, is_intact, size_bytes
from agent.export.info import EXPORTER
from agent.export.job import ANY_BOARD
from agent.export.network import Network
from agent.export.publish import publish, publishing, storage_errors
from agent.export.quantization import Quantization
from agent.model.disk import is_there, try_lock, write_atomically
from agent.workshop.position_set import PositionSet
from agent.workshop.qat_options import QatOptions
from agent.workshop.qat_symmetries import under_symmetries
from agent.workshop.static_int8 import write_quantized

if TYPE_CHECKING:
    from agent.workshop.torch_training import Training

WORK: Final = ".qat"
_SUFFIX: Final = f".qat{Format.ONNX_INT8.facts.suffix}"
_QUANTIZATION: Final = ".qat.npz"
# The loss that is shown and kept is a mean over so many steps.
_WINDOW: Final = 50
_POINTS_KEPT: Final = 20

Prove = Callable[[Artifact], None]


@dataclass(frozen=True)
class Run:
    """`network` is the source with its hash; `quantization` is where training starts; no game of `held_out` may be
    among `positions`. A checkpoint is written every `checkpoint_s` seconds of `clock`."""

    network: Network
    quantization: Quantization
    positions: PositionSet
    options: QatOptions
    held_out: PositionSet | None = None
    checkpoint_s: float = 60.0
    clock: Callable[[], float] = time.monotonic

    def key(self) -> str:
        """Names everything that decides the result."""
        total = hashlib.sha256(b"qat 1")
        total.update(self.network.info.sha256.encode())
        total.update(self.quantization.sha256().encode())
        total.update(self.positions.sha256().encode())
        total.update(msgspec.json.encode(self.options))
        return total.hexdigest()


class _Head(msgspec.Struct, frozen=True):
    """First line of a checkpoint; the training's own state follows."""

    key: str
    curve: tuple[float, ...]


def train(run: Run, folder: Path, prove: Prove, reporter: Reporter) -> Artifact:
    """Train, and put the artifact, its manifest and its quantization (`<name>.qat.npz`) into `folder`. What is there
    already from the same run is left alone.

    Raises:
        ToolMissing, CalibrationError: as `require_ready`; or the quantization is another network's, or the loss is no
            number any more.
        CheckpointRefused: in `folder` lies a checkpoint of another run, or one that is damaged.
        ConversionFailed, StoreBusy, StorageFull, StoreUnwritable: as `publish`.
    """
    require_ready(run.positions, run.held_out, run.options.device)
    key = run.key()
    for artifact in artifacts_in(folder, run.network.info.sha256):
        if artifact.manifest.recipe.get("qat run") == key and is_intact(artifact):
            return artifact
    with _locked(folder / WORK) as work:
        training, curve = _start(run, key, work, reporter)
        _go_on(training, curve, run, key, work, reporter)
        quantization = training.student.value(_recipe(run, key, curve))
        with publishing(folder) as staging:
            artifact = _publish(run.network, quantization, staging, prove, reporter)
        shutil.rmtree(work, ignore_errors=True)  # a checkpoint that stayed would be in the next run's way
    return artifact


def require_ready(positions: PositionSet, held_out: PositionSet | None, device: str) -> None:
    """What a run needs before anything else. `train` asks, too; whoever has minutes of work before it can ask first.

    Raises:
        ToolMissing: PyTorch is not installed, or finds no such device.
        CalibrationError: no positions, or games of `held_out` among them.
    """
    _require_torch(device)
    _require_apart(positions, held_out)


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[Path]:
    """Hold `work`, which is made if need be, and goes again if nothing came to lie there: two runs in one folder would
    write one checkpoint."""
    made = [each for each in (work, *work.parents) if not is_there(each)]
    with storage_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not try_lock(descriptor, work):
            raise StoreBusy(f"another process trains in {work}", fix="Wait for it to finish, or give another --out.")
        yield work
    finally:
        with contextlib.suppress(OSError):
            for each in made:
                each.rmdir()
        os.close(descriptor)


def _start(run: Run, key: str, work: Path, reporter: Reporter) -> tuple[Training, list[float]]:
    import torch

    from agent.workshop.torch_student import Student
    from agent.workshop.torch_teacher import teacher_answers
    from agent.workshop.torch_training import Training

    torch.set_num_threads(run.options.threads)
    # On a GPU some of what is needed has no deterministic form; there, a run goes on, but not with the very numbers.
    torch.use_deterministic_algorithms(run.options.device == "cpu")
    path = work / "checkpoint"
    kept = _read_checkpoint(path, key)
    positions = under_symmetries(run.positions, run.options.symmetries, run.options.seed)
    answers = teacher_answers(run.network, positions, work, run.options.device, reporter)
    training = Training(Student(run.network, run.quantization), positions, answers, run.options)
    if kept is None:
        return training, []
    head, state = kept
    try:
        training.restore(state)
    except ValueError as error:
        raise CheckpointRefused(f"{path} is damaged: {error}") from error
    return training, list(head.curve)


def _go_on(training: Training, curve: list[float], run: Run, key: str, work: Path, reporter: Reporter) -> None:
    """Until all steps are made. `curve` gets the loss of each."""
    path, steps, written = work / "checkpoint", run.options.steps, run.clock()
    while training.done < steps:
        loss = training.step().total
        if not math.isfinite(loss):
            raise CalibrationError(
                f"the loss of step {training.done} is no number",
                fix="Check the network with `agent verify`, or train on other positions.",
            )
        curve.append(loss)
        recent = curve[-_WINDOW:]
        reporter.report(WorkshopProgress(f"loss {sum(recent) / len(recent):.6f}", training.done, steps))
        if run.clock() - written >= run.checkpoint_s or training.done == steps:
            head = msgspec.json.encode(_Head(key, tuple(curve)))
            with storage_errors(path):
                write_atomically(path, head + b"\n" + training.state())
            written = run.clock()


def _read_checkpoint(path: Path, key: str) -> tuple[_Head, bytes] | None:
    try:
        line, _, state = path.read_bytes().partition(b"\n")
        head = msgspec.json.decode(line, type=_Head)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise CheckpointRefused(f"{path} is no checkpoint: {error}") from error
    if head.key != key:
        raise CheckpointRefused(f"{path} belongs to a run with another network, start, set of positions or options")
    return head, state


def _publish(network: Network, quantization: Quantization, staging: Path, prove: Prove, reporter: Reporter) -> Artifact:
    info = msgspec.structs.replace(network.info, precision=Format.ONNX_INT8.facts.precision, exporter=EXPORTER)
    named = dataclasses.replace(network, info=info)

    def make(out: Path) -> ArtifactManifest:
        write_quantized(named, quantization, out, reporter)
        return ArtifactManifest(
            file=out.name,
            format=Format.ONNX_INT8.value,
            size_bytes=size_bytes(out),
            sha256=digest(out),
            network=info,
            board_sizes=ANY_BOARD,
            tools={name: metadata.version(name) for name in ("onnx", "torch")},
            recipe=dict(quantization.recipe),
        )

    def prove_and_keep(artifact: Artifact) -> None:
        """The last before the artifact gets its name: one that does not run leaves the older pair as it was."""
        prove(artifact)
        quantization.save(staging.parent / f"{info.name}{_QUANTIZATION}")

    return publish(staging, f"{info.name}{_SUFFIX}", make, prove_and_keep)


def _recipe(run: Run, key: str, curve: Sequence[float]) -> dict[str, str]:
    width = max(1, len(curve) // _POINTS_KEPT)
    means = [sum(curve[at : at + width]) / len(curve[at : at + width]) for at in range(0, len(curve), width)]
    options = run.options
    return {
        "training": "distilled from fp32",
        "qat run": key,
        "qat steps": f"{options.steps} of {options.batch} positions",
        "qat positions": f"{run.positions.sha256()} ({len(run.positions)} of {run.positions.games} games)",
        "qat options": msgspec.json.encode(options).decode(),
        "qat loss": " ".join(f"{mean:.6f}" for mean in means),
    }


def _require_torch(device: str) -> None:
    try:
        import torch
    except ImportError as error:
        raise ToolMissing(f"training needs PyTorch, which does not load: {error}", fix=install_extra("qat")) from error
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ToolMissing(f"PyTorch finds no device {device} here", fix="Train with --device cpu.")


def _require_apart(positions: PositionSet, held_out: PositionSet | None) -> None:
    """Training must not see a game that it is judged by."""
    if not len(positions):
        raise CalibrationError("there is no position to train on")
    if held_out is None:
        return
    common = held_out.game_ids() & positions.game_ids()
    if common:
        raise CalibrationError(
            f"{len(common)} games are both trained on and held out", fix="Play other games with another --seed."
        )
