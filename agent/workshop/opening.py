"""Opens whatever a person names as a network: an artifact, an ONNX file, a .bin.gz file or a network of the catalogue.
Start at `open_network`."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from agent.engine.backends import BACKENDS, Backend, NetworkInfo, open_backend
from agent.errors import BackendUnavailable, ConfigError, NetworkFormatError
from agent.events import Reporter
from agent.export.artifact import Artifact, Format, digest, manifest_path, read_artifact
from agent.export.exporters import export
from agent.export.parse import is_human_style
from agent.model import disk
from agent.model.catalogue import Catalogue, load_catalogue
from agent.model.pull import pull_named
from agent.model.store import Store, StoredNetwork
from agent.settings import data_folder
from agent.workshop.place import artifact_folder
from agent.workshop.proof import prove

_ONNX_SUFFIX = ".onnx"
_SUFFIXES = frozenset(Path(f"network{each.facts.suffix}").suffix for each in Format)


@dataclass(frozen=True)
class OpenedNetwork:
    """`label` names it in tables: the network and its format. `artifact` is None for a file without a manifest."""

    backend: Backend
    label: str
    path: Path
    artifact: Artifact | None


def open_network(
    named: str, state_dir: Path, reporter: Reporter, *, threads: int = 1, human_profile: str = ""
) -> OpenedNetwork:
    """`threads` will call the backend at once. A .bin.gz file or a name of the catalogue is run in fp32 by ONNX
    Runtime; its artifact is made below `state_dir` where it is not there. `human_profile` is whom it imitates where it
    is a human-style network: the configuration's.

    Raises:
        BackendUnavailable: nothing on this machine runs it.
        ConfigError, ModelError, NetworkFormatError: as `pull_named`.
        ConversionFailed, StorageFull: as `export`.
    """
    opened = _open_file(Path(named), threads)
    if opened is None:
        stored = _stored(named, state_dir, reporter)
        folder = artifact_folder(state_dir, stored.sha256)
        (outcome,) = export(stored.path, [Format.ONNX_FP32], folder, prove, reporter, usual_profile=human_profile)
        if outcome.artifact is None:
            assert outcome.error is not None
            raise outcome.error
        opened = _open_file(outcome.artifact.path, threads)
        assert opened is not None
    return opened


def open_player(
    named: str, state_dir: Path, reporter: Reporter, *, threads: int = 1, human_profile: str = ""
) -> OpenedNetwork:
    """As `open_network`, for those who play many games: a .bin.gz file or a name of the catalogue is run by the core's
    own kernels where they know its blocks, which takes two thirds of ONNX Runtime's time (b15c192 on 9×9, AVX2)."""
    opened = _open_file(Path(named), threads)
    if opened is not None:
        return opened
    stored = _stored(named, state_dir, reporter)
    try:
        profile = human_profile if is_human_style(stored.path) else ""
        backend = open_backend("core", stored.path, threads=threads, human_profile=profile)
    except BackendUnavailable:
        return open_network(named, state_dir, reporter, threads=threads, human_profile=human_profile)
    return OpenedNetwork(backend, f"{stored.manifest.name} fp32", stored.path, None)


def network_identity(named: str, state_dir: Path, reporter: Reporter, *, human_profile: str = "") -> str:
    """What makes `named` the same network after a restart, where an engine of ours is told no more than that: its
    file's digest, and whom a human-style one imitates. Nothing for a name of the catalogue, which says it all.

    Raises:
        ConfigError, ModelError, NetworkFormatError: as `pull_named`.
    """
    path = Path(named)
    if disk.is_file(path):
        sha256 = digest(path)
    else:
        with contextlib.suppress(ConfigError):
            _catalogue().find(named)
            return ""
        stored = _stored(named, state_dir, reporter)
        path, sha256 = stored.path, stored.sha256
    if human_profile:
        # What our converter does not read yet, native KataGo may play with.
        with contextlib.suppress(NetworkFormatError):
            if is_human_style(path):
                return f"{sha256} as {human_profile}"
    return sha256


def open_second(network: NetworkInfo, state_dir: Path) -> Backend | None:
    """The same network on the core's own kernels, which share nothing with ONNX Runtime's but the file that was
    published: what judges ONNX Runtime's fp32, by which all else is judged. None where the store or the core does not
    have it."""
    stored = Store(state_dir).find(network.sha256) if network.sha256 else None
    if stored is None:
        return None
    try:
        return open_backend("core", stored.path, threads=1, human_profile=network.human_profile)
    except BackendUnavailable:
        return None


def _open_file(path: Path, threads: int) -> OpenedNetwork | None:
    """An artifact or an ONNX file; None for what is neither, which may be a name: then the folder that this was called
    in need not be one that may be read. What only an artifact can be is no network's own file."""
    artifact = read_artifact(path)
    if artifact is None:
        if not (disk.is_file(path) and path.suffix == _ONNX_SUFFIX):
            if disk.is_there(path) and path.suffix in _SUFFIXES:
                raise BackendUnavailable(
                    f"{path} has no manifest {manifest_path(path).name} that fits it", fix="Export the network again."
                )
            return None
        return OpenedNetwork(open_backend("onnxruntime", path, threads=threads), path.name, path, None)
    facts, manifest = artifact.format.facts, artifact.manifest
    if facts.backend not in BACKENDS:
        raise BackendUnavailable(
            f"nothing here runs {manifest.format}", fix="Verify it on a machine that runs this format."
        )
    backend = open_backend(facts.backend, path, threads=threads)
    return OpenedNetwork(backend, f"{manifest.network.name} {manifest.format}", path, artifact)


def _stored(named: str, state_dir: Path, reporter: Reporter) -> StoredNetwork:
    return pull_named(named, _catalogue(), Store(state_dir), reporter)


def _catalogue() -> Catalogue:
    return load_catalogue(data_folder("profiles") / "networks.yaml")
