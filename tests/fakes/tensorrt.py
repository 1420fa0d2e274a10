"""NVIDIA's module `tensorrt` as far as `agent/export/tensorrt_interface.py` knows it, on ONNX Runtime.

An "engine" is the ONNX file with the profiles and the release in front. Execution reads and writes the addresses it is
given, which are those of `libcuda.c`. What the real module refuses is refused: an engine of another release, a shape
outside of the profile, an output without memory.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

_STRONGLY_TYPED = 1
Shapes = dict[str, list[list[int]]]


class _Bytes(bytes):
    @property
    def nbytes(self) -> int:
        return len(self)


class _Network:
    def __init__(self, flags: int) -> None:
        assert flags == 1 << _STRONGLY_TYPED
        self.onnx = b""

    @property
    def num_layers(self) -> int:
        return len(onnx.load_from_string(self.onnx).graph.node)


class _Profile:
    def __init__(self) -> None:
        self.shapes: Shapes = {}

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        assert all(low <= best <= high for low, best, high in zip(min, opt, max, strict=True))
        self.shapes[input] = [list(min), list(opt), list(max)]


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> _Bytes:
        return _Bytes(self.content)


class _Config:
    def __init__(self, release: str) -> None:
        self._release = release
        self.progress_monitor: Any = None
        self.profiles: list[Shapes] = []
        self.cache: _TimingCache | None = None

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        assert pool == "workspace" and pool_size > 0

    def add_optimization_profile(self, profile: _Profile) -> int:
        self.profiles.append(profile.shapes)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> _TimingCache:
        return _TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.cache = cache
        return cache.content in (b"", self._release.encode())

    def get_timing_cache(self) -> _TimingCache | None:
        return _TimingCache(self._release.encode())


class _Builder:
    def __init__(self, module: FakeTensorRT) -> None:
        self._module = module

    def create_network(self, flags: int) -> _Network:
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config(self._module.__version__)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> _Bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Tactics", "Building", 5)
        assert monitor.step_complete("Tactics", 0) and monitor.step_complete("Building", 0)
        monitor.phase_finish("Tactics")
        monitor.phase_finish("Building")
        self._module.timings_known.append(bool(config.cache and config.cache.content))
        if self._module.cannot_build:
            return None
        head = json.dumps({"release": self._module.__version__, "profiles": config.profiles}).encode()
        return _Bytes(head + b"\n" + network.onnx)


class _Parser:
    def __init__(self, network: _Network) -> None:
        self._network = network
        self._errors: list[str] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def parse_from_file(self, model: str) -> bool:
        try:
            self._network.onnx = Path(model).read_bytes()
            onnxruntime.InferenceSession(self._network.onnx, providers=["CPUExecutionProvider"])
        except Exception as error:  # whatever the runtime says is what the parser says
            self._errors.append(f"In node 0: {error}")
        return not self._errors

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: self._errors[index])


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine = engine
        self._profile = 0
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        return stream_handle != 0 and profile_index < len(self._engine.profiles)

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        least, _, most = self._engine.profiles[self._profile][name]
        self._shapes[name] = tuple(shape)
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory != 0

    def get_tensor_shape(self, name: str) -> Sequence[int]:
        batch, _, height, width = self._shapes["spatial"]
        free = {"batch": batch, "area": height * width, "moves": height * width + 1}
        (declared,) = (each.shape for each in self._engine.session.get_outputs() if each.name == name)
        return [free.get(size, -1) if isinstance(size, str) else size for size in declared]

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not stream_handle or set(self._addresses) != set(self._engine.names):
            return False
        inputs = {name: _at(self._addresses[name], shape) for name, shape in self._shapes.items()}
        names = [each.name for each in self._engine.session.get_outputs()]
        for name, values in zip(names, self._engine.session.run(names, inputs), strict=True):
            _at(self._addresses[name], values.shape)[...] = values
        return not self._engine.module.cannot_run


class _Engine:
    def __init__(self, module: FakeTensorRT, profiles: list[Shapes], model: bytes) -> None:
        self.module = module
        self.profiles = profiles
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.names = [each.name for each in (*self.session.get_inputs(), *self.session.get_outputs())]

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    @property
    def num_io_tensors(self) -> int:
        return len(self.names)

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_dtype(self, name: str) -> Any:
        return "float" if name not in self.module.half_tensors else "half"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Sequence[int]]:
        return self.profiles[profile_index][name]

    def create_execution_context(self) -> _Context | None:
        return None if self.module.no_memory else _Context(self)


class _Runtime:
    def __init__(self, module: FakeTensorRT) -> None:
        self._module = module

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> _Engine | None:
        head, _, model = serialized_engine.partition(b"\n")
        about = json.loads(head)
        if about["release"] != self._module.__version__:
            return None
        return _Engine(self._module, about["profiles"], model)


class _Monitor:
    def __init__(self) -> None:
        self.initialised = True


class FakeTensorRT:
    """The module. The flags make it refuse at the named point."""

    def __init__(self, release: str = "10.3.0.30") -> None:
        self.__version__ = release
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=_STRONGLY_TYPED)
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
        self.DataType = SimpleNamespace(FLOAT="float")
        self.ILogger = SimpleNamespace(Severity=SimpleNamespace(ERROR="error"))
        self.IProgressMonitor = _Monitor
        self.cannot_build = self.cannot_run = self.no_memory = False
        self.half_tensors: set[str] = set()
        self.timings_known: list[bool] = []

    def Logger(self, min_severity: Any) -> Any:
        return min_severity

    def Builder(self, logger: Any) -> Any:
        return _Builder(self)

    def OnnxParser(self, network: Any, logger: Any) -> Any:
        return _Parser(network)

    def Runtime(self, logger: Any) -> Any:
        return _Runtime(self)


def _at(address: int, shape: Sequence[int]) -> Any:
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)
