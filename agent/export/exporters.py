"""The formats a network is exported to: one table, and the way from a network file to artifacts. Start at `export`.

A row names the writer of a format, which is imported when it is used: a tool that is not installed costs its own
formats, nothing else. What a writer is told stands in `job.py`, how its result gets its name in `publish.py`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import msgspec

from agent.errors import AgentError, CalibrationError, ConversionFailed, NetworkFormatError, ToolMissing, install_extra
from agent.events import ChainStep, Reporter
from agent.export.artifact import Artifact, ArtifactManifest, Format, artifacts_in, digest, is_intact, size_bytes
from agent.export.human_profile import profile_for
from agent.export.info import EXPORTER, NetworkInfo
from agent.export.job import Job, Writer, Written
from agent.export.network import Network
from agent.export.parse import parse_network
from agent.export.publish import Prove, publish, publishing, storage_errors


@dataclass(frozen=True)
class Exporter:
    """A row of the table. `load` imports the writer. `version` is raised whenever the same network would become another
    artifact. `tools` are the distributions that decide what the artifact is. `inputs` tells what else does (a device,
    a driver); it may raise ToolMissing. A row with `calibrates` takes positions into account. `made_of` is the format
    whose file the writer starts from, where the row goes by that one's version, too."""

    load: Callable[[], Writer]
    version: str
    tools: tuple[str, ...] = ()
    inputs: Callable[[], Mapping[str, str]] = dict
    calibrates: bool = False
    made_of: Format | None = None


def _onnx_fp32() -> Writer:
    from agent.export.onnx_float import write_fp32

    return write_fp32


def _coreml() -> Writer:
    from agent.export.coreml import write_coreml

    return write_coreml


def _onnx_fp16() -> Writer:
    from agent.export.onnx_half import write_fp16

    return write_fp16


def _onnx_int8_weights() -> Writer:
    from agent.export.onnx_packed import write_int8_weights

    return write_int8_weights


def _mnn_fp32() -> Writer:
    from agent.export.mnn import write_fp32

    return write_fp32


def _mnn_fp16() -> Writer:
    from agent.export.mnn import write_fp16

    return write_fp16


def _mnn_int8_weights() -> Writer:
    from agent.export.mnn import write_int8_weights

    return write_int8_weights


def _tflite_fp32() -> Writer:
    from agent.export.tflite import write_fp32

    return write_fp32


def _tflite_fp16() -> Writer:
    from agent.export.tflite import write_fp16

    return write_fp16


def _tflite_int8_weights() -> Writer:
    from agent.export.tflite import write_int8_weights

    return write_int8_weights


def _tflite_int8() -> Writer:
    from agent.export.tflite import write_int8

    return write_int8


def _tensorrt_fp16() -> Writer:
    from agent.export.tensorrt import write_fp16

    return write_fp16


def _tensorrt_int8() -> Writer:
    from agent.export.tensorrt import write_int8

    return write_int8


def _tensorrt_inputs() -> Mapping[str, str]:
    from agent.export.tensorrt import inputs

    return inputs()


# In the order in which `all` makes them.
EXPORTERS: Mapping[Format, Exporter] = {
    Format.ONNX_FP32: Exporter(_onnx_fp32, "2", ("onnx",)),
    Format.ONNX_FP16: Exporter(_onnx_fp16, "2", ("onnx",)),
    Format.ONNX_INT8_WEIGHTS: Exporter(_onnx_int8_weights, "2", ("onnx", "numpy")),
    Format.MNN_FP32: Exporter(_mnn_fp32, "1", ("MNN", "onnx")),
    Format.MNN_FP16: Exporter(_mnn_fp16, "2", ("MNN", "onnx")),
    Format.MNN_INT8_WEIGHTS: Exporter(_mnn_int8_weights, "3", ("MNN", "onnx")),
    Format.TFLITE_FP32: Exporter(_tflite_fp32, "2", ("ai-edge-litert", "flatbuffers")),
    Format.TFLITE_FP16: Exporter(_tflite_fp16, "2", ("ai-edge-litert", "flatbuffers")),
    Format.TFLITE_INT8_WEIGHTS: Exporter(_tflite_int8_weights, "4", ("ai-edge-litert", "flatbuffers")),
    Format.TFLITE_INT8: Exporter(_tflite_int8, "5", ("ai-edge-litert", "flatbuffers")),
    Format.COREML_FP16: Exporter(_coreml, "1", ("coremltools",)),
    Format.TENSORRT_FP16: Exporter(_tensorrt_fp16, "1", ("onnx",), _tensorrt_inputs, made_of=Format.ONNX_FP16),
    Format.TENSORRT_INT8: Exporter(
        _tensorrt_int8, "1", ("onnx",), _tensorrt_inputs, calibrates=True, made_of=Format.ONNX_INT8
    ),
}


@dataclass(frozen=True)
class Outcome:
    """What became of one format. `made` is false where the artifact was there already; without an artifact, `error`
    says why."""

    format: Format
    artifact: Artifact | None
    made: bool
    seconds: float
    error: AgentError | None = None


def export(
    source: Path,
    formats: Sequence[Format],
    folder: Path,
    prove: Prove,
    reporter: Reporter,
    *,
    calibration: Path | None = None,
    human_profile: str = "",
    usual_profile: str = "",
    table: Mapping[Format, Exporter] = EXPORTERS,
) -> Iterator[Outcome]:
    """Export the network file `source` to each of `formats`, into `folder`; what is there already and would become the
    same is left alone. A format that fails leaves an older artifact as it was, and the next one follows. A human-style
    network needs a profile, which becomes part of the artifact and its name: `human_profile`, which no other network
    takes, or else the `usual_profile`.

    Raises:
        NetworkFormatError: `source` is not a network that we can run.
        StoreBusy, StorageFull, StoreUnwritable: about `folder` as a whole.
    """
    with publishing(folder) as staging:
        run = _Export(source, staging, prove, reporter, calibration, (human_profile, usual_profile), table)
        for each in formats:
            started = time.monotonic()
            try:
                with _memory_errors(each):
                    artifact, made = run.provide(each)
            except NetworkFormatError:
                raise
            except AgentError as error:
                reporter.report(ChainStep(each.value, str(error)))
                yield Outcome(each, None, False, time.monotonic() - started, error)
            else:
                yield Outcome(each, artifact, made, time.monotonic() - started)


@contextlib.contextmanager
def _memory_errors(format: Format) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise ConversionFailed(
            f"{format.value}: memory ran out", fix="Use a smaller network, or export on a larger machine."
        ) from error


class _Export:
    """One network on its way; it is read once, and only if something has to be made."""

    def __init__(
        self,
        source: Path,
        staging: Path,
        prove: Prove,
        reporter: Reporter,
        calibration: Path | None,
        profiles: tuple[str, str],
        table: Mapping[Format, Exporter],
    ) -> None:
        self._source = source
        self._staging = staging
        self._prove = prove
        self._reporter = reporter
        self._calibration = calibration
        self._profiles = profiles
        self._table = table
        self._sha256 = _hash_of(source, NetworkFormatError)
        self._calibration_sha256 = _hash_of(calibration, CalibrationError) if calibration else ""
        self._network: Network | None = None
        self._provided: dict[Format, Artifact] = {}

    def provide(self, format: Format) -> tuple[Artifact, bool]:
        """The artifact, and whether it had to be made."""
        if format in self._provided:
            return self._provided[format], False
        artifact, made = self._found_or_made(format)
        self._provided[format] = artifact
        return artifact, made

    def _found_or_made(self, format: Format) -> tuple[Artifact, bool]:
        exporter = self._table.get(format)
        if exporter is None:
            raise ConversionFailed(f"nothing writes {format.value} yet", fix="Choose another format.")
        tools, inputs = _needs(exporter, format)
        if exporter.calibrates:
            inputs["calibration"] = self._calibration_sha256
        if exporter.made_of is not None and exporter.made_of in self._table:
            inputs["made of"] = f"{exporter.made_of.value} {EXPORTER}.{self._table[exporter.made_of].version}"
        for artifact in artifacts_in(self._staging.parent, self._sha256):
            fits = artifact.manifest.format == format.value and self._imitates_the_same(artifact)
            if fits and _is_current(artifact, tools, inputs):
                self._reporter.report(ChainStep(format.value, "is there already"))
                return artifact, False
        writer = exporter.load()
        self._reporter.report(ChainStep(format.value, "is being made"))
        info = msgspec.structs.replace(self._parsed().info, precision=format.facts.precision)

        def make(out: Path) -> ArtifactManifest:
            written = writer(self._job(info, out))
            return _manifest(out, format, info, tools, inputs, written)

        return publish(self._staging, _file_name(info, format), make, self._prove), True

    def _imitates_the_same(self, artifact: Artifact) -> bool:
        """Known without reading the network: its artifacts have a profile all, or none."""
        named, usual = self._profiles
        return artifact.manifest.network.human_profile in ((named,) if named else ("", usual))

    def _job(self, info: NetworkInfo, out: Path) -> Job:
        network = dataclasses.replace(self._parsed(), info=info)
        return Job(
            self._source,
            info,
            out,
            network=lambda: network,
            onnx=lambda: self._made(Format.ONNX_FP32),
            calibration=self._calibration,
            reporter=self._reporter,
            made=self._made,
            keeps=self._staging.parent,
        )

    def _made(self, format: Format) -> Path:
        return self.provide(format)[0].path

    def _parsed(self) -> Network:
        if self._network is None:
            network = parse_network(self._source)
            profile = profile_for(network, *self._profiles)
            info = msgspec.structs.replace(network.info, sha256=self._sha256, exporter=EXPORTER, human_profile=profile)
            self._network = dataclasses.replace(network, info=info)
        return self._network


def has_its_tools(format: Format, table: Mapping[Format, Exporter] = EXPORTERS) -> bool:
    """Can `format` be written on this machine? Quick: whoever prepares for it can ask first."""
    try:
        _needs(table[format], format)
    except ToolMissing:
        return False
    return True


def _needs(exporter: Exporter, format: Format) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of the tools, and what else decides what the artifact is."""
    tools = {name: _version(name, format) for name in exporter.tools}
    return tools, {"writer": f"{EXPORTER}.{exporter.version}", **exporter.inputs()}


def _manifest(
    out: Path,
    format: Format,
    info: NetworkInfo,
    tools: Mapping[str, str],
    inputs: Mapping[str, str],
    written: Written,
) -> ArtifactManifest:
    with storage_errors(out):
        return ArtifactManifest(
            file=out.name,
            format=format.value,
            size_bytes=size_bytes(out),
            sha256=digest(out),
            network=msgspec.structs.replace(info, form=written.form),
            board_sizes=written.board_sizes,
            tools=dict(tools),
            recipe={**written.recipe, **inputs},
            sensitivity=written.sensitivity,
        )


def _is_current(artifact: Artifact, tools: Mapping[str, str], inputs: Mapping[str, str]) -> bool:
    """Would making it anew give the same, and is it undamaged?"""
    manifest = artifact.manifest
    named = manifest.file == _file_name(manifest.network, artifact.format)
    same = manifest.tools == tools and {key: manifest.recipe.get(key) for key in inputs} == dict(inputs)
    return named and same and is_intact(artifact)  # what cannot be read is made anew


def _file_name(info: NetworkInfo, format: Format) -> str:
    return f"{info.name}{'.' if info.human_profile else ''}{info.human_profile}{format.facts.suffix}"


def _version(distribution: str, format: Format) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError as error:
        extra = format.facts.extra
        raise ToolMissing(
            f"{format.value} needs the package {distribution}, which is not installed",
            fix=install_extra(extra) if extra else f"Install {distribution}.",
        ) from error


def _hash_of(path: Path, kind: type[NetworkFormatError] | type[CalibrationError]) -> str:
    try:
        if path.is_dir():
            raise kind(f"cannot read {path}: it is a folder", fix="Give a file that is there.")
        return digest(path)
    except OSError as error:
        raise kind(f"cannot read {path}: {error.strerror}", fix="Give a file that is there.") from error
