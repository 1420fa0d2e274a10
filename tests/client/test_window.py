"""What the engine has at a time, and what waits in the client; no I/O."""

from __future__ import annotations

import json

import pytest
from fakes.analysis_answers import Fields, no_results, report

from agent.client.conversation import Conversation, Unanswered
from agent.client.query import Query
from agent.client.window import SERVICE, URGENT, Limits, Window
from agent.service.analysis import MAX_WAITING_BYTES, MAX_WAITING_TURNS
from agent.service.lines import MAX_LINE_BYTES

GAME = Query(moves=(("B", "D4"), ("W", "Q16")), analyze_turns=(0, 1, 2))
FEW = Limits(turns=5, size_bytes=1 << 20)


def sent(conversation: Conversation) -> list[Fields]:
    """All that is to be sent now."""
    return [json.loads(line) for line in iter(conversation.next_line, None)]


def ids(conversation: Conversation) -> list[str]:
    return [each["id"] for each in sent(conversation)]


def answer(conversation: Conversation, query: str, *turns: int) -> None:
    for turn in turns:
        conversation.receive(json.dumps(report({"id": query}, turn)).encode())


def window(*queries: tuple[str, int, int, int], limits: Limits | None = FEW) -> Window:
    """With queries of (name, priority, turns, bytes)."""
    made = Window(limits)
    for name, priority, turns, size_bytes in queries:
        made.put(name, priority=priority, turns=turns, size_bytes=size_bytes)
    return made


def free(of: Window) -> list[str]:
    return list(iter(of.take, None))


# ---------------------------------------------------------------- the window


def test_what_we_let_a_service_have_is_less_than_it_takes() -> None:
    # With the query that passes a limit, which is a game: few have as many turns as a board of 19 by 19 has points.
    assert URGENT * SERVICE.size_bytes + MAX_LINE_BYTES < MAX_WAITING_BYTES
    assert URGENT * SERVICE.turns + 10 * 361 < MAX_WAITING_TURNS


def test_the_query_that_passes_the_limit_goes_and_the_next_waits() -> None:
    some = window(("a", 0, 3, 1), ("b", 0, 900, 1), ("c", 0, 1, 1), ("d", 0, 1, 1))
    assert free(some) == ["a", "b"] and some.is_held("c") and not some.is_held("b")
    some.drop("b")
    assert free(some) == ["c", "d"]


def test_bytes_count_too_until_the_query_is_over() -> None:
    some = window(("a", 0, 2, 1 << 20), ("b", 0, 1, 1))
    assert free(some) == ["a"]
    some.answered("a")
    assert free(some) == []
    some.drop("a")
    assert free(some) == ["b"]


def test_turns_count_until_they_are_answered() -> None:
    some = window(("a", 0, 6, 1), ("b", 0, 1, 1), ("c", 0, 1, 1))
    assert free(some) == ["a"]
    some.answered("a")
    assert free(some) == []
    some.answered("a")
    assert free(some) == ["b"]


def test_the_more_urgent_goes_first_and_is_not_kept_by_what_is_less() -> None:
    some = window(("a", 0, 5, 1))
    assert free(some) == ["a"]
    for name, priority, turns in (("b", 0, 1), ("c", 1, 2), ("d", 1, 1), ("e", 2, 1)):
        some.put(name, priority=priority, turns=turns, size_bytes=1)
    assert free(some) == ["e", "c", "d"]
    some.drop("a")
    assert free(some) == ["b"]


def test_what_is_more_urgent_has_an_end_too() -> None:
    some = window(("a", 0, 5, 1))
    assert free(some) == ["a"]
    for number in range(9):
        some.put(f"b{number}", priority=number + 1, turns=1, size_bytes=1)
        some.take()
    assert [number for number in range(9) if some.is_held(f"b{number}")] == [5, 6, 7, 8]


def test_what_is_dropped_before_its_turn_never_goes_and_leaves_nothing_behind() -> None:
    some = window(("a", 0, 5, 1))
    assert free(some) == ["a"]
    for number in range(1000):
        some.put(f"b{number}", priority=0, turns=1, size_bytes=1)
        some.drop(f"b{number}")
    some.put("c", priority=0, turns=1, size_bytes=1)
    some.drop("a")
    some.drop("nobody")
    assert free(some) == ["c"]
    some.drop("c")
    assert vars(some)["_held"] == [] and not vars(some)["_turns"] and not vars(some)["_bytes"]


def test_without_limits_all_goes_at_once() -> None:
    assert len(free(window(*((f"q{number}", 0, 251, 1 << 16) for number in range(44)), limits=None))) == 44


# ---------------------------------------------------------------- in the conversation


def test_queries_wait_for_answers_and_actions_do_not() -> None:
    conversation = Conversation(limits=FEW)
    first, second, third = (conversation.ask(GAME) for _ in range(3))
    action, _ = conversation.act("query_models")
    assert ids(conversation) == [first, second, action]
    answer(conversation, first, 0)
    assert ids(conversation) == []
    conversation.receive(json.dumps(no_results({"id": second}, 1)).encode())
    assert ids(conversation) == [third]
    assert conversation.waiting == (first, second, third, action)


@pytest.mark.parametrize("error", [{"error": "no", "field": "rules"}, {"error": "no", "turnNumber": 0}])
def test_a_query_that_is_refused_makes_room(error: Fields) -> None:
    conversation = Conversation(limits=FEW)
    first, _, third = (conversation.ask(GAME) for _ in range(3))
    sent(conversation)
    conversation.receive(json.dumps({"id": first, **error}).encode())
    conversation.forget(first)
    assert ids(conversation)[-1] == third


def test_what_is_terminated_before_it_went_is_over_at_once() -> None:
    conversation = Conversation(limits=FEW)
    first, second, third, fourth = (conversation.ask(GAME) for _ in range(4))
    sent(conversation)
    assert conversation.terminate(third) == [Unanswered(third, turn, is_last=turn == 2) for turn in (0, 1, 2)]
    conversation.forget(fourth)
    assert sent(conversation) == [] and conversation.waiting == (first, second)
    last = conversation.ask(GAME)
    action, over = conversation.act("terminate_all")
    assert [each.id for each in over] == [last] * 3
    assert ids(conversation) == [action]


def test_a_new_connection_is_not_asked_more_at_a_time_either() -> None:
    conversation = Conversation(limits=FEW)
    first, second, third = (conversation.ask(GAME) for _ in range(3))
    sent(conversation)
    answer(conversation, first, 0, 2)
    assert ids(conversation) == [third]
    assert conversation.restart() == []
    again = sent(conversation)
    assert [(each["id"], each["analyzeTurns"]) for each in again] == [
        (first, [1]),
        (second, [0, 1, 2]),
        (third, [0, 1, 2]),
    ]
    fourth = conversation.ask(GAME)
    assert conversation.restart() == []
    assert ids(conversation) == [first, second, third]
    answer(conversation, second, 0, 1, 2)
    assert ids(conversation) == [fourth]


def test_the_highest_of_a_querys_priorities_counts() -> None:
    conversation = Conversation(limits=FEW)
    first = conversation.ask(Query(analyze_turns=tuple(range(6)), priority=-1))
    conversation.ask(Query(priority=-1))
    urgent = conversation.ask(Query(analyze_turns=(0, 1), priorities=(-2, 3)))
    assert ids(conversation) == [first, urgent]
