"""Sets of made-up positions: planes that no game would show, quick to make."""

from __future__ import annotations

import numpy as np

from agent.workshop.position_set import Group, PositionSet


def made_up(
    games: int = 120, per_game: int = 5, boards: tuple[tuple[int, int], ...] = ((9, 9), (7, 5)), seed: int = 1
) -> PositionSet:
    """`games` games of `per_game` positions each, in turn on `boards` (columns, rows), from first move to last."""
    random = np.random.default_rng(seed)
    groups = []
    for index, (x_size, y_size) in enumerate(boards):
        ids = np.repeat(np.arange(index, games, len(boards), dtype=np.int32) + 1000 * seed, per_game)
        count, area = len(ids), x_size * y_size
        spatial = random.random((count, 22, y_size, x_size)) < 0.2
        spatial[:, 0] = True
        global_ = np.zeros((count, 19), np.float32)
        global_[:, 6] = 1.0
        global_[:, 5] = random.normal(0, 0.3, count)
        legal = random.random((count, area + 1)) < 0.8
        legal[:, -1] = True
        move = np.tile(np.linspace(0, area, per_game, endpoint=False).astype(np.int32), count // per_game)
        groups.append(Group(y_size, x_size, spatial, global_, legal, ids, move))
    return PositionSet(tuple(groups), f"made up, seed {seed}")
