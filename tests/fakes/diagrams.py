"""Boards as a Go player draws them: X is Black, O is White, any other letter or a dot is an empty point."""

from __future__ import annotations

from collections.abc import Sequence

from agent.engine.game import Game
from agent.engine.points import BLACK, EMPTY, WHITE
from agent.engine.rules import Rules

_COLORS = {"X": BLACK, "O": WHITE}
_LETTERS = {EMPTY: ".", BLACK: "X", WHITE: "O"}


def rows_of(diagram: str) -> list[list[str]]:
    return [line.split() for line in diagram.strip().splitlines()]


def game_of(diagram: str, rules: Rules | None = None, *, komi: float = 0.0, to_play: int = BLACK) -> Game:
    """A game that starts from the diagram."""
    rows = rows_of(diagram)
    game = Game(len(rows[0]), len(rows), rules, komi)
    letters = [letter for row in rows for letter in row]
    game.add_stones((_COLORS[letter], point) for point, letter in enumerate(letters) if letter in _COLORS)
    game.restart(to_play)
    return game


def point_of(diagram: str, letter: str) -> int:
    """The only point with this letter."""
    letters = [found for row in rows_of(diagram) for found in row]
    (point,) = (index for index, found in enumerate(letters) if found == letter)
    return point


def drawn(colors: Sequence[int], x_size: int) -> str:
    """Colours of all points as a diagram."""
    return drawn_letters([_LETTERS[color] for color in colors], x_size)


def drawn_letters(letters: Sequence[str], x_size: int) -> str:
    return "\n".join(" ".join(letters[start : start + x_size]) for start in range(0, len(letters), x_size))


def tidy(diagram: str) -> str:
    """A diagram with the indentation of the test's source taken off."""
    return "\n".join(" ".join(row) for row in rows_of(diagram))
