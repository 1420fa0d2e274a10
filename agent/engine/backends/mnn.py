"""MNN on the CPU, with its own Winograd kernels. The one owner of the runtime in the `MNN` package.

An interpreter of MNN runs one session at a time, under a lock of its own; running releases the GIL, preparing does not
and takes seconds for a large network. So each thread that may call has an interpreter of its own, and all are prepared
when the backend opens, before anybody waits for the worker's heartbeat.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent.engine.backends.exported import require_artifact, require_inputs
from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS, Array, NetworkInfo, Outputs
from agent.engine.backends.runners import Runners
from agent.errors import BackendUnavailable, install_extra

_OUTPUTS: Final = ("policy", "value", "score", "ownership")
# include/MNN/Interpreter.hpp, Interpreter::HintMode.
_WINOGRAD_MEMORY_LEVEL: Final = 3

# Larger tiles need more memory for transformed weights. One session, x86-64 (AVX2), 19×19, batch 1, milliseconds of CPU
# time and peak RSS: b15c192 41 and 253 MB at level 3, 53 and 158 MB at 1, 105 and 123 MB at 0 (no Winograd);
# b18c384nbt 167 and 563 MB at 3, 168 and 343 MB at 1. On 9×9 it is 26 ms at 3 and 17 at 1.
FAST: Final = 3
LEAN: Final = 1

# Weights are prepared for the board that comes first, and serve the others then: the largest is right for most.
_FIRST_BOARD: Final = 19


class MnnBackend:
    """`threads` interpreters of one network; a call takes one that is idle, or waits for it."""

    def __init__(self, model: Path | None, threads: int, *, name: str = "mnn", winograd_memory: int = FAST) -> None:
        """Load `model`, an artifact that `agent export --to mnn-…` wrote.

        Raises:
            BackendUnavailable: no MNN, no such artifact, or it does not load.
        """
        self.name = name
        artifact = require_artifact(model, "mnn")
        self.network: NetworkInfo = artifact.manifest.network
        with _quiet():
            self._mnn = _import()
            self._interpreters = Runners(
                [_Interpreter(self._mnn, artifact.path, winograd_memory) for _ in range(max(1, threads))]
            )

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        require_inputs(spatial, global_, "MNN")
        with self._interpreters.lend(spatial.shape) as interpreter:
            try:
                return interpreter.run(np.ascontiguousarray(spatial), np.ascontiguousarray(global_))
            except BackendUnavailable:
                raise
            except Exception as error:  # the runtime raises nothing but Exception itself
                raise BackendUnavailable(f"MNN failed: {error}") from error

    def versions(self) -> dict[str, str]:
        return {"MNN": str(self._mnn.version())}

    def close(self) -> None:
        """Free the interpreters."""
        self._interpreters.close()


class _Interpreter:
    """One interpreter with one session, for one thread at a time."""

    def __init__(self, mnn: Any, path: Path, winograd_memory: int) -> None:
        self._mnn = mnn
        try:
            self._net = mnn.Interpreter(str(path))
            self._net.setSessionHint(_WINOGRAD_MEMORY_LEVEL, winograd_memory)
            # High precision is fp32 on every processor; others compute in fp16 on Arm, which no gate has seen.
            self._session = self._net.createSession({"backend": "CPU", "numThread": 1, "precision": "high"})
            self._spatial = self._net.getSessionInput(self._session, "spatial")
            self._global = self._net.getSessionInput(self._session, "global")
            self._resize((1, SPATIAL_CHANNELS, _FIRST_BOARD, _FIRST_BOARD))
        except Exception as error:  # as above
            raise BackendUnavailable(
                f"MNN cannot load {path}: {error}", fix="Export the network again with `agent export`."
            ) from error

    def run(self, spatial: Array, global_: Array) -> Outputs:
        if spatial.shape != self.shape:
            self._resize(spatial.shape)
        self._spatial.copyFrom(self._host(spatial))
        self._global.copyFrom(self._host(global_))
        status = self._net.runSession(self._session)
        if status != 0:
            raise BackendUnavailable(f"MNN failed with error {status}")
        return Outputs(*(self._output(name) for name in _OUTPUTS))

    def _resize(self, shape: tuple[int, ...]) -> None:
        self._net.resizeTensor(self._spatial, shape)
        self._net.resizeTensor(self._global, (shape[0], GLOBAL_CHANNELS))
        self._net.resizeSession(self._session)
        self.shape = shape

    def _host(self, values: Array) -> Any:
        """A tensor with a copy of `values`, channels first."""
        mnn = self._mnn
        return mnn.Tensor(values.shape, mnn.Halide_Type_Float, values, mnn.Tensor_DimensionType_Caffe)

    def _output(self, name: str) -> Array:
        tensor = self._net.getSessionOutput(self._session, name)
        host = self._host(np.empty(tensor.getShape(), np.float32))
        tensor.copyToHostTensor(host)
        return np.array(host.getNumpyData(), np.float32, order="C")


def open_mnn(model: Path | None, threads: int) -> MnnBackend:
    """For the table."""
    return MnnBackend(model, threads)


def open_mnn_lean(model: Path | None, threads: int) -> MnnBackend:
    """For the table: less memory, and faster on small boards."""
    return MnnBackend(model, threads, name="mnn-lean", winograd_memory=LEAN)


def _import() -> Any:
    try:
        import MNN
    except ImportError as error:
        raise BackendUnavailable(f"the package MNN does not load: {error}", fix=install_extra("mnn")) from error
    return MNN


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MNN tells the processor's features and each session's precision on standard output, which may be a GTP connection
    or JSON. What is written there meanwhile is dropped; what went wrong is raised as well."""
    sys.stdout.flush()
    library = ctypes.CDLL(None)
    library.fflush(None)
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        library.fflush(None)
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
