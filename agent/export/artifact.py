"""What an exported network is on the disk: the artifact itself and, beside it, `<artifact>.json`, its manifest.

Start at `ArtifactManifest`. An artifact counts only with a manifest that names its size and hash; the manifest is
written last and in one step, so nothing half-written is ever taken for whole. An artifact is offered to a device only
when its gate says "passed". No numpy and no runtime here: whoever chooses among artifacts must stay light.
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from agent.errors import ConversionFailed
from agent.export.info import NetworkInfo
from agent.model import disk

_READ_BYTES = 1 << 20
_SUFFIX = ".json"

Gate = Literal["not verified", "passed", "failed"]


@dataclass(frozen=True)
class FormatFacts:
    """`suffix` ends the file's name; `backend` is the name in the table of backends of what runs it, empty where
    nothing of ours does (Core ML runs on Apple's machines); `precision` names the gate; `extra` is the optional
    dependency that exporting needs, empty for none."""

    suffix: str
    backend: str
    precision: str
    extra: str


class Format(enum.Enum):
    """What `agent export --to` takes."""

    ONNX_FP32 = "onnx-fp32"
    ONNX_FP16 = "onnx-fp16"
    ONNX_INT8 = "onnx-int8"
    ONNX_INT8_WEIGHTS = "onnx-int8-weights"
    MNN_FP32 = "mnn-fp32"
    MNN_FP16 = "mnn-fp16"
    MNN_INT8_WEIGHTS = "mnn-int8-weights"
    TFLITE_FP32 = "tflite-fp32"
    TFLITE_FP16 = "tflite-fp16"
    TFLITE_INT8 = "tflite-int8"
    TFLITE_INT8_WEIGHTS = "tflite-int8-weights"
    COREML_FP16 = "coreml-fp16"
    TENSORRT_FP16 = "tensorrt-fp16"
    TENSORRT_INT8 = "tensorrt-int8"

    @property
    def facts(self) -> FormatFacts:
        return _FACTS[self]


_FACTS = {
    Format.ONNX_FP32: FormatFacts(".onnx", "onnxruntime", "fp32", ""),
    Format.ONNX_FP16: FormatFacts(".fp16.onnx", "onnxruntime", "fp16", ""),
    Format.ONNX_INT8: FormatFacts(".int8.onnx", "onnxruntime", "int8", ""),
    Format.ONNX_INT8_WEIGHTS: FormatFacts(".int8-weights.onnx", "onnxruntime", "int8-weights", ""),
    Format.MNN_FP32: FormatFacts(".mnn", "mnn", "fp32", "mnn"),
    Format.MNN_FP16: FormatFacts(".fp16.mnn", "mnn", "fp16", "mnn"),
    Format.MNN_INT8_WEIGHTS: FormatFacts(".int8-weights.mnn", "mnn", "int8-weights", "mnn"),
    Format.TFLITE_FP32: FormatFacts(".tflite", "litert", "fp32", "litert"),
    Format.TFLITE_FP16: FormatFacts(".fp16.tflite", "litert", "fp16", "litert"),
    Format.TFLITE_INT8: FormatFacts(".int8.tflite", "litert", "int8", "litert"),
    Format.TFLITE_INT8_WEIGHTS: FormatFacts(".int8-weights.tflite", "litert", "int8-weights", "litert"),
    Format.COREML_FP16: FormatFacts(".mlpackage", "", "fp16", "coreml"),
    Format.TENSORRT_FP16: FormatFacts(".fp16.engine", "tensorrt", "fp16", ""),
    Format.TENSORRT_INT8: FormatFacts(".int8.engine", "tensorrt", "int8", ""),
}


# Shares of positions whose error is at most the quantile: what a plot of the distribution is drawn from.
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

# Slices that are no part of the verified positions but a yardstick beside them: the reference against its own mirrored
# input, and native KataGo in fp32 against the reference.
NOISE_SLICE = "symmetry noise"
NATIVE_SLICE = "native KataGo"


class Accuracy(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a network's answers are from a reference's on the same positions (`workshop/accuracy.py` computes it).

    `slice` names the positions: "all", "golden", "phase opening", "board 9x9", "policy entropy low" and so on. `top1`
    is the share of positions whose best move is the reference's; `policy_kl` in nats, reference to candidate, over
    legal moves; win errors in probability (0 to 1) of the side to move; score and lead in points; ownership in tanh.
    The quantiles are those of QUANTILES, of the absolute win error and of the policy's KL; `policy_max` is the largest
    difference of one move's probability, `ownership_max` that of one point."""

    slice: str
    positions: int
    games: int
    top1: float
    policy_kl: float
    win_mae: float
    win_max: float
    score_mae: float
    lead_mae: float
    ownership_mae: float
    win_quantiles: tuple[float, ...] = ()
    kl_quantiles: tuple[float, ...] = ()
    policy_max: float = 0.0
    score_max: float = 0.0
    lead_max: float = 0.0
    ownership_max: float = 0.0


class Verification(msgspec.Struct, frozen=True):
    """One run of `agent verify`: against which reference (the source network's SHA-256 and the format's name), on which
    positions (the SHA-256 of the position set), and what came of it, "all" first."""

    reference: str
    position_set: str
    accuracies: tuple[Accuracy, ...]


class Speed(msgspec.Struct, frozen=True):
    """One measurement: evaluations/s of the network alone on `hardware`; `native_ratio` is that over native KataGo's
    best setting, taken in turns in the same run; None where there was none."""

    hardware: str
    backend: str
    board: str
    threads: int
    batch: int
    evals_per_s: float
    native_ratio: float | None = None


class LayerSensitivity(msgspec.Struct, frozen=True):
    """What quantizing this one layer costs, everything else in fp32; `kept` is the precision that it got."""

    layer: str
    policy_kl: float
    win_mae: float
    kept: str


class MatchFigures(msgspec.Struct, frozen=True):
    """What came of a match with our search at equal visits: the artifact's Elo over `opponent` (a network and its
    format) with its 95 % interval."""

    opponent: str
    board: str
    visits: int
    games: int
    score: float
    elo: float
    elo_low: float
    elo_high: float


class ArtifactManifest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one artifact is. `file` is its name beside the manifest, `sha256` its hash (`digest`). `network` names the
    source (`network.sha256`) and what a backend must know; its `precision` is the format's. `board_sizes` says which
    boards it takes: "1x1 to 19x19", or the sizes it was made for. `tools` are the versions of what made it, `recipe`
    the choices (calibration set, layers left in fp32, …), flat, as text."""

    file: str
    format: str
    size_bytes: int
    sha256: str
    network: NetworkInfo
    board_sizes: str
    tools: dict[str, str]
    recipe: dict[str, str] = {}
    gate: Gate = "not verified"
    gate_reasons: tuple[str, ...] = ()
    verifications: tuple[Verification, ...] = ()
    speeds: tuple[Speed, ...] = ()
    sensitivity: tuple[LayerSensitivity, ...] = ()
    matches: tuple[MatchFigures, ...] = ()


@dataclass(frozen=True)
class Artifact:
    """An artifact that is whole: `path` is the file (or, for Core ML, the folder)."""

    path: Path
    manifest: ArtifactManifest

    @property
    def format(self) -> Format:
        return Format(self.manifest.format)


def manifest_path(artifact: Path) -> Path:
    return artifact.with_name(artifact.name + _SUFFIX)


def digest(artifact: Path) -> str:
    """SHA-256 of a file; of a folder, over each file's relative path, size and content, in the order of paths."""
    total = hashlib.sha256()
    if artifact.is_dir():
        for path in sorted(path for path in artifact.rglob("*") if path.is_file()):
            total.update(f"{path.relative_to(artifact).as_posix()}\0{path.stat().st_size}\0".encode())
            _feed(total, path)
    else:
        _feed(total, artifact)
    return total.hexdigest()


def size_bytes(artifact: Path) -> int:
    """Of a file, or of all files in a folder."""
    if artifact.is_dir():
        return sum(path.stat().st_size for path in artifact.rglob("*") if path.is_file())
    return artifact.stat().st_size


def read_artifact(path: Path) -> Artifact | None:
    """The artifact at `path` if it is whole: its manifest can be read and names its size. Does not hash. A folder from
    elsewhere may hold anything: a pipe, or a link to a device, is never opened, for who reads it may not come back."""
    try:
        if not ((path.is_file() or path.is_dir()) and manifest_path(path).is_file()):
            return None
        manifest = msgspec.json.decode(manifest_path(path).read_bytes(), type=ArtifactManifest)
        whole = manifest.file == path.name and size_bytes(path) == manifest.size_bytes
        Format(manifest.format)
    except (OSError, msgspec.DecodeError, ValueError, RecursionError):
        return None
    return Artifact(path, manifest) if whole else None


def artifacts_in(folder: Path, source_sha256: str = "") -> list[Artifact]:
    """The whole artifacts in `folder`, by name; with `source_sha256` only those made of that network."""
    paths = sorted(folder.glob(f"*{_SUFFIX}")) if disk.is_folder(folder) else []
    found = [artifact for path in paths if (artifact := read_artifact(path.with_name(path.name.removesuffix(_SUFFIX))))]
    return [artifact for artifact in found if source_sha256 in ("", artifact.manifest.network.sha256)]


def is_intact(artifact: Artifact) -> bool:
    """Whether it still has its manifest's hash. What cannot be read (a worn-out card, another user's file) has not."""
    try:
        return digest(artifact.path) == artifact.manifest.sha256
    except OSError:
        return False


@contextlib.contextmanager
def held(artifact: Path) -> Iterator[None]:
    """Keep others who hold it from changing its manifest, or putting another artifact in its place, meanwhile. The
    artifact itself is locked, not a file beside it: one that replaces it is another lock, and has another hash.

    Raises:
        OSError: it is not there.
    """
    descriptor = os.open(artifact, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def offered(artifact: Artifact) -> bool:
    """May a device run it? Only what passed its gate, and still has the hash that passed."""
    return artifact.manifest.gate == "passed" and is_intact(artifact)


def write_manifest(path: Path, manifest: ArtifactManifest) -> Artifact:
    """Put `manifest` beside the artifact `path` in one step, in the place of an older one.

    Raises:
        ConversionFailed: the folder cannot be written to; the older manifest is still there.
    """
    target = manifest_path(path)
    try:
        disk.write_atomically(target, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    except OSError as error:
        raise ConversionFailed(
            f"cannot write {target}: {error.strerror}", fix="Choose a folder that can be written to, with room."
        ) from error
    return Artifact(path, manifest)


def _feed(total: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(_READ_BYTES):
            total.update(chunk)
