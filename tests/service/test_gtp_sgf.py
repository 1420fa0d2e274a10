"""loadsgf and printsgf. Replies and texts as native KataGo gives them (see also test_gtp_transcripts.py)."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec
import pytest
from fakes.driving import Driver, gtp
from fakes.engine import answer
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.messages import SearchReport
from agent.service.options import ServiceOptions

LOCAL = ServiceOptions(may_use_files=True)
GAME = "(;FF[4]GM[1]SZ[9]KM[6.5]RU[Japanese];B[ee];W[cc];B[tt];W[gg](;B[gc])(;B[aa]))"


def local(tmp_path: Path, text: str | bytes = GAME) -> tuple[Driver, Path]:
    path = tmp_path / "game.sgf"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return gtp(LOCAL), path


def printed(client: Driver) -> str:
    reply = client.ask("printsgf").decode()
    assert reply.startswith("= (;") and reply.endswith(")\n\n")
    return reply[2:].strip()


# ---------------------------------------------------------------- reading


def test_a_game_is_loaded_with_rules_komi_and_moves(tmp_path: Path) -> None:
    client, path = local(tmp_path)
    assert client.line(f"loadsgf {path}") == b"= \n\n"
    assert client.line("get_komi") == b"= 6.5\n\n"
    assert b'"scoring":"TERRITORY"' in client.line("kata-get-rules")
    assert printed(client) == ("(;FF[4]GM[1]SZ[9]PB[]PW[]HA[0]KM[6.5]RU[Japanese];B[ee];W[cc];B[];W[gg];B[gc])")
    for _ in range(5):
        assert client.line("undo") == b"= \n\n"
    assert client.line("undo") == b"? cannot undo\n\n"


@pytest.mark.parametrize(("number", "moves"), [(1, 0), (2, 1), (5, 4), (6, 5), (99, 5)])
def test_up_to_a_move(tmp_path: Path, number: int, moves: int) -> None:
    client, path = local(tmp_path)
    assert client.line(f"loadsgf {path} {number}") == b"= \n\n"
    assert printed(client).count(";") == 1 + moves


@pytest.mark.parametrize(
    ("properties", "komi", "rules"),
    [
        ("", "7.5", "POSITIONAL"),  # neither: those in force stay
        ("KM[5.5]", "5.5", "POSITIONAL"),
        ("RU[Chinese]", "7.5", "SIMPLE"),
        ("RU[Japanese]", "6.5", "SIMPLE"),
        ("RU[Japanese]KM[6.3]", "6.5", "SIMPLE"),
        ("RU[something]KM[5.5]", "5.5", "POSITIONAL"),
        ("RU[koSITUATIONALscoreAREAtaxNONEsui1]KM[0]", "0", "SITUATIONAL"),
    ],
)
def test_rules_and_komi_that_are_missing_or_odd(tmp_path: Path, properties: str, komi: str, rules: str) -> None:
    client, path = local(tmp_path, f"(;GM[1]SZ[9]{properties};B[ee])")
    assert client.line(f"loadsgf {path}") == b"= \n\n"
    assert client.line("get_komi").decode() == f"= {komi}\n\n"
    assert f'"ko":"{rules}"' in client.line("kata-get-rules").decode()


@pytest.mark.parametrize(
    ("properties", "player"),
    [
        ("AB[cc][gg]", "White"),
        ("AB[cc]", "White"),
        ("AB[cc]PL[B]", "Black"),
        ("AB[cc]AW[gg]", "Black"),
        ("AB[aa:ba]AW[gg]PL[W]", "White"),
        ("", "Black"),
        ("AB[cc][gg];B[ee]", "White"),
        ("AB[cc][gg];W[ee]", "Black"),
    ],
)
def test_who_moves_after_a_set_up(tmp_path: Path, properties: str, player: str) -> None:
    client, path = local(tmp_path, f"(;GM[1]SZ[9]{properties})")
    assert client.line(f"loadsgf {path}") == b"= \n\n"
    assert f"Next player: {player}\n" in client.line("showboard").decode()


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("loadsgf", "Expected one or two arguments for loadsgf but got ''"),
        ("loadsgf a b c", "Expected one or two arguments for loadsgf but got 'a b c'"),
        ("loadsgf PATH 0", "Invalid value for moveNumber for loadsgf"),
        ("loadsgf PATH x", "Invalid value for moveNumber for loadsgf"),
        ("loadsgf PATH -1", "Invalid value for moveNumber for loadsgf"),
        ("printsgf a b", "Expected zero or one argument for print but got 'a b'"),
    ],
)
def test_bad_arguments(tmp_path: Path, line: str, reply: str) -> None:
    client, path = local(tmp_path)
    assert client.line(line.replace("PATH", str(path))).decode() == f"? {reply}\n\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("(;GM[1]SZ[9];B[ee];W[ee])", "Illegal move in PATH turn 1 move E5"),
        ("(;GM[1]SZ[9];B[ee];AW[cc])", "Found stone placements after the root, game records that are not simply"),
        ("(;GM[1]SZ[9]AB[aa]AW[aa])", "setupInitialBoardAndHist: initial board position contains invalid stones"),
        ("(;GM[1]SZ[9]AB[aa]AW[ab][ba])", "setupInitialBoardAndHist: initial board position contains invalid stones"),
        ("(;GM[1]SZ[25])", "a board of 25x25"),
        ("(;GM[1]SZ[9];B[zz])", "'zz', which is no point"),
        ("hello", "it is no SGF"),
        ("", "it is empty"),
        (b"\0\xff\xfe(;", "it is no text"),
    ],
)
def test_files_that_are_no_game_change_nothing(tmp_path: Path, text: str | bytes, reason: str) -> None:
    client, path = local(tmp_path, text)
    client.line("boardsize 7")
    client.line("play b C3")
    before = client.line("showboard")
    reply = client.line(f"loadsgf {path}").decode()
    assert reply.startswith(f"? Could not load sgf: {reason.replace('PATH', str(path))}")
    assert client.line("showboard") == before


def test_files_that_are_not_there(tmp_path: Path) -> None:
    client = gtp(LOCAL)
    assert client.line(f"loadsgf {tmp_path}/none.sgf").startswith(b"? Could not load sgf: ")
    assert client.line(f"loadsgf {tmp_path}").startswith(b"? Could not load sgf: ")


def test_no_stranger_reads_or_writes_files(tmp_path: Path) -> None:
    _, path = local(tmp_path)
    client = gtp()
    assert client.line(f"loadsgf {path}").startswith(b"? loadsgf reads files only for whoever starts the engine")
    assert client.line(f"printsgf {tmp_path}/out.sgf").startswith(b"? printsgf writes files only for whoever")
    assert [file.name for file in tmp_path.iterdir()] == ["game.sgf"]
    assert printed(client).startswith("(;FF[4]")
    assert client.line("printsgf -").startswith(b"= (;FF[4]")


# ---------------------------------------------------------------- writing


def test_a_set_up_a_rectangle_and_own_rules() -> None:
    client = gtp()
    for line in [
        "boardsize 5 4",
        "komi -3",
        "kata-set-rules koSIMPLEscoreAREAtaxSEKIsui0button1whbN-1fpok1",
        "set_position b A1 w E4 b A2",
        "play b C3",
    ]:
        assert client.line(line) == b"= \n\n"
    assert printed(client) == (
        "(;FF[4]GM[1]SZ[5:4]PB[]PW[]HA[0]KM[-3]RU[koSIMPLEscoreAREAtaxSEKIsui0button1whbN-1fpok1]"
        "AB[ac][ad]AW[ea];B[cb])"
    )


def test_handicap_stones_placed_or_played() -> None:
    client = gtp()
    for line in ["boardsize 9", "fixed_handicap 2", "play w E5"]:
        client.line(line)
    assert "HA[2]KM[7.5]RU[TrompTaylor]AB[gc][cg];W[ee])" in printed(client)
    client = gtp()
    for line in ["boardsize 9", "play b C3", "play b G7", "play w E5"]:
        client.line(line)
    # As KataGo: a move out of turn begins the history anew.
    assert "HA[2]KM[7.5]RU[TrompTaylor]AB[cg];B[gc];W[ee])" in printed(client)


def test_the_result_of_a_finished_game() -> None:
    client = gtp()
    for line in ["boardsize 5", "komi 0.5", "play b C3", "play w pass", "play b pass"]:
        client.line(line)
    assert printed(client).endswith("RU[TrompTaylor]RE[B+24.5];B[cc];W[];B[]C[result=B+24.5])")


def test_a_game_that_people_would_count_is_counted_by_the_engine() -> None:
    client = gtp()
    for line in ["boardsize 5", "kata-set-rules chinese", "komi 7", "play b C3", "play w pass", "play b pass"]:
        client.line(line)
    client.line("printsgf")
    while client.engine.waiting:
        request, _ = next(iter(client.engine.waiting.values()))
        report = answer(request)
        assert isinstance(report, SearchReport) and report.root is not None
        winrate = 0.5 + (request.position.komi - 25) / 100
        client.report(msgspec.structs.replace(report, root=msgspec.structs.replace(report.root, winrate=winrate)))
    assert b"RE[B+18]" in client.output and client.output.endswith(b"C[result=B+18])\n\n")


def test_a_file_is_replaced_whole_and_left_alone_where_that_fails(tmp_path: Path) -> None:
    client, path = local(tmp_path)
    path.chmod(0o600)
    assert client.line(f"printsgf {path}") == b"= \n\n"
    assert path.read_text() == printed(client)
    assert client.line(f"printsgf {tmp_path}/no/such/place") == (
        f"? Could not open or write to file: {tmp_path}/no/such/place\n\n".encode()
    )
    assert client.line(f"printsgf {tmp_path}").startswith(b"? Could not open or write to file: ")
    assert [file.name for file in tmp_path.iterdir()] == ["game.sgf"]


def test_a_device_is_written_to_and_not_replaced() -> None:
    assert gtp(LOCAL).line("printsgf /dev/null") == b"= \n\n"
    assert not Path("/dev/null").is_file() and Path("/dev/null").exists()


def test_a_written_file_is_as_the_users_other_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        gtp(LOCAL).line(f"printsgf {tmp_path}/out.sgf")
    finally:
        os.umask(before)
    assert (tmp_path / "out.sgf").stat().st_mode & 0o777 == 0o640


MOVES = st.lists(st.tuples(st.sampled_from("bw"), st.integers(0, 49)), max_size=40)


@settings(max_examples=25, deadline=None)
@given(MOVES, st.sampled_from(["japanese", "chinese", "aga", "tromp-taylor"]), st.integers(-60, 60))
def test_what_was_printed_loads_as_the_same_board(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int]], rules: str, halves: int
) -> None:
    client = gtp(LOCAL)
    for line in ["boardsize 7", f"kata-set-rules {rules}", f"komi {halves / 2:g}"]:
        assert client.line(line) == b"= \n\n"
    for color, point in moves:
        client.line(f"play {color} {'ABCDEFG'[point % 7]}{point // 7 + 1}" if point < 49 else f"play {color} pass")
    path = tmp_path_factory.getbasetemp() / "round.sgf"
    client.ask(f"printsgf {path}")
    if not path.exists():
        return
    other = gtp(LOCAL)
    assert other.line(f"loadsgf {path}") == b"= \n\n"
    assert board_of(other) == board_of(client)
    path.unlink()


def board_of(client: Driver) -> str:
    """Stones, rules and who moves next, without the numbers of the last moves."""
    shown = client.line("showboard").decode().partition("\n")[2].partition("B stones")[0]
    return "\n".join(line.rstrip() for line in re.sub(r"(?<=[XO.])[123]", " ", shown).splitlines())
