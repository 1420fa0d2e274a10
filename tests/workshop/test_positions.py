"""Positions out of games: what is taken, that the set is the same after a kill, and what is refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fakes.backends import NanBackend
from fakes.opinions import OpinionsBackend
from fakes.positions_child import POSITIONS, SEED

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE
from agent.engine.raw import encode
from agent.engine.rules import parse_rules
from agent.errors import CalibrationError, JournalUnusable
from agent.events import SilentReporter
from agent.workshop.journal import open_journal
from agent.workshop.position_set import load_position_set
from agent.workshop.positions import record_set, self_play_set
from agent.workshop.records import GameRecord, end_positions, game_id, sample_positions, turned
from agent.workshop.selfplay import BOARDS, GAMES_PER_WAVE, Wave, board_of, play_wave, waves

ROOT = Path(__file__).resolve().parents[2]
GAMES = 20


def record(length: int = 30, size: tuple[int, int] = (9, 7), name: str = "a game") -> GameRecord:
    x_size, y_size = size
    points = np.random.default_rng(length).permutation(x_size * y_size)[:length]
    moves = tuple((BLACK if number % 2 == 0 else WHITE, int(point)) for number, point in enumerate(points))
    position = Position(x_size, y_size, parse_rules("tromp-taylor"), 7.0, moves=moves)
    Game.from_position(position)
    return GameRecord(game_id(name), position)


# ---------------------------------------------------------------- what is taken of a game


def test_a_position_is_what_the_core_encodes_under_the_same_symmetry() -> None:
    game_record = record()
    taken = sample_positions([game_record], 30, 5, prefer_pass_alive=False, source="")
    assert len(taken) == 30 and taken.games == 1
    for group in taken.groups:
        for index in range(len(group)):
            moves = game_record.position.moves[: group.move[index]]
            game = Game.from_position(msgspec.structs.replace(game_record.position, moves=moves))
            legal = np.zeros(game.area + 1, bool)
            legal[list(game.legal_moves(game.to_play))] = True
            matches = []
            for symmetry in range(8):
                spatial, global_ = encode(game, game.to_play, symmetry)
                if spatial.shape[1:] != (group.y_size, group.x_size):
                    continue
                board = turned(legal[:-1].reshape(game.y_size, game.x_size), symmetry).reshape(-1)
                same = np.array_equal(spatial, group.spatial[index]) and np.array_equal(board, group.legal[index, :-1])
                matches.append(same and np.array_equal(global_, group.global_[index]))
            assert any(matches)


@pytest.mark.parametrize("symmetry", range(8))
def test_symmetries_turn_planes_as_the_core_does(symmetry: int) -> None:
    game = Game.from_position(record(20).position)
    upright, turned_spatial = encode(game, game.to_play, 0)[0], encode(game, game.to_play, symmetry)[0]
    assert np.array_equal(turned(upright, symmetry), turned_spatial)


def test_positions_are_spread_over_the_game_and_all_symmetries() -> None:
    records = [record(40, (9, 9), f"game {number}") for number in range(40)]
    taken = sample_positions(records, 320, 1, prefer_pass_alive=False, source="")
    (group,) = taken.groups
    for number in {int(each) for each in group.game}:
        moves = sorted(group.move[group.game == number].tolist())
        assert [move // 5 for move in moves] == list(range(8))


def test_short_games_are_made_up_for_by_long_ones() -> None:
    records = [record(3, name="short"), record(40, (9, 9), "long"), record(50, (9, 9), "longer")]
    taken = sample_positions(records, 43, 1, prefer_pass_alive=False, source="")
    counts = {record.id: 0 for record in records}
    for group in taken.groups:
        for number in group.game.tolist():
            counts[number] += 1
    assert list(counts.values()) == [3, 20, 20]
    assert len(sample_positions(records, 1000, 1, prefer_pass_alive=False, source="")) == 93


def test_no_games_are_an_error() -> None:
    with pytest.raises(CalibrationError, match="no game"):
        sample_positions([], 10, 1, prefer_pass_alive=False, source="")


def test_the_end_of_a_game_is_upright() -> None:
    game_record = record()
    (group,) = end_positions([game_record], prefer_pass_alive=False, source="").groups
    game = Game.from_position(game_record.position)
    assert np.array_equal(group.spatial[0], encode(game, game.to_play, 0)[0].astype(bool))
    assert int(group.legal[0].sum()) == len(game.legal_moves(game.to_play)) and group.move[0] == 30


# ---------------------------------------------------------------- self-play


def test_one_seed_gives_one_wave_and_another_seed_another() -> None:
    waves_played = [play_wave(OpinionsBackend(), Wave(seed, 2, 3)) for seed in (1, 1, 2)]
    assert waves_played[0] == waves_played[1] != waves_played[2]
    ids = {game.id for wave in waves_played[1:] for game in wave}
    assert len(ids) == 6


def test_games_differ_in_rules_komi_and_handicap_and_are_legal() -> None:
    games = [game for wave in waves(5, 64) for game in play_wave(OpinionsBackend(), wave) if wave.number not in (0, 1)]
    assert len({repr(game.position.rules) for game in games}) >= 4
    assert len({game.position.komi for game in games}) >= 4
    assert any(game.position.initial_stones for game in games)
    for game in games:
        assert Game.from_position(game.position)
        assert 0 < game.positions <= 1.1 * game.position.x_size * game.position.y_size + 1


def test_waves_cover_the_boards_in_their_shares() -> None:
    sizes = [tuple(sorted(board_of(wave), reverse=True)) for wave in waves(1, 200 * GAMES_PER_WAVE)]
    for x_size, y_size, share in BOARDS:
        found = sizes.count((max(x_size, y_size), min(x_size, y_size))) / len(sizes)
        assert found == pytest.approx(share, abs=0.02)


def test_more_games_keep_the_games_of_fewer() -> None:
    few, more = waves(1, 16), waves(1, 24)
    assert more[:2] == few and sum(wave.games for wave in waves(1, 21)) == 21


def test_a_network_that_says_no_numbers_plays_no_game() -> None:
    with pytest.raises(CalibrationError, match="not finite"):
        play_wave(NanBackend(), Wave(1, 0, 2))


# ---------------------------------------------------------------- the set


def test_a_killed_run_goes_on_and_gives_the_same_set(tmp_path: Path) -> None:
    whole = self_play_set(
        OpinionsBackend(), tmp_path / "whole.npz", SilentReporter(), positions=POSITIONS, games=GAMES, seed=SEED
    )
    out = tmp_path / "killed.npz"
    for games_done in (GAMES_PER_WAVE, 2 * GAMES_PER_WAVE):
        command = [sys.executable, "-m", "fakes.positions_child", str(out), str(GAMES)]
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PATH": ""}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=tmp_path) as child:
            assert child.stdout is not None
            for line in child.stdout:
                if json.loads(line)["done"] >= games_done:
                    child.send_signal(signal.SIGKILL)
                    break
            child.wait(60)
        assert not out.exists() and (tmp_path / "killed.npz.journal").exists()
    counted = OpinionsBackend()
    resumed = self_play_set(counted, out, SilentReporter(), positions=POSITIONS, games=GAMES, seed=SEED)
    assert max(counted.batches, default=0) <= GAMES % GAMES_PER_WAVE
    assert resumed.sha256() == whole.sha256() == load_position_set(out).sha256()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.npz", "whole.npz"]


def test_a_journal_of_another_run_is_begun_anew(tmp_path: Path) -> None:
    out = tmp_path / "set.npz"
    (tmp_path / "set.npz.journal").write_text('{"journal_of":"something else"}\n{"number":0}\n')
    made = self_play_set(OpinionsBackend(), out, SilentReporter(), positions=4, games=1, seed=1)
    assert len(made) == 4 and made.games == 1 and "seed 1" in load_position_set(out).source


def test_where_nothing_can_be_written_nothing_is_played(tmp_path: Path) -> None:
    backend = OpinionsBackend()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(JournalUnusable, match="cannot write"):
        self_play_set(backend, tmp_path / "file" / "set.npz", SilentReporter(), positions=4, games=1)
    assert not backend.batches and [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_in_the_place_of_the_set_is_found_before_anything_is_played(tmp_path: Path) -> None:
    backend = OpinionsBackend()
    with pytest.raises(CalibrationError, match="is a folder"):
        self_play_set(backend, tmp_path, SilentReporter(), positions=10)
    with pytest.raises(CalibrationError, match="is a folder"):
        record_set([record()], tmp_path, positions=10)
    assert backend.batches == [] and not list(tmp_path.iterdir())


# ---------------------------------------------------------------- journals


class Piece(msgspec.Struct, frozen=True):
    number: int


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path, "key", Piece) as journal:
        for number in range(3):
            journal.add(Piece(number))
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        with open_journal(path, "key", Piece) as journal:
            assert journal.pieces == tuple(Piece(number) for number in range(whole[:cut].count(b"\n") - 1))
            journal.add(Piece(9))
        with open_journal(path, "key", Piece) as journal:
            assert journal.pieces[-1] == Piece(9)


class Said(msgspec.Struct, frozen=True):
    text: str


def test_a_line_of_no_text_is_where_a_journal_ends(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path, "key", Said) as journal:
        for text in ("one", "two", "three"):
            journal.add(Said(text))
    path.write_bytes(path.read_bytes().replace(b"two", b"tw\xff"))
    with open_journal(path, "key", Said, replace=False) as journal:
        assert journal.pieces == (Said("one"),)
    assert path.read_bytes().count(b"\n") == 2
    path.write_bytes(b'{"journal_of":"k\xff"}\n')
    with pytest.raises(JournalUnusable, match="other work"), open_journal(path, "key", Said, replace=False):
        raise AssertionError("it was opened")


@pytest.mark.parametrize("pieces", [0, 2])
def test_on_a_full_disk_a_journal_keeps_what_it_has_and_goes_on_when_there_is_room(pieces: int, tmp_path: Path) -> None:
    """In a process that may write so many bytes to a file and no more: in the middle of the head, or of a piece."""
    path = tmp_path / "journal"
    whole = tmp_path / "whole"
    with open_journal(whole, "key", Piece) as journal:
        for number in range(pieces):
            journal.add(Piece(number))
    script = (
        "import sys, msgspec, resource; from pathlib import Path; from agent.errors import JournalUnusable\n"
        "from agent.workshop.journal import open_journal; Piece = msgspec.defstruct('Piece', [('number', int)])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    with open_journal(Path(sys.argv[1]), 'key', Piece, replace=False) as journal:\n"
        "        for number in range(9): journal.add(Piece(number))\n"
        "except JournalUnusable as error: print(error.explain())\n"
    )
    room = whole.stat().st_size + 5 if pieces else 10
    done = subprocess.run(
        [sys.executable, "-c", script, str(path), str(room)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "cannot write" in done.stdout and "fix: " in done.stdout, done.stderr
    assert path.read_bytes() == (whole.read_bytes() if pieces else b"")
    with open_journal(path, "key", Piece, replace=False) as journal:
        assert journal.pieces == tuple(Piece(number) for number in range(pieces))


def test_a_head_that_a_kill_cut_short_is_of_the_same_work(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with open_journal(path, "key", Piece):
        whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with open_journal(path, "key", Piece, replace=False):
            assert path.read_bytes() == whole
    path.write_bytes(b'{"journal_of":"another')
    with pytest.raises(JournalUnusable, match="other work"), open_journal(path, "key", Piece, replace=False):
        raise AssertionError("it was opened")
    assert path.read_bytes() == b'{"journal_of":"another'


def test_two_processes_cannot_write_one_journal(tmp_path: Path) -> None:
    with (
        open_journal(tmp_path / "journal", "key", Piece),
        pytest.raises(JournalUnusable, match="another process"),
        open_journal(tmp_path / "journal", "key", Piece),
    ):
        raise AssertionError("it was opened twice")


# ---------------------------------------------------------------- sets of records


def test_records_give_a_set_or_say_what_is_missing(tmp_path: Path) -> None:
    records = [record(40, (9, 9), f"game {number}") for number in range(6)]
    made = record_set(records, tmp_path / "set.npz", positions=24, games=4, seed=2, source="six games")
    assert (len(made), made.games) == (24, 4)
    again = record_set(records, tmp_path / "again.npz", positions=24, games=4, seed=2, source="six games")
    assert again.sha256() == made.sha256()
    for arguments in ({"games": 7, "positions": 7}, {"games": 0, "positions": 121}):
        with pytest.raises(CalibrationError, match="six games has 6 games that can be used; 7 are needed"):
            record_set(records, tmp_path / "none.npz", seed=2, source="six games", **arguments)
    with pytest.raises(CalibrationError, match="80 positions in 2 games; 90"):
        record_set(records[:2], tmp_path / "none.npz", positions=90, games=2, source="two games", most_per_game=100)
    assert not (tmp_path / "none.npz").exists()
