"""Analysis queries: error texts to the letter, warnings, and what a good query asks the engine for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes.driving import analysis

from agent.engine.messages import MoveLimit, SearchRequest
from agent.engine.points import BLACK, WHITE
from agent.service.analysis_query import NEVER_S
from agent.service.options import MAX_VISITS, ServiceOptions, read_settings

PAIRS = 'Must be an array of pairs of the form: ["b" or "w", GTP board vertex]'
SIZE = "Must provide an integer from 2 to 19"
RULES = (
    'Must specify rules string, such as "chinese" or "tromp-taylor", or a JSON object with detailed rules parameters.'
)
KOMI = "Must be a integer or half-integer from -400.0 to 400.0"
VISITS = "Must be an integer from 1 to 2^50"
SECONDS = "Must be number of seconds from 0.001 to 1000000.0"
PRIORITY = "Must be a number between -2^62 and 2^62"
LIMITS = "Must be a list of dicts with subfields 'player', 'moves', 'untilDepth'"
LEFT_OUT = object()
CONFIG = " config file agent.yaml and/or command-line and query overrides"


def query(**fields: Any) -> dict[str, Any]:
    given = {"id": "q", "boardXSize": 5, "boardYSize": 5, "rules": "chinese", "moves": [["b", "C3"]], **fields}
    return {name: value for name, value in given.items() if value is not LEFT_OUT}


def limit(**fields: Any) -> dict[str, Any]:
    return {"player": "b", "moves": ["A1"], "untilDepth": 1, **fields}


# What is changed in a good query, the field that the reply names, and the error.
ERRORS: list[tuple[dict[str, Any], str, str]] = [
    ({"boardXSize": LEFT_OUT}, "boardXSize", SIZE),
    ({"boardYSize": LEFT_OUT}, "boardYSize", SIZE),
    ({"boardXSize": "5"}, "boardXSize", SIZE),
    ({"boardXSize": 1}, "boardXSize", SIZE),
    ({"boardYSize": 20}, "boardYSize", SIZE),
    ({"boardXSize": 29, "boardYSize": 29}, "boardXSize", SIZE),
    ({"boardYSize": 9.0}, "boardYSize", SIZE),
    ({"boardYSize": True}, "boardYSize", SIZE),
    ({"initialStones": "x"}, "initialStones", PAIRS),
    ({"initialStones": [["b", "pass"]]}, "initialStones", "Could not parse board location: pass"),
    ({"moves": LEFT_OUT}, "moves", "Must specify an array of [player,location] pairs"),
    ({"moves": "x"}, "moves", PAIRS),
    ({"moves": [["b"]]}, "moves", PAIRS),
    ({"moves": [["b", 3]]}, "moves", PAIRS),
    ({"moves": [[3, "C3"]]}, "moves", PAIRS),
    ({"moves": [["x", "C3"]]}, "moves", "Could not parse player: x"),
    ({"moves": [["b", "Z99"]]}, "moves", "Could not parse board location: Z99"),
    ({"moves": [["b", "C3"], ["w", "C3"]]}, "moves", "Illegal move 1: C3"),
    ({"moves": [["b", "C3"], ["w", "C3"]], "analyzeTurns": [0]}, "moves", "Illegal move 1: C3"),
    ({"moves": [["b", "pass"], ["w", "pass"]] * 5000 + [["b", "C3"]]}, "moves", "Must be at most 10000 moves"),
    ({"moves": [["b", "pass"], ["w", "pass"]] * 4999 + [["b", "C3"]] * 2}, "moves", "Illegal move 9999: C3"),
    ({"initialPlayer": "x"}, "initialPlayer", 'Must be "b" or "w"'),
    ({"initialPlayer": 3}, "initialPlayer", 'Must be "b" or "w"'),
    ({"analyzeTurns": [3]}, "analyzeTurns", "Invalid turn number: 3"),
    ({"analyzeTurns": [1e300]}, "analyzeTurns", f"Invalid turn number: {int(1e300)}"),
    ({"analyzeTurns": [-1]}, "analyzeTurns", "Invalid turn number: -1"),
    ({"analyzeTurns": 1}, "analyzeTurns", "Must specify an array of integers indicating turns to analyze"),
    ({"analyzeTurns": ["a"]}, "analyzeTurns", "Must specify an array of integers indicating turns to analyze"),
    ({"priorities": ["a"]}, "priorities", "Must specify an array of integers indicating priorities"),
    ({"priorities": [1]}, "priorities", "Can only specify when also specifying analyzeTurns"),
    ({"priorities": [1], "analyzeTurns": [0, 1]}, "priorities", "Must be of matching length to analyzeTurns"),
    ({"priorities": [1 << 62], "analyzeTurns": [0]}, "priorities", f"Invalid priority: {1 << 62}"),
    ({"rules": LEFT_OUT}, "rules", RULES),
    ({"rules": 3}, "rules", RULES),
    ({"rules": "foo"}, "rules", "Could not parse rules: foo"),
    ({"rules": {"ko": "simple"}}, "rules", 'Could not parse rules: {"ko":"simple"}'),
    ({"rules": {"komi": 10**400}}, "rules", f'Could not parse rules: {{"komi":{10**400}}}'),
    ({"komi": 7.3}, "komi", KOMI),
    ({"komi": 10**400}, "komi", KOMI),
    ({"komi": 401}, "komi", KOMI),
    ({"komi": "7"}, "komi", KOMI),
    ({"whiteHandicapBonus": 3}, "whiteHandicapBonus", "Must be a string"),
    (
        {"whiteHandicapBonus": "x"},
        "whiteHandicapBonus",
        "Rules::parseWhiteHandicapBonusRule: Invalid whiteHandicapBonus rule: x",
    ),
    ({"overrideSettings": 3}, "overrideSettings", "Must be an object"),
    (
        {"overrideSettings": {"reportAnalysisWinratesAs": "GREEN"}},
        "overrideSettings",
        "Could not set settings: Could not parse config value for reportAnalysisWinratesAs: GREEN",
    ),
    (
        {"overrideSettings": {"wideRootNoise": "x"}},
        "overrideSettings",
        "Could not set settings: Could not parse 'x' as double for key 'wideRootNoise' in" + CONFIG,
    ),
    (
        {"overrideSettings": {"wideRootNoise": 99}},
        "overrideSettings",
        "Could not set settings: Key 'wideRootNoise' must be in the range 0 to 5 in" + CONFIG,
    ),
    ({"maxVisits": 10.0}, "maxVisits", VISITS),
    ({"maxVisits": 0}, "maxVisits", VISITS),
    ({"maxVisits": (1 << 50) + 1}, "maxVisits", VISITS),
    ({"analysisPVLen": 0}, "analysisPVLen", "Must be an integer from 1 to 1000"),
    ({"rootFpuReductionMax": 3}, "rootFpuReductionMax", "Must be a number from 0.0 to 2.0"),
    ({"rootPolicyTemperature": 0}, "rootPolicyTemperature", "Must be a number from 0.01 to 100.0"),
    ({"includeOwnership": 1}, "includeOwnership", "Must be a boolean"),
    ({"includeMovesOwnership": "true"}, "includeMovesOwnership", "Must be a boolean"),
    ({"includePolicy": None}, "includePolicy", "Must be a boolean"),
    ({"includePVVisits": 0}, "includePVVisits", "Must be a boolean"),
    ({"reportDuringSearchEvery": 0}, "reportDuringSearchEvery", SECONDS),
    ({"firstReportDuringSearchAfter": "1"}, "firstReportDuringSearchAfter", SECONDS),
    ({"priority": 1.5}, "priority", PRIORITY),
    (
        {"priority": 1, "priorities": [1], "analyzeTurns": [0]},
        "priority",
        "Cannot specify both priority and priorities",
    ),
    ({"allowMoves": [], "avoidMoves": []}, "allowMoves", "Cannot specify both allowMoves and avoidMoves"),
    ({"avoidMoves": 3}, "avoidMoves", LIMITS),
    ({"avoidMoves": [1]}, "avoidMoves", LIMITS),
    ({"avoidMoves": [{"player": "b", "moves": []}]}, "avoidMoves", LIMITS),
    ({"avoidMoves": [limit(player="x")]}, "player", 'Must be "b" or "w"'),
    ({"avoidMoves": [limit(moves="A1")]}, "moves", "Must be an array of GTP board vertices"),
    ({"avoidMoves": [limit(moves=["Z99"])]}, "moves", "Could not parse board location: Z99"),
    ({"avoidMoves": [limit(untilDepth=0)]}, "untilDepth", "Must be a positive integer"),
    ({"allowMoves": [limit()] * 3}, "allowMoves", "Currently allowMoves only allows at most one entry per player"),
    ({"allowMoves": [limit()] * 2}, "allowMoves", "Cannot specify allowMoves more than once for the same player"),
]


@pytest.mark.parametrize(
    ("changes", "field", "text"), ERRORS, ids=[f"{field}:{text[:40]}" for _, field, text in ERRORS]
)
def test_error(changes: dict[str, Any], field: str, text: str) -> None:
    client = analysis()
    assert json.loads(client.line(json.dumps(query(**changes)))) == {"error": text, "field": field, "id": "q"}
    assert not client.engine.submitted


def test_parsing_stops_at_the_first_error() -> None:
    assert json.loads(analysis().line('{"id":"b1","action":3}')) == {"error": SIZE, "field": "boardXSize", "id": "b1"}


WARNING = (
    "Unexpected or unused field, do you have a typo? (set warnUnusedFields=false in the config to disable this warning)"
)


def test_unused_fields_are_warned_of_and_the_query_is_answered() -> None:
    client = analysis()
    replies = [
        json.loads(line)
        for line in client.ask(json.dumps(query(foo=1, overrideSettings={"fooBar": 1, "a b": 2}))).splitlines()
    ]
    assert replies[:2] == [
        {"field": "overrideSettings", "id": "q", "warning": "Unknown config params: a b,fooBar"},
        {"field": "foo", "id": "q", "warning": WARNING},
    ]
    assert replies[2]["isDuringSearch"] is False


def test_warnings_before_an_error_are_still_sent() -> None:
    replies = analysis().line(json.dumps(query(overrideSettings={"foo": 1}, maxVisits=0))).splitlines()
    assert [sorted(json.loads(line)) for line in replies] == [["field", "id", "warning"], ["error", "field", "id"]]


def test_warn_unused_fields_can_be_turned_off() -> None:
    options, _ = read_settings(ServiceOptions(), {"warnUnusedFields": "false"})
    assert analysis(options).line(json.dumps(query(foo=1))) == b""


def test_rules_that_no_network_knows_are_replaced_with_a_warning() -> None:
    client = analysis()
    reply = json.loads(client.line(json.dumps(query(rules={"ko": "SPIGHT"}))))
    assert reply["field"] == "rules" and "not supported by neural net, using" in reply["warning"]
    assert request_of(client).position.rules.ko == "SITUATIONAL"


def request_of(client: Any, index: int = -1) -> SearchRequest:
    request = client.engine.submitted[index]
    assert isinstance(request, SearchRequest)
    return request


def asked(**fields: Any) -> SearchRequest:
    client = analysis()
    assert client.line(json.dumps(query(**fields))) == b""
    return request_of(client)


def test_defaults() -> None:
    request = asked()
    assert request.position.moves == ((BLACK, 12),)
    assert (request.player, request.max_visits, request.max_time_s) == (WHITE, 500, None)
    assert (request.pv_len, request.priority, request.tree) == (15, 0.0, "")
    assert (request.report_every_s, request.first_report_after_s) == (None, None)
    assert not (request.ownership or request.moves_ownership or request.policy)
    assert request.overrides["wideRootNoise"] == 0.04
    assert request.position.prevent_encore


@pytest.mark.parametrize(
    ("rules", "komi"), [("chinese", 7.5), ("japanese", 6.5), ("aga-button", 7.0), ("new-zealand", 7.0)]
)
def test_komi_follows_the_rules(rules: str, komi: float) -> None:
    assert asked(rules=rules).position.komi == komi
    assert asked(rules=rules, komi=-3.5).position.komi == -3.5


def test_names_are_taken_in_any_case() -> None:
    request = asked(rules="Chinese", moves=[["BLACK", "PASS"], ["W", "c3"]])
    assert request.position.moves == ((BLACK, 25), (WHITE, 12))


@pytest.mark.parametrize(
    ("fields", "player"),
    [
        ({"moves": []}, BLACK),
        ({"moves": [], "initialPlayer": "w"}, WHITE),
        ({"moves": [], "initialStones": [["b", "A1"], ["b", "B2"]]}, WHITE),
        ({"moves": [], "initialStones": [["b", "A1"], ["w", "B2"]]}, BLACK),
        ({"moves": [], "initialStones": [["b", "A1"]]}, BLACK),
        ({"moves": [["w", "C3"]]}, BLACK),
        ({"moves": [["w", "C3"]], "analyzeTurns": [0]}, WHITE),
        ({"moves": [["b", "C3"], ["b", "C4"]]}, WHITE),
    ],
)
def test_who_is_to_move(fields: dict[str, Any], player: int) -> None:
    assert asked(**fields).player == player


def test_positions_after_two_passes_are_analysed() -> None:
    assert asked(moves=[["b", "pass"], ["w", "pass"]]).position.moves == ((BLACK, 25), (WHITE, 25))


def test_playouts_limit_a_search_beside_its_visits() -> None:
    request = asked(overrideSettings={"maxPlayouts": 300})
    assert (request.max_visits, request.max_playouts) == (MAX_VISITS, 300)
    assert asked(maxVisits=7, overrideSettings={"maxPlayouts": 300}).max_visits == 7


def test_settings_reach_the_search() -> None:
    request = asked(
        maxVisits=7,
        analysisPVLen=3,
        rootPolicyTemperature=2,
        rootFpuReductionMax=0.5,
        reportDuringSearchEvery=0.5,
        priority=-4,
        includeOwnership=True,
        includeOwnershipStdev=True,
        includeMovesOwnership=True,
        includePolicy=True,
        overrideSettings={"wideRootNoise": 0.1, "maxTime": 3, "maxVisits": 9, "reportAnalysisWinratesAs": "BLACK"},
        whiteHandicapBonus="N-1",
    )
    assert (request.max_visits, request.max_time_s, request.pv_len, request.priority) == (7, 3.0, 3, -4.0)
    assert (request.report_every_s, request.first_report_after_s) == (0.5, 0.5)
    assert (request.ownership, request.ownership_stdev, request.moves_ownership, request.policy) == (True,) * 4
    assert request.overrides["rootPolicyTemperature"] == request.overrides["rootPolicyTemperatureEarly"] == 2.0
    assert request.overrides["rootFpuReductionMax"] == 0.5
    assert request.overrides["wideRootNoise"] == 0.1
    assert request.position.rules.white_handicap_bonus == "N-1"


def test_the_first_report_may_come_at_its_own_time() -> None:
    request = asked(reportDuringSearchEvery=2, firstReportDuringSearchAfter=0.25)
    assert (request.report_every_s, request.first_report_after_s) == (2.0, 0.25)
    request = asked(firstReportDuringSearchAfter=0.25)
    assert (request.report_every_s, request.first_report_after_s) == (NEVER_S, 0.25)


def test_a_later_limit_decides_of_its_points() -> None:
    request = asked(
        avoidMoves=[limit(moves=["A5", "B5"], untilDepth=8), limit(moves=["A5"]), limit(player="w", moves=["A5"])]
    )
    assert [(each.player, each.points, each.until_depth) for each in request.limits] == [
        *((BLACK, (0,), 1), (BLACK, (1,), 8), (WHITE, (0,), 1)),
    ]


def test_limits_without_number_are_no_more_than_points() -> None:
    """A line holds 24,000 of them; to compare each with each took minutes."""
    request = asked(avoidMoves=[limit(moves=["A5", "B5"] * 3, untilDepth=depth) for depth in range(1, 3000)])
    assert request.limits == (MoveLimit(player=BLACK, points=(0, 1), until_depth=2999),)


def test_move_limits() -> None:
    request = asked(avoidMoves=[limit(moves=["A5", "pass"], untilDepth=4), limit(player="w", moves=[])])
    assert request.limits == (
        MoveLimit(player=BLACK, points=(0, 25), until_depth=4),
        MoveLimit(player=WHITE, points=(), until_depth=1),
    )
    assert asked(allowMoves=[limit(moves=["A5"])]).limits == (
        MoveLimit(player=BLACK, points=(0,), until_depth=1, allow=True),
    )


def test_prevent_cleanup_phase_comes_from_the_settings() -> None:
    options, _ = read_settings(ServiceOptions(), {"preventCleanupPhase": "false"})
    client = analysis(options)
    client.line(json.dumps(query()))
    assert not request_of(client).position.prevent_encore


def test_kata_trains_overrides_are_accepted_in_silence() -> None:
    settings = {"reportAnalysisWinratesAs": "BLACK", "wideRootNoise": 0.04, "maxTime": 8.0}
    assert asked(overrideSettings=settings).max_time_s == 8.0
