"""The analysis engine: actions, order, streaming, perspective, the form of its replies."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from fakes.driving import Driver, analysis
from fakes.engine import READY, answer, move_info, root_info

from agent.engine.messages import RawReport, SearchReport, SearchRequest
from agent.engine.points import WHITE
from agent.service.analysis import (
    MAX_HELD,
    MAX_WAITING_BYTES,
    MAX_WAITING_TURNS,
    SUBMIT_LIMIT,
    SUBMIT_WINDOW,
)
from agent.service.options import ServiceOptions, read_settings


def query(query_id: str = "q", **fields: Any) -> str:
    given = {"id": query_id, "boardXSize": 3, "boardYSize": 3, "rules": "chinese", "moves": [["b", "B2"]]}
    return json.dumps({**given, **fields})


def long_game(turns: int) -> list[list[str]]:
    return [["bw"[turn % 2], "pass"] for turn in range(turns)]


def replies(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


def request_of(client: Driver, index: int = -1) -> SearchRequest:
    request = client.engine.submitted[index]
    assert isinstance(request, SearchRequest)
    return request


# ---------------------------------------------------------------- lines that are no query

GENERAL = [
    (b"[1,2]", "Request line was valid json but was not an object, ignoring: [1,2]"),
    (b"{}", 'Request must have a string "id" field'),
    (b'{"id":5}', 'Request must have a string "id" field'),
    (
        b'{"id":"a","action":"foo"}',
        "'action' field must be 'query_version' or 'query_models' or 'clear_cache' or 'terminate' or 'terminate_all'",
    ),
]


@pytest.mark.parametrize(("line", "text"), GENERAL)
def test_general_errors(line: bytes, text: str) -> None:
    assert replies(analysis().line(line)) == [{"error": text}]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"foo", "foo"),
        (b'{"id":"d1",}', '{"id":"d1",}'),
        (b'{"id":"d1"', '{"id":"d1"'),
        (b'{"id":"\xff\xfe"}', '{"id":"\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"}'),
        (b"nan", "nan"),
        (b"\x00\x01", "\x00\x01"),
        (b"[" * 100_000, "[" * 100_000),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_json_is_named_and_the_next_line_serves(line: bytes, shown: str) -> None:
    client = analysis()
    (reply,) = replies(client.line(line))
    assert reply.keys() == {"error"}
    assert reply["error"].startswith("[json.exception.parse_error.101] ")
    assert reply["error"].endswith(f" - could not parse input line as json request: {shown}")
    assert replies(client.line('{"id":"a","action":"query_version"}'))[0]["id"] == "a"


@pytest.mark.parametrize("depth", [51, 500, 900, 990, 1000, 5000])
@pytest.mark.parametrize(
    "around",
    [
        ("", ""),
        ('{"id":"a","action":"query_version","x":', "}"),
        ('{"id":"a","boardXSize":5,"boardYSize":5,"moves":[],"rules":', "}"),
        ('{"id":"a","boardXSize":5,"boardYSize":5,"moves":[],"rules":"chinese","overrideSettings":{"x":', "}}"),
    ],
)
def test_deep_nesting_is_refused_whatever_it_is_part_of(around: tuple[str, str], depth: int) -> None:
    client = analysis()
    (reply,) = replies(client.line(around[0] + "[" * depth + "]" * depth + around[1]))
    assert reply.keys() == {"error"}
    assert "could not parse input line as json request" in reply["error"]


def test_empty_lines_are_skipped() -> None:
    client = analysis()
    assert client.line(b"") + client.line(b"  \r") == b""


def test_half_a_surrogate_pair_does_not_end_the_service() -> None:
    (reply,) = replies(analysis().line(rb'{"id":"\ud800","action":"clear_cache"}'))
    assert "error" in reply or reply["action"] == "clear_cache"


# ---------------------------------------------------------------- actions


def test_query_version_echoes_the_query() -> None:
    reply = analysis().line('{"x":1.0,"id":"a2","action":"query_version"}').decode()
    assert reply.startswith('{"action":"query_version","git_hash":"katago-agent-')
    assert reply.endswith('","x":1.0}\n')
    assert json.loads(reply)["version"].startswith("1.17.2")


def test_query_models() -> None:
    (reply,) = replies(analysis().line('{"id":"a3","action":"query_models"}'))
    assert reply["models"] == [
        {
            "internalName": "g170e-b15c192-s1672170752-d466197061",
            "maxBatchSize": 4,
            "name": "g170e-b15c192-s1672170752-d466197061",
            "usesHumanSLProfile": False,
            "usingFP16": "false",
            "version": 8,
        }
    ]


def test_query_models_waits_for_a_network() -> None:
    client = analysis()
    client.engine.ready = None
    assert client.line('{"id":"a","action":"query_models","x":1}') == b""
    (reply,) = replies(client.line('{"id":"b","action":"query_version"}'))
    assert reply["id"] == "b"
    client.engine.ready = READY
    (reply,) = replies(client.release())
    assert (reply["id"], reply["x"], [model["name"] for model in reply["models"]]) == ("a", 1, [READY.network])


def test_query_models_says_none_where_no_network_will_come() -> None:
    client = analysis()
    client.engine.ready = None
    client.line('{"id":"a","action":"query_models"}')
    assert client.end() == b"" and not client.is_closed
    (request_id,) = client.engine.waiting
    assert replies(client.report(RawReport(id=request_id, error="the engine is down")))[0]["models"] == []
    assert client.is_closed


def test_who_asks_for_the_models_without_an_end_is_answered_at_once() -> None:
    client = analysis(quit_without_waiting=True)
    client.engine.ready = None
    for _ in range(MAX_HELD):
        assert client.line('{"id":"a","action":"query_models"}') == b""
    assert replies(client.line('{"id":"z","action":"query_models"}'))[0]["models"] == []
    client.end()
    assert client.is_closed and not client.engine.waiting


def test_who_asks_for_a_human_profile_waits_for_a_network_that_may_have_it() -> None:
    human = msgspec.structs.replace(READY, has_human_sl=True, human_profile="rank_5k")
    for profile, is_refused in (("rank_5k", False), ("rank_1d", True), ("foo", True)):
        client = analysis()
        client.engine.ready = None
        assert client.line(query("q", overrideSettings={"humanSLProfile": profile})) == b""
        client.engine.ready = human
        assert any("error" in reply for reply in replies(client.release())) == is_refused
        assert bool(client.engine.waiting) != is_refused


def test_a_network_that_imitates_anybody_imitates_whom_each_query_names() -> None:
    client = analysis()
    client.engine.ready = msgspec.structs.replace(
        READY, has_human_sl=True, human_profile="rank_5k", imitates_anybody=True
    )
    for profile in ("rank_1d", "proyear_1995", "", "_"):
        client.line(query("q", overrideSettings={"humanSLProfile": profile}))
    client.line(query("q"))
    (told,) = replies(client.line(query("pair", overrideSettings={"humanSLProfile": "rank_9k_3d"})))
    assert told["field"] == "overrideSettings" and "only a native katago knows" in told["error"]
    asked = [request.human_profile for request in client.engine.submitted]
    assert asked == ["rank_1d", "proyear_1995", "", "", ""]


@pytest.mark.parametrize("action", [{"action": "terminate", "terminateId": "q"}, {"action": "terminate_all"}])
def test_a_query_that_waits_for_a_network_is_terminated_like_any_other(action: dict[str, str]) -> None:
    client = analysis()
    client.engine.ready = None
    assert client.line('{"id":"a","action":"query_models"}') == b""
    assert client.line(query("q", overrideSettings={"humanSLProfile": "rank_5k"})) == b""
    told = replies(client.line(json.dumps({"id": "t", **action})))
    assert {"id": "t", **action} in told
    assert [reply["turnNumber"] for reply in told if reply["id"] == "q"] == [1]
    # Only the question about the models still waits.
    assert len(client.engine.waiting) == 1


def test_clear_cache() -> None:
    client = analysis()
    assert client.line('{"id":"d2","action":"clear_cache"}') == b'{"action":"clear_cache","id":"d2"}\n'
    assert client.engine.cleared == 1


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({}, "terminateId", 'Requests for a terminate action must have a string "terminateId" field'),
        ({"terminateId": 3}, "terminateId", 'Requests for a terminate action must have a string "terminateId" field'),
        (
            {"terminateId": "zz", "turnNumbers": 3},
            "turnNumbers",
            "If provided, must be an array of integers indicating turns to terminate",
        ),
    ],
)
def test_terminate_errors(fields: dict[str, Any], field: str, text: str) -> None:
    line = json.dumps({"id": "t", "action": "terminate", **fields})
    assert replies(analysis().line(line)) == [{"error": text, "field": field, "id": "t"}]


def test_terminate_takes_fractions_among_its_turns() -> None:
    line = '{"action":"terminate","id":"q5","terminateId":"nope","turnNumbers":[1,2.5]}'
    assert analysis().line(line).decode() == line + "\n"


def test_terminating_an_unknown_id_is_echoed() -> None:
    line = '{"action":"terminate","id":"a6","terminateId":"zz","turnNumbers":[3]}'
    assert analysis().line(line).decode() == line + "\n"


def test_terminate_ends_a_running_search_with_what_it_has() -> None:
    client = analysis()
    client.line(query("q"))
    output = replies(client.line('{"id":"t","action":"terminate","terminateId":"q"}'))
    assert [reply["id"] for reply in output] == ["q", "t"]
    assert output[0]["isDuringSearch"] is False and "moveInfos" in output[0]


def test_terminated_while_queued_gives_no_results() -> None:
    client = analysis()
    client.engine.ignores_stops = True
    turns = SUBMIT_WINDOW + 2
    client.line(query("q", moves=long_game(turns), analyzeTurns=list(range(turns))))
    assert len(client.engine.submitted) == SUBMIT_WINDOW
    output = replies(client.line('{"id":"t","action":"terminate","terminateId":"q"}'))
    assert output == [
        {"id": "q", "isDuringSearch": False, "noResults": True, "turnNumber": SUBMIT_WINDOW},
        {"id": "q", "isDuringSearch": False, "noResults": True, "turnNumber": SUBMIT_WINDOW + 1},
        {"id": "t", "action": "terminate", "terminateId": "q"},
    ]
    assert len(client.engine.stopped) == SUBMIT_WINDOW
    assert client.line('{"id":"t","action":"terminate","terminateId":"q"}').count(b"\n") == 1
    for _ in range(SUBMIT_WINDOW):
        client.report(SearchReport(id=next(iter(client.engine.waiting)), final=True))
    finals = [reply for reply in replies(client.output) if reply["id"] == "q"]
    assert sorted(reply["turnNumber"] for reply in finals) == list(range(turns))


def test_terminate_names_turns() -> None:
    client = analysis()
    client.engine.ignores_stops = True
    client.line(query("q", analyzeTurns=[0, 1]))
    client.line('{"id":"t","action":"terminate","terminateId":"q","turnNumbers":[1]}')
    assert client.engine.stopped == [request_of(client, 1).id]


def test_terminate_ends_all_queries_of_that_id_and_terminate_all_all() -> None:
    client = analysis()
    client.engine.ignores_stops = True
    for query_id in ("a", "a", "b"):
        client.line(query(query_id))
    ids = [request.id for request in client.engine.submitted]
    client.line('{"id":"t","action":"terminate","terminateId":"a"}')
    assert client.engine.stopped == ids[:2]
    assert client.line('{"id":"t","action":"terminate_all"}') == b'{"action":"terminate_all","id":"t"}\n'
    assert client.engine.stopped == ids


def test_a_terminated_search_streams_no_more() -> None:
    client = analysis()
    client.engine.ignores_stops = True
    client.line(query(reportDuringSearchEvery=0.1))
    client.line('{"id":"t","action":"terminate","terminateId":"q"}')
    assert client.release(final=False) == b""
    assert len(replies(client.release())) == 1


# ---------------------------------------------------------------- order


def test_each_turn_ends_with_one_final_reply() -> None:
    client = analysis()
    output = replies(client.ask(query(moves=long_game(5), analyzeTurns=[4, 0, 2, 2])))
    assert [(reply["turnNumber"], reply["isDuringSearch"]) for reply in output] == [(0, False), (2, False), (4, False)]
    assert [len(request.position.moves) for request in client.engine.submitted] == [0, 2, 4]


def test_partial_replies_come_before_the_final_one() -> None:
    client = analysis()
    client.line(query(reportDuringSearchEvery=0.1))
    assert replies(client.release(final=False))[0]["isDuringSearch"] is True
    assert replies(client.release())[0]["isDuringSearch"] is False


def test_waiting_turns_go_by_priority_and_then_by_arrival() -> None:
    client = analysis()
    for number in range(SUBMIT_LIMIT):
        client.line(query(f"low{number}", priority=-1))
    client.line(query("a", priority=-5))
    client.line(query("b", priority=-3))
    client.line(query("c", priority=-3))
    order = []
    while client.engine.waiting:
        order += [reply["id"] for reply in replies(client.release())]
    assert order == [f"low{number}" for number in range(SUBMIT_LIMIT)] + ["b", "c", "a"]


def test_a_higher_priority_does_not_wait_for_the_window() -> None:
    client = analysis()
    for number in range(SUBMIT_LIMIT):
        client.line(query(f"low{number}"))
    assert len(client.engine.submitted) == SUBMIT_WINDOW
    client.line(query("urgent", priority=9))
    assert request_of(client).priority == 9.0
    for number in range(SUBMIT_LIMIT):
        client.line(query(f"high{number}", priority=9))
    assert len(client.engine.submitted) == SUBMIT_LIMIT


def test_priorities_by_turn() -> None:
    client = analysis()
    client.line(query(analyzeTurns=[0, 1], priorities=[3, 7]))
    assert [(len(r.position.moves), r.priority) for r in client.engine.submitted if isinstance(r, SearchRequest)] == [
        (1, 7.0),
        (0, 3.0),
    ]


def test_many_turns_stop_the_reading_and_never_the_engine() -> None:
    client = analysis()
    turns = (MAX_WAITING_TURNS + SUBMIT_WINDOW) // 2
    for _ in range(2):
        assert not client.connection.is_backlogged
        client.line(query(moves=long_game(turns), analyzeTurns=list(range(turns))))
    assert client.connection.is_backlogged
    assert len(client.engine.submitted) == SUBMIT_WINDOW
    client.release()
    assert not client.connection.is_backlogged


def test_reading_stops_while_long_queries_wait() -> None:
    client = analysis()
    blank = " " * (MAX_WAITING_BYTES // 4)
    for _ in range(SUBMIT_WINDOW + 4):
        assert not client.connection.is_backlogged
        client.line(blank + query())
    assert client.connection.is_backlogged
    client.release()
    assert not client.connection.is_backlogged


def test_reading_stops_while_long_lines_wait_for_a_network() -> None:
    client = analysis()
    client.engine.ready = None
    for _ in range(4):
        assert not client.connection.is_backlogged
        client.line(" " * (MAX_WAITING_BYTES // 4) + '{"id":"a","action":"query_models"}')
    assert client.connection.is_backlogged
    client.engine.ready = READY
    client.release()
    assert not client.connection.is_backlogged


def test_what_is_terminated_waits_no_longer() -> None:
    client = analysis()
    for _ in range(SUBMIT_WINDOW):
        client.line(query())
    for _ in range(8):
        client.line(" " * (MAX_WAITING_BYTES // 4) + query("later"))
        client.line('{"id":"t","action":"terminate","terminateId":"later"}')
        assert not client.connection.is_backlogged
    while client.engine.waiting:
        client.release()
    assert len(client.engine.submitted) == SUBMIT_WINDOW


def test_end_of_input_drains() -> None:
    client = analysis()
    client.line(query(moves=long_game(20), analyzeTurns=list(range(20))))
    assert client.end() == b""
    while client.engine.waiting:
        assert not client.is_closed
        client.release()
    assert client.is_closed
    assert len(replies(client.output)) == 20


def test_end_of_input_with_nothing_to_do_closes() -> None:
    client = analysis()
    client.end()
    assert client.is_closed


def test_quit_without_waiting() -> None:
    client = analysis(quit_without_waiting=True)
    client.line(query())
    client.end()
    assert client.is_closed
    assert client.engine.stopped == [request_of(client).id]


def test_an_engine_that_cannot_answer_is_told() -> None:
    client = analysis()
    client.line(query())
    reply = client.report(SearchReport(id=request_of(client).id, final=True, error="worker is gone"))
    assert replies(reply) == [{"error": "worker is gone", "id": "q", "turnNumber": 1}]


# ---------------------------------------------------------------- the form of a reply


def test_a_reply_byte_by_byte() -> None:
    """Fields, order and digits as native KataGo prints them."""
    client = analysis()
    client.line(
        query(
            includeOwnership=True,
            includeOwnershipStdev=True,
            includePolicy=True,
            includePVVisits=True,
            includeMovesOwnership=True,
            includeNoResultValue=True,
        )
    )
    report = answer(request_of(client))
    assert isinstance(report, SearchReport)
    move = move_info(
        0,
        (9,),
        winrate=0.992446134123,
        prior=2.07169615123e-09,
        score_lead=19.40961461234,
        ownership=(0.1234567,) * 9,
        symmetry_of=2,
    )
    assert client.report(msgspec.structs.replace(report, moves=(move,))).decode() == (
        '{"id":"q","isDuringSearch":false,"moveInfos":[{"edgeVisits":8,"edgeWeight":8.0,"isSymmetryOf":"C3",'
        '"lcb":0.55,"move":"A3","noResultValue":0.0,"order":0,"ownership":['
        + ",".join(["0.123457"] * 9)
        + '],"playSelectionValue":9.0,"prior":2.07169615e-09,"pv":["A3","pass"],"pvEdgeVisits":[8,8],"pvVisits":[9,9],'
        '"scoreLead":19.4096146,"scoreMean":19.4096146,"scoreSelfplay":2.25,"scoreStdev":20.1234568,"utility":0.25,'
        '"utilityLcb":0.125,"visits":9,"weight":9.0,"winrate":0.992446134}],"ownership":['
        + ",".join(["0.5"] * 9)
        + '],"ownershipStdev":['
        + ",".join(["0.125"] * 9)
        + '],"policy":['
        + ",".join(["0.1"] * 10)
        + '],"rootInfo":{"currentPlayer":"W","rawLead":1.25,"rawNoResultProb":0.0,"rawScoreSelfplay":1.75,'
        '"rawScoreSelfplayStdev":21.5,"rawStScoreError":-1.0,"rawStWrError":-0.5,"rawVarTimeLeft":-1.0,'
        '"rawWinrate":0.55,"scoreLead":1.5,"scoreSelfplay":2.25,"scoreStdev":20.1234568,'
        '"symHash":"CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD","thisHash":"ABABABABABABABABABABABABABABABAB","utility":0.25,'
        '"visits":10,"weight":10.0,"winrate":0.6},"turnNumber":1}\n'
    )


@pytest.mark.parametrize(("visits", "edge_visits", "expected"), [(9, 9, 9.0), (9, 3, 3.0), (1, 0, 0.0), (0, 0, 0.0)])
def test_an_edge_carries_its_own_part_of_a_shared_position(visits: int, edge_visits: int, expected: float) -> None:
    client = analysis()
    client.line(query())
    report = answer(request_of(client))
    assert isinstance(report, SearchReport)
    move = msgspec.structs.replace(
        move_info(0), visits=visits, edge_visits=edge_visits, weight=float(visits), edge_weight=None
    )
    (reply,) = replies(client.report(msgspec.structs.replace(report, moves=(move,))))
    assert reply["moveInfos"][0]["edgeWeight"] == expected


@pytest.mark.parametrize(
    ("perspective", "turn", "is_white"),
    [
        ("SIDETOMOVE", 0, False),
        ("SIDETOMOVE", 1, True),
        ("BLACK", 0, False),
        ("BLACK", 1, False),
        ("WHITE", 0, True),
        ("white", 1, True),
    ],
)
def test_perspective(perspective: str, turn: int, is_white: bool) -> None:
    line = query(analyzeTurns=[turn], includeOwnership=True, includeMovesOwnership=True)
    configured, _ = read_settings(ServiceOptions(), {"reportAnalysisWinratesAs": perspective})
    overridden = json.loads(line) | {"overrideSettings": {"reportAnalysisWinratesAs": perspective}}
    by_setting = analysis(configured).ask(line)
    assert by_setting == analysis().ask(json.dumps(overridden))
    (reply,) = replies(by_setting)
    sign = 1 if is_white else -1
    root, move = reply["rootInfo"], reply["moveInfos"][0]
    assert root["currentPlayer"] == "BW"[turn]
    assert (root["winrate"], root["rawWinrate"]) == ((0.6, 0.55) if is_white else (0.4, 0.45))
    assert (move["winrate"], move["lcb"]) == ((0.6, 0.55) if is_white else (0.4, 0.45))
    signed = [root["scoreLead"], root["scoreSelfplay"], root["utility"], root["rawLead"], root["rawScoreSelfplay"]]
    assert signed == [sign * value for value in (1.5, 2.25, 0.25, 1.25, 1.75)]
    assert [move["scoreLead"], move["utility"], move["utilityLcb"]] == [sign * 1.5, sign * 0.25, sign * 0.125]
    assert set(reply["ownership"]) == {sign * 0.5} and set(move["ownership"]) == {sign * 0.25}
    assert move["prior"] == 0.3 and move["scoreStdev"] == root["scoreStdev"]


def test_numbers_that_are_none_become_null() -> None:
    client = analysis()
    client.line(query())
    report = answer(request_of(client))
    assert isinstance(report, SearchReport)
    report = msgspec.structs.replace(report, root=root_info(WHITE, utility=float("nan")), moves=())
    (reply,) = replies(client.report(report))
    assert reply["rootInfo"]["utility"] is None
    assert reply["moveInfos"] == []


def test_ids_may_hold_any_text() -> None:
    reply = analysis().ask(query("\u00e9\u0001\U0001f600")).decode()
    assert reply.startswith('{"id":"\u00e9\\u0001\U0001f600",')


def test_two_clients_may_use_the_same_ids() -> None:
    first, second = analysis(), analysis()
    second.engine = first.engine
    second.connection = type(first.connection)(ServiceOptions(), first.engine.next_id, lambda: first.engine.ready)  # type: ignore[call-arg]
    first.line(query("QUERY:1"))
    second.line(query("QUERY:1", moves=[]))
    first.engine.release()
    assert [reply["turnNumber"] for reply in replies(first.output)] == [1]
    assert second.output == b""
    first.engine.release()
    assert [(reply["turnNumber"], reply["rootInfo"]["currentPlayer"]) for reply in replies(second.output)] == [(0, "B")]
