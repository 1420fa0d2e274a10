"""Moves that a client forbids, as both protocols mean them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from agent.engine.messages import MoveLimit


def settled(limits: Iterable[MoveLimit]) -> tuple[MoveLimit, ...]:
    """`limits` that forbid, with every point in one of them alone: the last that names it, also where that forbids it
    for fewer moves. However many are given, no more come back than a board has points. A player whose limits name no
    point keeps one, as KataGo treats a search with limits differently.

    Source: KataGo cpp/command/gtp.cpp (parseAnalyzeCommand) and cpp/command/analysis.cpp.
    """
    depths: dict[int, dict[int, int]] = {}
    for limit in limits:
        depths.setdefault(limit.player, {}).update(dict.fromkeys(limit.points, limit.until_depth))
    found: list[MoveLimit] = []
    for player, named in depths.items():
        points: dict[int, list[int]] = {} if named else {1: []}
        for point, depth in named.items():
            points.setdefault(depth, []).append(point)
        found += [MoveLimit(player=player, points=tuple(each), until_depth=depth) for depth, each in points.items()]
    return tuple(found)
