"""Opens ONNX Runtime sessions the way we want them. The one owner of the `onnxruntime` package.

Settings and what they were measured to cost are in docs/decisions/0013-one-dynamic-graph-with-winograd.md.
"""

from __future__ import annotations

import ctypes
import enum
import glob
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import BackendUnavailable
from agent.export.artifact import digest, read_artifact
from agent.export.info import METADATA_KEY, NetworkInfo

Array = NDArray[np.float32]

# glibc's mallopt(M_MMAP_THRESHOLD, …). The runtime copies each weight once while it loads; with the usual, growing
# threshold those copies stay in the heap (b15c192, Winograd: 346 MB after loading instead of 223).
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 1 << 16

_INPUTS = ("spatial", "global")
_OUTPUTS = ("policy", "value", "score", "ownership")


class Provider(enum.Enum):
    """What ONNX Runtime computes with, by its own names."""

    CPU = "CPUExecutionProvider"
    CUDA = "CUDAExecutionProvider"
    TENSORRT = "TensorrtExecutionProvider"


# The boards and batches that an engine of the TensorRT provider serves. Without them it builds anew for each new shape.
_TENSORRT_SHAPES = {
    "trt_profile_min_shapes": "spatial:1x22x1x1,global:1x19",
    "trt_profile_opt_shapes": "spatial:8x22x19x19,global:8x19",
    "trt_profile_max_shapes": "spatial:32x22x19x19,global:32x19",
}


# How much of a network's hash names its engines, and how such a folder's name ends; the first ones had no hash.
_HASH_DIGITS = 16
_CACHE_FOLDER = re.compile(rf"(\.[0-9a-f]{{{_HASH_DIGITS}}})?\.tensorrt$")


class Session:
    """A loaded network. `run` may be called by several threads at once, each of which computes on its own."""

    def __init__(self, session: Any, network: NetworkInfo) -> None:
        self._session = session
        self.network = network

    def run(self, spatial: Array, global_: Array) -> list[Array]:
        """Policy, value, score and ownership, as the graph gives them.

        Raises:
            BackendUnavailable: the runtime failed.
        """
        try:
            outputs: list[Array] = self._session.run(_OUTPUTS, {"spatial": spatial, "global": global_})
        except Exception as error:  # the runtime raises classes of its own that have only Exception in common
            raise BackendUnavailable(f"ONNX Runtime failed: {_first_line(error)}") from error
        return outputs


class Runtime(NamedTuple):
    """`version` of the installed ONNX Runtime."""

    version: str


def runtime() -> Runtime:
    """The installed runtime.

    Raises:
        BackendUnavailable: there is none, or it does not load.
    """
    return Runtime(str(_import().__version__))


def open_session(model: Path, *, optimise: bool = True, provider: Provider = Provider.CPU) -> Session:
    """Load a converted network. Without `optimise` the graph runs as it was written, node by node, which is slow but
    takes other kernels: a second opinion. `provider` says on what it runs; there is no falling back.

    Raises:
        BackendUnavailable: no runtime, no such file, not a file that we converted, or `provider` does not work here.
    """
    onnxruntime = _import()
    _return_freed_memory()
    options = onnxruntime.SessionOptions()
    # The search brings the threads; one computes on each core without handing pieces of a layer around.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Patterns are remembered for each shape that ever came; board sizes and batches vary (−7 MB with b15c192).
    options.enable_mem_pattern = False
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=_providers(onnxruntime, provider, model))
        metadata = session.get_modelmeta().custom_metadata_map
    except BackendUnavailable:
        raise
    except Exception as error:  # as above
        raise BackendUnavailable(
            f"ONNX Runtime cannot load {model}: {_first_line(error)}", fix="Convert the network again."
        ) from error
    require_started(provider, session.get_providers())
    if {value.name for value in session.get_inputs()} != set(_INPUTS):
        raise BackendUnavailable(f"{model} is not a network that `agent convert` wrote", fix="Convert the network.")
    try:
        network = msgspec.json.decode(metadata[METADATA_KEY], type=NetworkInfo)
    except (KeyError, msgspec.DecodeError) as error:
        raise BackendUnavailable(
            f"{model} does not say which network it holds", fix="Convert the network again."
        ) from error
    return Session(session, network)


def _providers(onnxruntime: Any, provider: Provider, model: Path) -> list[Any]:
    """`provider`, if the package has it, and what computes the nodes that it does not."""
    offered = onnxruntime.get_available_providers()
    if provider.value not in offered:
        raise BackendUnavailable(
            f"the installed ONNX Runtime {onnxruntime.__version__} has no {provider.value}, only {', '.join(offered)}",
            fix="Install the onnxruntime that JetPack's maker builds for the device, or use the backend onnxruntime.",
        )
    # TF32 keeps 10 bits of fp32's 23, which is further from native KataGo than an fp32 artifact may be.
    cuda = ("CUDAExecutionProvider", {"use_tf32": "0"})
    if provider is Provider.CPU:
        return [Provider.CPU.value]
    if provider is Provider.CUDA:
        return [cuda, Provider.CPU.value]
    return [(Provider.TENSORRT.value, tensorrt_options(model)), cuda, Provider.CPU.value]


def require_started(provider: Provider, running: Sequence[str]) -> None:
    """ONNX Runtime leaves out a provider that does not start, and says so in its log alone; `running` are those of the
    session that it opened.

    Raises:
        BackendUnavailable: `provider` is not among them.
    """
    if provider.value not in running:
        raise BackendUnavailable(
            f"ONNX Runtime's {provider.value} does not start here; it would run on {', '.join(running)} instead",
            fix="Check the NVIDIA driver and the libraries that the provider needs, or use the backend onnxruntime.",
        )


def tensorrt_options(model: Path) -> dict[str, str]:
    """Settings of the TensorRT provider for `model`: its engine and timings are kept in a folder beside it. The folder
    goes by the file's hash, for the provider itself tells networks of one file name and one structure not apart: it
    would run the weights of the older one. Folders of older ones are removed.

    Source: onnxruntime.ai, TensorRT Execution Provider, Configurations; TRTGenerateId in the provider's
    tensorrt_execution_provider_utils.h.

    Raises:
        OSError: there is no such file.
    """
    folder = model.with_name(f".{model.name}.{digest(model)[:_HASH_DIGITS]}.tensorrt")
    for older in model.parent.glob(f".{glob.escape(model.name)}*.tensorrt"):
        if _CACHE_FOLDER.sub("", older.name) == f".{model.name}" and older != folder:
            shutil.rmtree(older, ignore_errors=True)
    cache = str(folder)
    artifact = read_artifact(model)
    precision = artifact.manifest.network.precision if artifact else "fp32"
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": cache,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": cache,
        "trt_fp16_enable": "1" if precision in ("fp16", "int8") else "0",
        "trt_int8_enable": "1" if precision == "int8" else "0",
        **_TENSORRT_SHAPES,
    }


def _return_freed_memory() -> None:
    """Have the C library give large blocks back to the kernel as soon as they are freed. Other libraries do already."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(
            f"the package onnxruntime does not load: {_first_line(error)}", fix="Run ./install.sh again."
        ) from error
    return onnxruntime


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
