"""TensorRT engines, built on the device that will run them from an ONNX file that ONNX Runtime has run.

An engine fits one device and one release of TensorRT; both are among the inputs that decide whether an artifact is
current, so the engine is made anew when either changes. What TensorRT measured while it built is kept beside the
artifacts and makes the next build fast.

The network is strongly typed: FP16 and INT8 are what the ONNX file says, not what the builder chooses. NVIDIA's
libraries are not to be had without a GPU of theirs; `tensorrt_interface.py` says what this code was checked against.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.errors import BackendUnavailable, ConversionFailed, ToolMissing
from agent.events import Converting, Reporter
from agent.export.artifact import Format, digest
from agent.export.cuda_driver import Cuda, CudaDriver
from agent.export.info import GLOBAL_CHANNELS, SPATIAL_CHANNELS
from agent.export.job import ANY_BOARD, Job, Written
from agent.export.session import open_session
from agent.export.tensorrt_interface import NEVER_RUN, OnnxParser, TensorRT, load_tensorrt, quiet_logger
from agent.export.tensorrt_operators import TENSORRT_VERSION, check_operators
from agent.export.tensorrt_quantized import symmetric
from agent.model import disk

# What the search may send at once. A Jetson Orin's GPU is full long before; more is cut into pieces by the backend.
MAX_BATCH = 32
BEST_BATCH = 8
# What a build may use for scratch. NVIDIA's samples give 1 GiB; a Jetson Orin Nano shares 8 GiB between everything.
_WORKSPACE_BYTES = 1 << 30
_TRIAL_BOARDS = ((9, 9), (19, 19))


@dataclass(frozen=True)
class Boards:
    """An optimisation profile: the sides that it serves, and the one it is fastest for."""

    least: int
    best: int
    most: int


# One for each size that is played much, and one for every other board.
PROFILES = (Boards(19, 19, 19), Boards(13, 13, 13), Boards(9, 9, 9), Boards(1, 19, 19))


def write_fp16(job: Job) -> Written:
    """An engine of the ONNX fp16 artifact. See `write_engine`."""
    source, tensorrt = job.made(Format.ONNX_FP16), load_tensorrt()
    with contextlib.closing(_device()) as cuda:
        return write_engine(job, source, tensorrt, cuda)


def write_int8(job: Job) -> Written:
    """An engine of the ONNX static INT8 artifact, made symmetric. See `write_engine`."""
    tensorrt, source = load_tensorrt(), job.made(Format.ONNX_INT8)
    signed = job.out.with_name("symmetric.onnx")
    quantized = symmetric(source, signed)
    _run_once(signed)
    with contextlib.closing(_device()) as cuda:
        written = write_engine(job, signed, tensorrt, cuda)
    return Written({**written.recipe, "int8": f"symmetric, {quantized} layers", "from": digest(source)}, written.form)


def inputs(module: str = "tensorrt", library: str = "") -> Mapping[str, str]:
    """What decides, besides the network, what an engine is.

    Raises:
        ToolMissing: no TensorRT, or no device, here.
    """
    tensorrt = load_tensorrt(module)
    # A context takes a Jetson some hundred MB of the memory that everything shares: none stays for other formats.
    with contextlib.closing(_device(library)) as cuda:
        return {"tensorrt": tensorrt.__version__, "device": cuda.device_name}


def write_engine(job: Job, onnx: Path, tensorrt: TensorRT, cuda: Cuda) -> Written:
    """Build the engine of `onnx` for `cuda`'s device.

    Raises:
        ConversionFailed: an operator that TensorRT does not read, named; or TensorRT's own refusal, in its words.
    """
    check_operators(onnx)
    cuda.enter()
    builder = tensorrt.Builder(quiet_logger(tensorrt))
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, quiet_logger(tensorrt))
    if not parser.parse_from_file(str(onnx)):
        raise ConversionFailed(f"TensorRT does not take {onnx.name}: {_errors(parser)}")
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
    config.progress_monitor = _monitor(tensorrt, job.info.name, job.reporter)
    for boards in PROFILES:
        profile = builder.create_optimization_profile()
        for name, shapes in _shapes(boards).items():
            profile.set_shape(name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise ConversionFailed(f"TensorRT refuses the sizes {boards} for {onnx.name}")
    timings = _timing_cache(job.keeps, tensorrt, cuda)
    measured = timings.read_bytes() if timings and timings.is_file() else b""
    # False where another device measured; TensorRT then starts from nothing.
    known = config.set_timing_cache(config.create_timing_cache(measured), False) and bool(measured)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ConversionFailed(f"TensorRT cannot build an engine of {onnx.name}; it says why above")
    job.out.write_bytes(engine)
    if timings and (cache := config.get_timing_cache()) is not None:
        _keep(timings, bytes(cache.serialize()))
    return Written(
        recipe={
            "onnx": digest(onnx),
            "operators": f"all in ONNX-TensorRT {TENSORRT_VERSION}",
            "timing cache": "known" if known else "new",
            "batch": f"1 to {MAX_BATCH}",
        },
        board_sizes=ANY_BOARD,
    )


def _device(library: str = "") -> Cuda:
    try:
        return CudaDriver(library) if library else CudaDriver()
    except BackendUnavailable as error:
        raise ToolMissing(f"{error}. {NEVER_RUN}", fix=error.fix) from error


def _run_once(onnx: Path) -> None:
    """The rewritten file is only worth building when it is a network that runs."""
    try:
        session = open_session(onnx)
        for side_y, side_x in _TRIAL_BOARDS:
            spatial = np.ones((1, SPATIAL_CHANNELS, side_y, side_x), np.float32)
            outputs = session.run(spatial, np.zeros((1, GLOBAL_CHANNELS), np.float32))
            if not all(np.isfinite(output).all() for output in outputs):
                raise ConversionFailed(f"in symmetric INT8 the outputs on {side_x}×{side_y} are not finite")
    except BackendUnavailable as error:
        raise ConversionFailed(f"the network in symmetric INT8 does not run: {error}") from error


def _shapes(boards: Boards) -> dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]]:
    """Least, best and most of each input."""
    batches = (1, BEST_BATCH, MAX_BATCH)
    sides = (boards.least, boards.best, boards.most)
    least, best, most = ((batch, SPATIAL_CHANNELS, side, side) for batch, side in zip(batches, sides, strict=True))
    smallest, usual, largest = ((batch, GLOBAL_CHANNELS) for batch in batches)
    return {"spatial": (least, best, most), "global": (smallest, usual, largest)}


def _errors(parser: OnnxParser) -> str:
    return "; ".join(parser.get_error(index).desc() for index in range(parser.num_errors)) or "no reason given"


def _timing_cache(folder: Path | None, tensorrt: TensorRT, cuda: Cuda) -> Path | None:
    if folder is None:
        return None
    device = "".join(letter if letter.isalnum() else "-" for letter in cuda.device_name)
    return folder / f".timings-{device}-{tensorrt.__version__}"


def _keep(path: Path, content: bytes) -> None:
    """A cache that cannot be written costs time, nothing else."""
    with contextlib.suppress(OSError):
        disk.write_atomically(path, content)


def _monitor(tensorrt: TensorRT, name: str, reporter: Reporter) -> Any:
    """An IProgressMonitor that tells of the outermost phase. Called from threads of TensorRT's own."""
    base: Any = tensorrt.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # the class is the module's, known when it is loaded
        def __init__(self) -> None:
            base.__init__(self)  # pybind11 asks for its own initialiser, by name
            self._phase, self._steps = "", 0

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._phase, self._steps = phase_name, num_steps
                reporter.report(Converting(name, 0, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self._phase:
                reporter.report(Converting(name, step + 1, self._steps))
            return True

        def phase_finish(self, phase_name: str) -> None:
            if phase_name == self._phase:
                reporter.report(Converting(name, self._steps, self._steps))

    return Monitor()
