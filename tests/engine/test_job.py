"""One request's reports and its own clock, without threads."""

from __future__ import annotations

import pytest

from agent.engine.backends.uniform import UniformBackend
from agent.engine.job import Job
from agent.engine.messages import Position, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.points import BLACK
from agent.engine.rules import Rules
from agent.engine.tree import EvalCache, LeafBatch, SearchTree

EMPTY = Position(9, 9, Rules(), 7.0)
ENDLESS = 1 << 50


class Search:
    """A job that runs from second 0 on, and the reports that it made."""

    def __init__(self, **given: float) -> None:
        self.reports: list[SearchReport | RawReport] = []
        request = SearchRequest(id=1, position=EMPTY, player=BLACK, max_visits=ENDLESS, **given)
        self.job = Job(request, self.reports.append, 0)
        self.tree = SearchTree(UniformBackend().network, EvalCache(10), 1)
        self.job.start(self.tree, self.tree.begin(request), 0.0, 10_000)

    def visit(self, count: int = 1) -> None:
        batch, backend = LeafBatch(1), UniformBackend()
        for _ in range(count):
            self.tree.select(batch, ENDLESS)
            self.tree.deliver(batch, backend.evaluate(batch.spatial, batch.global_))


def test_a_partial_report_that_comes_late_is_none() -> None:
    """The clock's thread chose the search, then another thread ended it and gave its tree to the next."""
    search = Search()
    search.visit()
    search.job.send_final(1.0)
    search.job.tree = None
    search.job.send_partial(2.0)
    (report,) = search.reports
    assert isinstance(report, SearchReport) and report.final


def test_reports_keep_their_times_and_late_ones_are_not_made_up_for() -> None:
    search = Search(report_every_s=0.5, first_report_after_s=0.1)
    assert not search.job.take_report(0.2), "nothing is known"
    search.visit()
    times = (0.2, 0.3, 0.59, 0.6, 1.3, 1.59, 1.6, 9.9, 9.95, 10.3, 10.4)
    assert [now for now in times if search.job.take_report(now)] == [0.2, 0.6, 1.3, 1.6, 9.9, 10.4]


def test_its_time_ends_later_by_what_its_clock_stood_still() -> None:
    search = Search(max_time_s=8.0)
    job = search.job
    search.visit(2)
    assert job.due_s() == 8.0
    for now, is_behind in ((2.0, True), (3.0, True), (12.0, False), (12.0, False)):
        assert job.elapsed_s(now) == 2.0
        job.stand_still(is_behind, now)
        assert job.due_s() == (None if is_behind else 18.0)
        assert not job.should_end(now)
    job.stand_still(True, 13.0)
    job.stand_still(False, 20.0)
    assert job.due_s() == 25.0 and job.progress(24.0).elapsed_s == 7.0
    assert not job.should_end(24.9) and job.should_end(25.0)
    job.send_final(25.5)
    (report,) = search.reports
    assert isinstance(report, SearchReport) and report.stats is not None and report.stats.duration_s == 8.5


def test_partial_reports_go_on_while_its_clock_stands_still() -> None:
    search = Search(max_time_s=8.0, report_every_s=1.0)
    search.visit(2)
    search.job.stand_still(True, 0.5)
    assert search.job.due_s() == 1.0
    assert [now for now in (0.9, 1.0, 1.5, 2.0) if search.job.take_report(now)] == [1.0, 2.0]


@pytest.mark.parametrize("given", [{}, {"report_every_s": 1.0}])
def test_who_has_no_time_limit_never_ends_by_time(given: dict[str, float]) -> None:
    search = Search(**given)
    search.visit(2)
    assert not search.job.is_timed and not search.job.should_end(1e9)
    assert search.job.due_s() == given.get("report_every_s")


def test_a_raw_evaluation_has_no_time_and_no_visits() -> None:
    job = Job(RawRequest(id=1, position=EMPTY, player=BLACK), lambda report: None, 0)
    assert not job.is_timed and not job.is_running and job.visits_asked == 1
