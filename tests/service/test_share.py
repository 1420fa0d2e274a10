"""What one client may have at the engine, by the size of its reports."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from fakes.engine import FakeEngine, answer

from agent.engine.messages import Position, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.rules import Rules
from agent.service.share import MAX_REPORT_BYTES, Share, report_bytes

BOARD = Position(x_size=19, y_size=19, rules=Rules(), komi=7.5)
PLAIN = SearchRequest(id=0, position=BOARD, player=1, max_visits=500, ownership=True, policy=True)
HUGE = msgspec.structs.replace(PLAIN, moves_ownership=True)


class Desk:
    """A share, its engine, and what was delivered; what is called soon is called by `settle`."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.delivered: list[SearchReport | RawReport] = []
        self.soon: list[Callable[[], object]] = []
        self.share = Share(
            self.engine,
            "somebody",
            self.delivered.append,
            lambda call, *given: self.soon.append(lambda: call(*given)),
        )

    def submit(self, request: SearchRequest | RawRequest, *ids: int) -> None:
        for number in ids:
            self.share.submit(msgspec.structs.replace(request, id=number))

    def at_engine(self) -> list[int]:
        return list(self.engine.waiting)

    def settle(self) -> None:
        while self.soon:
            self.soon.pop(0)()


def test_what_a_report_takes_is_told_by_what_is_asked_for() -> None:
    one_visit = msgspec.structs.replace(HUGE, max_visits=1)
    assert report_bytes(one_visit) < report_bytes(PLAIN) < MAX_REPORT_BYTES / 8
    assert MAX_REPORT_BYTES / 2 < report_bytes(HUGE) < MAX_REPORT_BYTES
    endless = msgspec.structs.replace(HUGE, max_visits=1 << 50, moves_ownership_stdev=True, ownership_stdev=True)
    assert report_bytes(endless) == report_bytes(msgspec.structs.replace(endless, max_visits=362))
    assert report_bytes(RawRequest(id=0, position=BOARD, player=1)) < report_bytes(PLAIN)


def test_requests_go_as_the_clients_and_ordinary_ones_all_at_once() -> None:
    desk = Desk()
    desk.submit(PLAIN, 1, 2, 3, 4, 5, 6, 7, 8)
    assert desk.at_engine() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {request.client for request in desk.engine.submitted} == {"somebody"}


def test_huge_ones_wait_until_the_report_before_them_is_taken() -> None:
    desk = Desk()
    desk.submit(HUGE, 1, 2)
    desk.submit(PLAIN, 3)
    assert desk.at_engine() == [1]
    desk.engine.release(1)
    # Delivered is not taken: a client that does not read has it waiting in our memory.
    assert desk.at_engine() == []
    desk.share.taken(1)
    assert desk.at_engine() == [2, 3]
    assert [report.id for report in desk.delivered] == [1]


def test_one_that_is_stopped_while_it_waits_has_no_results() -> None:
    desk = Desk()
    desk.submit(HUGE, 1, 2)
    desk.submit(RawRequest(id=3, position=BOARD, player=1), 3)
    desk.share.stop(2)
    desk.share.stop(3)
    assert desk.delivered == []
    desk.settle()
    assert desk.delivered == [SearchReport(id=2, final=True), RawReport(id=3, error="stopped")]
    desk.share.taken(2)
    assert desk.at_engine() == [1]
    desk.share.stop(1)
    assert desk.engine.stopped == [1]


def test_at_the_end_nothing_of_the_client_is_left() -> None:
    desk = Desk()
    desk.submit(HUGE, 1, 2, 3)
    desk.share.end()
    assert desk.engine.stopped == [1]
    assert [request.id for request in desk.engine.submitted] == [1]
    assert desk.delivered == [answer(desk.engine.submitted[0])]
