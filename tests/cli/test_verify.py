"""The verbs of measuring, from the command line to the files: positions, verify, match."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import msgspec
import pytest
from fakes.network_writer import NetworkWriter
from fakes.position_sets import made_up
from fakes.pull_child import start_forkserver
from fakes.stranger import STRANGER, in_child, shared_folder
from typer.testing import CliRunner, Result

from agent.__main__ import app
from agent.errors import (
    BackendUnavailable,
    CalibrationError,
    ConfigError,
    ConversionFailed,
    GateRefused,
    JournalUnusable,
)
from agent.events import SilentReporter
from agent.export.artifact import artifacts_in, manifest_path, read_artifact, write_manifest
from agent.workshop.opening import open_network, open_player
from agent.workshop.position_set import load_position_set
from agent.workshop.positions import self_play_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder's owner: a small network, and its artifacts in fp32 and with INT8 weights."""
    folder = tmp_path_factory.mktemp("verbs")
    NetworkWriter(8, ["ordinary", "gpool"], channels=8).write(folder / "small.bin.gz")
    (folder / "agent.yaml").write_text(f"state_dir: {folder / 'state'}\n")
    formats = ("--to", "onnx-fp32", "--to", "onnx-int8-weights")
    assert run(folder, "export", str(folder / "small.bin.gz"), *formats).exit_code == 0
    made_up().save(folder / "positions.npz")
    return folder


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(folder / "agent.yaml")])


def artifact(folder: Path, precision: str) -> Path:
    (made,) = (folder / "state" / "artifacts").iterdir()
    (found,) = [each for each in artifacts_in(made) if each.format.facts.precision == precision]
    return found.path


def test_positions_are_played_and_the_file_is_one_set(folder: Path) -> None:
    out = folder / "played.npz"
    wanted = ("--games", "2", "--positions", "6", "--seed", "4", "--out", str(out), "--json")
    result = run(folder, "positions", "--network", str(folder / "small.bin.gz"), *wanted)
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout.splitlines()[-1])
    made = load_position_set(out)
    assert (said["positions"], said["games"], said["sha256"]) == (6, 2, made.sha256())
    assert sum(said["boards"].values()) == len(made) == 6


def test_games_that_calibrate_are_known_again_whatever_runtime_played_them(folder: Path) -> None:
    """`agent export` plays with ONNX Runtime what it calibrates on, `agent positions` with the core."""
    games = []
    for open_one in (open_network, open_player):
        opened = open_one(str(folder / "small.bin.gz"), folder / "state", SilentReporter())
        out = folder / f"{opened.backend.name}.npz"
        games.append(self_play_set(opened.backend, out, SilentReporter(), positions=4, games=2).game_ids())
        opened.backend.close()
    assert games[0] == games[1] and len(games[0]) == 2


def test_positions_come_from_records_and_bad_ones_are_named(folder: Path) -> None:
    games = folder / "games"
    games.mkdir()
    for number in range(3):
        moves = "".join(f";{'BW'[index % 2]}[{'abcdefghi'[index]}{'abcdefghi'[number]}]" for index in range(9))
        (games / f"{number}.sgf").write_text(f"(;SZ[9]{moves})")
    (games / "bad.sgf").write_text("(;SZ[9]")
    out = folder / "records.npz"
    wanted = ("--sgf", str(games), "--out", str(out))
    result = run(folder, "positions", *wanted, "--positions", "12", "--games", "3")
    assert result.exit_code == 0 and f"left out: {games / 'bad.sgf'}" in result.stderr
    made = load_position_set(out)
    assert made.games == 3 and made.source == "SGF of games", "no folder of somebody's machine"
    too_many = run(folder, "positions", *wanted, "--positions", "12", "--games", "4")
    assert isinstance(too_many.exception, CalibrationError) and load_position_set(out).games == 3


def run_by(folder: Path, *arguments: str) -> tuple[str, str, dict[str, int]]:
    """The error, what was said, and whose is what now; for a process of its own, which may change users."""
    result = run(folder, *arguments)
    owners = {path.relative_to(folder).as_posix(): path.lstat().st_uid for path in folder.rglob("*")}
    return type(result.exception).__name__, result.stderr, owners


def run_twice(folders: tuple[Path, Path], verb: str, *arguments: str) -> tuple[str, str, dict[str, int]]:
    """The second run. The first loads what is loaded by its first use: root's own Python is nobody else's to read."""
    for folder in folders:
        found = run_by(folder, verb, *(str(folder / each) if "." in each else each for each in arguments))
    return found


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [
        ("positions", ("--network", "small.bin.gz", "--positions", "2", "--games", "2", "--out", "out.npz")),
        (
            "match",
            ("small.bin.gz", "small.bin.gz", "--games", "2", "--visits", "1", "--board", "5", "--out", "out.npz"),
        ),
    ],
)
def test_root_plays_as_the_user_who_has_the_state_folder(verb: str, arguments: tuple[str, ...]) -> None:
    owner = STRANGER if os.geteuid() == 0 else os.geteuid()
    with shared_folder() as mine, shared_folder() as theirs:
        for folder in (mine, theirs):
            NetworkWriter(8, ["ordinary"], channels=8).write(folder / "small.bin.gz")
            (folder / "agent.yaml").write_text(f"state_dir: {folder / 'state'}\n")
            (folder / "state").mkdir(mode=0o750)
        os.chown(theirs / "state", owner, -1)
        error, said, owners = in_child(start_forkserver(), run_twice, (mine, theirs), verb, *arguments)
    assert error == "NoneType"
    assert ("goes on as" in said) == (os.geteuid() == 0)
    assert owners.pop("small.bin.gz") == owners.pop("agent.yaml") == os.geteuid()
    assert {"out.npz", "state/networks"} < owners.keys() and set(owners.values()) == {owner}


def test_records_are_read_as_who_asks(folder: Path) -> None:
    with shared_folder() as state:
        os.chown(state, STRANGER if os.geteuid() == 0 else -1, -1)
        (state / "agent.yaml").write_text(f"state_dir: {state}\n")
        wanted = ("--sgf", str(folder / "no such folder"), "--out", str(folder / "none.npz"))
        error, said, _ = in_child(start_forkserver(), run_by, state, "positions", *wanted)
    assert error != "NoneType" and "goes on as" not in said


@pytest.mark.parametrize("sources", [(), ("--network", "b15c192", "--sgf", "games")])
def test_positions_come_from_one_source(folder: Path, sources: tuple[str, ...]) -> None:
    result = run(folder, "positions", *sources, "--out", str(folder / "none.npz"))
    assert result.exit_code == 2 and not (folder / "none.npz").exists()


def test_an_artifact_in_fp32_passes_and_its_manifest_says_so(folder: Path) -> None:
    path = artifact(folder, "fp32")
    against = ("--against", str(folder / "small.bin.gz"), "--positions", str(folder / "positions.npz"))
    result = run(folder, "verify", str(path), *against)
    assert result.exit_code == 0, result.output
    assert "gate passed" in result.stdout and "symmetry noise" in result.stdout
    now = read_artifact(path)
    assert now is not None and now.manifest.gate == "passed"
    assert now.manifest.verifications[-1].reference.endswith(" core"), "by itself it would pass whatever it answers"


def test_a_refused_artifact_ends_with_status_1_and_all_figures(folder: Path) -> None:
    # The weights are random and so are the positions: fewer than the gate wants are always refused.
    few = folder / "few.npz"
    made_up(games=20).save(few)
    path = artifact(folder, "int8-weights")
    against = ("--against", str(artifact(folder, "fp32")), "--positions", str(few), "--json")
    result = run(folder, "verify", str(path), *against)
    assert isinstance(result.exception, GateRefused) and "100 positions of 20 games" in str(result.exception)
    assert "more positions" in result.exception.fix, "another export would not help"
    said = json.loads(result.stdout.splitlines()[-1])
    assert said["accuracies"][0]["positions"] == 100 and said["judgement"]["reasons"]
    now = read_artifact(path)
    assert now is not None and now.manifest.gate == "failed" and now.manifest.gate_reasons


def test_what_was_found_before_one_that_cannot_be_verified_is_told(folder: Path) -> None:
    against = ("--against", str(folder / "small.bin.gz"), "--positions", str(folder / "positions.npz"))
    result = run(folder, "verify", str(artifact(folder, "fp32")), "unheard-of", *against)
    assert isinstance(result.exception, ConfigError)
    assert "gate passed" in result.stdout


def test_what_it_was_calibrated_on_is_asked_for_before_anything_is_evaluated(folder: Path) -> None:
    small, calibration = str(folder / "small.bin.gz"), folder / "calibration.npz"
    made_up(games=12, seed=5).save(calibration)
    made_up(seed=6).save(folder / "other.npz")
    made = run(folder, "export", small, "--to", "onnx-int8", "--calibration", str(calibration))
    assert made.exit_code == 0, made.output
    path = str(artifact(folder, "int8"))
    against = ("--against", small, "--positions", str(folder / "positions.npz"))
    for named in ((), ("--calibration", str(folder / "other.npz"))):
        result = run(folder, "verify", path, *against, *named)
        assert isinstance(result.exception, CalibrationError) and "nobody knows" in str(result.exception)
        assert "symmetry noise" not in result.output
    both = ("--calibration", str(folder / "other.npz"), "--calibration", str(calibration))
    result = run(folder, "verify", path, *against, *both)
    assert "symmetry noise" in result.output and not isinstance(result.exception, CalibrationError)


@pytest.mark.parametrize("place", ["beside it", "in the state folder"])
def test_what_was_trained_saw_two_sets_and_one_need_not_be_named(place: str, folder: Path, tmp_path: Path) -> None:
    calibration, trained = made_up(games=12, seed=5), made_up(games=12, seed=7)
    kept = tmp_path if place == "beside it" else artifact(folder, "fp32").parent
    calibration.save(kept / "calibration.npz")
    trained.save(tmp_path / "train.npz")
    source = read_artifact(artifact(folder, "int8-weights"))
    assert source is not None
    path = tmp_path / source.path.name
    path.write_bytes(source.path.read_bytes())
    recipe = {"calibration set": calibration.sha256(), "qat positions": f"{trained.sha256()} (60 of 12 games)"}
    write_manifest(path, msgspec.structs.replace(source.manifest, recipe=recipe))
    few = ("--positions", str(folder / "positions.npz"))
    words = ("verify", str(path), "--against", str(artifact(folder, "fp32")), *few)
    lacking = run(folder, *words)
    assert isinstance(lacking.exception, CalibrationError) and trained.sha256()[:16] in lacking.exception.fix
    found = run(folder, *words, "--calibration", str(tmp_path / "train.npz"))
    (kept / "calibration.npz").unlink()
    assert "gate" in found.stdout and not isinstance(found.exception, CalibrationError)


def test_a_file_without_a_manifest_has_no_gate(folder: Path) -> None:
    bare = folder / "bare.onnx"
    bare.write_bytes(artifact(folder, "fp32").read_bytes())
    against = ("--against", str(folder / "small.bin.gz"), "--positions", str(folder / "positions.npz"))
    result = run(folder, "verify", str(bare), *against)
    assert result.exit_code == 0, result.output
    assert "no gate: it is no artifact with a manifest" in " ".join(result.stdout.split())


@pytest.mark.parametrize("suffix", ["mnn", "tflite", "engine"])
def test_an_artifact_that_lost_its_manifest_is_no_network_file(suffix: str, folder: Path) -> None:
    lost = folder / f"lost.{suffix}"
    lost.write_bytes(b"weights")
    result = run(folder, "match", str(lost), str(folder / "small.bin.gz"), "--games", "2")
    assert isinstance(result.exception, BackendUnavailable) and f"lost.{suffix}.json" in str(result.exception)
    assert "Export" in result.exception.fix


def test_a_file_is_named_as_it_is_named(folder: Path) -> None:
    """What stands in brackets is markup to the library that draws the table."""
    odd = folder / "net [v2] :ok: é.onnx"
    odd.write_bytes(artifact(folder, "fp32").read_bytes())
    against = ("--against", str(artifact(folder, "fp32")), "--positions", str(folder / "positions.npz"))
    result = run(folder, "verify", str(odd), *against)
    assert result.exit_code == 0, result.output
    assert odd.name in " ".join(result.stdout.split())


def test_what_cannot_be_compared_is_refused(folder: Path) -> None:
    for arguments, error in (
        (("verify", "unheard-of", "--against", str(folder / "small.bin.gz")), ConfigError),
        (("match", str(folder / "small.bin.gz"), "unheard-of", "--games", "2"), ConfigError),
    ):
        positions = ("--positions", str(folder / "positions.npz")) if arguments[0] == "verify" else ()
        assert isinstance(run(folder, *arguments, *positions).exception, error)
    missing = ("--positions", str(folder / "missing.npz"))
    small = str(folder / "small.bin.gz")
    assert isinstance(run(folder, "verify", small, "--against", small, *missing).exception, CalibrationError)


def test_a_match_tells_elo_and_writes_it_beside_the_artifact(folder: Path) -> None:
    path, out = artifact(folder, "int8-weights"), folder / "match.jsonl"
    wanted = ("--games", "2", "--visits", "2", "--board", "5", "--out", str(out))
    result = run(folder, "match", str(path), str(folder / "small.bin.gz"), *wanted)
    assert result.exit_code == 0, result.output
    assert "2 games in 1 pairs" in result.stdout and "95 % interval" in result.stdout
    assert out.read_text().count("\n") == 3
    now = read_artifact(path)
    assert now is not None and [each.games for each in now.manifest.matches] == [2]
    again = run(folder, "match", str(path), str(folder / "small.bin.gz"), *wanted, "--json")
    assert json.loads(again.stdout.splitlines()[-1])["games"] == 2 and out.read_text().count("\n") == 3
    nowhere = run(folder, "match", str(path), str(path), "--games", "2", "--out", "/proc/none/match.jsonl")
    assert isinstance(nowhere.exception, JournalUnusable)


def test_what_was_found_is_told_also_where_it_cannot_be_written_down(folder: Path) -> None:
    path, small = artifact(folder, "fp32"), str(folder / "small.bin.gz")
    before = manifest_path(path).read_bytes()
    in_the_way = path.with_name(f".{path.name}.json.{threading.get_native_id()}.tmp")
    in_the_way.mkdir()
    wanted = ("--games", "2", "--visits", "2", "--board", "5", "--out", str(folder / "told.jsonl"))
    match = run(folder, "match", str(path), small, *wanted)
    positions = ("--positions", str(folder / "positions.npz"))
    verify = run(folder, "verify", str(path), "--against", small, *positions, "--json")
    in_the_way.rmdir()
    assert isinstance(match.exception, ConversionFailed) and isinstance(verify.exception, ConversionFailed)
    assert "2 games in 1 pairs" in match.stdout
    assert json.loads(verify.stdout.splitlines()[-1])["judgement"]["reasons"] == []
    assert manifest_path(path).read_bytes() == before


def test_players_run_on_the_core_and_what_it_does_not_run_goes_the_usual_way(tmp_path: Path) -> None:
    for name, blocks in (("attentive", ["attention"]), ("plain", ["ordinary"])):
        NetworkWriter(15, blocks, channels=8).write(tmp_path / f"{name}.bin.gz")
        opened = open_player(str(tmp_path / f"{name}.bin.gz"), tmp_path / "state", SilentReporter())
        assert opened.backend.name == "core"
        opened.backend.close()


def test_a_human_style_network_imitates_whom_the_configuration_names(folder: Path, tmp_path: Path) -> None:
    human = NetworkWriter(15, ["ordinary"], channels=8, metadata=True).write(tmp_path / "human.bin.gz")
    for open_one, backend in ((open_network, "onnxruntime"), (open_player, "core")):
        with pytest.raises(ConversionFailed, match="human"):
            open_one(str(human), tmp_path / "state", SilentReporter())
        opened = open_one(str(human), tmp_path / "state", SilentReporter(), human_profile="rank_5k")
        assert (opened.backend.name, opened.backend.network.human_profile) == (backend, "rank_5k")
        opened.backend.close()
    # Other networks imitate nobody, and do not mind.
    opened = open_player(str(folder / "small.bin.gz"), tmp_path / "state", SilentReporter(), human_profile="rank_5k")
    assert (opened.backend.name, opened.backend.network.human_profile) == ("core", "")
    opened.backend.close()
    (tmp_path / "agent.yaml").write_text(f"state_dir: {tmp_path / 'state'}\nhuman_profile: rank_5k\n")
    (made,) = (tmp_path / "state" / "artifacts").glob("*/*.onnx")
    positions = ("--positions", str(folder / "positions.npz"))
    result = run(tmp_path, "verify", str(made), "--against", str(human), *positions)
    assert result.exit_code == 0 and "gate passed" in result.stdout, result.output


def test_held_out_positions_are_played_once_where_none_are_given(folder: Path) -> None:
    small = str(folder / "small.bin.gz")
    held_out = artifact(folder, "fp32").with_name("held-out.npz")
    made_up().save(held_out)
    before = held_out.stat().st_mtime_ns
    result = run(folder, "verify", str(artifact(folder, "fp32")), "--against", small)
    assert result.exit_code == 0 and held_out.stat().st_mtime_ns == before
