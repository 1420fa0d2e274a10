"""Runs the engines that `export/tensorrt.py` builds, on the device they were built on. Never run where NVIDIA's
libraries are absent; the tests stand in for them.

An engine holds a profile for each board size that is played much and one for all others. A lane is what one call
needs: a stream, memory on the device for the largest batch, and an execution context for each profile in use. There are
as many lanes as threads; a call takes a free one.
"""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.engine.backends.exported import require_artifact, require_inputs
from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS, Array, NetworkInfo, Outputs
from agent.engine.backends.onnxruntime import require_model
from agent.errors import BackendUnavailable, ToolMissing
from agent.export.cuda_driver import Cuda, CudaDriver, room_bytes
from agent.export.tensorrt_interface import Engine, ExecutionContext, TensorRT, load_tensorrt, quiet_logger

_OUTPUTS = ("policy", "value", "score", "ownership")
_REBUILD = "Export to the format again on this device; an engine fits one device and one release of TensorRT."


@dataclass(frozen=True)
class _Profile:
    """Which shapes of `spatial` the engine's profile number `index` takes."""

    index: int
    least: tuple[int, ...]
    most: tuple[int, ...]

    def takes(self, y_size: int, x_size: int) -> bool:
        return self.least[2] <= y_size <= self.most[2] and self.least[3] <= x_size <= self.most[3]

    @property
    def room(self) -> int:
        """How many boards it takes: the fewer, the better it is at each."""
        return (self.most[2] - self.least[2] + 1) * (self.most[3] - self.least[3] + 1)


class TensorRtBackend:
    """One engine on the first device."""

    name = "tensorrt"

    def __init__(self, model: Path, threads: int, tensorrt: TensorRT, cuda: Cuda) -> None:
        """Load `model`, an artifact that was built here; its manifest lies beside it.

        Raises:
            BackendUnavailable: no such artifact, or it was built for another device or release.
        """
        self._tensorrt, self._cuda = tensorrt, cuda
        self.network = _network(model, tensorrt, cuda)
        cuda.enter()
        self._runtime = tensorrt.Runtime(quiet_logger(tensorrt))
        engine = self._runtime.deserialize_cuda_engine(model.read_bytes())
        if engine is None:
            raise BackendUnavailable(f"TensorRT does not load {model}; it says why above", fix=_REBUILD)
        self._engine = engine
        self._check_types()
        self._profiles = sorted(_profiles(engine), key=lambda profile: profile.room)
        self._max_batch = min(profile.most[0] for profile in self._profiles)
        self._lanes: queue.LifoQueue[_Lane] = queue.LifoQueue()
        self._all_lanes: list[_Lane] = []
        for _ in range(max(1, threads)):
            lane = _Lane(engine, cuda, self.network, self._max_batch)
            self._all_lanes.append(lane)
            self._lanes.put(lane)

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        require_inputs(spatial, global_, "TensorRT")
        count, _, y_size, x_size = spatial.shape
        profile = next((each for each in self._profiles if each.takes(y_size, x_size)), None)
        if profile is None:
            raise BackendUnavailable(f"the engine takes no board of {x_size}×{y_size}", fix=_REBUILD)
        with self._lane() as lane:
            parts = [
                lane.run(
                    profile.index, spatial[start : start + self._max_batch], global_[start : start + self._max_batch]
                )
                for start in range(0, count, self._max_batch)
            ]
        return parts[0] if len(parts) == 1 else Outputs(*(np.concatenate(each) for each in zip(*parts, strict=True)))

    def versions(self) -> dict[str, str]:
        return {"tensorrt": self._tensorrt.__version__, "cuda": self._cuda.driver_version}

    def close(self) -> None:
        """Free the device's memory; later calls fail."""
        self._cuda.enter()
        for lane in self._all_lanes:
            lane.close()
        self._all_lanes.clear()
        del self._engine, self._runtime
        self._cuda.close()

    @contextlib.contextmanager
    def _lane(self) -> Iterator[_Lane]:
        lane = self._lanes.get()
        try:
            self._cuda.enter()
            yield lane
        finally:
            self._lanes.put(lane)

    def _check_types(self) -> None:
        """Inputs and outputs are copied as float32, so they must be."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        if set(names) != {"spatial", "global", *_OUTPUTS}:
            raise BackendUnavailable(f"the engine's inputs and outputs are {', '.join(names)}", fix=_REBUILD)
        for name in names:
            if self._engine.get_tensor_dtype(name) != self._tensorrt.DataType.FLOAT:
                raise BackendUnavailable(f"the engine's {name} is not in fp32", fix=_REBUILD)


class _Lane:
    """Used by one thread at a time."""

    def __init__(self, engine: Engine, cuda: Cuda, network: NetworkInfo, max_batch: int) -> None:
        self._engine, self._cuda = engine, cuda
        self._stream = cuda.stream()
        self._contexts: dict[int, ExecutionContext] = {}
        area = 19 * 19
        columns = {
            "spatial": SPATIAL_CHANNELS * area,
            "global": GLOBAL_CHANNELS,
            "policy": network.policy_channels * (area + 1),
            "value": 3,
            "score": network.score_channels,
            "ownership": area,
        }
        self._rooms = {name: (max_batch, column) for name, column in columns.items()}
        self._addresses = {name: cuda.allocate(room_bytes(shape)) for name, shape in self._rooms.items()}

    def run(self, profile: int, spatial: Array, global_: Array) -> Outputs:
        context = self._context(profile)
        inputs = {"spatial": np.ascontiguousarray(spatial), "global": np.ascontiguousarray(global_)}
        for name, values in inputs.items():
            self._cuda.upload(self._addresses[name], values, self._stream)
            self._require(context.set_input_shape(name, values.shape), f"refuses {name} of {values.shape}")
        for name, address in self._addresses.items():
            self._require(context.set_tensor_address(name, address), f"refuses memory for {name}")
        outputs = {name: self._output(context, name) for name in _OUTPUTS}
        self._require(context.execute_async_v3(self._stream), "failed in mid-use")
        for name, values in outputs.items():
            self._cuda.download(values, self._addresses[name], self._stream)
        self._cuda.wait(self._stream)
        return Outputs(**outputs)

    def close(self) -> None:
        self._contexts.clear()
        for address in self._addresses.values():
            self._cuda.free(address)
        self._cuda.end_stream(self._stream)

    def _context(self, profile: int) -> ExecutionContext:
        if profile not in self._contexts:
            context = self._engine.create_execution_context()
            if context is None:
                raise BackendUnavailable(
                    "TensorRT has no memory for another execution context", fix="Use fewer threads."
                )
            self._require(context.set_optimization_profile_async(profile, self._stream), f"refuses profile {profile}")
            self._cuda.wait(self._stream)
            self._contexts[profile] = context
        return self._contexts[profile]

    def _output(self, context: ExecutionContext, name: str) -> Array:
        shape = tuple(context.get_tensor_shape(name))
        if min(shape) < 0 or int(np.prod(shape)) > int(np.prod(self._rooms[name])):
            raise BackendUnavailable(f"TensorRT gives {name} the shape {shape}", fix=_REBUILD)
        return np.empty(shape, np.float32)

    def _require(self, well: bool, otherwise: str) -> None:
        if not well:
            raise BackendUnavailable(f"TensorRT {otherwise}; it says why above", fix=_REBUILD)


def open_tensorrt(model: Path | None, threads: int) -> TensorRtBackend:
    """For the table."""
    path = require_model(model)
    try:
        tensorrt = load_tensorrt()
    except ToolMissing as error:
        raise BackendUnavailable(str(error), fix=error.fix) from error
    cuda = CudaDriver()
    try:
        return TensorRtBackend(path, threads, tensorrt, cuda)
    except BaseException:  # whatever it is, the device is given back
        cuda.close()
        raise


def _network(model: Path, tensorrt: TensorRT, cuda: Cuda) -> NetworkInfo:
    artifact = require_artifact(model, TensorRtBackend.name)
    here = {"tensorrt": tensorrt.__version__, "device": cuda.device_name}
    for what, value in here.items():
        built = artifact.manifest.recipe.get(what, "unknown")
        if built != value:
            raise BackendUnavailable(f"{model.name} was built for {what} {built}; this is {value}", fix=_REBUILD)
    return artifact.manifest.network


def _profiles(engine: Engine) -> Iterator[_Profile]:
    for index in range(engine.num_optimization_profiles):
        least, _, most = engine.get_tensor_profile_shape("spatial", index)
        yield _Profile(index, tuple(least), tuple(most))
