"""More positions to train on: the same ones, turned and mirrored."""

from __future__ import annotations

import numpy as np

from agent.workshop.position_set import Group, PositionSet
from agent.workshop.records import SYMMETRIES, turned

# 4 to 7 swap rows and columns.
_KEEP_SHAPE = 4


def under_symmetries(positions: PositionSet, count: int, seed: int) -> PositionSet:
    """Each position under `count` of the eight symmetries, or as many as its board has; which, `seed` says. One of them
    leaves it as it is."""
    return PositionSet(tuple(_group(group, count, seed) for group in positions.groups), positions.source)


def _group(group: Group, count: int, seed: int) -> Group:
    having = SYMMETRIES if group.y_size == group.x_size else _KEEP_SHAPE
    random = np.random.default_rng([seed, group.y_size, group.x_size])
    others = np.array([1 + random.permutation(having - 1) for _ in range(len(group))])
    chosen = np.hstack([np.zeros((len(group), 1), int), others])[:, :count]
    spatial = [turned(planes, int(each)) for planes, row in zip(group.spatial, chosen, strict=True) for each in row]
    legal = []
    for points, row in zip(group.legal, chosen, strict=True):
        board = points[:-1].reshape(group.y_size, group.x_size)
        legal += [np.append(turned(board, int(each)), points[-1]) for each in row]
    again = np.repeat(np.arange(len(group)), chosen.shape[1])
    return Group(
        group.y_size,
        group.x_size,
        np.stack(spatial).astype(bool),
        group.global_[again],
        np.stack(legal).astype(bool),
        group.game[again],
        group.move[again],
    )
