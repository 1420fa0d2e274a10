"""How many positions can be reached: every set of captures on a tiny board is met on the way.

Either side may move at any time, suicide is forbidden and ko ignored. The numbers are those of legal positions
(Tromp and Farnebäck, "Combinatorics of Go", 2007), all of which can be reached so; on 1×1 nothing can be played.
"""

from __future__ import annotations

import pytest

from agent.engine.game import Game
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules


@pytest.mark.parametrize(("size", "positions"), [(1, 1), (2, 57), (3, 12675)])
def test_positions_reached_by_breadth_first_play(size: int, positions: int) -> None:
    empty = Game(size, size, Rules(ko="SIMPLE", suicide=False))
    reached = {empty.stones()}
    frontier = [empty]
    while frontier:
        frontier = [after for game in frontier for after in successors(game) if is_new(after, reached)]
    assert len(reached) == positions


def successors(game: Game) -> list[Game]:
    moves = [(color, point) for color in (BLACK, WHITE) for point in range(game.area)]
    legal = [move for move in moves if game.is_legal_ignoring_ko(*move, multi_stone_suicide=False)]
    return [played(game, color, point) for color, point in legal]


def played(game: Game, color: int, point: int) -> Game:
    after = game.copy()
    after.play(color, point)
    return after


def is_new(game: Game, reached: set[tuple[int, ...]]) -> bool:
    before = len(reached)
    reached.add(game.stones())
    return len(reached) > before
