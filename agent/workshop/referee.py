"""Judges a game by our own rules, whatever the players think of it. Pure. Start at `Referee`."""

from __future__ import annotations

from typing import Literal

import msgspec

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE, color_letter, opponent, vertex
from agent.errors import IllegalMove

# How a game came to its end by the rules: counted, given up, void by repetition under simple ko, or too long.
End = Literal["score", "resign", "void", "length"]


class Outcome(msgspec.Struct, frozen=True):
    """`winner` is a colour, or None for a draw; `result` as SGF writes it."""

    end: End
    winner: int | None
    result: str


class Referee:
    """One game from `start` on. Two passes end it, and the board is counted as it lies: stones that are dead stay where
    they are, so that under area scoring each side takes them off first."""

    def __init__(self, start: Position, most_moves: int) -> None:
        self._game = Game.from_position(start)
        self._most_moves = most_moves
        self.moves = [point for _, point in start.moves]
        self.outcome: Outcome | None = None

    @property
    def to_play(self) -> int:
        return self._game.to_play

    def play(self, point: int) -> None:
        """The move of the side to play.

        Raises:
            IllegalMove: the rules forbid it; nothing is changed.
        """
        color = self.to_play
        if not self._game.is_legal(color, point):
            where = vertex(point, self._game.x_size, self._game.y_size)
            raise IllegalMove(f"{color_letter(color)} {where} after {len(self.moves)} moves")
        self._game.play(color, point)
        self.moves.append(point)
        if self._game.no_result:
            self.outcome = Outcome("void", None, "Void")
        elif self._game.finished:
            self.outcome = self._counted()
        elif len(self.moves) >= self._most_moves:
            self.outcome = Outcome("length", None, "Void")

    def resign(self) -> None:
        """The side to play gives up."""
        winner = opponent(self.to_play)
        self.outcome = Outcome("resign", winner, f"{color_letter(winner)}+R")

    def _counted(self) -> Outcome:
        white = self._game.final_white_score()
        if white == 0:
            return Outcome("score", None, "0")
        winner = WHITE if white > 0 else BLACK
        return Outcome("score", winner, f"{color_letter(winner)}+{abs(white):g}")
