"""The part of NVIDIA's Python module `tensorrt` that we use, as types. The one place that imports it.

The module comes with JetPack (the system's python3, hence a virtual environment with --system-site-packages) and is
not on the package index for machines without a GPU, so type checking goes by these classes. They follow the published
bindings, NVIDIA/TensorRT python/src/infer/pyCore.cpp, pyGraph.cpp and python/src/parsers/pyOnnx.cpp: every name below
is there with this signature in the releases 10.0, 10.3 (JetPack 6.1), 10.16 and 11.1. What release 11 dropped (flags
for FP16 and INT8, EXPLICIT_BATCH) is not used: networks are strongly typed, so the ONNX file says each type.

Methods that return bool report failure with False, those that return an optional with None, and the module prints why.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any, Protocol, cast

from agent.errors import ToolMissing

# A network definition that is strongly typed, and engines that this code opens, exist from here on.
OLDEST = (10, 0)
NEVER_RUN = "TensorRT: never run"


class HostMemory(Protocol):
    """IHostMemory: supports Python's buffer protocol."""

    @property
    def nbytes(self) -> int: ...

    def __buffer__(self, flags: int, /) -> memoryview: ...


class TimingCache(Protocol):
    """ITimingCache"""

    def serialize(self) -> HostMemory: ...


class OptimizationProfile(Protocol):
    """IOptimizationProfile"""

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None: ...


class BuilderConfig(Protocol):
    """IBuilderConfig; `progress_monitor` takes an IProgressMonitor."""

    progress_monitor: Any

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None: ...
    def add_optimization_profile(self, profile: OptimizationProfile) -> int: ...
    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache: ...
    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool: ...
    def get_timing_cache(self) -> TimingCache | None: ...


class NetworkDefinition(Protocol):
    """INetworkDefinition"""

    @property
    def num_layers(self) -> int: ...


class Builder(Protocol):
    def create_network(self, flags: int) -> NetworkDefinition: ...
    def create_builder_config(self) -> BuilderConfig: ...
    def create_optimization_profile(self) -> OptimizationProfile: ...
    def build_serialized_network(self, network: NetworkDefinition, config: BuilderConfig) -> HostMemory | None: ...


class ParserError(Protocol):
    def desc(self) -> str: ...


class OnnxParser(Protocol):
    @property
    def num_errors(self) -> int: ...

    def parse_from_file(self, model: str) -> bool: ...
    def get_error(self, index: int) -> ParserError: ...


class ExecutionContext(Protocol):
    """IExecutionContext"""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool: ...
    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool: ...
    def set_tensor_address(self, name: str, memory: int) -> bool: ...
    def get_tensor_shape(self, name: str) -> Sequence[int]: ...
    def execute_async_v3(self, stream_handle: int) -> bool: ...


class Engine(Protocol):
    """ICudaEngine"""

    @property
    def num_optimization_profiles(self) -> int: ...

    @property
    def num_io_tensors(self) -> int: ...

    def get_tensor_name(self, index: int) -> str: ...
    def get_tensor_dtype(self, name: str) -> Any: ...
    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Sequence[int]]:
        """The smallest, best and largest shape."""

    def create_execution_context(self) -> ExecutionContext | None: ...


class Runtime(Protocol):
    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None: ...


class TensorRT(Protocol):
    """The module. Enumerations are Any: their members are only handed back."""

    __version__: str
    NetworkDefinitionCreationFlag: Any
    MemoryPoolType: Any
    DataType: Any
    ILogger: Any
    IProgressMonitor: Any

    def Logger(self, min_severity: Any) -> Any: ...
    def Builder(self, logger: Any) -> Builder: ...
    def OnnxParser(self, network: NetworkDefinition, logger: Any) -> OnnxParser: ...
    def Runtime(self, logger: Any) -> Runtime: ...


def load_tensorrt(module: str = "tensorrt") -> TensorRT:
    """The installed module.

    Raises:
        ToolMissing: there is none, it does not load, or it is older than `OLDEST`.
    """
    try:
        tensorrt = cast(TensorRT, importlib.import_module(module))
    except (ImportError, OSError) as error:  # OSError: a library of its own is missing
        raise ToolMissing(
            f"NVIDIA's module tensorrt does not load here ({error}). {NEVER_RUN}",
            fix="On a Jetson install JetPack 6 or newer and run ./install.sh again; elsewhere use ONNX Runtime.",
        ) from error
    version = tuple(int(part) for part in tensorrt.__version__.split(".")[:2])
    if version < OLDEST:
        raise ToolMissing(
            f"TensorRT {tensorrt.__version__} is older than {OLDEST[0]}.{OLDEST[1]}. {NEVER_RUN}",
            fix="Upgrade the device to JetPack 6.1 or newer.",
        )
    return tensorrt


def quiet_logger(tensorrt: TensorRT) -> Any:
    """Prints errors alone."""
    return tensorrt.Logger(tensorrt.ILogger.Severity.ERROR)
