"""Matches between GTP engines: paired openings, our referee, engines that fail, and that a killed match goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from fakes.gtp import contestant
from fakes.processes import wait_until_gone
from fakes.terminal import hear_ctrl_c

from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE
from agent.errors import JournalUnusable, PlayerFailed, RulesError
from agent.events import Event, SilentReporter, WorkshopProgress
from agent.workshop.contestant import Contestant, GameSettings, Patience, command_line, read_command
from agent.workshop.gtp_game import GtpGame
from agent.workshop.gtp_match import MOST_FAULTS_IN_A_ROW, GtpMatchOptions, GtpMatchResult, play_gtp_match
from agent.workshop.openings import blind_opening, start_of

ROOT = Path(__file__).resolve().parents[2]
SMALL = GameSettings(size=5, komi=0.5, rules="tromp-taylor", most_moves=75)
# A fake engine answers at once; one that hangs is given little time. Starting takes its time on a busy machine.
PATIENCE = Patience(start_s=60.0, command_s=60.0, move_s=60.0)
HASTY = msgspec.structs.replace(PATIENCE, move_s=3.0)


class Keeper:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)


def plain(pairs: Sequence[int], known: set[tuple[int, ...]]) -> list[Position]:
    """The centre for Black, and for the second and later pairs one more point of the middle column."""
    return [opened(12, *([7, 17, 2, 22][pair - 1 : pair] if pair else ())) for pair in pairs]


def opened(*points: int, settings: GameSettings = SMALL) -> Position:
    start = msgspec.structs.replace(start_of(settings.size, komi=settings.komi), rules=settings.judged_by())
    moves = tuple((WHITE if index % 2 else BLACK, point) for index, point in enumerate(points))
    return msgspec.structs.replace(start, moves=moves)


def play(
    tmp_path: Path,
    first: Contestant,
    second: Contestant,
    *,
    games: int = 2,
    settings: GameSettings = SMALL,
    concurrency: int = 1,
    patience: Patience = PATIENCE,
    name: str = "match.jsonl",
) -> GtpMatchResult:
    options = GtpMatchOptions(games, settings, "plain", concurrency, patience)
    return play_gtp_match((first, second), options, plain, tmp_path / name, SilentReporter())


# ---------------------------------------------------------------- games


def test_both_sides_of_an_opening_are_played_and_counted_by_the_board(tmp_path: Path) -> None:
    result = play(tmp_path, contestant(), contestant("--idle"))
    assert [(game.pair, game.first_is_black, game.score) for game in result.games] == [(0, False, 1.0), (0, True, 1.0)]
    as_white, as_black = result.games
    # Black's stone in the middle column, White's seven at the side with their eyes: 10 to 1, and komi.
    assert [(game.end, game.result) for game in (as_white, as_black)] == [("score", "W+9.5"), ("score", "B+24.5")]
    assert as_black.opening == 1 and len(as_black.seconds) == len(as_black.moves) - 1
    assert result.elo.wins == 2 and result.elo.score_high == 1.0 and result.ends == {"score": 2}
    ours, idle = result.contestants
    assert (ours.name, idle.name) == ("Fake 1.0 (first)", "Fake 1.0 (second)")
    assert ours.moves + idle.moves == sum(len(game.seconds) for game in result.games)
    assert ours.faults == idle.faults == {} and 0 <= ours.slowest_s <= ours.seconds


def test_a_draw_counts_half(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(SMALL, komi=1.0)
    result = play(tmp_path, contestant("--idle"), contestant("--idle"), settings=settings, games=2)
    assert [game.result for game in result.games] == ["B+24", "B+24"] and result.elo.score == 0.5
    even = msgspec.structs.replace(SMALL, komi=25.0)
    drawn = play(tmp_path, contestant("--idle"), contestant("--idle"), settings=even, name="drawn.jsonl")
    assert [(game.result, game.score) for game in drawn.games] == [("0", 0.5)] * 2 and drawn.elo.draws == 2


def test_a_resignation_and_the_limit_on_moves(tmp_path: Path) -> None:
    result = play(tmp_path, contestant("--manner", "resign"), contestant())
    assert [(game.end, game.score, game.result) for game in result.games] == [
        ("resign", 0.0, "B+R"),
        ("resign", 0.0, "W+R"),
    ]
    assert not any(game.fault for game in result.games)
    short = play(
        tmp_path,
        *(contestant(), contestant()),
        settings=msgspec.structs.replace(SMALL, most_moves=6),
        name="short.jsonl",
    )
    assert [(game.end, game.score, len(game.moves)) for game in short.games] == [("length", 0.5, 6)] * 2


def test_rules_komi_and_limits_reach_the_engines_that_know_them(tmp_path: Path) -> None:
    log, plain_log = tmp_path / "katago", tmp_path / "plain"
    settings = msgspec.structs.replace(SMALL, rules="chinese", seconds_per_move=2.5)
    katago = contestant("--katago", "--timed", "--log", str(log), setup=("kata-set-param lagBuffer 0",))
    other = contestant("--timed", "--log", str(plain_log), visits=9)
    result = play(tmp_path, katago, other, settings=settings)
    rules = '{"friendlyPassOk":false,"hasButton":false,"ko":"SIMPLE","scoring":"AREA","suicide":false,"tax":"NONE",'
    assert log.read_text().splitlines()[3:11] == [
        "boardsize 5",
        "clear_board",
        f'kata-set-rules {rules}"whiteHandicapBonus":"N"}}',
        "komi 0.5",
        "kata-set-param maxTime 2.5",
        "kata-set-param maxVisits 1125899906842624",
        "kata-set-param lagBuffer 0",
        "play B C3",
    ]
    said = plain_log.read_text().splitlines()
    assert said[3:8] == ["boardsize 5", "clear_board", "komi 0.5", "time_settings 0 2 1", "play B C3"]
    assert "time_left W 2.5 1" in said
    assert [showing.deaf_to for showing in result.contestants] == [(), ("rules", "visits")]
    limited = contestant("--katago", "--log", str(tmp_path / "limited"), visits=64)
    assert play(tmp_path, limited, contestant(), name="limited.jsonl").contestants[0].deaf_to == ()
    assert "kata-set-param maxVisits 64\n" in (tmp_path / "limited").read_text()


def test_rules_under_which_the_board_does_not_tell_who_won() -> None:
    with pytest.raises(RulesError, match="which stones are dead"):
        msgspec.structs.replace(SMALL, rules="japanese").judged_by()


# ---------------------------------------------------------------- engines that fail


@pytest.mark.parametrize(
    ("manner", "kind", "said"),
    [
        ("crash", "crash", "ended with status 3; its last words: out of memory"),
        ("segfault", "crash", "was ended by SIGSEGV"),
        ("hang", "timeout", "did not answer 'genmove B' within 3 s"),
        ("nonsense", "garbage", "answered 'Z99' when asked for a move"),
        ("illegal", "illegal", "played the illegal move B B1 after 4 moves"),
        ("refuses-move", "refused", "answered 'genmove B' with 'no idea'"),
    ],
)
def test_an_engine_that_fails_loses_that_game_and_plays_the_next(
    manner: str, kind: str, said: str, tmp_path: Path
) -> None:
    lives = tmp_path / "lives"
    failing = contestant("--manner", manner, "--once", "--lives", str(lives), "--only-life", "1")
    result = play(tmp_path, failing, contestant(), patience=HASTY if manner == "hang" else PATIENCE)
    as_white, as_black = result.games
    assert (as_black.end, as_black.result, as_black.score) == (kind, "W+F", 0.0) and as_black.fault == said
    assert as_white.end == "score"
    failed, well = result.contestants
    assert failed.faults == {kind: 1} and well.faults == {}
    is_ended = kind in ("crash", "timeout")
    assert len(lives.read_text().split()) == 1 + is_ended


def test_an_engine_that_does_not_take_a_legal_move_loses(tmp_path: Path) -> None:
    result = play(tmp_path, contestant("--manner", "refuses-play", "--at", "1"), contestant())
    lost = [game for game in result.games if game.fault]
    assert lost and all(game.score == 0.0 and "answered 'play" in game.fault for game in lost)


def test_what_an_engine_says_beside_its_answers_does_no_harm(tmp_path: Path) -> None:
    result = play(tmp_path, contestant("--manner", "chatter"), contestant())
    assert result.ends == {"score": 2}


def test_an_engine_that_ended_between_games_is_started_anew(tmp_path: Path) -> None:
    # It answers once too often at its last move, to which nobody listens before the next game begins.
    lives = tmp_path / "lives"
    options = ("--manner", "twice", "--at", "1", "--lives", str(lives), "--only-life", "1")
    settings = msgspec.structs.replace(SMALL, most_moves=3)
    result = play(tmp_path, contestant(*options), contestant(), settings=settings)
    assert result.ends == {"length": 2} and len(lives.read_text().split()) == 2


@pytest.mark.parametrize(
    ("manner", "text"),
    [
        ("stillborn", "does not play: it ended with status 1; its last words: cannot find the network"),
        ("no-gtp", "does not play: it says what is no GTP"),
        ("mute", "does not play: it did not answer 'name' within 0.5 s"),
        ("refuses-board", "Fake cannot begin a game: it answered 'boardsize 5' with 'unacceptable size'"),
    ],
)
def test_an_engine_that_cannot_begin_ends_the_match(manner: str, text: str, tmp_path: Path) -> None:
    patience = msgspec.structs.replace(PATIENCE, start_s=0.5) if manner == "mute" else PATIENCE
    with pytest.raises(PlayerFailed) as raised:
        play(tmp_path, contestant(), contestant("--manner", manner), patience=patience)
    assert text in str(raised.value) and raised.value.fix
    journal = tmp_path / "match.jsonl"
    assert not journal.exists() or journal.read_text().count("\n") == 1


def test_an_engine_that_always_fails_ends_the_match_and_the_games_are_kept(tmp_path: Path) -> None:
    with pytest.raises(PlayerFailed, match="Wrong failed 5 games in a row; in the last one it answered 'Z99'"):
        play(
            tmp_path,
            contestant(name="Right"),
            contestant("--manner", "nonsense", "--at", "1", name="Wrong"),
            games=8,
        )
    assert (tmp_path / "match.jsonl").read_text().count("\n") == 1 + MOST_FAULTS_IN_A_ROW


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlayerFailed, match="/no/such/engine --gtp does not play: it does not start: No such file"):
        play(tmp_path, contestant(), Contestant(("/no/such/engine", "--gtp")))


def test_what_was_said_can_be_read_afterwards(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    failing = contestant("--manner", "crash", "--once", "--lives", str(tmp_path / "lives"), "--only-life", "1")
    options = GtpMatchOptions(2, SMALL, "plain", 1, PATIENCE, logs)
    play_gtp_match((failing, contestant()), options, plain, tmp_path / "match.jsonl", SilentReporter())
    assert sorted(path.name for path in logs.iterdir()) == ["first-1.log", "first-2.log", "second-1.log"]
    crashed = (logs / "first-1.log").read_text()
    assert crashed.startswith("> name\n< = Fake\n<  \n> version\n") and "> genmove B\n! out of memory\n" in crashed
    assert (logs / "second-1.log").read_text().endswith("> quit\n< = \n<  \n")
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnusable, match="cannot write logs"):
        play_gtp_match(
            *((contestant(), contestant()), GtpMatchOptions(2, SMALL, "plain", logs=tmp_path / "file")),
            *(plain, tmp_path / "other.jsonl", SilentReporter()),
        )


# ---------------------------------------------------------------- several at once, and again


def test_games_go_on_at_once_on_processes_of_their_own(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    keeper = Keeper()
    options = GtpMatchOptions(6, SMALL, "plain", 3, PATIENCE)
    players = (contestant("--lives", str(lives), name="A"), contestant(name="B"))
    result = play_gtp_match(players, options, plain, tmp_path / "match.jsonl", keeper)
    assert len(result.games) == 6 and len(lives.read_text().split()) == 3
    counts = [event.done for event in keeper.events if isinstance(event, WorkshopProgress)]
    assert counts == sorted(counts) and counts[-1] == 6
    told = keeper.events[-1]
    assert isinstance(told, WorkshopProgress) and told.detail.startswith("+3 =0 -3, 50 % [")
    alone = play(tmp_path, *players, games=6, name="alone.jsonl")
    assert [game.moves for game in alone.games] == [game.moves for game in result.games]


def test_a_killed_match_goes_on_with_the_games_that_are_missing(tmp_path: Path) -> None:
    journal = tmp_path / "match.jsonl"
    whole = play(tmp_path, contestant(), contestant(), games=4, name="whole.jsonl")
    # As a kill leaves it: three games, and the beginning of a fourth.
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:50])
    keeper, finished = Keeper(), []
    options = GtpMatchOptions(4, SMALL, "plain", 1, PATIENCE)
    result = play_gtp_match(
        *((contestant(), contestant()), options, plain, journal, keeper),
        lambda game, names: finished.append((game.pair, game.first_is_black, names)),
    )
    assert [game.moves for game in result.games] == [game.moves for game in whole.games]
    assert keeper.events[0] == WorkshopProgress("match", 3, 4, keeper.events[0].detail)  # type: ignore[attr-defined]
    assert len(finished) == 4 and journal.read_bytes().count(b"\n") == 5
    # And when all are there nothing is played.
    again = play(tmp_path, contestant(), contestant(), games=4)
    assert again.games == result.games


def test_both_games_of_a_pair_have_one_opening_even_where_the_source_changed_its_mind(tmp_path: Path) -> None:
    settings = GtpMatchOptions(2, SMALL, "plain", 1, PATIENCE)
    journal = tmp_path / "match.jsonl"
    players = (contestant(), contestant())
    play_gtp_match(players, settings, plain, journal, SilentReporter())
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]))
    asked: list[Sequence[int]] = []

    def none(pairs: Sequence[int], known: set[tuple[int, ...]]) -> list[Position]:
        asked.append(pairs)
        assert known == {(12,)}
        return []

    result = play_gtp_match(players, settings, none, journal, SilentReporter())
    assert asked == [[]] and result.games[0].moves[:1] == result.games[1].moves[:1]


@pytest.mark.parametrize(
    ("second", "settings"),
    [(("--version", "2.0"), SMALL), (("--idle",), SMALL), ((), msgspec.structs.replace(SMALL, komi=5.5))],
)
def test_the_games_of_another_match_are_left_alone(
    second: tuple[str, ...], settings: GameSettings, tmp_path: Path
) -> None:
    short = msgspec.structs.replace(SMALL, most_moves=2)
    play(tmp_path, contestant(), contestant(), settings=short)
    before = (tmp_path / "match.jsonl").read_bytes()
    with pytest.raises(JournalUnusable, match="of other work"):
        changed = msgspec.structs.replace(settings, most_moves=2)
        play(tmp_path, contestant(), contestant(*second), settings=changed)
    assert (tmp_path / "match.jsonl").read_bytes() == before


def test_the_games_of_a_network_that_was_trained_on_are_left_alone(tmp_path: Path) -> None:
    """Its file has the old name, and what it answers to `version` is KataGo's."""
    short = GtpMatchOptions(2, msgspec.structs.replace(SMALL, most_moves=2), "plain", 1, PATIENCE)
    players, journal = (contestant(), contestant()), tmp_path / "match.jsonl"

    def play_with(*networks: str) -> GtpMatchResult:
        options = msgspec.structs.replace(short, networks=networks)
        return play_gtp_match(players, options, plain, journal, SilentReporter())

    result = play_with("1234", "")
    before = journal.read_bytes()
    assert before.splitlines()[0].count(b"network") == before.splitlines()[0].count(b"; network 1234)") == 1
    assert play_with("1234", "").games == result.games
    for networks in (("5678", ""), ("1234", "5678"), ("", "")):
        with pytest.raises(JournalUnusable, match="of other work"):
            play_with(*networks)
    assert journal.read_bytes() == before


def test_ctrl_c_ends_the_engines_and_keeps_the_games(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    hanging = command_line(contestant("--manner", "hang", "--at", "6", "--lives", str(lives)).command)
    (tmp_path / "agent.yaml").write_text(f"state_dir: {tmp_path / 'state'}\n")
    launch = [sys.executable, str(ROOT / "agent" / "launch.py"), "match", hanging, command_line(contestant().command)]
    where = ["--board", "5", "--games", "2", "--out", str(tmp_path / "m.jsonl"), "--json"]
    with subprocess.Popen(
        [*launch, *where, "--config", str(tmp_path / "agent.yaml")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=hear_ctrl_c,
    ) as match:
        assert match.stdout is not None
        for line in match.stdout:
            if b"at move" in line:
                break
        match.send_signal(signal.SIGINT)
        assert match.wait(60) != 0
    for pid in lives.read_text().split():
        wait_until_gone(int(pid))
    assert (tmp_path / "m.jsonl").read_bytes().startswith(b'{"journal_of":"GTP match 1 of ')


def test_ctrl_c_is_heard_at_once_while_openings_are_drawn(tmp_path: Path) -> None:
    lives, drawn = tmp_path / "lives", []

    def interrupted(pairs: Sequence[int], known: set[tuple[int, ...]]) -> list[Position]:
        for pair in pairs:
            signal.raise_signal(signal.SIGINT)
            drawn.append(pair)
        return plain(pairs, known)

    options = GtpMatchOptions(4, SMALL, "plain", 1, PATIENCE)
    players, journal = (contestant("--lives", str(lives)), contestant()), tmp_path / "match.jsonl"
    # Tests that a shell started in the background do not hear it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            play_gtp_match(players, options, interrupted, journal, SilentReporter())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert drawn == []
    for pid in lives.read_text().split():
        wait_until_gone(int(pid))
    # What was begun is no match of others.
    assert len(play_gtp_match(players, options, plain, journal, SilentReporter()).games) == 4


# ---------------------------------------------------------------- who plays


def test_what_is_a_command_and_what_a_network(tmp_path: Path) -> None:
    program = tmp_path / "engine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    spaced = tmp_path / "my network.bin.gz"
    spaced.write_bytes(b"")
    assert read_command("gnugo --mode gtp") == ("gnugo", "--mode", "gtp")
    assert read_command("ssh pi 'agent gtp'") == ("ssh", "pi", "agent gtp")
    assert read_command(str(program)) == (str(program),)
    assert read_command("sh") == ("sh",)
    for network in ("b15c192", str(spaced), "/no/such/file.bin.gz", ""):
        assert read_command(network) is None
    with pytest.raises(ValueError, match="quotation"):
        read_command("gnugo 'mode")


def test_blind_openings_are_different_and_the_same_for_a_seed() -> None:
    start = start_of(9)
    known: set[tuple[int, ...]] = set()
    drawn = [blind_opening(1, pair, known, start) for pair in range(50)]
    assert len({position.moves for position in drawn}) == len(known) == 50
    assert [blind_opening(1, pair, set(), start) for pair in range(3)] == drawn[:3]
    assert blind_opening(2, 0, set(), start) != drawn[0]
    for position in drawn:
        points = [point for _, point in position.moves]
        assert len(points) in (2, 4) and all(2 <= point % 9 <= 6 and 2 <= point // 9 <= 6 for point in points)
        beside = {(a, b) for a in points for b in points if abs(a - b) in (1, 9)}
        assert not beside
    crowded = [blind_opening(1, pair, set(), start_of(2)) for pair in range(3)]
    assert all(position.moves for position in crowded)


def test_the_side_that_fails_is_told_by_the_game() -> None:
    game = GtpGame(0, False, 0.5, "score", "0", 1, (1, 2, 3, 4), (0.5, 0.25, 2.0))
    assert [game.side_of(index) for index in range(4)] == [1, 0, 1, 0]
    assert game.seconds_of(0) == [0.5, 2.0] and game.seconds_of(1) == [0.25]
