"""Ladders as KataGo reads them: L marks stones that a ladder takes, ! the attacker's moves that begin one."""

from __future__ import annotations

import pytest
from fakes.diagrams import drawn_letters, game_of, tidy

LADDERS = {
    "White runs along the diagonal into the edge": (
        """
        . . . . . . .
        . . X X . . .
        . X O . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        """,
        """
        . . . . . . .
        . . . . . . .
        . . L . . . .
        . . ! . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        """,
    ),
    "a white stone on the way breaks it": (
        """
        . . . . . . .
        . . X X . . .
        . X O . . . .
        . . . . . . .
        . . . . . . .
        . . . . . O .
        . . . . . . .
        """,
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        """,
    ),
    "a chain in atari moves first and still dies": (
        """
        . . . . . . .
        . . X X . . .
        . X O O X . .
        . . X . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        """,
        """
        . . . . . . .
        . . . . . . .
        . . L L . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        """,
    ),
    "White takes a stone of the net and is out": (
        """
        . . . . . . .
        . O X X . . .
        O X O . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        """,
        """
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        . . . . . . .
        """,
    ),
    "at the edge nobody has room: who moves first takes": (
        """
        . . . . . .
        . X X X . .
        X O O . . .
        . X . . . .
        """,
        """
        . . . . . .
        . . . . . .
        . L L ! . .
        . L ! . . .
        """,
    ),
}


@pytest.mark.parametrize("name", LADDERS)
def test_ladders(name: str) -> None:
    position, expected = LADDERS[name]
    game = game_of(position)
    assert drawn_letters([".L!"[mark] for mark in game.ladders()], game.x_size) == tidy(expected)
