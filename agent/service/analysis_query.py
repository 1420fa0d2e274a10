"""One analysis query, from JSON to values. Pure; the order of the checks and their texts are KataGo's.

Start reading at `parse_query`. Parsing stops at the first error (`QueryRefused`), but warnings that came before it are
still reported, so they are collected in the list that the caller gives.
Source: KataGo docs/Analysis_Engine.md and cpp/command/analysis.cpp.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from agent.engine.messages import EngineReady, MoveLimit, Position
from agent.engine.points import BLACK, MAX_SIZE, WHITE, opponent, parse_color, pass_point
from agent.engine.rules import Rules, is_supported_by_networks, parse_rules_and_komi, rules_to_text
from agent.errors import RulesError, SettingRefused
from agent.service.analysis_fields import (
    PRIORITY_LIMIT,
    flag,
    integer,
    integers,
    number,
    player,
    refuse,
    text_of,
    to_single,
)
from agent.service.analysis_settings import check_human_profile, read_query_settings
from agent.service.move_limits import settled
from agent.service.options import MAX_MOVES, MAX_VISITS, ServiceOptions
from agent.service.vertices import read_point

MAX_KOMI = 400.0
PV_LEN = 15
# Beyond KataGo's longest interval.
NEVER_S = 1e9

_FIELDS = """id action terminateId turnNumbers boardXSize boardYSize initialStones moves initialPlayer analyzeTurns
priorities rules komi whiteHandicapBonus overrideSettings maxVisits analysisPVLen rootFpuReductionMax
rootPolicyTemperature includeMovesOwnership includeMovesOwnershipStdev includeOwnership includeOwnershipStdev
includePolicy includePVVisits includeNoResultValue reportDuringSearchEvery firstReportDuringSearchAfter priority
allowMoves avoidMoves"""
KNOWN_FIELDS = frozenset(_FIELDS.split())

_PAIRS = 'Must be an array of pairs of the form: ["b" or "w", GTP board vertex]'
_RULES = (
    'Must specify rules string, such as "chinese" or "tromp-taylor", or a JSON object with detailed rules parameters.'
)
_LIMITS = "Must be a list of dicts with subfields 'player', 'moves', 'untilDepth'"
_KOMI = "Must be a integer or half-integer from -400.0 to 400.0"
_UNUSED = (
    "Unexpected or unused field, do you have a typo? (set warnUnusedFields=false in the config to disable this warning)"
)
_SECONDS = "Must be number of seconds from 0.001 to 1000000.0"

Move = tuple[int, int]


class QueryWarning(msgspec.Struct, frozen=True):
    """Something that the client may want to know of its query; it is answered all the same."""

    field: str
    text: str


class Query(msgspec.Struct, frozen=True):
    """What one line asks for: `turns` (ascending) of one game, each an analysis of its own.

    `position` holds the whole game. `priorities` are by turn where they differ. Times are seconds.
    """

    id: str
    position: Position
    turns: tuple[int, ...]
    options: ServiceOptions
    pv_len: int = PV_LEN
    priority: int = 0
    priorities: dict[int, int] = {}
    report_every_s: float | None = None
    first_report_after_s: float | None = None
    limits: tuple[MoveLimit, ...] = ()
    ownership: bool = False
    ownership_stdev: bool = False
    moves_ownership: bool = False
    moves_ownership_stdev: bool = False
    policy: bool = False
    pv_visits: bool = False
    no_result: bool = False

    def position_at(self, turn: int) -> Position:
        """The game as it stood after `turn` moves."""
        return msgspec.structs.replace(self.position, moves=self.position.moves[:turn])

    def player_at(self, turn: int) -> int:
        """Whose turn it then is."""
        return opponent(self.position.moves[turn - 1][0]) if turn else self.position.initial_player


def parse_query(
    given: dict[str, Any], defaults: ServiceOptions, warnings: list[QueryWarning], ready: EngineReady | None = None
) -> Query:
    """The query of a JSON object whose "id" is known to be a string, for the network that is `ready`. Moves are not yet
    tried on a board.

    Raises QueryRefused for the first field that is wrong.
    """
    x_size, y_size = _board_size(given)
    stones = _moves(given, "initialStones", x_size, y_size, may_pass=False) if "initialStones" in given else ()
    if "moves" not in given:
        raise refuse("moves", "Must specify an array of [player,location] pairs")
    moves = _moves(given, "moves", x_size, y_size, may_pass=True)
    if len(moves) > MAX_MOVES:
        raise refuse("moves", f"Must be at most {MAX_MOVES} moves")
    first = player(given, "initialPlayer", "initialPlayer") if "initialPlayer" in given else None
    turns = _turns(given, len(moves))
    priorities = _priorities(given)
    rules, default_komi = _rules(given)
    komi = _komi(given, default_komi)
    rules = _handicap_bonus(given, rules)
    options = _settings(given, defaults, warnings, ready)
    rest = _rest(given, options)
    limits = _move_limits(given, x_size, y_size)
    rules = _supported(rules, komi, warnings)
    position = Position(
        x_size=x_size,
        y_size=y_size,
        rules=rules,
        komi=komi,
        initial_stones=stones,
        initial_player=first or _first_player(moves, stones),
        moves=moves,
        prevent_encore=options.prevent_encore,
    )
    if defaults.warn_unused_fields:
        warnings += [QueryWarning(name, _UNUSED) for name in sorted(given) if name not in KNOWN_FIELDS]
    return Query(id=given["id"], position=position, turns=turns, priorities=priorities, limits=limits, **rest)


def _board_size(given: dict[str, Any]) -> tuple[int, int]:
    text = f"Must provide an integer from 2 to {MAX_SIZE}"
    for field in ("boardXSize", "boardYSize"):
        if field not in given:
            raise refuse(field, text)
    return integer(given, "boardXSize", 2, MAX_SIZE, text), integer(given, "boardYSize", 2, MAX_SIZE, text)


def _moves(given: dict[str, Any], field: str, x_size: int, y_size: int, *, may_pass: bool) -> tuple[Move, ...]:
    found = []
    if not isinstance(given[field], list):
        raise refuse(field, _PAIRS)
    for pair in given[field]:
        if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], str)):
            raise refuse(field, _PAIRS)
        color = parse_color(pair[0])
        if color is None:
            raise refuse(field, f"Could not parse player: {pair[0]}")
        found.append((color, _point(field, pair[1], x_size, y_size, may_pass=may_pass)))
    return tuple(found)


def _point(field: str, text: str, x_size: int, y_size: int, *, may_pass: bool) -> int:
    point = read_point(text, x_size, y_size)
    if point is None or (point == pass_point(x_size, y_size) and not may_pass):
        raise refuse(field, f"Could not parse board location: {text}")
    return point


def _first_player(moves: tuple[Move, ...], stones: tuple[Move, ...]) -> int:
    """The first mover; without one White after a handicap (two or more black stones and no white one), else Black."""
    if moves:
        return moves[0][0]
    board = {point: color for color, point in stones}
    is_handicap = len(board) >= 2 and all(color == BLACK for color in board.values())
    return WHITE if is_handicap else BLACK


def _turns(given: dict[str, Any], last: int) -> tuple[int, ...]:
    if "analyzeTurns" not in given:
        return (last,)
    turns = integers(given, "analyzeTurns", "Must specify an array of integers indicating turns to analyze")
    for turn in turns:
        if not 0 <= turn <= last:
            raise refuse("analyzeTurns", f"Invalid turn number: {turn}")
    return tuple(sorted(set(turns)))


def _priorities(given: dict[str, Any]) -> dict[int, int]:
    if "priorities" not in given:
        return {}
    priorities = integers(given, "priorities", "Must specify an array of integers indicating priorities")
    if "analyzeTurns" not in given:
        raise refuse("priorities", "Can only specify when also specifying analyzeTurns")
    turns = integers(given, "analyzeTurns", "")
    if len(priorities) != len(turns):
        raise refuse("priorities", "Must be of matching length to analyzeTurns")
    for priority in priorities:
        if abs(priority) > PRIORITY_LIMIT:
            raise refuse("priorities", f"Invalid priority: {priority}")
    return dict(zip(turns, priorities, strict=True))


def _rules(given: dict[str, Any]) -> tuple[Rules, float]:
    rules = given.get("rules")
    if isinstance(rules, dict):
        rules = json.dumps(rules, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if not isinstance(rules, str):
        raise refuse("rules", _RULES)
    try:
        return parse_rules_and_komi(rules)
    except RulesError as error:
        raise refuse("rules", f"Could not parse rules: {rules}") from error


def _komi(given: dict[str, Any], default: float) -> float:
    if "komi" not in given:
        return default
    # KataGo keeps it in single precision, so a little beside a half is that half.
    komi = to_single(number(given, "komi", -MAX_KOMI, MAX_KOMI, _KOMI))
    if komi * 2 != int(komi * 2):
        raise refuse("komi", _KOMI)
    return komi


def _handicap_bonus(given: dict[str, Any], rules: Rules) -> Rules:
    if "whiteHandicapBonus" not in given:
        return rules
    bonus = given["whiteHandicapBonus"]
    if not isinstance(bonus, str):
        raise refuse("whiteHandicapBonus", "Must be a string")
    if bonus not in ("0", "N", "N-1"):
        raise refuse(
            "whiteHandicapBonus", f"Rules::parseWhiteHandicapBonusRule: Invalid whiteHandicapBonus rule: {bonus}"
        )
    return msgspec.structs.replace(rules, white_handicap_bonus=bonus)


def _supported(rules: Rules, komi: float, warnings: list[QueryWarning]) -> Rules:
    """The nearest rules that networks know."""
    if is_supported_by_networks(rules):
        return rules
    nearest = msgspec.structs.replace(
        rules,
        ko="SITUATIONAL" if rules.ko == "SPIGHT" else rules.ko,
        has_button=rules.has_button and rules.scoring == "AREA",
    )
    asked, used = rules_to_text(rules, komi), rules_to_text(nearest, komi)
    text = f"Rules {asked} not supported by neural net, using {used} instead"
    warnings.append(QueryWarning("rules", text))
    return nearest


def _settings(
    given: dict[str, Any], defaults: ServiceOptions, warnings: list[QueryWarning], ready: EngineReady | None
) -> ServiceOptions:
    options = defaults
    if "overrideSettings" in given:
        settings = given["overrideSettings"]
        if not isinstance(settings, dict):
            raise refuse("overrideSettings", "Must be an object")
        texts = {name: text_of(value) for name, value in settings.items()}
        try:
            options, unknown = read_query_settings(options, texts)
            if unknown:
                warnings.append(QueryWarning("overrideSettings", f"Unknown config params: {','.join(unknown)}"))
            check_human_profile(texts, ready)
        except SettingRefused as error:
            raise refuse("overrideSettings", f"Could not set settings: {error}") from error
    if "maxVisits" in given:
        visits = integer(given, "maxVisits", 1, MAX_VISITS, "Must be an integer from 1 to 2^50")
        options = msgspec.structs.replace(options, max_visits=visits)
    return options


def _rest(given: dict[str, Any], options: ServiceOptions) -> dict[str, Any]:
    """The fields of `Query` that are one value each, in KataGo's order."""
    changes: dict[str, Any] = {"pv_len": options.pv_len or PV_LEN}
    search = dict(options.search)
    if "analysisPVLen" in given:
        changes["pv_len"] = integer(given, "analysisPVLen", 1, 1000, "Must be an integer from 1 to 1000")
    if "rootFpuReductionMax" in given:
        search["rootFpuReductionMax"] = number(
            given, "rootFpuReductionMax", 0.0, 2.0, "Must be a number from 0.0 to 2.0"
        )
    if "rootPolicyTemperature" in given:
        temperature = number(given, "rootPolicyTemperature", 0.01, 100.0, "Must be a number from 0.01 to 100.0")
        search["rootPolicyTemperature"] = search["rootPolicyTemperatureEarly"] = temperature
    for field, name in _FLAGS:
        if field in given:
            changes[name] = flag(given, field)
    # Alone, firstReportDuringSearchAfter means one report.
    if "firstReportDuringSearchAfter" in given:
        changes["report_every_s"] = NEVER_S
    if "reportDuringSearchEvery" in given:
        every = number(given, "reportDuringSearchEvery", 0.001, 1e6, _SECONDS)
        changes["report_every_s"] = changes["first_report_after_s"] = every
    if "firstReportDuringSearchAfter" in given:
        changes["first_report_after_s"] = number(given, "firstReportDuringSearchAfter", 0.001, 1e6, _SECONDS)
    if "priority" in given:
        if "priorities" in given:
            raise refuse("priority", "Cannot specify both priority and priorities")
        changes["priority"] = integer(
            given, "priority", -PRIORITY_LIMIT, PRIORITY_LIMIT, "Must be a number between -2^62 and 2^62"
        )
    changes["options"] = msgspec.structs.replace(options, search=search)
    return changes


# In KataGo's order of checks.
_FLAGS = (
    ("includeMovesOwnership", "moves_ownership"),
    ("includeMovesOwnershipStdev", "moves_ownership_stdev"),
    ("includeOwnership", "ownership"),
    ("includeOwnershipStdev", "ownership_stdev"),
    ("includePolicy", "policy"),
    ("includePVVisits", "pv_visits"),
    ("includeNoResultValue", "no_result"),
)


def _move_limits(given: dict[str, Any], x_size: int, y_size: int) -> tuple[MoveLimit, ...]:
    if "allowMoves" in given and "avoidMoves" in given:
        raise refuse("allowMoves", "Cannot specify both allowMoves and avoidMoves")
    allow = "allowMoves" in given
    field = "allowMoves" if allow else "avoidMoves"
    entries = given.get(field, [])
    if not isinstance(entries, list):
        raise refuse(field, _LIMITS)
    if allow and len(entries) > 2:
        raise refuse(field, "Currently allowMoves only allows at most one entry per player")
    limits: list[MoveLimit] = []
    for entry in entries:
        limit = _move_limit(entry, field, x_size, y_size, allow=allow)
        if allow and any(other.player == limit.player for other in limits):
            raise refuse(field, "Cannot specify allowMoves more than once for the same player")
        limits.append(limit)
    return tuple(limits) if allow else settled(limits)


def _move_limit(entry: Any, field: str, x_size: int, y_size: int, *, allow: bool) -> MoveLimit:
    """One entry. KataGo names the subfield, not the field, in errors of a subfield."""
    if not (isinstance(entry, dict) and {"moves", "untilDepth", "player"} <= entry.keys()):
        raise refuse(field, _LIMITS)
    side = player(entry, "player", "player")
    vertices = entry["moves"]
    if not (isinstance(vertices, list) and all(isinstance(text, str) for text in vertices)):
        raise refuse("moves", "Must be an array of GTP board vertices")
    points = dict.fromkeys(_point("moves", text, x_size, y_size, may_pass=True) for text in vertices)
    depth = integer(entry, "untilDepth", 1, 1_000_000_000, "Must be a positive integer")
    return MoveLimit(player=side, points=tuple(points), until_depth=depth, allow=allow)
