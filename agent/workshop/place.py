"""Where the workshop's files lie below the state folder, and which backends run which."""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Lies beside the artifacts: what `agent verify` judges by where nobody names another set.
HELD_OUT: Final = "held-out.npz"
# Likewise, what `agent export` calibrates on.
CALIBRATION: Final = "calibration.npz"
_ARTIFACTS: Final = "artifacts"
# A file that one backend runs, others run, too: in another way on the same processor, or on a GPU.
ALSO_RUN_BY: Final = {"mnn": ("mnn-lean",)}
ALSO_RUN_BY_GPU: Final = {"onnxruntime": ("cuda", "cuda-tensorrt")}


def backends_for(backend: str, *, gpu: bool) -> tuple[str, ...]:
    """All that run what is made for `backend`, that one first; those for NVIDIA's GPUs where there is such a `gpu`."""
    return (backend, *ALSO_RUN_BY.get(backend, ()), *(ALSO_RUN_BY_GPU.get(backend, ()) if gpu else ()))


def artifact_folder(state: Path, network_sha256: str) -> Path:
    """Where `agent export` puts the artifacts of a network, named by its SHA-256, and whoever runs them looks."""
    return state / _ARTIFACTS / network_sha256


def lies_among_artifacts(path: Path, network_sha256: str) -> bool:
    """Whether a file lay in an `artifact_folder`, of this machine or another; others are the store's."""
    return path.parts[-3:-1] == (_ARTIFACTS, network_sha256)
