"""Opens whatever a person names as a network: an artifact, an ONNX file, a .bin.gz file or a network of the catalogue.
Start at `open_network`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from agent.engine.backends import BACKENDS, Backend, open_backend
from agent.errors import BackendUnavailable
from agent.events import Reporter
from agent.export.artifact import Artifact, Format, read_artifact
from agent.export.exporters import export
from agent.model.catalogue import load_catalogue
from agent.model.pull import pull_named
from agent.model.store import Store
from agent.settings import data_folder
from agent.workshop.proof import prove

_ONNX_SUFFIX = ".onnx"


@dataclass(frozen=True)
class OpenedNetwork:
    """`label` names it in tables: the network and its format. `artifact` is None for a file without a manifest."""

    backend: Backend
    label: str
    path: Path
    artifact: Artifact | None


def open_network(named: str, state_dir: Path, reporter: Reporter, *, threads: int = 1) -> OpenedNetwork:
    """`threads` will call the backend at once. A .bin.gz file or a name of the catalogue is run in fp32; its ONNX
    artifact is made below `state_dir` where it is not there.

    Raises:
        BackendUnavailable: nothing on this machine runs it.
        ConfigError, ModelError, NetworkFormatError: as `pull_named`.
        ConversionFailed, StorageFull: as `export`.
    """
    path = Path(named)
    artifact = read_artifact(path) if path.exists() else None
    if artifact is None and not (path.is_file() and path.suffix == _ONNX_SUFFIX):
        artifact = _fp32(named, state_dir, reporter)
    if artifact is None:
        backend = open_backend("onnxruntime", path, threads=threads)
        return OpenedNetwork(backend, path.name, path, None)
    facts = artifact.format.facts
    if facts.backend not in BACKENDS:
        raise BackendUnavailable(
            f"nothing here runs {artifact.manifest.format}", fix="Verify it on a machine that runs this format."
        )
    backend = open_backend(facts.backend, artifact.path, threads=threads)
    return OpenedNetwork(
        backend, f"{artifact.manifest.network.name} {artifact.manifest.format}", artifact.path, artifact
    )


def _fp32(named: str, state_dir: Path, reporter: Reporter) -> Artifact:
    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    stored = pull_named(named, catalogue, Store(state_dir), reporter)
    folder = state_dir / "artifacts" / stored.sha256
    (outcome,) = export(stored.path, [Format.ONNX_FP32], folder, prove, reporter)
    if outcome.artifact is None:
        assert outcome.error is not None
        raise outcome.error
    return outcome.artifact
