"""GTP between commands: pondering, and searches that the next line cancels."""

from __future__ import annotations

import msgspec
import pytest
from fakes.driving import Driver, gtp

from agent.engine.messages import SearchReport, SearchRequest
from agent.engine.points import BLACK, WHITE
from agent.service.options import MAX_VISITS, ServiceOptions

PONDERING = ServiceOptions(pondering_enabled=True, max_time_pondering_s=33.0)


def pondering_client() -> Driver:
    """White has to move, and the engine ponders."""
    client = gtp(PONDERING)
    client.line("boardsize 9")
    assert client.line("genmove b") == b""
    assert client.release() == b"= A9\n\n"
    return client


def last(client: Driver) -> SearchRequest:
    request = client.engine.submitted[-1]
    assert isinstance(request, SearchRequest)
    return request


def final(client: Driver, request: SearchRequest) -> bytes:
    return client.report(SearchReport(id=request.id, final=True))


def test_nothing_is_pondered_unless_wanted() -> None:
    client = gtp()
    client.ask("genmove b")
    assert len(client.engine.submitted) == 1 and not client.engine.waiting


def test_after_our_move_the_search_goes_on_in_the_same_tree() -> None:
    client = pondering_client()
    move, ponder = client.engine.submitted
    assert isinstance(move, SearchRequest) and isinstance(ponder, SearchRequest)
    assert ponder.background and not move.background
    assert ponder.tree == move.tree != ""
    assert ponder.position.moves == ((BLACK, 0),) and ponder.player == WHITE
    assert (ponder.max_visits, ponder.max_time_s, ponder.report_every_s) == (MAX_VISITS, 33.0, None)
    assert ponder.overrides == move.overrides
    assert list(client.engine.waiting) == [ponder.id] and client.engine.stopped == []


@pytest.mark.parametrize(
    "line",
    [
        "name",
        "showboard",
        "",
        "foo",
        "komi 7.5",
        "time_left b 10 0",
        "kata-get-param maxVisits",
        "kata-set-rules goe\x00x",
    ],
)
def test_commands_that_change_nothing_leave_it_alone(line: str) -> None:
    client = pondering_client()
    client.line(line)
    assert client.engine.stopped == [] and len(client.engine.submitted) == 2


@pytest.mark.parametrize(
    "line", ["stop", "clear_cache", "undo", "clear_board", "boardsize 7", "kata-set-param maxVisits 7", "quit"]
)
def test_commands_that_end_it_for_good(line: str) -> None:
    client = pondering_client()
    ponder = last(client)
    assert client.line(line) == b"= \n\n"
    assert client.engine.stopped == [ponder.id] or client.is_closed
    assert len(client.engine.submitted) == 2


def test_switching_it_off_ends_it() -> None:
    client = pondering_client()
    client.line("kata-set-param ponderingEnabled false")
    assert not client.engine.waiting
    assert client.line("kata-get-param ponderingEnabled") == b"= false\n\n"
    client.line("play w B9")
    assert not client.engine.waiting


@pytest.mark.parametrize("line", ["play w B9", "komi 6.5"])
def test_another_position_is_pondered_when_the_old_search_has_ended(line: str) -> None:
    client = pondering_client()
    client.engine.ignores_stops = True
    ponder = last(client)
    assert client.line(line) == b"= \n\n"
    assert client.engine.stopped == [ponder.id] and last(client) is ponder
    assert final(client, ponder) == b""
    assert last(client).background and last(client).position != ponder.position


def test_the_next_move_waits_for_the_tree_and_no_longer() -> None:
    client = pondering_client()
    client.engine.ignores_stops = True
    ponder = last(client)
    client.line("play w B9")
    assert client.line("genmove b") == b""
    assert last(client) is ponder, "what was to be pondered is not"
    final(client, ponder)
    assert not last(client).background and len(last(client).position.moves) == 2
    assert client.release() == b"= C9\n\n"
    assert last(client).background


def test_pondering_that_ended_by_itself_is_not_stopped() -> None:
    client = pondering_client()
    assert final(client, last(client)) == b""
    client.line("play w B9")
    assert client.engine.stopped == []
    assert last(client).background


def test_its_reports_are_nobodys() -> None:
    client = pondering_client()
    assert client.release(final=False) == b""
    client.line("kata-analyze 10")
    assert client.release(final=False).startswith(b"info move ")


def test_analysis_ends_pondering_and_does_not_bring_it_back() -> None:
    client = pondering_client()
    ponder = last(client)
    assert client.line("kata-analyze 10") == b"=\n"
    assert client.engine.stopped == [ponder.id]
    assert client.line("name") == b"\n= KataGo\n\n"
    assert not client.engine.waiting


def test_no_finished_game_and_no_resigned_one_is_pondered() -> None:
    client = gtp(PONDERING)
    for line in ["boardsize 9", "play b pass"]:
        client.line(line)
    assert len(client.engine.waiting) == 1
    client.line("play w pass")
    assert not client.engine.waiting


@pytest.mark.parametrize(
    ("owner", "lines", "advantages"),
    [
        # KataGo ponders for whom it searched last: the number is of the side to move.
        (None, ["genmove b", "play w B9", "genmove b"], [1.5, -1.5, 1.5, 1.5, -1.5]),
        (None, ["kata-analyze w 10", "play b A9"], [1.5, 1.5]),
        (None, ["genmove b", "play b B9"], [1.5, -1.5, -1.5]),
        # Before any search, and where there is another game, for the opponent of the side to move.
        (None, ["play b A9"], [-1.5]),
        (None, ["genmove b", "undo", "play b A9", "play w B9"], [1.5, -1.5, -1.5, 1.5]),
        (None, ["genmove b", "clear_board", "play b A9"], [1.5, -1.5, -1.5]),
        (WHITE, ["genmove b", "play w B9"], [-1.5, 1.5, -1.5]),
        (BLACK, ["play b A9", "play w B9"], [-1.5, 1.5]),
    ],
)
def test_an_advantage_is_pondered_for_its_side(owner: int | None, lines: list[str], advantages: list[float]) -> None:
    search = {"playoutDoublingAdvantage": 1.5}
    client = gtp(msgspec.structs.replace(PONDERING, search=search, advantage_player=owner))
    client.line("boardsize 9")
    for line in lines:
        client.line(line)
        if line.startswith("genmove"):
            client.release()
    requests = [request for request in client.engine.submitted if isinstance(request, SearchRequest)]
    assert [request.overrides["playoutDoublingAdvantage"] for request in requests] == advantages


def test_the_end_of_input_closes() -> None:
    client = pondering_client()
    assert client.end() == b"" and client.is_closed


def test_a_search_that_was_held_is_not_begun_for_a_client_who_left() -> None:
    client = pondering_client()
    client.engine.ignores_stops = True
    ponder = last(client)
    client.line("kata-analyze 10")
    client.line("quit")
    assert final(client, ponder) == b"" and last(client) is ponder


def test_a_script_that_sends_all_at_once_is_not_pondered_for_in_between() -> None:
    client = gtp(PONDERING)
    client.line("genmove b")
    client.line("genmove w")
    client.line("quit")
    client.release()
    client.release()
    assert [last(client).background] == [False] and client.is_closed


# ---------------------------------------------------------------- cancelled searches


def test_a_cancellable_search_that_ends_by_itself_answers_and_does_not_play() -> None:
    client = gtp()
    assert client.line("4 kata-search_cancellable b") == b""
    assert client.release() == b"=4 A19\n\n"
    assert client.line("play w A19") == b"= \n\n"


def test_the_next_line_cancels_it() -> None:
    client = gtp()
    client.line("4 kata-search_cancellable b")
    search = last(client)
    assert client.line("") == b"=4 cancelled\n\n"
    assert client.engine.stopped == [search.id]
    assert client.line("5 name") == b"=5 KataGo\n\n"


def test_a_cancelled_analysis_says_so_in_place_of_a_move() -> None:
    client = gtp()
    assert client.line("4 kata-search_analyze_cancellable b 10") == b"=4\n"
    told = client.release(final=False)
    assert told.startswith(b"info move A19 ")
    assert client.line("5 name") == b"play cancelled\n\n=5 KataGo\n\n"


def test_a_cancellable_analysis_that_ends_by_itself() -> None:
    client = gtp()
    client.line("kata-search_analyze_cancellable b 10")
    assert client.release().endswith(b"\nplay A19\n\n")
    assert client.line("name") == b"= KataGo\n\n"


def test_the_end_of_input_cancels_too() -> None:
    client = gtp()
    client.line("kata-search_cancellable b")
    assert client.end() == b"= cancelled\n\n" and client.is_closed


def test_arguments_are_checked_as_those_of_the_others() -> None:
    client = gtp()
    assert client.line("kata-search_cancellable") == (
        b"? Expected one argument for kata-search_cancellable but got ''\n\n"
    )
    assert client.line("kata-search_analyze_cancellable b x").startswith(b"? Could not parse genmove_analyze")
