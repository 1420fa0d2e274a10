"""The referee: what ends a game, and who has won it."""

from __future__ import annotations

import msgspec
import pytest

from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE, parse_vertex
from agent.engine.rules import Rules
from agent.errors import IllegalMove
from agent.workshop.openings import start_of
from agent.workshop.referee import Outcome, Referee


def opened(*moves: str, size: int = 5, rules: str = "tromp-taylor", komi: float = 0.5) -> Position:
    start = start_of(size, rules, komi)
    return msgspec.structs.replace(
        start, moves=tuple((WHITE if index % 2 else BLACK, point(move, size)) for index, move in enumerate(moves))
    )


def point(move: str, size: int = 5) -> int:
    found = parse_vertex(move, size, size)
    assert found is not None
    return found


def judged(start: Position, *moves: str, most_moves: int = 100) -> Outcome | None:
    referee = Referee(start, most_moves)
    for move in moves:
        assert referee.outcome is None
        referee.play(point(move, start.x_size))
    return referee.outcome


def test_two_passes_and_the_board_as_it_lies() -> None:
    assert judged(opened("C3"), "pass") is None
    assert judged(opened("C3"), "pass", "pass") == Outcome("score", BLACK, "B+24.5")
    # White's lone stone is dead, and stays: no point between them is anybody's.
    assert judged(opened("C3", "A5", "B2"), "pass", "pass") == Outcome("score", BLACK, "B+0.5")
    assert judged(opened(komi=0.0), "pass", "pass") == Outcome("score", None, "0")


def test_what_the_rules_forbid_changes_nothing() -> None:
    referee = Referee(opened("C3"), 100)
    with pytest.raises(IllegalMove, match="W C3 after 1 moves"):
        referee.play(point("C3"))
    assert referee.to_play == WHITE and referee.moves == [12]
    ko = opened("B3", "C3", "A2", "D2", "B1", "C1", "C2", "B2")
    with pytest.raises(IllegalMove, match="B C2"):
        Referee(ko, 100).play(point("C2"))


def test_a_resignation_is_the_win_of_the_other() -> None:
    referee = Referee(opened("C3"), 100)
    referee.resign()
    assert referee.outcome == Outcome("resign", BLACK, "B+R")


def test_a_game_that_lasts_too_long_is_nobodys() -> None:
    assert judged(opened("C3"), "B2", "B3", most_moves=4) is None
    assert judged(opened("C3"), "B2", "B3", "D2", most_moves=4) == Outcome("length", None, "Void")
    # The last move that is allowed may end it.
    assert judged(opened("C3"), "pass", "pass", most_moves=3) == Outcome("score", BLACK, "B+24.5")


def test_a_repetition_that_the_rules_allow_is_void_the_third_time() -> None:
    # On one row every capture gives the stone back soon; the eighth move has made the fourth one's position again.
    referee = Referee(Position(4, 1, Rules(ko="SIMPLE", suicide=False), 0.5), 100)
    for column in "BDACBDACB":
        assert referee.outcome is None
        referee.play("ABCD".index(column))
    assert referee.outcome == Outcome("void", None, "Void")
