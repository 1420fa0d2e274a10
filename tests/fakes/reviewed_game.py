"""A small game and its review, made up: Black leads a little, White blunders at move 4, Black gives half of it back."""

from __future__ import annotations

import msgspec

from agent.record.sgf import parse_sgf
from agent.review.game import prepare
from agent.review.review import review_of
from agent.review.values import Candidate, Evaluation, Review

SGF = (
    "(;GM[1]FF[4]SZ[9]KM[7]RU[Chinese]PB[Lee]PW[Go Seigen]C[a game];B[ee];W[cc];B[gc]C[bold];W[aa](;B[gg];W[])(;B[cg]))"
)
# Black's win rate and lead after each move.
VALUES = ((0.45, -0.5), (0.46, -0.4), (0.44, -0.6), (0.47, -0.2), (0.8, 9.0), (0.7, 4.0), (0.71, 4.2))
BEST = ("E5", "C7", "G3", "G3", "C3", "pass", "C3")


def reviewed(sgf: str = SGF, *, without: tuple[int, ...] = ()) -> Review:
    """The review of `sgf`, which has six moves; the turns `without` are not analysed."""
    record = parse_sgf(sgf)
    prepared = prepare(record)
    positions = []
    for position, (winrate, lead), best in zip(prepared.positions, VALUES, BEST, strict=True):
        candidates = (
            Candidate(best, 40, winrate, lead, 0.3, (best, "G7", "C5")),
            Candidate("A9" if position.turn < 4 else "J1", 9, winrate - 0.01, lead - 0.4, 0.1, ("A9",)),
        )
        ownership = tuple(1.0 if index < 40 else -1.0 if index > 40 else 0.0 for index in range(81))
        evaluation = Evaluation(50, winrate, lead, candidates, ownership)
        if position.turn not in without:
            position = msgspec.structs.replace(position, evaluation=evaluation)
        positions.append(position)
    return review_of(record, prepared, positions, engine="9.99")
