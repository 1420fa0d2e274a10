"""A game as KataGo keeps it: two moves of one side in a row begin the history anew, with the board as it is then. Pure.

Source: KataGo cpp/search/search.cpp (setPlayerAndClearHistory), cpp/game/boardhistory.cpp (computeNumHandicapStones).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE, opponent


class History(msgspec.Struct, frozen=True):
    """`start` are the colours of all points before `moves`, which alternate."""

    start: tuple[int, ...]
    moves: tuple[tuple[int, int], ...]

    @property
    def handicap_stones(self) -> int:
        """Black stones before White's first move, 0 where there is but one: a game without handicap. Lone passes of
        White among them do not count; two white moves in a row mean that somebody sets a position up."""
        if WHITE in self.start:
            return 0
        placed, moved, passing = sum(map(bool, self.start)), 0, len(self.start)
        for index, (color, point) in enumerate(self.moves):
            if color == BLACK:
                moved += point != passing
            elif self.moves[index + 1 : index + 2] and self.moves[index + 1][0] == WHITE:
                moved = 0
                break
            elif point != passing:
                break
        return placed + moved if placed + moved > 1 else 0


def history_of(position: Position) -> History:
    begin = last_beginning(position.initial_player, position.moves)
    before = msgspec.structs.replace(position, moves=position.moves[:begin])
    return History(Game.from_position(before).stones(), position.moves[begin:])


def last_beginning(initial_player: int, moves: Sequence[tuple[int, int]]) -> int:
    """The index of the last move that was not its player's turn; 0 where all were."""
    expected, begin = initial_player, 0
    for index, (color, _) in enumerate(moves):
        begin = begin if color == expected else index
        expected = opponent(color)
    return begin
