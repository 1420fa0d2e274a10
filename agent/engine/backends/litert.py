"""LiteRT (TensorFlow Lite) on the CPU, whose XNNPACK delegate takes our graphs whole. The one owner of the interpreters
in `ai_edge_litert` and, where that has no wheel, its predecessor `tflite_runtime`.

An interpreter serves one thread at a time and releases the GIL while it runs. All of a network's interpreters map the
same file; what XNNPACK packs of it each has for itself. Another board or batch costs an interpreter a tenth of a run.
A file with transformer blocks takes one position at a time (`export/tflite_layers.py`).
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agent.engine.backends.exported import require_artifact, require_inputs
from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS, Array, NetworkInfo, Outputs
from agent.engine.backends.runners import Runners
from agent.errors import BackendUnavailable, install_extra

_FIRST_BOARD = 19


class LiteRtBackend:
    """`threads` interpreters of one network."""

    name = "litert"

    def __init__(self, model: Path | None, threads: int) -> None:
        """Load `model`, an artifact that `agent export --to tflite-…` wrote.

        Raises:
            BackendUnavailable: no LiteRT, no such artifact, or it does not load.
        """
        artifact = require_artifact(model, "litert")
        self.network: NetworkInfo = artifact.manifest.network
        self._package = _import()
        self._interpreters = Runners([_Interpreter(self._package, artifact.path) for _ in range(max(1, threads))])

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        require_inputs(spatial, global_, "LiteRT")
        with self._interpreters.lend(spatial.shape) as interpreter:
            try:
                return interpreter.run(spatial, global_)
            except (RuntimeError, ValueError) as error:
                raise BackendUnavailable(f"LiteRT failed: {error}") from error

    def versions(self) -> dict[str, str]:
        return {self._package.distribution: metadata.version(self._package.distribution)}

    def close(self) -> None:
        """Free the interpreters."""
        self._interpreters.close()


class _Package(NamedTuple):
    """`distribution` is its name for pip, `interpreter` its class."""

    distribution: str
    interpreter: Any


class _Interpreter:
    """One interpreter, for one thread at a time."""

    def __init__(self, package: _Package, path: Path) -> None:
        try:
            self._net = package.interpreter(model_path=str(path), num_threads=1)
            self._inputs = {each["name"]: each["index"] for each in self._net.get_input_details()}
            self._outputs = {each["name"]: each["index"] for each in self._net.get_output_details()}
            signatures = {each["name"]: each["shape_signature"] for each in self._net.get_input_details()}
            self._single = signatures["spatial"][0] == 1
            # Weights are packed here, not when somebody waits for a move.
            self._resize((1, SPATIAL_CHANNELS, _FIRST_BOARD, _FIRST_BOARD))
        except (RuntimeError, ValueError, KeyError) as error:
            raise BackendUnavailable(
                f"LiteRT cannot load {path}: {error}", fix="Export the network again with `agent export`."
            ) from error

    def run(self, spatial: Array, global_: Array) -> Outputs:
        if not self._single or len(spatial) == 1:
            return self._run(spatial, global_)
        each = [self._run(spatial[i : i + 1], global_[i : i + 1]) for i in range(len(spatial))]
        return Outputs(*(np.concatenate(parts) for parts in zip(*each, strict=True)))

    def _run(self, spatial: Array, global_: Array) -> Outputs:
        if spatial.shape != self.shape:
            self._resize(spatial.shape)
        self._net.set_tensor(self._inputs["spatial"], np.ascontiguousarray(spatial.transpose(0, 2, 3, 1)))
        self._net.set_tensor(self._inputs["global"], np.ascontiguousarray(global_))
        self._net.invoke()
        points, passes = self._output("policy"), self._output("policy_pass")
        count = spatial.shape[0]
        by_point = np.concatenate([points.reshape(count, -1, passes.shape[1]), passes[:, None]], axis=1)
        policy = np.ascontiguousarray(by_point.transpose(0, 2, 1))
        ownership = self._output("ownership").reshape(count, -1)
        return Outputs(policy, self._output("value"), self._output("score"), ownership)

    def _resize(self, shape: tuple[int, ...]) -> None:
        count, channels, y_size, x_size = shape
        self._net.resize_tensor_input(self._inputs["spatial"], [count, y_size, x_size, channels])
        self._net.resize_tensor_input(self._inputs["global"], [count, GLOBAL_CHANNELS])
        self._net.allocate_tensors()
        self.shape = shape

    def _output(self, name: str) -> Array:
        """A copy: the interpreter writes into its own memory again."""
        return np.asarray(self._net.get_tensor(self._outputs[name]), np.float32)


def open_litert(model: Path | None, threads: int) -> LiteRtBackend:
    """For the table."""
    return LiteRtBackend(model, threads)


def _import() -> _Package:
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as first:
        try:
            from tflite_runtime.interpreter import Interpreter as OlderInterpreter
        except ImportError:
            raise BackendUnavailable(
                f"neither ai-edge-litert nor tflite-runtime loads: {first}",
                fix=install_extra("litert"),
            ) from first
        return _Package("tflite-runtime", OlderInterpreter)
    return _Package("ai-edge-litert", Interpreter)
