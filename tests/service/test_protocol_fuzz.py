"""Any bytes in any order: no exception leaves a protocol object, every GTP command gets one reply in order, every
analysis reply is one JSON object, and what was asked of the engine is answered or stopped."""

from __future__ import annotations

import json
from typing import Any

from fakes.driving import Driver, analysis, gtp
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.service.gtp_commands import COMMANDS
from agent.service.options import ServiceOptions

ARGUMENTS = """b w D4 pass A1 Z99 0 1 10 -1 1e9 nan 9999999999 # all 9:9 ownership true interval avoid allow {}
{"ko":"SIMPLE"} chinese japanese \x00 é"""
WORDS = st.sampled_from([*COMMANDS, *ARGUMENTS.split()])
GTP_LINES = st.one_of(
    st.binary(max_size=60),
    st.lists(WORDS, min_size=1, max_size=6).map(lambda words: " ".join(words).encode()),
)

COMMAND_LINES = st.lists(WORDS, max_size=5).flatmap(
    lambda words: st.sampled_from(COMMANDS).map(lambda command: " ".join([command, *words]).encode())
)

VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=8),
        st.sampled_from(
            ["b", "w", "C3", "pass", "chinese", "japanese", 5, 19, [], {}, [["b", "C3"]], 0.5, "terminate"]
        ),
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=6,
)
NAMES = """id action terminateId turnNumbers boardXSize boardYSize initialStones moves initialPlayer analyzeTurns
priorities rules komi whiteHandicapBonus overrideSettings maxVisits analysisPVLen includeOwnership includePolicy
reportDuringSearchEvery priority allowMoves avoidMoves foo"""
FIELDS = st.sampled_from(NAMES.split())
GOOD: dict[str, Any] = {"id": "q", "boardXSize": 5, "boardYSize": 5, "rules": "chinese", "moves": [["b", "C3"]]}
QUERIES = st.dictionaries(FIELDS, VALUES, max_size=4).map(lambda changes: json.dumps({**GOOD, **changes}).encode())
ANALYSIS_LINES = st.one_of(st.binary(max_size=60), QUERIES, VALUES.map(lambda value: json.dumps(value).encode()))


def drive(client: Driver, lines: list[bytes], answers: list[bool]) -> None:
    """Give the lines; after each, let the engine answer or not. It never has two searches of one tree to do."""
    for number, line in enumerate(lines):
        if client.is_closed:
            break
        client.line(line.replace(b"\n", b" "))
        trees = [tree for request, _ in client.engine.waiting.values() if (tree := getattr(request, "tree", ""))]
        assert len(set(trees)) == len(trees)
        if client.engine.waiting and answers[number % len(answers)]:
            client.engine.release(final=number % 3 > 0)
    if not client.is_closed:
        client.end()
    while client.engine.waiting:
        client.engine.release()
    assert client.is_closed


@settings(max_examples=150, deadline=None)
@given(
    st.lists(COMMAND_LINES, max_size=25), st.lists(st.booleans(), min_size=1, max_size=5), st.booleans(), st.booleans()
)
def test_gtp(lines: list[bytes], answers: list[bool], ponders: bool, stops_late: bool) -> None:
    # An id alone is answered without it, as KataGo does; so no line is empty.
    numbered = [b"%d %s" % (number, line) for number, line in enumerate(lines, start=1)]
    client = gtp(ServiceOptions(pondering_enabled=ponders))
    client.engine.ignores_stops = stops_late
    drive(client, numbered, answers)
    heads = [line for line in client.output.decode().split("\n") if line[:1] in ("=", "?")]
    ids = [int(head[1:].split(" ")[0]) for head in heads]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) == len(lines) or any(b"quit" in line for line in lines)


@settings(max_examples=150, deadline=None)
@given(st.lists(GTP_LINES, max_size=25), st.lists(st.booleans(), min_size=1, max_size=5))
def test_gtp_without_ids(lines: list[bytes], answers: list[bool]) -> None:
    drive(gtp(), lines, answers)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANALYSIS_LINES, max_size=15), st.lists(st.booleans(), min_size=1, max_size=5))
def test_analysis(lines: list[bytes], answers: list[bool]) -> None:
    client = analysis()
    drive(client, lines, answers)
    for reply in client.output.splitlines():
        assert isinstance(json.loads(reply), dict)
