"""The conversations that `record_analysis.py` holds with a native katago: every row of the analysis protocol.

A step is a line and what is awaited before the next one is sent: what is answered "now", that a search has "reported",
or that all searches are "done".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

LEFT_OUT = object()


class Scenario(NamedTuple):
    name: str
    steps: tuple[tuple[str, str], ...]
    settings: Mapping[str, str] = {}


def query(**fields: Any) -> str:
    """A good query of a small board with `fields` changed."""
    given: dict[str, Any] = {
        "id": "q",
        "boardXSize": 5,
        "boardYSize": 5,
        "rules": "chinese",
        "moves": [["b", "C3"]],
        "maxVisits": 2,
        **fields,
    }
    return json.dumps({name: value for name, value in given.items() if value is not LEFT_OUT}, ensure_ascii=False)


def errors(name: str, *lines: str, settings: Mapping[str, str] = {}) -> Scenario:
    """Lines that are answered at once, without a search."""
    return Scenario(name, tuple((line, "now") for line in lines), settings)


def searches(name: str, *lines: str, settings: Mapping[str, str] = {}) -> Scenario:
    """Queries that are searched, each before the next one is asked."""
    return Scenario(name, tuple((line, "done") for line in lines), settings)


def limit(**fields: Any) -> dict[str, Any]:
    return {"player": "b", "moves": ["A1"], "untilDepth": 1, **fields}


def action(name: Any, **fields: Any) -> str:
    return json.dumps({"id": "a", "action": name, **fields})


# Long enough never to end by itself.
LONG = {
    "id": "long",
    "moves": [],
    "maxVisits": 100_000_000,
    "boardXSize": 9,
    "boardYSize": 9,
    "reportDuringSearchEvery": 0.02,
}
SPIGHT = {
    "ko": "SPIGHT",
    "scoring": "TERRITORY",
    "tax": "SEKI",
    "suicide": False,
    "hasButton": False,
    "friendlyPassOk": False,
    "whiteHandicapBonus": "0",
}

SCENARIOS: tuple[Scenario, ...] = (
    errors(
        "lines that are no query",
        "",
        "   ",
        "foo",
        '{"id":"a"',
        "[1, 2]",
        "3",
        '"a"',
        "null",
        "{}",
        '{"id":7,"action":"query_version"}',
        '{"id":null}',
        action("foo"),
        action("Terminate"),
    ),
    errors(
        "actions",
        action("clear_cache", extra={"b": [1, 2.5], "a": None}),
        action("terminate"),
        action("terminate", terminateId=3),
        action("terminate", terminateId="nobody"),
        action("terminate", terminateId="nobody", turnNumbers="x"),
        action("terminate", terminateId="nobody", turnNumbers=[1, "x"]),
        action("terminate", terminateId="nobody", turnNumbers=[1.5, True]),
        action("terminate", terminateId="nobody", turnNumbers=None),
        action("terminate", terminateId="nobody", turnNumbers={"a": 1}),
        action("terminate_all"),
        action("terminate_all", turnNumbers=[3]),
        action("terminate_all", turnNumbers=7),
    ),
    searches(
        "an action that is no text is none", query(action=3), query(action=None, id="n"), query(action=["terminate"])
    ),
    errors(
        "board sizes",
        *(query(boardXSize=size) for size in (LEFT_OUT, "5", 1, 0, -5, 20, 29, 9.0, True, None, [5], 10**30)),
        *(query(boardYSize=size) for size in (LEFT_OUT, "5", 1, 20, 9.5, False)),
        query(boardXSize=29, boardYSize=29),
    ),
    errors(
        "stones and moves",
        *(
            query(initialStones=stones)
            for stones in ("x", 3, None, {}, {"a": 1}, [["b"]], [["b", "pass"]], [[1, "C3"]])
        ),
        *(query(initialStones=[[player, "C3"]]) for player in ("x", "", "bb", "empty")),
        *(query(initialStones=[["b", at]]) for at in ("", "Z99", "I3", "F6", "A0", "A6", "A", "3", "null")),
        *(query(moves=moves) for moves in (LEFT_OUT, "x", 3, None, {}, {"a": 1}, [["b"]], ["bC3"], [["b", "C3", "x"]])),
        *(
            query(moves=[pair])
            for pair in (["b", 3], [3, "C3"], ["x", "C3"], ["b", "Z99"], ["b", ""], ["", ""], [None, "C3"])
        ),
        query(moves=[["b", "C3"], ["w", "C3"]]),
        query(moves=[["b", "c3"], ["w", "c3"]], analyzeTurns=[0]),
        query(moves=[["b", "C3"], ["w", "pass"], ["b", "C3"]]),
        query(moves=[["b", "A1"]], initialStones=[["w", "A2"], ["w", "B1"]], rules="japanese"),
        query(moves=[["b", "C3"], ["w", "A1"], ["w", "A1"]]),
    ),
    searches(
        "players and vertices in any case",
        query(moves=[["B", "c3"], ["White", "PASS"], ["BLACK", "Pass"], ["w", "d4"]]),
        query(initialStones=[["b", "(0,0)"], ["W", "b2"]], moves=[], id="i"),
        query(initialStones=[["b", "A1"], ["w", "A1"]], moves=[], id="i2"),
    ),
    errors("initial player", *(query(initialPlayer=player) for player in ("x", 3, None, "", ["b"], "black ", "empty"))),
    searches(
        "who is to move",
        query(initialPlayer="w", moves=[]),
        query(initialPlayer="BLACK", moves=[], id="2"),
        query(moves=[], initialStones=[["b", "A1"], ["b", "A2"]], id="3"),
        query(moves=[], initialStones=[["b", "A1"]], id="4"),
        query(moves=[], initialStones=[["b", "A1"], ["b", "A2"], ["w", "A3"]], id="5"),
        query(moves=[["w", "C3"]], id="6"),
        query(moves=[["b", "C3"], ["b", "D4"]], id="7"),
        query(moves=[["w", "C3"]], initialPlayer="b", analyzeTurns=[0], id="8"),
    ),
    errors(
        "turns",
        *(
            query(analyzeTurns=turns)
            for turns in ([3], [-1], [2], 1, "x", ["a"], None, [None], [[0]], {"a": 5}, {"a": "x"})
        ),
        query(analyzeTurns=[0, 7, 8]),
    ),
    searches("turns in order", query(analyzeTurns=[1, 0, 1, 0])),
    searches("turns cut to integers", query(analyzeTurns=[0.9]), query(analyzeTurns=[True], id="t")),
    searches("turns of an object", query(analyzeTurns={"a": 0, "b": 1})),
    Scenario("no turns at all", ((query(analyzeTurns=[]), "now"), (query(id="next"), "done"))),
    errors(
        "priorities",
        query(priorities=["a"]),
        query(priorities=3),
        query(priorities=[1]),
        query(priorities=[1], analyzeTurns=[0, 1]),
        query(priorities=[1 << 62], analyzeTurns=[0]),
        query(priorities=[-(1 << 62)], analyzeTurns=[0]),
        query(priorities=[1], analyzeTurns=[0], priority=1),
        *(query(priority=priority) for priority in (1.5, "x", None, True, 1 << 62, -(1 << 62), 1 << 63, 1 << 70)),
    ),
    searches("good priorities", query(priorities=[3, 2], analyzeTurns=[0, 1])),
    searches("the largest priorities", query(priority=(1 << 62) - 1), query(priority=-(1 << 62) + 1, id="s")),
    errors(
        "rules",
        *(query(rules=rules) for rules in (LEFT_OUT, 3, None, ["chinese"], True, "foo", "", "chinese ko", "{", "{}x")),
        query(rules={"ko": "simple"}),
        query(rules={"foo": 1}),
        query(rules={"ko": "SIMPLE", "komi": 7.3}),
        query(rules={"ko": "SIMPLE", "komi": "x"}),
        query(rules={"suicide": 1}),
        query(rules={"ko": 3}),
        query(rules='{"ko":"simple"}'),
    ),
    searches(
        "rules that are known",
        *(
            query(rules=rules)
            for rules in ("Chinese", "JAPANESE", "tromp-taylor", "aga", "new-zealand", "stone-scoring")
        ),
        *(
            query(rules=rules)
            for rules in ("chinese-ogs", "korean", "bga", "aga-button", "chinese-kgs", "ancient-territory")
        ),
        query(rules={}),
        query(rules={"ko": "SIMPLE", "scoring": "AREA", "tax": "NONE", "suicide": True}),
        query(rules={"ko": "SIMPLE", "komi": 3.5}),
        query(rules='{"ko":"POSITIONAL","scoring":"TERRITORY"}'),
        query(rules="koSIMPLEscoreAREAtaxNONEsui0"),
        query(rules="koSIMPLEscoreAREAtaxNONEsui0whbN-1komi5.5"),
    ),
    searches("rules that no network knows", query(rules=SPIGHT), query(rules={**SPIGHT, "hasButton": True}, id="b")),
    searches(
        "rules that no network knows, with all that a warning may show",
        query(
            rules={**SPIGHT, "scoring": "AREA", "hasButton": True, "whiteHandicapBonus": "N", "friendlyPassOk": True}
        ),
        query(rules=SPIGHT, komi=-3.5, whiteHandicapBonus="N-1", id="k"),
        query(rules=SPIGHT, komi=100, id="k2"),
    ),
    errors("komi", *(query(komi=komi) for komi in (7.3, 401, -400.5, "7", None, True, [7], 1e300, 7.25, 7.4999999999))),
    searches(
        "good komi", query(komi=-400), query(komi=400, id="2"), query(komi=7, id="3"), query(komi=0.5000000001, id="4")
    ),
    errors("handicap bonus", *(query(whiteHandicapBonus=bonus) for bonus in (3, None, "x", "n", "", "N-2"))),
    searches("good handicap bonus", *(query(whiteHandicapBonus=bonus, id=bonus) for bonus in ("0", "N", "N-1"))),
    errors(
        "override settings",
        *(query(overrideSettings=settings) for settings in (3, None, "x", [1])),
        query(overrideSettings={"reportAnalysisWinratesAs": "GREEN"}),
        query(overrideSettings={"wideRootNoise": "x"}),
        query(overrideSettings={"wideRootNoise": 99}),
        query(overrideSettings={"wideRootNoise": None}),
        query(overrideSettings={"wideRootNoise": [1]}),
        query(overrideSettings={"wideRootNoise": True}),
        query(overrideSettings={"wideRootNoise": "nan"}),
        query(overrideSettings={"wideRootNoise": "1_0"}),
        query(overrideSettings={"conservativePass": "yes"}),
        query(overrideSettings={"conservativePass": 1}),
        query(overrideSettings={"rootNumSymmetriesToSample": 9}),
        query(overrideSettings={"rootNumSymmetriesToSample": 1.5}),
        query(overrideSettings={"maxVisits": 0}),
        query(overrideSettings={"maxVisits": 1.5}),
        query(overrideSettings={"maxVisits": "x"}),
        query(overrideSettings={"maxTime": -1}),
        query(overrideSettings={"maxTime": "x"}),
        query(overrideSettings={"maxPlayouts": 0}),
        query(overrideSettings={"nnPolicyTemperature": 9}),
        query(overrideSettings={"nnPolicyTemperature": "x"}),
        query(overrideSettings={"playoutDoublingAdvantage": 4}),
        query(overrideSettings={"playoutDoublingAdvantagePla": "x"}),
        query(overrideSettings={"noisePruningCap": -1}),
        query(overrideSettings={"minPlayoutsPerThread": -1}),
        query(overrideSettings={"rootPolicyTemperature": "x", "maxTime": "y", "conservativePass": "z"}),
        query(overrideSettings={"humanSLProfile": "rank_5k"}),
        query(overrideSettings={"humanSLProfile": "foo"}),
        query(overrideSettings={"humanSLCpuctExploration": 0.5}),
        query(overrideSettings={"nodeTableShardsPowerOfTwo": 8}),
        query(overrideSettings={"useEvalCache": True}),
        query(overrideSettings={"numBots": 2}),
    ),
    searches(
        "override settings that hold",
        query(overrideSettings={}),
        query(overrideSettings={"reportAnalysisWinratesAs": "BLACK", "wideRootNoise": 0.0, "maxTime": 100}),
        query(overrideSettings={"reportAnalysisWinratesAs": "w"}),
        query(overrideSettings={"reportAnalysisWinratesAs": "SideToMove"}),
        query(overrideSettings={"wideRootNoise": "0.1"}),
        query(overrideSettings={"wideRootNoise": ""}),
        query(overrideSettings={"fooBar": ""}),
        query(overrideSettings={"playoutDoublingAdvantage": 1.5}),
        query(overrideSettings={"playoutDoublingAdvantage": 1.5, "playoutDoublingAdvantagePla": "WHITE"}),
        query(overrideSettings={"ignorePreRootHistory": False, "rootNumSymmetriesToSample": 4}),
        query(overrideSettings={"maxPlayouts": 5, "useGraphSearch": False, "antiMirror": True}),
        query(overrideSettings={"rootNoiseEnabled": True, "avoidRepeatedPatternUtility": 0.1}),
        query(overrideSettings={"humanSLProfile": ""}),
        query(overrideSettings={"warnUnusedFields": False, "analysisPVLen": 3}),
        settings={"warnUnusedFields": "true", "analysisPVLen": "15"},
    ),
    searches(
        "settings that nobody knows",
        query(overrideSettings={"fooBar": 1}),
        query(overrideSettings={"zed": 1, "abc": 2, "wideRootNoise": 0.5}),
        query(overrideSettings={"analysisPVLen": 3, "resignThreshold": -0.5, "rules": "aga"}),
    ),
    searches(
        "fields that nobody knows",
        query(foo=1),
        query(komI=7),
    ),
    searches("several fields that nobody knows", query(foo=1, Bar=2, zed=3)),
    searches("no warnings of fields where they are not wanted", query(foo=1), settings={"warnUnusedFields": "false"}),
    Scenario("a warning before an error", ((query(overrideSettings={"fooBar": 1}, includePolicy=1), "now"),)),
    errors("an unknown field beside an error is not told", query(foo=1, includePolicy=1)),
    errors(
        "an unknown field is told before an illegal move", query(foo=1, moves=[["b", "C3"], ["w", "C3"]], rules=SPIGHT)
    ),
    errors(
        "visits and their like",
        *(query(maxVisits=visits) for visits in (10.0, 0, -1, (1 << 50) + 1, "10", None, True, 1 << 70)),
        *(query(analysisPVLen=length) for length in (0, 1001, 1.5, "x", None)),
        *(query(rootFpuReductionMax=value) for value in (3, -0.1, "x", None, True)),
        *(query(rootPolicyTemperature=value) for value in (0, 101, "x", None)),
        *(query(**{name: 1}) for name in ("includeOwnership", "includeOwnershipStdev", "includeMovesOwnership")),
        *(query(**{name: "true"}) for name in ("includeMovesOwnershipStdev", "includePolicy", "includePVVisits")),
        query(includeNoResultValue=None),
        *(query(reportDuringSearchEvery=value) for value in (0, 1e7, "1", None, True, 0.0001)),
        *(query(firstReportDuringSearchAfter=value) for value in (0, 1e7, "1", None)),
    ),
    searches(
        "what may be included",
        query(includePolicy=True),
        query(includeOwnership=True),
        query(includeOwnershipStdev=True),
        query(includeMovesOwnership=True, maxVisits=8),
        query(includeMovesOwnershipStdev=True, maxVisits=8),
        query(includePVVisits=True, maxVisits=8),
        query(includeNoResultValue=True, maxVisits=8),
        query(
            includePolicy=True,
            includeOwnership=True,
            includeOwnershipStdev=True,
            includeMovesOwnership=True,
            includeMovesOwnershipStdev=True,
            includePVVisits=True,
            includeNoResultValue=True,
            maxVisits=8,
        ),
        query(rootFpuReductionMax=0.0, rootPolicyTemperature=1.5, analysisPVLen=1, maxVisits=8),
        query(maxVisits=1),
    ),
    errors(
        "moves to avoid",
        *(query(avoidMoves=moves) for moves in ("x", 3, None, {}, [3], [[1]], [{}])),
        *(
            query(avoidMoves=[limit(**{name: value})])
            for name, value in (("player", "x"), ("player", 3), ("moves", "A1"))
        ),
        *(query(avoidMoves=[limit(moves=moves)]) for moves in ([3], ["Z99"], [""], None, {"a": "A1"})),
        *(query(avoidMoves=[limit(untilDepth=depth)]) for depth in (0, -1, 1.0, "1", None, 1_000_000_001)),
        query(avoidMoves=[{"player": "b", "moves": ["A1"]}]),
        query(avoidMoves=[limit(), limit(player="q")]),
        query(allowMoves=[limit()], avoidMoves=[limit()]),
        query(allowMoves="x"),
        query(allowMoves=[limit(), limit(player="w"), limit()]),
        query(allowMoves=[limit(), limit()]),
        query(allowMoves=[limit(moves=["Z99"])]),
    ),
    searches(
        "good limits of moves",
        query(avoidMoves=[limit(), limit(moves=["pass", "b2"], untilDepth=3), limit(extra=1)]),
        query(allowMoves=[limit(player="w", moves=["A1", "pass"])], id="2"),
        query(allowMoves=[limit(player="w"), limit(player="b", untilDepth=4)], id="3"),
        query(allowMoves=[], id="4"),
        query(avoidMoves=[], allowMovez=1, id="5", maxVisits=1),
    ),
    searches(
        "games that are over",
        query(moves=[["b", "C3"], ["w", "pass"], ["b", "pass"]]),
        query(moves=[["b", "pass"], ["w", "pass"], ["b", "pass"], ["w", "C3"]], id="2"),
        query(moves=[["b", "pass"], ["w", "pass"]], rules="japanese", id="3"),
    ),
    Scenario(
        "streaming, and its end by terminate",
        ((query(**LONG), "reported"), (action("terminate", terminateId="long"), "done")),
    ),
    Scenario(
        "one report alone, after a time",
        (
            (
                query(
                    **{**LONG, "id": "once", "reportDuringSearchEvery": LEFT_OUT},
                    firstReportDuringSearchAfter=0.01,
                    overrideSettings={"maxTime": 0.3},
                ),
                "done",
            ),
        ),
    ),
    Scenario(
        "what is queued has no results when it is terminated",
        (
            (query(**LONG), "reported"),
            (query(id="second", analyzeTurns=[0, 1]), "now"),
            (query(id="third"), "now"),
            (action("terminate", terminateId="second", turnNumbers=[1]), "now"),
            (action("terminate", terminateId="second", turnNumbers=[1]), "now"),
            (action("terminate", terminateId="third"), "now"),
            (action("terminate_all", turnNumbers=[0]), "done"),
        ),
    ),
    Scenario(
        "the same id twice is terminated twice",
        (
            (query(**LONG), "reported"),
            (query(id="twin"), "now"),
            (query(id="twin", komi=3), "now"),
            (action("terminate", terminateId="twin"), "now"),
            (action("terminate", terminateId="long"), "done"),
        ),
    ),
    Scenario(
        "highest priority first, then first come",
        (
            (query(**LONG), "reported"),
            (query(id="first"), "now"),
            (query(id="turns", analyzeTurns=[0, 1], priorities=[5, -5]), "now"),
            (query(id="low", priority=-7), "now"),
            (query(id="high", priority=9), "now"),
            (query(id="second"), "now"),
            (query(id="high too", priority=9), "now"),
            (action("terminate", terminateId="long"), "done"),
        ),
    ),
)
