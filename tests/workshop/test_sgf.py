"""Game records: what is read of them, and which are left out with what reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.engine.game import Game
from agent.engine.points import BLACK, EMPTY, WHITE, vertex
from agent.engine.rules import parse_rules
from agent.errors import CalibrationError
from agent.events import SilentReporter
from agent.record.tree import MAX_SGF_BYTES
from agent.workshop.sgf import BadRecord, read_folder, read_record

PLAIN = "(;GM[1]FF[4]SZ[9]KM[6.5]RU[Chinese]PB[黒]C[a \\] comment];B[ee];W[cc](;B[gg];W[])(;B[aa]))"


def test_the_main_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "game.sgf").write_text(PLAIN)
    position = read_record(tmp_path / "game.sgf").position
    assert (position.x_size, position.y_size, position.komi) == (9, 9, 6.5)
    assert position.rules == parse_rules("chinese")
    assert [(color, vertex(point, 9, 9)) for color, point in position.moves] == [
        (BLACK, "E5"),
        (WHITE, "C7"),
        (BLACK, "G3"),
        (WHITE, "pass"),
    ]


def test_handicap_and_set_up_stones(tmp_path: Path) -> None:
    (tmp_path / "game.sgf").write_text("(;SZ[13]HA[2]KM[0.5]RU[AGA]AB[dd][jj]AW[aa:ab];W[gg];B[dj])")
    position = read_record(tmp_path / "game.sgf").position
    stones = {(color, vertex(point, 13, 13)) for color, point in position.initial_stones}
    assert stones == {(BLACK, "D10"), (BLACK, "K4"), (WHITE, "A13"), (WHITE, "A12")}
    assert position.initial_player == WHITE and Game.from_position(position).to_play == WHITE


def test_rectangles_and_passes(tmp_path: Path) -> None:
    (tmp_path / "game.sgf").write_text("(;SZ[13:9]KM[7];B[mi];W[tt];B[aa])")
    position = read_record(tmp_path / "game.sgf").position
    assert [vertex(point, 13, 9) for _, point in position.moves] == ["N1", "pass", "A9"]


def test_a_game_ends_where_the_board_is_edited(tmp_path: Path) -> None:
    (tmp_path / "game.sgf").write_text("(;SZ[9];B[ee];W[cc];AB[aa]AE[ee];B[gg])")
    position = read_record(tmp_path / "game.sgf").position
    assert len(position.moves) == 2 and (EMPTY, 40) not in position.initial_stones


@pytest.mark.parametrize(("written", "read_as"), [("6.5", 6.5), ("3.75", 4.0), ("0", 0.0), ("", 6.5), ("-7.5", -7.5)])
def test_komi_is_the_nearest_half(tmp_path: Path, written: str, read_as: float) -> None:
    (tmp_path / "game.sgf").write_text(f"(;SZ[9]KM[{written}];B[ee])")
    assert read_record(tmp_path / "game.sgf").position.komi == read_as


@pytest.mark.parametrize(("written", "name"), [("Japanese", "japanese"), ("cn", "chinese"), ("NZ", "new-zealand")])
def test_rules_by_the_names_that_servers_write(tmp_path: Path, written: str, name: str) -> None:
    (tmp_path / "game.sgf").write_text(f"(;SZ[9]RU[{written}];B[ee])")
    assert read_record(tmp_path / "game.sgf").position.rules == parse_rules(name)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("no game at all", "no SGF"),
        ("(;SZ[9];B[ee]", "expected '\\)'"),
        ("(;SZ[9])", "no moves"),
        ("(;SZ[52];B[ee])", "52x52"),
        ("(;SZ[0];B[ee])", "0x0"),
        ("(;SZ[big];B[ee])", "big"),
        ("(;SZ[9];B[ee];W[ee])", "Illegal move 1: E5"),
        ("(;SZ[9];B[zz])", "'zz', which is no point of 9x9"),
        ("(;SZ[9];B[e])", "no point"),
        ("(;SZ[9]AB[tt];B[ee])", "no point"),
        ("(;SZ[9]AB[aa:zz];B[ee])", "no point"),
        ("(;SZ[9]KM[1000];B[ee])", "komi of 1000"),
        ("(;SZ[9]KM[nan];B[ee])", "komi of nan"),
        ("(;SZ[9]RU[Martian];B[ee])", "Martian"),
        ('(;SZ[9]RU[{"ko":"SPIGHT"}];B[ee])', "do not know"),
    ],
)
def test_what_is_no_game_is_refused_with_its_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "game.sgf").write_text(text)
    with pytest.raises(BadRecord, match=reason):
        read_record(tmp_path / "game.sgf")


def test_bytes_in_any_encoding_and_deep_trees_end_in_a_reason_or_a_game(tmp_path: Path) -> None:
    path = tmp_path / "game.sgf"
    path.write_bytes(b"(;SZ[9]CA[Shift_JIS]PB[\x83\x5c\x83\x5d];B[ee])")
    assert len(read_record(path).position.moves) == 1
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(BadRecord):
        read_record(path)
    path.write_text("(;B[aa]" * 5000 + ")" * 5000)
    with pytest.raises(BadRecord):
        read_record(path)
    path.write_text(" " * (MAX_SGF_BYTES + 1))
    with pytest.raises(BadRecord, match="larger than 1 MB"):
        read_record(path)


def test_a_folder_gives_each_game_once_and_names_what_it_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.sgf").write_text(PLAIN)
    (tmp_path / "deep" / "copy.SGF").write_text(PLAIN.replace("黒", "somebody else"))
    (tmp_path / "deep" / "b.sgf").write_text("(;SZ[9];B[ee];W[ee])")
    (tmp_path / "notes.txt").write_text("no record")
    records, skipped = read_folder([tmp_path, tmp_path / "deep"], SilentReporter())
    assert len(records) == 1
    assert skipped == [
        f"{tmp_path / 'deep' / 'b.sgf'}: Illegal move 1: E5",
        f"{tmp_path / 'deep' / 'copy.SGF'}: the same game as another file",
    ]
    with pytest.raises(CalibrationError, match="no folder"):
        read_folder([tmp_path / "missing"], SilentReporter())
