"""Whose win rate a client is shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agent.engine.points import BLACK


class Side:
    """Turns White's numbers to `perspective` (reportAnalysisWinratesAs), or to `player`'s, who is to move, if None."""

    def __init__(self, player: int, perspective: int | None) -> None:
        self._is_black = (perspective or player) == BLACK

    def chance(self, x: float) -> float:
        """A number from 0 to 1."""
        return 1.0 - x if self._is_black else x

    def signed(self, x: float) -> float:
        """Points, utility or ownership."""
        return -x if self._is_black else x

    def all_signed(self, values: Iterable[float]) -> list[float]:
        return [self.signed(value) for value in values]
