"""Arguments of the GTP commands that have many: analyze and kata-raw-nn. Pure.

Source: KataGo docs/GTP_Extensions.md and cpp/command/gtp.cpp (parseAnalyzeCommand, parseRawNNArgs).
"""

from __future__ import annotations

import msgspec

from agent.engine.messages import MoveLimit
from agent.engine.points import parse_color
from agent.errors import CommandRefused
from agent.service.move_limits import settled
from agent.service.numbers import parse_bool, parse_float, parse_int
from agent.service.vertices import read_point

SYMMETRIES = 8

# The interval's unit is a hundredth of a second; more often than once in it no GUI can draw.
MIN_REPORT_S = 0.01

_MAX_COUNT = 10**9

_FLAGS = {
    "rootInfo": "root_info",
    "ownership": "ownership",
    "ownershipStdev": "ownership_stdev",
    "movesOwnership": "moves_ownership",
    "movesOwnershipStdev": "moves_ownership_stdev",
    "pvVisits": "pv_visits",
    "pvEdgeVisits": "pv_edge_visits",
    "noResultValue": "no_result",
}


class AnalyzeArguments(msgspec.Struct, frozen=True):
    """`interval_s` None means no report but the last one. Moves that were not looked at fill up to `min_moves`."""

    is_lz: bool
    player: int
    interval_s: float | None = None
    min_moves: int = 0
    max_moves: int = _MAX_COUNT
    limits: tuple[MoveLimit, ...] = ()
    root_info: bool = False
    ownership: bool = False
    ownership_stdev: bool = False
    moves_ownership: bool = False
    moves_ownership_stdev: bool = False
    pv_visits: bool = False
    pv_edge_visits: bool = False
    no_result: bool = False


def parse_analyze(
    args: list[str], *, is_lz: bool, to_play: int, sizes: tuple[int, int], refusal: str
) -> AnalyzeArguments:
    """[player] [interval] then key-value pairs. Raises CommandRefused with `refusal` for anything else."""
    player, at = to_play, 0
    values: dict[str, object] = {}
    avoided: list[MoveLimit] = []
    allowed: list[MoveLimit] = []
    if args and (color := parse_color(args[0])) is not None:
        player, at = color, 1
    if at < len(args) and (interval := _interval(args[at])) is not None:
        values["interval_s"] = interval
        at += 1
    limited: set[int] = set()
    while at < len(args):
        key, value = args[at], args[at + 1] if at + 1 < len(args) else ""
        used = 2
        if key in ("avoid", "allow"):
            limit = _limit(args[at : at + 4], sizes, refusal)
            # One player may not have both, nor two allows.
            if any(other.player == limit.player for other in allowed) or (limit.allow and limit.player in limited):
                raise CommandRefused(refusal)
            limited.add(limit.player)
            (allowed if limit.allow else avoided).append(limit)
            used = 4
        elif key == "interval" and (interval := _interval(value)) is not None:
            values["interval_s"] = interval
        elif (
            key in ("minmoves", "maxmoves")
            and 0 <= (parse_int(value) or 0) < _MAX_COUNT
            and parse_int(value) is not None
        ):
            values["max_moves" if key == "maxmoves" else "min_moves"] = parse_int(value)
        elif not is_lz and key in _FLAGS and parse_bool(value) is not None:
            values[_FLAGS[key]] = parse_bool(value)
        else:
            raise CommandRefused(refusal)
        at += used
    arguments = AnalyzeArguments(is_lz=is_lz, player=player, limits=(*settled(avoided), *allowed))
    return msgspec.structs.replace(arguments, **values)


def _interval(text: str) -> float | None:
    value = parse_float(text)
    return max(value * 0.01, MIN_REPORT_S) if value is not None and 0 <= value < _MAX_COUNT else None


def _limit(args: list[str], sizes: tuple[int, int], refusal: str) -> MoveLimit:
    """avoid|allow PLAYER VERTEX,VERTEX… DEPTH."""
    if len(args) < 4:
        raise CommandRefused(refusal)
    allow = args[0] == "allow"
    player, depth = parse_color(args[1]), parse_int(args[3])
    points = [read_point(text, *sizes) for text in args[2].split(",") if text.strip()]
    known = [point for point in points if point is not None]
    if player is None or depth is None or depth < 1 or len(known) != len(points):
        raise CommandRefused(refusal)
    return MoveLimit(player=player, points=tuple(dict.fromkeys(known)), until_depth=depth, allow=allow)


class RawArguments(msgspec.Struct, frozen=True):
    player: int
    symmetries: tuple[int, ...]
    optimism: float | None


def parse_raw(args: list[str], *, to_play: int, optimism: float | None) -> RawArguments:
    """[player] all|0-7 [optimism 0-1]; no optimism where the default is None. Raises CommandRefused."""
    rest, player = list(args), to_play
    if rest and (color := parse_color(rest[0])) is not None:
        player = color
        rest.pop(0)
    if not rest:
        raise CommandRefused("Expected a symmetry argument 'all' or index [0-7]")
    text = rest.pop(0)
    symmetry = parse_int(text)
    if text.lower() == "all":
        symmetries = tuple(range(SYMMETRIES))
    elif symmetry is not None and 0 <= symmetry < SYMMETRIES:
        symmetries = (symmetry,)
    else:
        raise CommandRefused(f"Expected a symmetry argument 'all' or index [0-7] but got '{text}'")
    if rest and optimism is not None:
        value = parse_float(rest[0])
        if value is None or not 0 <= value <= 1:
            raise CommandRefused(f"Expected an optimism value in [0,1] but got '{rest[0]}'")
        optimism = value
        rest.pop(0)
    if rest:
        raise CommandRefused(f"Unexpected extra argument '{rest[0]}'")
    return RawArguments(player, symmetries, optimism)
