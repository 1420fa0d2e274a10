"""Elo from a match of paired games. Pure. Start at `elo_of_pairs`.

A pair is one opening played twice with colours exchanged. Its two results depend on each other, so that the pair, not
the game, is what is counted: the pair's mean score is one of 0, ¼, ½, ¾, 1 (the pentanomial of chess testing), and the
interval is the normal one around the mean of all pairs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

_NORMAL_95 = 1.959964
# Two pairs that were never played, one swept by each side, widen the interval: with few pairs, or with all of them
# equal, the spread of the others says too little (as Agresti and Coull do for one proportion).
_ADDED_PAIRS = (0.0, 1.0)
_ELO_SCALE = 400.0


class Elo(msgspec.Struct, frozen=True):
    """The first player's Elo over the second's, with its 95 % interval. `pairs` are whole pairs, `games` all games;
    `score` is the share of points of the first, `score_low` to `score_high` the interval as such shares."""

    games: int
    pairs: int
    wins: int
    draws: int
    losses: int
    score: float
    elo: float
    low: float
    high: float
    score_low: float
    score_high: float


def elo_of_pairs(results: Sequence[Sequence[float]]) -> Elo:
    """`results` are each pair's scores of the first player, 1, ½ or 0; a pair of one game is one that is not finished.

    Raises:
        ValueError: no game at all.
    """
    games = [score for pair in results for score in pair]
    if not games:
        raise ValueError("no game was played")
    # A half-finished pair counts as what it has: leaving it out would favour short games.
    means = [statistics.fmean(pair) for pair in results if pair]
    score = statistics.fmean(games)
    widened = [*means, *_ADDED_PAIRS]
    middle = statistics.fmean(widened)
    error = _NORMAL_95 * statistics.stdev(widened) / math.sqrt(len(widened))
    best = score if 0 < score < 1 else middle
    return Elo(
        games=len(games),
        pairs=sum(len(pair) == 2 for pair in results),
        wins=games.count(1.0),
        draws=len(games) - games.count(1.0) - games.count(0.0),
        losses=games.count(0.0),
        score=score,
        elo=to_elo(best),
        low=to_elo(middle - error),
        high=to_elo(middle + error),
        score_low=max(0.0, middle - error),
        score_high=min(1.0, middle + error),
    )


def to_elo(score: float) -> float:
    """The Elo difference that gives this share of points; large where the share leaves no doubt."""
    bounded = min(max(score, 1e-4), 1 - 1e-4)
    return -_ELO_SCALE * math.log10(1 / bounded - 1)
