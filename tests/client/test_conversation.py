"""The protocol from the client's side: what is sent, what a line means, what is asked again on a new connection."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from fakes.analysis_answers import no_results, report
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.client.conversation import Conversation, Done, Failed, Report, Unanswered
from agent.client.query import MoveLimit, Query, wire_fields
from agent.client.results import EngineWarning
from agent.errors import AnalysisFailed, AnalysisRefused, AnswerUnreadable

GAME = Query(moves=(("B", "D4"), ("W", "Q16")), rules="japanese", analyze_turns=(0, 1, 2))


def sent(line: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(line)
    return fields


def on_the_wire(query: Query) -> dict[str, Any]:
    return sent(msgspec.json.encode(wire_fields(query)))


def asked(conversation: Conversation, query: Query) -> tuple[str, bytes]:
    """The query's id and line."""
    name = conversation.ask(query)
    return name, the_line(conversation)


def acted(conversation: Conversation, action: str) -> tuple[str, bytes]:
    name, over = conversation.act(action)
    assert over == []
    return name, the_line(conversation)


def lines(conversation: Conversation) -> list[bytes]:
    """All that is to be sent now."""
    return list(iter(conversation.next_line, None))


def the_line(conversation: Conversation) -> bytes:
    (line,) = lines(conversation)
    return line


def said(conversation: Conversation, fields: dict[str, Any] | str) -> list[object]:
    return list(conversation.receive((fields if isinstance(fields, str) else json.dumps(fields)).encode()))


# ---------------------------------------------------------------- queries


def test_a_query_says_what_katago_demands_and_nothing_that_is_left_out() -> None:
    assert on_the_wire(Query()) == {
        "moves": [],
        "rules": "tromp-taylor",
        "boardXSize": 19,
        "boardYSize": 19,
        "overrideSettings": {"reportAnalysisWinratesAs": "BLACK"},
    }


@pytest.mark.parametrize("rules", ["\udcff", {None: "AREA"}, {"ko": object()}], ids=repr)
def test_a_query_that_cannot_be_written_is_refused_and_not_asked_again(rules: Any) -> None:
    """Such as a name of rules from a command line or a file name that is no UTF-8."""
    conversation = Conversation()
    with pytest.raises((TypeError, ValueError)):
        conversation.ask(Query(rules=rules))
    name, line = asked(conversation, GAME)
    assert conversation.waiting == (name,)
    assert conversation.restart() == [] and lines(conversation) == [line]


def test_every_field_has_katagos_name() -> None:
    query = Query(
        moves=(("B", "D4"),),
        rules={"ko": "SIMPLE"},
        komi=0,
        board_x_size=9,
        board_y_size=13,
        initial_stones=(("W", "A1"),),
        initial_player="W",
        analyze_turns=(0, 1),
        max_visits=50,
        max_time_s=2.5,
        include_ownership=True,
        include_ownership_stdev=True,
        include_moves_ownership=True,
        include_moves_ownership_stdev=True,
        include_policy=True,
        include_pv_visits=True,
        include_no_result_value=True,
        report_every_s=0.1,
        first_report_after_s=0.05,
        analysis_pv_len=8,
        root_policy_temperature=1.1,
        root_fpu_reduction_max=0.1,
        white_handicap_bonus="N",
        priorities=(3, -1),
        avoid_moves=(MoveLimit(player="B", moves=("A1", "pass"), until_depth=3),),
        allow_moves=(MoveLimit(player="W", moves=("B2",)),),
        override_settings={"wideRootNoise": 0.04},
    )
    assert on_the_wire(query) == {
        "moves": [["B", "D4"]],
        "rules": {"ko": "SIMPLE"},
        "komi": 0,
        "boardXSize": 9,
        "boardYSize": 13,
        "initialStones": [["W", "A1"]],
        "initialPlayer": "W",
        "analyzeTurns": [0, 1],
        "maxVisits": 50,
        "includeOwnership": True,
        "includeOwnershipStdev": True,
        "includeMovesOwnership": True,
        "includeMovesOwnershipStdev": True,
        "includePolicy": True,
        "includePVVisits": True,
        "includeNoResultValue": True,
        "reportDuringSearchEvery": 0.1,
        "firstReportDuringSearchAfter": 0.05,
        "analysisPVLen": 8,
        "rootPolicyTemperature": 1.1,
        "rootFpuReductionMax": 0.1,
        "whiteHandicapBonus": "N",
        "priorities": [3, -1],
        "avoidMoves": [{"player": "B", "moves": ["A1", "pass"], "untilDepth": 3}],
        "allowMoves": [{"player": "W", "moves": ["B2"], "untilDepth": 1}],
        "overrideSettings": {"reportAnalysisWinratesAs": "BLACK", "wideRootNoise": 0.04, "maxTime": 2.5},
    }


def test_our_own_service_knows_every_field_that_we_send() -> None:
    from agent.service.analysis_query import KNOWN_FIELDS

    query = Query(max_visits=1, priority=1, analyze_turns=(0,), priorities=(1,), include_policy=True)
    assert set(wire_fields(query)) <= KNOWN_FIELDS


@pytest.mark.parametrize(
    "fields", [{"analyze_turns": ()}, {"override_settings": {"reportAnalysisWinratesAs": "WHITE"}}]
)
def test_a_query_that_cannot_keep_our_promises_is_none(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"turn|Black"):
        Query(**fields)


# ---------------------------------------------------------------- answers


def test_each_turn_ends_once_and_the_last_one_ends_the_query() -> None:
    conversation = Conversation()
    name, line = asked(conversation, GAME)
    query = sent(line)
    (partial,) = said(conversation, report(query, 1, during=True))
    (second,) = said(conversation, report(query, 1))
    assert isinstance(partial, Report) and partial.analysis.is_during_search and not partial.is_last
    assert isinstance(second, Report) and second.analysis.turn_number == 1 and not second.is_last
    assert said(conversation, report(query, 1)) == [], "answered again after a reconnect"
    (none,) = said(conversation, no_results(query, 0))
    assert none == Unanswered(name, 0, is_last=False)
    (last,) = said(conversation, report(query, 2))
    assert isinstance(last, Report) and last.is_last
    assert not conversation.is_waiting(name)


def test_reports_are_typed_and_forgive_fields_that_are_new_or_missing() -> None:
    conversation = Conversation()
    _, line = asked(conversation, Query())
    fields = report(sent(line), visits=100, policy=[0.5, -1], somethingNew={"a": 1})
    fields["moveInfos"].append({**fields["moveInfos"][0], "order": 1, "move": "pass", "pvVisits": [3, 1], "lcb": 0.25})
    (heard,) = said(conversation, fields)
    assert isinstance(heard, Report)
    analysis = heard.analysis
    assert (analysis.best.move, analysis.root_info.visits, analysis.policy) == ("D4", 100, (0.5, -1.0))
    assert (analysis.move_infos[1].pv_visits, analysis.move_infos[1].lcb) == ((3, 1), 0.25)
    assert analysis.ownership == () and analysis.move_infos[0].lcb is None


def test_errors_name_the_field_and_end_the_query() -> None:
    conversation = Conversation()
    name, line = asked(conversation, Query())
    (failed,) = said(conversation, {"id": sent(line)["id"], "error": "Could not parse rules: foo", "field": "rules"})
    assert isinstance(failed, Failed) and isinstance(failed.error, AnalysisRefused)
    assert (failed.id, failed.error.field, str(failed.error)) == (name, "rules", "rules: Could not parse rules: foo")
    assert not conversation.is_waiting(name)


def test_an_engine_that_could_not_answer_a_turn_is_told_apart() -> None:
    conversation = Conversation()
    name, _ = asked(conversation, Query())
    (failed,) = said(conversation, {"id": name, "error": "the engine is gone", "turnNumber": 0})
    assert isinstance(failed, Failed) and isinstance(failed.error, AnalysisFailed)
    assert conversation.waiting == ()


def ended(conversation: Conversation, name: str) -> list[str]:
    """The queries that the engine is told to end when `name` is forgotten."""
    conversation.forget(name)
    return [sent(line)["terminateId"] for line in lines(conversation)]


def test_the_other_turns_of_a_query_that_failed_are_told_to_nobody_and_ended() -> None:
    conversation = Conversation()
    name, line = asked(conversation, GAME)
    (failed,) = said(conversation, {"id": name, "error": "the engine is gone", "turnNumber": 1})
    assert isinstance(failed, Failed)
    assert said(conversation, report(sent(line), 0, during=True)) == []
    assert said(conversation, {"id": name, "error": "the engine is gone", "turnNumber": 0}) == []
    assert ended(conversation, name) == [name] and conversation.waiting == ()
    # Nothing is to be ended where all has come.
    name, line = asked(conversation, GAME)
    said(conversation, {"id": name, "error": "the engine is gone", "turnNumber": 1})
    assert said(conversation, report(sent(line), 0)) == said(conversation, no_results(sent(line), 2)) == []
    assert ended(conversation, name) == []


def test_a_query_that_failed_is_not_asked_again_on_a_new_connection() -> None:
    conversation = Conversation()
    failed, _ = asked(conversation, GAME)
    terminated, _ = asked(conversation, GAME)
    other, _ = asked(conversation, GAME)
    for name in (failed, terminated):
        said(conversation, {"id": name, "error": "the engine is gone", "turnNumber": 1})
    conversation.terminate(terminated)
    assert conversation.restart() == []
    assert [sent(line)["id"] for line in lines(conversation)] == [other] and conversation.waiting == (other,)


def test_an_error_with_a_turn_that_was_not_asked_ends_what_it_names() -> None:
    conversation = Conversation()
    name, _ = asked(conversation, GAME)
    action, _ = acted(conversation, "clear_cache")
    for each in (name, action):
        (failed,) = said(conversation, {"id": each, "error": "no", "turnNumber": 7})
        assert isinstance(failed, Failed) and failed.id == each
    assert conversation.waiting == ()


def test_an_error_without_id_is_of_the_query_that_it_quotes() -> None:
    conversation = Conversation()
    first, _ = asked(conversation, Query())
    second, line = asked(conversation, Query(moves=(("B", "D4"),) * 1000))
    text = f"parse error: line is too long - could not parse input line as json request: {line[:64].decode()}"
    (failed,) = said(conversation, {"error": text})
    assert isinstance(failed, Failed) and failed.id == second
    assert conversation.waiting == (first,)
    assert said(conversation, {"error": "something else"}) == [EngineWarning("something else")]


def test_warnings_end_nothing() -> None:
    conversation = Conversation()
    name, _ = asked(conversation, Query())
    warning = {"id": name, "field": "foo", "warning": "Unexpected or unused field"}
    assert said(conversation, warning) == [EngineWarning("Unexpected or unused field", "foo", name)]
    assert conversation.is_waiting(name)


def test_answers_to_nobody_are_ignored() -> None:
    conversation = Conversation()
    assert said(conversation, {"id": "QUERY:1", "isDuringSearch": False, "turnNumber": 0}) == []
    assert said(conversation, {"id": "QUERY:1", "error": "no"}) == []
    assert conversation.receive(b" \r\n") == []


@pytest.mark.parametrize("line", ["= ", "[1,2]", "{", "\xff", '{"id": 7}', "[" * 100_000])
def test_what_is_no_answer_is_refused(line: str) -> None:
    with pytest.raises(AnswerUnreadable):
        Conversation().receive(line.encode("latin-1"))


VALUES = st.sampled_from(["q1", "q2", "", "query_models", 0, 1, 2, -1, 1.5, 1 << 70, True, False, None, [], ["q1"], {}])
FIELDS = ["id", "error", "warning", "field", "action", "noResults", "turnNumber", "isDuringSearch", "rootInfo"]


# A busy machine is slow, and no failure.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.binary(max_size=40)
        | st.dictionaries(st.sampled_from(FIELDS), VALUES).map(lambda fields: json.dumps(fields).encode()),
        max_size=20,
    )
)
def test_whatever_an_engine_says_ends_in_a_meaning_or_one_error(answers: list[bytes]) -> None:
    conversation = Conversation()
    asked(conversation, GAME)
    acted(conversation, "query_models")
    for line in answers:
        with contextlib.suppress(AnswerUnreadable):
            conversation.receive(line)
    conversation.restart()
    again = lines(conversation)
    assert len(again) == len(conversation.waiting)
    for line in again:
        assert sent(line)["id"] in ("q1", "q2")


def test_an_answer_that_is_no_analysis_fails_its_query_alone() -> None:
    conversation = Conversation()
    first, line = asked(conversation, Query())
    second, _ = asked(conversation, Query())
    fields = report(sent(line))
    fields["rootInfo"]["winrate"] = None
    (failed,) = said(conversation, fields)
    assert isinstance(failed, Failed) and failed.id == first and isinstance(failed.error, AnswerUnreadable)
    assert said(conversation, fields) == []
    # It may have been one of many reports.
    assert ended(conversation, first) == [first] and conversation.waiting == (second,)


def test_bytes_that_are_no_text_in_an_answer_fail_it_alone() -> None:
    conversation = Conversation()
    name, _ = asked(conversation, Query())
    action, _ = acted(conversation, "query_models")
    for waiting in (name, action):
        line = b'{"id":"' + waiting.encode() + b'","turnNumber":0,"rootInfo":{"thisHash":"\xff"},"models":"\xff"}'
        (failed,) = conversation.receive(line)
        assert isinstance(failed, Failed) and failed.id == waiting
        conversation.forget(waiting)
    assert conversation.waiting == ()


def test_actions_are_done_when_they_are_echoed() -> None:
    conversation = Conversation()
    name, line = acted(conversation, "query_models")
    assert sent(line) == {"id": name, "action": "query_models"}
    (done,) = said(conversation, {**sent(line), "models": []})
    assert done == Done(name, {"id": name, "action": "query_models", "models": []})


# ---------------------------------------------------------------- terminating, going on


def test_terminate_is_sent_once_and_for_what_waits_only() -> None:
    conversation = Conversation()
    name, _ = asked(conversation, Query())
    assert conversation.terminate(name) == []
    line = the_line(conversation)
    assert sent(line)["action"] == "terminate" and sent(line)["terminateId"] == name and sent(line)["id"] != name
    conversation.terminate(name)
    conversation.forget(name)
    assert not conversation.is_waiting(name)
    conversation.terminate("nobody")
    assert lines(conversation) == []
    # The echo.
    assert said(conversation, sent(line)) == []


def test_a_new_connection_is_asked_what_has_no_final_answer_under_the_same_ids() -> None:
    conversation = Conversation()
    whole, line = asked(conversation, Query(moves=GAME.moves, analyze_turns=(2, 0, 1), priorities=(7, 5, 6)))
    ended, _ = asked(conversation, GAME)
    single, single_line = asked(conversation, Query())
    action, action_line = acted(conversation, "clear_cache")
    said(conversation, report(sent(line), 0))
    said(conversation, report(sent(line), 1, during=True))
    conversation.terminate(ended)
    heard = conversation.restart()
    assert heard == [Unanswered(ended, turn, is_last=turn == 2) for turn in (0, 1, 2)]
    again, single_again, action_again = (sent(each) for each in lines(conversation))
    assert again == {**sent(line), "analyzeTurns": [1, 2], "priorities": [6, 7]}
    assert single_again == {**sent(single_line), "analyzeTurns": [0]}
    assert action_again == sent(action_line)
    assert (again["id"], single_again["id"], action_again["id"]) == (whole, single, action)


def test_what_terminate_all_ended_is_not_asked_again() -> None:
    conversation = Conversation()
    name, _ = asked(conversation, Query())
    action, _ = acted(conversation, "terminate_all")
    heard = conversation.restart()
    assert [sent(line)["id"] for line in lines(conversation)] == [action]
    assert heard == [Unanswered(name, 0, is_last=True)]


def test_the_client_is_imported_without_engine_service_or_numpy() -> None:
    code = (
        "import sys, agent.client; print(*sorted(m for m in sys.modules if m.startswith(('agent.', 'numpy', 'web'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert "agent.client" in modules
    assert [name for name in modules if not name.startswith("agent.client")] == ["agent.errors", "agent.waiting"]
