"""The reference runtime: ONNX Runtime on the CPU. `export/session.py` owns the package and its settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agent.engine.backends.interface import Array, NetworkInfo, Outputs
from agent.errors import BackendUnavailable
from agent.export.session import Provider, open_session, runtime


class OnnxRuntimeBackend:
    """One session, shared by all threads: the weights lie in memory once, and each call runs on its own thread."""

    name = "onnxruntime"

    def __init__(self, model: Path, *, optimise: bool = True, provider: Provider = Provider.CPU) -> None:
        """Load `model`, a file that `agent convert` wrote. `optimise` and `provider` as in `open_session`.

        Raises:
            BackendUnavailable: no runtime, or `model` does not load.
        """
        self._session = open_session(model, optimise=optimise, provider=provider)
        self.network: NetworkInfo = self._session.network

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        return Outputs(*self._session.run(np.ascontiguousarray(spatial), np.ascontiguousarray(global_)))

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": runtime().version}

    def close(self) -> None:
        """Free the session; later calls fail."""
        del self._session


def open_onnxruntime(model: Path | None, threads: int) -> OnnxRuntimeBackend:
    """For the table."""
    del threads  # one session serves any number
    return OnnxRuntimeBackend(require_model(model))


def require_model(model: Path | None) -> Path:
    if model is None:
        raise BackendUnavailable("no network was given", fix="Give a converted network, or run `agent install`.")
    return model
