"""The speed table: all take turns, figures go where they belong, and what fails is set aside."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.network_writer import NetworkWriter
from fakes.probe_child import COMMAND
from fakes.small_networks import Listener
from rich.console import Console

from agent.engine.tuning import Contender, SetAside
from agent.engine.way import Way
from agent.errors import BenchFailed
from agent.export.artifact import ArtifactManifest, artifacts_in, read_artifact, write_manifest
from agent.export.info import NetworkInfo
from agent.workshop.limits import Peaks
from agent.workshop.measurer import ChildMeasurer
from agent.workshop.native_speed import NativeSetting, NativeSpeed, native_settings
from agent.workshop.probe import Probe
from agent.workshop.speed import (
    FILE,
    BoardSpeeds,
    SpeedOptions,
    SpeedTable,
    keep_table,
    measure_speeds,
    read_table,
    with_left_out,
    write_speeds,
)
from agent.workshop.speed_table import tables

PEAKS = Peaks(2, 50e9, 100e9, 0.0)
WAYS = (Way(2, 1, 1),)


def contender(backend: str, precision: str = "fp32", form: str = "plain", path: str = "") -> Contender:
    return Contender(backend, precision, form, f"hash of {backend}", path)


def native_network(folder: Path, manner: str) -> Path:
    """For the fake katago, whose model says how it behaves."""
    path = folder / f"{manner or 'well'}.bin.gz"
    path.write_text(manner)
    return path


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return NetworkWriter(8, ["ordinary"]).write(tmp_path / "random.bin")


def measured(network: Path, contenders: list[Contender], listener: Listener | None = None) -> tuple[BoardSpeeds, ...]:
    options = SpeedOptions(WAYS, 2, None, sides=(19, 9), rounds=3, turn_s=0.05)
    return measure_speeds(
        network,
        contenders,
        PEAKS,
        options,
        listener or Listener(),
        time.monotonic,
        lambda names: ChildMeasurer(names, None, 2, None, lambda: Probe(COMMAND)),
    )


def test_every_path_is_measured_on_every_board(network: Path) -> None:
    listener = Listener()
    names = [contender("quick"), contender("sigill"), contender("slow", "int8")]
    boards = measured(network, names, listener)
    assert [board.board for board in boards] == ["19x19", "9x9"]
    for board in boards:
        assert {path.contender.backend for path in board.paths} == {"quick", "slow"}
        assert board.paths[0].contender.backend == "quick", "the fastest first"
        assert all(len(path.rounds) == 3 and path.evals_per_s > 0 and path.ratio is None for path in board.paths)
        assert board.native is None
    (lost,) = boards[0].set_aside
    assert lost.contender.backend == "sigill" and "SIGILL" in lost.reason
    assert listener.events


def test_paths_that_do_not_fit_into_memory_together_are_opened_in_turn(network: Path) -> None:
    loaded: list[int] = []

    class Counted(Probe):
        def open(self, *arguments: Any) -> Any:
            living.add(self)
            loaded.append(len(living))
            return super().open(*arguments)

        def close(self) -> None:
            living.discard(self)
            super().close()

    living: set[Probe] = set()
    options = SpeedOptions(WAYS, 2, None, sides=(9,), rounds=2, turn_s=0.02)
    names = [contender("quick"), contender("quick", "int8"), contender("quick", form="winograd")]
    (board,) = measure_speeds(
        network,
        names,
        PEAKS,
        options,
        Listener(),
        time.monotonic,
        lambda names: ChildMeasurer(names, None, 2, 1, lambda: Counted(COMMAND)),
    )
    assert len(board.paths) == 3 and all(len(path.rounds) == 2 for path in board.paths)
    assert max(loaded) == 2 and not living, "the next beside the last one alone"


def test_a_native_engine_that_does_not_run_is_told_before_anything_is_measured(network: Path, tmp_path: Path) -> None:
    def never() -> Probe:
        raise AssertionError("this takes minutes")

    options = SpeedOptions(WAYS, 2, tmp_path / "katago", sides=(9,), rounds=1, turn_s=0.05)
    with pytest.raises(BenchFailed, match="does not start"):
        measure_speeds(
            network,
            [contender("quick")],
            PEAKS,
            options,
            Listener(),
            time.monotonic,
            lambda names: ChildMeasurer(names, None, 2, None, never),
        )


def test_a_share_is_that_of_the_arithmetic_that_the_path_uses(network: Path) -> None:
    names = [contender("quick"), contender("quick", form="winograd"), contender("quick", "int8"), contender("mnn")]
    names.append(contender("core", path=str(network)))
    (board, _) = measured(network, names)
    ceilings = {
        "fp32, direct": board.limits.fp32_direct,
        "fp32, F(4×4, 3×3)": board.limits.fp32_winograd,
        "fp32, F(5×5, 3×3)": board.limits.fp32_winograd_5,
        "int8 without dot products, direct": board.limits.int8_direct,
    }
    assert {path.limit for path in board.paths} == set(ceilings)
    for path in board.paths:
        assert path.share == pytest.approx(path.evals_per_s / ceilings[path.limit])


def test_figures_go_into_the_manifests_in_the_place_of_older_ones(network: Path, tmp_path: Path) -> None:
    file = tmp_path / "random.mnn"
    file.write_bytes(b"weights")
    info = NetworkInfo(name="random", version=8)
    manifest = ArtifactManifest(file.name, "mnn-fp32", 7, "00" * 32, info, "1x1 to 19x19", {})
    write_manifest(file, manifest)
    named = msgspec.structs.replace(contender("quick", path=str(file)), sha256="00" * 32)
    boards = measured(network, [named, contender("slow")])
    assert write_speeds(boards, "a machine") == 1
    assert write_speeds(boards, "another machine") == 1
    assert write_speeds(boards, "a machine") == 1
    assert write_speeds(boards[1:], "a machine") == 1, "of one board: those of the others stay"
    artifact = read_artifact(file)
    assert artifact is not None
    assert [speed.hardware for speed in artifact.manifest.speeds] == ["another machine"] * 2 + ["a machine"] * 2
    assert {speed.board for speed in artifact.manifest.speeds} == {"19x19", "9x9"}
    assert msgspec.structs.replace(artifact.manifest, speeds=()) == manifest


def test_an_artifact_that_was_replaced_while_it_was_timed_gets_no_figures(
    network: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "random.mnn"
    file.write_bytes(b"weights")
    manifest = ArtifactManifest(file.name, "mnn-fp32", 7, "00" * 32, NetworkInfo("random", 8), "1x1 to 19x19", {})
    write_manifest(file, manifest)
    assert write_speeds(measured(network, [contender("quick", path=str(file))]), "a machine") == 0
    assert "replaced" in caplog.text
    artifact = read_artifact(file)
    assert artifact is not None and artifact.manifest == manifest


def test_what_was_not_let_in_is_told_once(network: Path) -> None:
    boards = measured(network, [contender("quick"), contender("missing")])
    unverified = SetAside(contender("mnn"), "nobody has verified it: run `agent verify`")
    first, second = with_left_out(boards, [unverified])
    assert first.set_aside == (*boards[0].set_aside, unverified) and second == boards[1]
    assert with_left_out((), [unverified]) == ()


def test_the_table_is_kept_beside_the_artifacts(tmp_path: Path) -> None:
    table = SpeedTable("random", "00" * 32, "a machine", {}, PEAKS, (), (0.0, 0.0))
    keep_table(tmp_path / "new", table)
    keep_table(tmp_path / "new", msgspec.structs.replace(table, hardware="another"))
    assert msgspec.json.decode((tmp_path / "new" / FILE).read_bytes(), type=SpeedTable).hardware == "another"
    assert artifacts_in(tmp_path / "new") == []
    kept = read_table(tmp_path / "new")
    assert kept is not None and kept.hardware == "another"


def test_boards_that_were_not_timed_again_stay_in_the_table(network: Path, tmp_path: Path) -> None:
    both = measured(network, [contender("quick")])
    table = SpeedTable("random", "00" * 32, "a machine", {}, PEAKS, both, (0.0, 0.0))
    small = msgspec.structs.replace(both[1], set_aside=(SetAside(contender("mnn"), "now"),))
    keep_table(tmp_path, table)
    keep_table(tmp_path, msgspec.structs.replace(table, boards=(small,)))
    kept = read_table(tmp_path)
    assert kept is not None and kept.boards == (small, both[0])
    keep_table(tmp_path, msgspec.structs.replace(table, boards=(small,), versions={"onnxruntime": "2"}))
    kept = read_table(tmp_path)
    assert kept is not None and kept.boards == (small,), "those were another version's"


def test_a_table_that_cannot_be_read_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_table(tmp_path) is None and read_table(tmp_path / "none") is None
    (tmp_path / FILE).write_text('{"network": "of an older version"}')
    assert read_table(tmp_path / FILE) is None
    assert caplog.text == "", "where there is none there is nothing to tell"
    assert read_table(tmp_path) is None
    assert "`agent speed` writes it anew" in caplog.text
    (tmp_path / FILE).write_text('{"network": ' + "[" * 5000)
    assert read_table(tmp_path) is None
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE)
    assert read_table(tmp_path) is None, "and nobody waits for its other end"


def test_the_table_says_when_the_machine_was_busy(network: Path) -> None:
    boards = measured(network, [contender("quick"), contender("missing")])
    for load, busy in (((0.2, 1.0), False), ((0.2, 5.0), True)):
        found = SpeedTable("random", "00" * 32, "a machine", {}, PEAKS, boards, load)
        console = Console(width=200, record=True, file=io.StringIO())
        for table in tables(found):
            console.print(table)
        text = console.export_text()
        assert all(f"fp32, F({tile}, 3×3)" in text for tile in ("4×4", "5×5")), "each limit that a path is a share of"
        assert "this processor has none" in text and "set aside: the package imaginary" in text
        assert ("The machine was busy" in text) is busy


# ---------------------------------------------------------------- native KataGo


def test_a_native_engine_is_measured_in_evaluations(fake_katago: Path, tmp_path: Path) -> None:
    with NativeSpeed(fake_katago, native_network(tmp_path, ""), 19, NativeSetting(2, 4)) as native:
        evaluations, seconds = native.measure(0.05)
    # Three visits and the root again, for each of so many whole rounds of four queries.
    assert evaluations % 16 == 0 and evaluations > 0 and seconds > 0


@pytest.mark.parametrize(
    ("manner", "reason"), [("crash", "cannot parse the model"), ("refuse", "unknown rules"), ("die", "out of memory")]
)
def test_a_native_engine_that_fails_says_why(fake_katago: Path, tmp_path: Path, manner: str, reason: str) -> None:
    with pytest.raises(BenchFailed, match=reason):
        NativeSpeed(fake_katago, native_network(tmp_path, manner), 9, NativeSetting(1, 1))


def test_a_native_engine_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="does not start"):
        NativeSpeed(tmp_path / "katago", native_network(tmp_path, ""), 9, NativeSetting(1, 1))


def test_settings_to_try_grow_with_the_cores() -> None:
    assert native_settings(1) == (NativeSetting(1, 1), NativeSetting(1, 2), NativeSetting(1, 4))
    assert native_settings(4)[-1] == NativeSetting(4, 16)
