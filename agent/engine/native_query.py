"""What a native `katago analysis` is asked for a request of the front: one JSON query each. Pure.

Its answers are read by `native_report.py`. Source: KataGo docs/Analysis_Engine.md and cpp/command/analysis.cpp.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

from agent.engine.game import Game
from agent.engine.messages import MoveLimit, Position, RawRequest, SearchRequest
from agent.engine.points import BLACK, WHITE, color_letter, vertex
from agent.engine.rules import MAX_KOMI, rules_to_dict

# Search parameters of ours that KataGo reads once, when it starts, and not from a query.
_READ_AT_START: Final = frozenset({"nnRandomize"})
# KataGo's bounds for the seconds between reports, and its value for "no time limit".
_SHORTEST_REPORT_S: Final = 0.001
_NO_LIMIT_S: Final = 1e20
# A search tells at least this often how far it is: a front that sees no visits for long replaces its worker. The line
# with every move's ownership on 19×19 is a megabyte, so that one is told more rarely.
WATCH_S: Final = 2.0
_WATCH_LARGE_S: Final = 10.0
# The network averages over this many ways to turn the board; a query cannot choose one of them.
SYMMETRIES: Final = 8


def watch_s(request: SearchRequest) -> float:
    """How often katago is told to report: a whole part of what the client wants, at least every `WATCH_S`."""
    longest = _WATCH_LARGE_S if request.moves_ownership or request.moves_ownership_stdev else WATCH_S
    wanted = request.report_every_s
    if wanted is None:
        return longest
    return max(_SHORTEST_REPORT_S, wanted / max(1, math.ceil(wanted / longest)))


def search_query(request: SearchRequest, name: str, max_visits: int) -> dict[str, Any]:
    """The query `name`. At most `max_visits` visits, which bound the tree's memory.

    Raises IllegalMove for a position that is none.
    """
    every_s = watch_s(request)
    first_s = request.first_report_after_s
    query: dict[str, Any] = {
        "id": name,
        **position_fields(request.position, request.player),
        "maxVisits": min(request.visits_from(0), max_visits),
        "analysisPVLen": max(1, request.pv_len),
        "reportDuringSearchEvery": every_s,
        "firstReportDuringSearchAfter": every_s if first_s is None else max(_SHORTEST_REPORT_S, min(first_s, every_s)),
        # The move to play is drawn from the policy where nothing was searched.
        "includePolicy": True,
        "includePVVisits": True,
        "includeNoResultValue": True,
        "overrideSettings": {
            "maxTime": _NO_LIMIT_S if request.max_time_s is None else request.max_time_s,
            **{key: value for key, value in request.overrides.items() if key not in _READ_AT_START},
            **_players(request),
        },
    }
    wanted = {
        "includeOwnership": request.ownership,
        "includeOwnershipStdev": request.ownership_stdev,
        "includeMovesOwnership": request.moves_ownership,
        "includeMovesOwnershipStdev": request.moves_ownership_stdev,
    }
    query |= {key: True for key, is_wanted in wanted.items() if is_wanted}
    query |= _limits(request.limits, request.position)
    return query


def raw_query(request: RawRequest, name: str) -> dict[str, Any]:
    """One visit, whose answer holds what the network says of the root: over all ways to turn the board together, as a
    query cannot choose one. Raises as `search_query`."""
    return {
        "id": name,
        **position_fields(request.position, request.player),
        "maxVisits": 1,
        "includePolicy": True,
        "includeOwnership": True,
        "overrideSettings": {
            "maxTime": _NO_LIMIT_S,
            "rootNumSymmetriesToSample": SYMMETRIES,
            "rootPolicyOptimism": request.optimism,
            "playoutDoublingAdvantage": request.advantage,
            **_players(request),
        },
    }


def _players(request: SearchRequest | RawRequest) -> dict[str, str]:
    """KataGo refuses a profile for a network that imitates nobody, so whoever asks has looked."""
    return {"humanSLProfile": request.human_profile} if request.human_profile else {}


def position_fields(position: Position, player: int) -> dict[str, Any]:
    """The position with `player` to move. Where that is not the side whose turn it is, its stones alone, as the history
    starts anew there. Raises IllegalMove."""
    sizes = position.x_size, position.y_size
    stones, moves, komi, first = position.initial_stones, position.moves, position.komi, position.initial_player
    if player != position.to_play:
        game = Game.from_position(position)
        stones = tuple((color, point) for point, color in enumerate(game.stones()) if color)
        moves, first, komi = (), player, _with_captures(position, game)
    return {
        "boardXSize": position.x_size,
        "boardYSize": position.y_size,
        "rules": rules_to_dict(position.rules),
        "komi": komi,
        "initialStones": [_pair(stone, sizes) for stone in stones],
        "initialPlayer": color_letter(first),
        "moves": [_pair(move, sizes) for move in moves],
    }


def _with_captures(position: Position, game: Game) -> float:
    """Under territory scoring prisoners count, and stones that are set up took none."""
    if position.rules.scoring != "TERRITORY":
        return position.komi
    black, white = game.captures
    return max(-MAX_KOMI, min(MAX_KOMI, position.komi + black - white))


def _pair(move: tuple[int, int], sizes: tuple[int, int]) -> list[str]:
    color, point = move
    return [color_letter(color), vertex(point, *sizes)]


def _limits(limits: Iterable[MoveLimit], position: Position) -> dict[str, Any]:
    """avoidMoves, or allowMoves where these alone are given, at most one for each side: KataGo takes no mixture."""
    given = tuple(limits)
    if not given:
        return {}
    allowed = [limit.player for limit in given if limit.allow]
    if len(allowed) == len(given) == len(set(allowed)):
        return {"allowMoves": [_limit(limit.player, limit.points, limit.until_depth, position) for limit in given]}
    return {"avoidMoves": [_limit(*each, position) for each in avoided(given, position)]}


def avoided(limits: Iterable[MoveLimit], position: Position) -> list[tuple[int, tuple[int, ...], int]]:
    """Player, points and depth of every limit as moves to avoid; what is not among the allowed moves is avoided."""
    everything = range(position.x_size * position.y_size + 1)
    return [
        (
            limit.player,
            tuple(point for point in everything if point not in limit.points) if limit.allow else limit.points,
            limit.until_depth,
        )
        for limit in limits
    ]


def _limit(player: int, points: Iterable[int], until_depth: int, position: Position) -> dict[str, Any]:
    assert player in (BLACK, WHITE)
    sizes = position.x_size, position.y_size
    return {
        "player": color_letter(player),
        "moves": [vertex(point, *sizes) for point in points],
        "untilDepth": until_depth,
    }
