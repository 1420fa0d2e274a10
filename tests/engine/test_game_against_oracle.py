"""Random games in the core and in the slow oracle (tests/fakes/slow_go.py), compared after every move."""

from __future__ import annotations

from typing import NamedTuple

from fakes import slow_go
from fakes.slow_go import SlowGame
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.engine.game import Game
from agent.engine.points import BLACK, EMPTY, WHITE
from agent.engine.rules import Rules

COLORS = {"X": BLACK, "O": WHITE}


class Script(NamedTuple):
    """A game to be played: at each turn the `choice`-th of the legal moves, pass among them when it is large."""

    width: int
    height: int
    rules: Rules
    choices: list[int]


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    rules = Rules(
        ko=draw(st.sampled_from(["SIMPLE", "POSITIONAL", "SITUATIONAL"])),
        scoring=draw(st.sampled_from(["AREA", "TERRITORY"])),
        tax=draw(st.sampled_from(["NONE", "SEKI", "ALL"])),
        suicide=draw(st.booleans()),
    )
    # Boards this small are full of captures, kos and suicides.
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    choices = draw(st.lists(st.integers(0, 40), min_size=1, max_size=60))
    return Script(width, height, rules, choices)


class Pair:
    """The same game twice."""

    def __init__(self, script: Script) -> None:
        self.rules = script.rules
        self.core = Game(script.width, script.height, script.rules, komi=0.0)
        self.slow = SlowGame(script.width, script.height, script.rules.ko, suicide=script.rules.suicide)
        self.width = script.width

    def slow_legal(self) -> list[int]:
        return [p for p in range(self.core.area) if self.slow.is_legal((p % self.width, p // self.width))]

    def play(self, point: int) -> None:
        self.core.play(self.core.to_play, point)
        self.slow.play(None if point == self.core.area else (point % self.width, point // self.width))

    def colors(self, area: slow_go.Stones) -> tuple[int, ...]:
        """An area of the oracle in the core's terms."""
        spots = ((p % self.width, p // self.width) for p in range(self.core.area))
        return tuple(COLORS[area[spot]] if spot in area else EMPTY for spot in spots)


def play_out(script: Script) -> Pair:
    """Plays the script and checks moves and boards at each turn."""
    pair = Pair(script)
    for choice in script.choices:
        legal = pair.slow_legal()
        assert list(pair.core.legal_moves(pair.core.to_play)) == [*legal, pair.core.area]
        pair.play(legal[choice] if choice < len(legal) else pair.core.area)
        assert pair.core.stones() == pair.colors(pair.slow.board.stones)
        assert pair.core.captures == (pair.slow.captured["X"], pair.slow.captured["O"])
    return pair


@settings(max_examples=150, deadline=None)
@given(scripts())
def test_moves_captures_suicide_and_superko(script: Script) -> None:
    play_out(script)


@settings(max_examples=150, deadline=None)
@given(scripts())
def test_scores_with_every_tax(script: Script) -> None:
    pair = play_out(script)
    if not pair.core.no_result:
        expected = slow_go.white_score(pair.slow, script.rules.scoring, script.rules.tax)
        assert pair.core.final_white_score() == expected


@st.composite
def crowded_boards(draw: st.DrawFn) -> slow_go.Board:
    """Boards where one colour has so many stones that life and dead stones inside are common."""
    width, height = draw(st.integers(2, 6)), draw(st.integers(2, 6))
    many, few = draw(st.sampled_from(["XO", "OX"]))
    letters = draw(st.lists(st.sampled_from([many] * 6 + [few, ".", "."]), min_size=36, max_size=36))
    stones = {(x, y): letters[6 * y + x] for x in range(width) for y in range(height) if letters[6 * y + x] != "."}
    return slow_go.Board(width, height, stones).without_dead(few).without_dead(many)


@settings(max_examples=150, deadline=None)
@given(crowded_boards(), st.booleans(), st.sampled_from(["NONE", "SEKI", "ALL"]))
def test_pass_alive_area_and_independent_life(board: slow_go.Board, suicide: bool, tax: str) -> None:
    core = Game(board.width, board.height, Rules(suicide=suicide, tax=tax), komi=0.0)
    core.add_stones((COLORS[color], y * board.width + x) for (x, y), color in board.stones.items())
    slow = SlowGame(board.width, board.height, "SIMPLE", suicide=suicide)
    slow.board = board

    alive = slow_go.pass_alive_area(board, suicide=suicide)
    assert core.pass_alive_area() == tuple(COLORS.get(alive.get((x, y), ""), EMPTY) for (x, y) in board.spots)
    assert core.final_white_score() == slow_go.white_score(slow, "AREA", tax)


@settings(max_examples=100, deadline=None)
@given(scripts())
def test_the_hash_tells_positions_apart(script: Script) -> None:
    """Equal hashes mean equal stones, side to move and ko; a copy and a replay have the hash of the original."""
    pair = Pair(script)
    seen: dict[str, tuple[object, ...]] = {}
    for choice in script.choices:
        legal = pair.slow_legal()
        pair.play(legal[choice] if choice < len(legal) else pair.core.area)
        what = (pair.core.stones(), pair.core.to_play, pair.core.ko_point)
        assert seen.setdefault(pair.core.hash, what) == what
        assert pair.core.copy().hash == pair.core.hash
    assert len(set(seen.values())) == len(seen)
