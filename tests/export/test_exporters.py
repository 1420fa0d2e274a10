"""The way from a network to artifacts: what is made, what is left alone, and what a failure leaves behind."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest
from fakes.network_writer import NetworkWriter
from fakes.small_networks import Listener, tree

from agent.errors import (
    AgentError,
    BackendUnavailable,
    ConversionFailed,
    NetworkFormatError,
    StorageFull,
    StoreBusy,
    ToolMissing,
)
from agent.events import ChainStep
from agent.export.artifact import Artifact, Format, artifacts_in, manifest_path, read_artifact, write_manifest
from agent.export.exporters import EXPORTERS, Exporter, Outcome, export
from agent.export.job import Job, Writer, Written
from agent.export.publish import STAGING, storage_errors


def text_writer(text: str) -> Callable[[], Writer]:
    """Writes `text`, the network's name, and what it calibrates on."""

    def write(job: Job) -> Written:
        positions = job.calibration.read_text() if job.calibration else ""
        job.out.write_text(f"{text} {job.network().info.name} {job.info.precision} {positions}")
        job.out.with_name("scratch").write_text("not wanted")
        return Written({"by": text}, form="text", board_sizes="19x19")

    return lambda: write


def failing_writer(error: AgentError) -> Callable[[], Writer]:
    def write(job: Job) -> Written:
        job.out.write_text("half")
        raise error

    return lambda: write


def folder_writer() -> Writer:
    def write(job: Job) -> Written:
        (job.out / "data").mkdir(parents=True)
        (job.out / "data" / "weights").write_text("w")
        return Written()

    return write


TABLE = {
    Format.ONNX_FP32: Exporter(text_writer("one"), "1", ("numpy",)),
    Format.ONNX_FP16: Exporter(text_writer("two"), "1"),
    Format.ONNX_INT8: Exporter(text_writer("three"), "1", calibrates=True),
    Format.COREML_FP16: Exporter(folder_writer, "1"),
}


class Prover:
    """Remembers what it ran; refuses what is named."""

    def __init__(self, refused: Mapping[str, AgentError] | None = None) -> None:
        self.ran: list[str] = []
        self._refused = refused or {}

    def __call__(self, artifact: Artifact) -> None:
        found = read_artifact(artifact.path)
        assert found is not None and found.manifest == artifact.manifest, "its manifest lies beside it"
        self.ran.append(artifact.manifest.format)
        if error := self._refused.get(artifact.manifest.format):
            raise error


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return NetworkWriter(8, ["ordinary"]).write(tmp_path / "n.bin.gz")


def run(
    source: Path,
    *formats: Format,
    table: Mapping[Format, Exporter] = TABLE,
    prover: Prover | None = None,
    calibration: Path | None = None,
    listener: Listener | None = None,
    human_profile: str = "",
    usual_profile: str = "",
) -> list[Outcome]:
    folder = source.parent / "artifacts"
    return list(
        export(
            source,
            formats or list(table),
            folder,
            prover or Prover(),
            listener or Listener(),
            calibration=calibration,
            human_profile=human_profile,
            usual_profile=usual_profile,
            table=table,
        )
    )


def made(outcomes: list[Outcome]) -> list[bool]:
    return [outcome.made for outcome in outcomes]


def test_every_format_says_what_it_is(source: Path) -> None:
    prover = Prover()
    outcomes = run(source, prover=prover)
    assert prover.ran == [each.value for each in TABLE]
    assert [outcome.format for outcome in outcomes] == list(TABLE)
    first, *_, package = (outcome.artifact for outcome in outcomes)
    assert first is not None and package is not None
    assert first.path.read_text() == "one random-v8 fp32 "
    manifest = first.manifest
    assert (manifest.file, manifest.format, manifest.gate) == ("random-v8.onnx", "onnx-fp32", "not verified")
    assert (manifest.network.form, manifest.board_sizes, manifest.network.precision) == ("text", "19x19", "fp32")
    assert manifest.recipe["by"] == "one" and "numpy" in manifest.tools
    assert package.path.is_dir() and package.manifest.size_bytes == 1
    assert [artifact.path.name for artifact in artifacts_in(first.path.parent, manifest.network.sha256)] == sorted(
        outcome.artifact.path.name for outcome in outcomes if outcome.artifact
    )
    assert sorted(path.name for path in first.path.parent.iterdir() if path.name.startswith(".")) == []


def test_what_would_become_the_same_is_left_alone(source: Path) -> None:
    before = run(source)
    listener, prover = Listener(), Prover()
    again = run(source, listener=listener, prover=prover)
    assert made(again) == [False] * 4 and prover.ran == []
    assert [outcome.artifact for outcome in again] == [outcome.artifact for outcome in before]
    assert ChainStep("onnx-fp16", "is there already") in listener.events


def test_a_verdict_survives_an_export_that_has_nothing_to_do(source: Path) -> None:
    (outcome,) = run(source, Format.ONNX_FP16)
    assert outcome.artifact is not None
    write_manifest(outcome.artifact.path, msgspec.structs.replace(outcome.artifact.manifest, gate="passed"))
    (again,) = run(source, Format.ONNX_FP16)
    assert again.artifact is not None and again.artifact.manifest.gate == "passed"


@pytest.mark.parametrize(
    "change",
    [
        Exporter(text_writer("one"), "2", ("numpy",)),
        Exporter(text_writer("one"), "1", ("numpy", "onnx")),
        Exporter(text_writer("one"), "1", ("numpy",), inputs=lambda: {"device": "another"}),
    ],
    ids=["writer", "tools", "inputs"],
)
def test_what_would_become_another_is_made_anew_and_loses_its_verdict(source: Path, change: Exporter) -> None:
    (outcome,) = run(source, Format.ONNX_FP32)
    assert outcome.artifact is not None
    write_manifest(outcome.artifact.path, msgspec.structs.replace(outcome.artifact.manifest, gate="passed"))
    (again,) = run(source, Format.ONNX_FP32, table={Format.ONNX_FP32: change})
    assert again.made and again.artifact is not None and again.artifact.manifest.gate == "not verified"


def test_other_positions_make_another_int8(source: Path, tmp_path: Path) -> None:
    positions = tmp_path / "positions"
    positions.write_text("a")
    assert made(run(source, calibration=positions)) == [True] * 4
    positions.write_text("b")
    outcomes = run(source, calibration=positions)
    assert made(outcomes) == [False, False, True, False]
    artifact = outcomes[2].artifact
    assert artifact is not None and artifact.path.read_text().endswith(" b")


def test_a_damaged_artifact_is_made_anew(source: Path) -> None:
    outcomes = run(source)
    for outcome in (outcomes[0], outcomes[3]):
        assert outcome.artifact is not None
        path = outcome.artifact.path / "data" / "weights" if outcome.artifact.path.is_dir() else outcome.artifact.path
        path.write_bytes(bytes(path.stat().st_size))
    assert made(run(source)) == [True, False, False, True]
    assert made(run(source)) == [False] * 4


def test_an_artifact_without_its_manifest_is_made_anew(source: Path) -> None:
    (outcome,) = run(source, Format.ONNX_FP16)
    assert outcome.artifact is not None
    manifest_path(outcome.artifact.path).unlink()
    assert artifacts_in(outcome.artifact.path.parent) == []
    assert made(run(source, Format.ONNX_FP16)) == [True]


def test_an_artifact_of_another_name_is_not_taken_for_ours(source: Path) -> None:
    """`agent qat` keeps its own beside it."""
    (outcome,) = run(source, Format.ONNX_FP16)
    assert outcome.artifact is not None
    other = outcome.artifact.path.with_name("random-v8.qat.fp16.onnx")
    outcome.artifact.path.rename(other)
    write_manifest(other, msgspec.structs.replace(outcome.artifact.manifest, file=other.name))
    assert made(run(source, Format.ONNX_FP16)) == [True]
    assert len(artifacts_in(other.parent)) == 2


def test_memory_that_runs_out_fails_one_format(source: Path) -> None:
    def greedy() -> Writer:
        def write(job: Job) -> Written:
            raise MemoryError

        return write

    table = {Format.ONNX_FP32: Exporter(greedy, "1"), Format.ONNX_FP16: TABLE[Format.ONNX_FP16]}
    first, second = run(source, table=table)
    assert isinstance(first.error, ConversionFailed) and "memory ran out" in str(first.error)
    assert second.made


def test_what_is_made_of_another_format_goes_by_its_version_too(source: Path) -> None:
    """As TensorRT's INT8, whose scales are those of the calibration that wrote ONNX's."""

    def engine() -> Writer:
        def write(job: Job) -> Written:
            job.out.write_bytes(job.made(Format.ONNX_INT8).read_bytes())
            return Written()

        return write

    def made(version: str) -> bool:
        table = {
            Format.ONNX_INT8: Exporter(text_writer(f"scales {version}"), version, calibrates=True),
            Format.TENSORRT_INT8: Exporter(engine, "1", calibrates=True, made_of=Format.ONNX_INT8),
        }
        (outcome,) = run(source, Format.TENSORRT_INT8, table=table)
        assert outcome.artifact is not None and f"scales {version}" in outcome.artifact.path.read_text()
        return outcome.made

    assert [made("1"), made("1"), made("2"), made("2")] == [True, False, True, False]
    assert EXPORTERS[Format.TENSORRT_INT8].made_of is Format.ONNX_INT8
    assert EXPORTERS[Format.TENSORRT_FP16].made_of is Format.ONNX_FP16


@pytest.mark.parametrize("what", ["network", "calibration"])
def test_a_folder_in_the_place_of_a_file_is_named(what: str, source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(AgentError, match="it is a folder"):
        run(folder if what == "network" else source, calibration=folder if what == "calibration" else None)
    assert not (tmp_path / "artifacts").exists()


def test_a_folder_in_the_way_of_a_manifest_is_named_and_stays(source: Path) -> None:
    in_the_way = source.parent / "artifacts" / "random-v8.onnx.json"
    in_the_way.mkdir(parents=True)
    (outcome,) = run(source, Format.ONNX_FP32)
    assert outcome.error is not None and "random-v8.onnx" in str(outcome.error) and outcome.error.fix
    assert in_the_way.is_dir()
    assert [path.name for path in in_the_way.parent.iterdir()] == [in_the_way.name]


# ---------------------------------------------------------------- human-style networks


def files(outcomes: list[Outcome]) -> list[str]:
    return [outcome.artifact.path.name for outcome in outcomes if outcome.artifact]


def test_each_profile_is_an_artifact_of_its_own(tmp_path: Path) -> None:
    source = NetworkWriter(15, ["ordinary"], metadata=True).write(tmp_path / "n.bin.gz")
    first = run(source, Format.ONNX_FP32, human_profile="rank_5k", usual_profile="rank_1d")
    assert files(first) == ["random-v15.rank_5k.onnx"]
    (artifact,) = (outcome.artifact for outcome in first)
    assert artifact is not None and artifact.manifest.network.human_profile == "rank_5k"
    usual = run(source, Format.ONNX_FP32, usual_profile="rank_1d")
    assert (made(usual), files(usual)) == ([True], ["random-v15.rank_1d.onnx"])
    again = run(source, Format.ONNX_FP32, human_profile="rank_5k")
    assert (made(again), files(again)) == ([False], ["random-v15.rank_5k.onnx"])


def test_the_usual_profile_is_nothing_to_other_networks(source: Path) -> None:
    assert files(run(source, Format.ONNX_FP32, usual_profile="rank_1d")) == ["random-v8.onnx"]
    assert made(run(source, Format.ONNX_FP32, usual_profile="rank_2d")) == [False]


@pytest.mark.parametrize(
    ("metadata", "profile", "message"),
    [(False, "rank_5k", "is no human-style network"), (True, "../rank_5k", "there is no human profile")],
)
def test_profiles_that_do_not_fit_are_refused(metadata: bool, profile: str, message: str, tmp_path: Path) -> None:
    source = NetworkWriter(15, ["ordinary"], metadata=metadata).write(tmp_path / "n.bin.gz")
    (outcome,) = run(source, Format.ONNX_FP32, human_profile=profile)
    assert isinstance(outcome.error, ConversionFailed) and message in str(outcome.error)
    assert not artifacts_in(source.parent / "artifacts")


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    "table",
    [
        {Format.ONNX_FP32: Exporter(failing_writer(ConversionFailed("it broke")), "2")},
        {Format.ONNX_FP32: Exporter(text_writer("new"), "2", ("no-such-distribution",))},
        {},
    ],
    ids=["writer", "tool", "unknown"],
)
def test_one_format_that_fails_leaves_its_older_artifact_and_the_others(
    source: Path, table: dict[Format, Exporter]
) -> None:
    run(source, Format.ONNX_FP32)
    folder = source.parent / "artifacts"
    before = tree(folder)
    failed, good = run(
        source, Format.ONNX_FP32, Format.ONNX_FP16, table={Format.ONNX_FP16: TABLE[Format.ONNX_FP16]} | table
    )
    assert failed.artifact is None and failed.error is not None and failed.error.fix
    assert good.made
    after = tree(folder)
    assert before.items() <= after.items() and len(after) == len(before) + 2


def test_a_missing_tool_names_its_extra(source: Path) -> None:
    table = {Format.MNN_FP16: Exporter(text_writer("mnn"), "1", ("no-such-distribution",))}
    (outcome,) = run(source, table=table)
    assert isinstance(outcome.error, ToolMissing)
    assert "katago-agent[mnn]" in outcome.error.fix
    assert not (source.parent / "artifacts").exists()


def test_what_does_not_run_is_not_published(source: Path) -> None:
    run(source, Format.ONNX_FP32)
    before = tree(source.parent / "artifacts")
    prover = Prover({"onnx-fp32": BackendUnavailable("illegal instruction")})
    newer = {Format.ONNX_FP32: Exporter(text_writer("new"), "2")}
    (outcome,) = run(source, table=newer, prover=prover)
    assert isinstance(outcome.error, BackendUnavailable)
    assert tree(source.parent / "artifacts") == before


def test_a_network_that_cannot_be_read_ends_it(tmp_path: Path) -> None:
    source = tmp_path / "n.bin.gz"
    source.write_bytes(b"nothing")
    with pytest.raises(NetworkFormatError):
        run(source)
    assert [path.name for path in tmp_path.iterdir()] == ["n.bin.gz"]


@pytest.mark.parametrize(("number", "helps"), [(errno.ENOSPC, "--out"), (errno.EFBIG, "ulimit -f")])
def test_what_a_disk_refuses_is_told_with_what_helps(number: int, helps: str, tmp_path: Path) -> None:
    with pytest.raises(StorageFull) as caught, storage_errors(tmp_path):
        raise OSError(number, os.strerror(number))
    assert helps in caught.value.fix


def test_two_at_once_in_one_folder(source: Path) -> None:
    folder = source.parent / "artifacts"
    run(source, Format.ONNX_FP32)
    theirs = folder / STAGING / "theirs"
    theirs.mkdir(parents=True)
    holder = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(StoreBusy, match="another process exports"):
            run(source)
        assert theirs.is_dir(), "their work is left alone"
    finally:
        os.close(holder)
    assert made(run(source)) == [False, True, True, True]
    assert not (folder / STAGING).exists(), "swept once its owner is gone"


def test_what_a_dead_process_was_writing_is_swept(source: Path) -> None:
    run(source)
    folder = source.parent / "artifacts"
    before = tree(folder)
    (folder / ".random-v8.onnx.json.4194304.tmp").write_text("half")  # Linux's largest process id is one less
    alive = folder / f".random-v8.onnx.json.{os.getpid()}.tmp"
    alive.write_text("half")
    run(source)
    assert tree(folder) == {**before, alive.name: tree(folder)[alive.name]}


def test_the_table_has_every_format_once() -> None:
    assert set(EXPORTERS) <= set(Format)
    assert all(exporter.version for exporter in EXPORTERS.values())
