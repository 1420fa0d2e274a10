"""What the backends for artifacts of `agent export` share: the manifest beside the file, which names the network, and
what inputs must be before they reach a runtime that looks at nothing but their address."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS, Array
from agent.engine.backends.onnxruntime import require_model
from agent.errors import BackendUnavailable
from agent.export.artifact import Artifact, digest, manifest_path, read_artifact


def require_artifact(model: Path | None, backend: str) -> Artifact:
    """The artifact at `model`, if it is whole and made for `backend`. It is hashed: some runtimes crash, or answer
    nonsense, where a file is damaged.

    Raises:
        BackendUnavailable: says what is wrong.
    """
    path = require_model(model)
    again = "Export the network again with `agent export`."
    try:
        if not path.exists():
            raise BackendUnavailable(f"there is no file {path}", fix=again)
        artifact = read_artifact(path)
        if artifact is None:
            raise BackendUnavailable(f"{path} has no manifest {manifest_path(path).name} that fits it", fix=again)
        facts = artifact.format.facts
        if facts.backend != backend:
            runs = f"the backend {facts.backend}" if facts.backend else "no backend of ours"
            raise BackendUnavailable(
                f"{path} is {artifact.manifest.format}, which {runs} runs", fix="Choose that backend, or another file."
            )
        if digest(path) != artifact.manifest.sha256:
            raise BackendUnavailable(f"{path} is damaged: its hash is not the one in its manifest", fix=again)
    except OSError as error:
        raise BackendUnavailable(f"cannot read {path}: {error.strerror}", fix=again) from error
    return artifact


def require_inputs(spatial: Array, global_: Array, runtime: str) -> None:
    """Raises BackendUnavailable: not what `Backend.evaluate` takes, which says so and names the `runtime`."""
    shaped = spatial.ndim == 4 and spatial.shape[1] == SPATIAL_CHANNELS and spatial.size > 0
    if not shaped or global_.shape != (len(spatial), GLOBAL_CHANNELS):
        raise BackendUnavailable(f"{runtime} cannot run inputs of {spatial.shape} and {global_.shape}")
    if spatial.dtype != np.float32 or global_.dtype != np.float32:
        raise BackendUnavailable(f"{runtime} cannot run inputs in {spatial.dtype} and {global_.dtype}, only in float32")
