"""Threads, order of requests, stop conditions, reports and failures of the player. No test waits for a fixed time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.backends import GatedBackend, MisshapenBackend, NanBackend, RaisingBackend

from agent.engine.backends import open_backend
from agent.engine.backends.interface import Backend
from agent.engine.backends.uniform import UniformBackend
from agent.engine.messages import MoveLimit, Position, RawReport, RawRequest, SearchReport, SearchRequest, SearchStats
from agent.engine.player import MAX_FAILURES, Player
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules
from agent.engine.stop import Progress, any_of, stop_is_requested, time_passes, tree_holds, visits_reach
from agent.errors import BackendUnavailable

WAIT_S = 30.0
EMPTY = Position(9, 9, Rules(), 7.0)
ENDLESS = 1 << 50


class Inbox:
    """Collects reports of all requests, in the order in which they come."""

    def __init__(self) -> None:
        self._queue: queue.Queue[SearchReport | RawReport] = queue.Queue()

    def __call__(self, report: SearchReport | RawReport) -> None:
        self._queue.put(report)

    def next(self) -> SearchReport:
        report = self._queue.get(timeout=WAIT_S)
        assert isinstance(report, SearchReport)
        return report

    def next_raw(self) -> RawReport:
        report = self._queue.get(timeout=WAIT_S)
        assert isinstance(report, RawReport)
        return report

    def final(self) -> SearchReport:
        while not (report := self.next()).final:
            pass
        return report

    def empty(self) -> bool:
        return self._queue.empty()


@contextmanager
def player(backend: Backend | None = None, *, threads: int = 2, **kwargs: Any) -> Iterator[Player]:
    made = Player(
        UniformBackend() if backend is None else backend,
        threads=threads,
        **{"batch": 1, "cache_positions": 10_000, "seed": 1, **kwargs},
    )
    try:
        yield made
    finally:
        if isinstance(backend, GatedBackend):
            backend.open()
        made.close()


def request(number: int, visits: int, where: Position = EMPTY, **kwargs: Any) -> SearchRequest:
    return SearchRequest(id=number, position=where, player=where.to_play, max_visits=visits, **kwargs)


def after(*points: int) -> Position:
    return Position(9, 9, Rules(), 7.0, moves=tuple((BLACK if i % 2 == 0 else WHITE, p) for i, p in enumerate(points)))


# ---------------------------------------------------------------- stop conditions


def test_stop_conditions_compose() -> None:
    ends = any_of(stop_is_requested, visits_reach(10), time_passes(5.0), tree_holds(100))
    assert not ends(Progress(visits=9, playouts=9, elapsed_s=4.9, nodes=99))
    assert ends(Progress(visits=10))
    assert ends(Progress(nodes=100))
    assert ends(Progress(stop_requested=True))
    assert ends(Progress(visits=2, playouts=2, elapsed_s=5.0))
    assert not ends(Progress(visits=1, playouts=1, elapsed_s=99.0)), "there must be a move to show"


# ---------------------------------------------------------------- searches


@pytest.mark.parametrize(("threads", "batch"), [(1, 1), (2, 1), (4, 1), (2, 4)])
def test_visits_are_exact_with_any_number_of_threads(threads: int, batch: int) -> None:
    inbox = Inbox()
    with player(threads=threads, batch=batch) as engine:
        engine.submit(request(1, 500), inbox)
        report = inbox.final()
    assert report.error is None and report.root is not None and report.stats is not None
    assert report.root.visits == 500 == report.stats.visits
    assert sum(move.edge_visits for move in report.moves if move.symmetry_of is None) == 499
    assert report.chosen is not None


def test_many_requests_at_once_are_all_answered_exactly() -> None:
    inbox = Inbox()
    with player(threads=4, batch=2) as engine:
        for number in range(40):
            engine.submit(request(number, 1 + 7 * number, after(number)), inbox)
        reports = {report.id: report for report in (inbox.final() for _ in range(40))}
    totals = engine.totals()  # the last search is counted after its report
    for number in range(40):
        root = reports[number].root
        assert root is not None and root.visits == 1 + 7 * number
    assert totals.visits == sum(1 + 7 * number for number in range(40))
    assert totals.queued == totals.searching == 0
    assert inbox.empty()


def test_one_thread_and_one_seed_give_one_report() -> None:
    reports = []
    for _ in range(2):
        inbox = Inbox()
        with player(threads=1) as engine:
            engine.submit(request(1, 200, overrides={"wideRootNoise": 0.3}), inbox)
            reports.append(inbox.final())
    assert reports[0].moves == reports[1].moves and reports[0].root == reports[1].root


def test_a_small_search_leaves_threads_for_the_next() -> None:
    """Two queries of one visit are in the network together, although the first came first."""
    backend, inbox = GatedBackend(), Inbox()
    with player(backend) as engine:
        engine.submit(request(1, 1), inbox)
        engine.submit(request(2, 1, after(40)), inbox)
        assert backend.wait_entered(2)
        backend.open()
        assert {inbox.final().id, inbox.final().id} == {1, 2}


def test_higher_priority_goes_first_then_arrival() -> None:
    backend, inbox = GatedBackend(), Inbox()
    with player(backend, threads=1) as engine:
        engine.submit(request(1, 1), inbox)
        assert backend.wait_entered(1)
        for number, priority in ((2, 0.0), (3, 5.0), (4, 0.0), (5, 5.0)):
            engine.submit(request(number, 1, after(number), priority=priority), inbox)
        backend.open()
        assert [inbox.final().id for _ in range(5)] == [1, 3, 5, 2, 4]


def test_a_move_of_another_client_is_next_in_the_network_whatever_was_asked_before() -> None:
    backend, inbox = GatedBackend(), Inbox()
    with player(backend, threads=1, batch=4) as engine:
        for number in range(1, 9):
            engine.submit(request(number, ENDLESS, after(number), client="greedy", priority=9.0), inbox)
        assert backend.wait_entered(1)
        engine.submit(request(100, 1, after(50), client="other"), inbox)
        backend.let(2)
        report = inbox.final()
        assert report.id == 100 and report.root is not None and report.root.visits == 1


def test_two_clients_analyses_share_the_network_by_halves() -> None:
    backend, inbox = GatedBackend(), Inbox()
    with player(backend, threads=1) as engine:
        engine.submit(request(1, ENDLESS, client="a"), inbox)
        assert backend.wait_entered(1)
        engine.submit(request(2, ENDLESS, after(40), client="b"), inbox)
        backend.let(200)
        assert backend.wait_entered(201)
        engine.stop(1)
        engine.stop(2)
        backend.open()
        visits = {report.id: report.root.visits for report in (inbox.final(), inbox.final()) if report.root}
    assert abs(visits[1] - visits[2]) <= 20, visits


def test_background_searches_run_only_while_nobody_asks() -> None:
    backend, inbox = GatedBackend(), Inbox()
    with player(backend, threads=1) as engine:
        engine.submit(request(1, ENDLESS, client="a", background=True), inbox)
        backend.let(20)
        assert backend.wait_entered(21)
        engine.submit(request(2, 50, after(40), client="b"), inbox)
        backend.let(51)
        report = inbox.final()
        assert report.id == 2 and report.root is not None and report.root.visits == 50
        engine.stop(1)
        backend.open()
        pondered = inbox.final()
        assert pondered.root is not None and 20 <= pondered.root.visits <= 23


def test_trees_that_grow_together_share_the_memory_of_one() -> None:
    """Two endless analyses: at 1500 nodes each memory is used up; the first goes on to its bound, then the other."""
    backend, inbox = GatedBackend(), Inbox()
    evaluated: dict[int, int] = {}

    def note(report: SearchReport | RawReport) -> None:
        evaluated[report.id] = backend.entered
        inbox(report)

    with player(backend, max_nodes=3000, batch=4) as engine:
        engine.submit(request(1, ENDLESS, client="a"), note)
        engine.submit(request(2, ENDLESS, after(40), client="b"), note)
        backend.open()
        reports = [inbox.final(), inbox.final()]
    assert [report.id for report in reports] == [1, 2]
    assert all(report.root is not None and report.root.visits > 2500 for report in reports)
    assert evaluated[1] < 3000 + 1500 + 200


def test_a_small_search_needs_no_share_of_memory() -> None:
    """It is served first, and goes on when the memory is used up; whoever needs his share would wait for the other."""
    counting, inbox = GatedBackend(), Inbox()
    counting.open()
    with player(counting, threads=1, max_nodes=1500) as engine:
        engine.submit(request(1, ENDLESS, client="a"), inbox)
        inbox.final()
    backend = GatedBackend()
    with player(backend, threads=1, max_nodes=1500) as engine:
        engine.submit(request(1, ENDLESS, client="a"), inbox)
        backend.let(counting.entered - 40)
        assert backend.wait_entered(counting.entered - 39)
        engine.submit(request(2, 60, after(40), client="b"), inbox)
        backend.open()
        finals = [inbox.final(), inbox.final()]
    assert [report.id for report in finals] == [2, 1]
    assert finals[0].root is not None and finals[0].root.visits == 60


def test_raw_evaluations_do_not_wait_for_a_long_search() -> None:
    inbox = Inbox()
    with player(threads=1) as engine:
        engine.submit(request(1, ENDLESS), inbox)
        engine.submit(RawRequest(id=2, position=EMPTY, player=BLACK), inbox)
        raw = inbox.next_raw()
        assert raw.id == 2 and raw.error is None and raw.white_win == pytest.approx(0.5, abs=1e-3)
        engine.stop(1)
        assert inbox.final().id == 1


def test_two_searches_of_one_tree_run_one_after_the_other() -> None:
    inbox = Inbox()
    with player() as engine:
        engine.submit(request(1, 300, tree="game"), inbox)
        engine.submit(request(2, 400, tree="game"), inbox)
        first, second = inbox.final(), inbox.final()
    assert (first.id, second.id) == (1, 2)
    assert second.stats is not None and second.stats.visits == 100, "the first one's visits count"


def test_named_trees_go_on_after_a_move_and_are_forgotten_on_request() -> None:
    inbox = Inbox()
    with player(threads=1) as engine:
        engine.submit(request(1, 400, tree="game"), inbox)
        best = inbox.final().moves[0]
        engine.submit(request(2, 400, after(best.move), tree="game"), inbox)
        kept = inbox.final().stats
        engine.clear_cache()
        engine.submit(request(3, 400, after(best.move), tree="game"), inbox)
        anew = inbox.final().stats
    assert kept is not None and kept.visits == 400 - best.visits
    assert anew is not None and anew.visits == 400 and anew.evaluations > 300


def test_a_tree_that_is_to_be_forgotten_while_its_search_ends_is_forgotten() -> None:
    """As a GUI refreshes its analysis: the search is stopped, its last evaluation under way, and the next one asked."""
    backend, inbox = GatedBackend(), Inbox()
    with player(backend) as engine:
        engine.submit(request(1, ENDLESS, tree="game"), inbox)
        backend.let(20)
        assert backend.wait_entered(22)
        engine.stop(1)
        engine.clear_cache()
        for number in (2, 3):
            engine.submit(request(number, 15 * number, tree="game"), inbox)
        backend.open()
        roots, stats = zip(*((report.root, report.stats) for report in (inbox.final() for _ in range(3))), strict=True)
    assert roots[0] is not None and roots[0].visits >= 20
    assert [each.visits for each in stats[1:] if each] == [30, 15], "begun anew, then gone on with"


def test_playouts_are_new_ones_and_visits_all() -> None:
    inbox = Inbox()
    with player() as engine:
        searches = ((300, None), (ENDLESS, 100), (450, 100), (450, 100), (ENDLESS, 1))
        for number, (visits, playouts) in enumerate(searches):
            engine.submit(request(number, visits, max_playouts=playouts, tree="game"), inbox)
        roots = [inbox.final().root for _ in searches]
    assert [root.visits for root in roots if root is not None] == [300, 400, 450, 450, 451]


def test_the_last_playouts_are_not_exceeded_by_leaves_in_flight() -> None:
    inbox = Inbox()
    with player(threads=4, batch=8) as engine:
        engine.submit(request(1, 300, tree="game"), inbox)
        engine.submit(request(2, ENDLESS, max_playouts=70, tree="game"), inbox)
        inbox.final()
        stats = inbox.final().stats
    assert stats is not None and stats.visits == 70


def test_after_an_undo_what_was_evaluated_is_not_evaluated_again() -> None:
    inbox = Inbox()
    with player(threads=1) as engine:
        engine.submit(request(1, 200, tree="game"), inbox)
        best = inbox.final().moves[0]
        engine.submit(request(2, 5, after(best.move), tree="game"), inbox)
        inbox.final()
        engine.submit(request(3, 200, tree="game"), inbox)
        stats = inbox.final().stats
    assert stats is not None and stats.visits == 200 and stats.evaluations < 20


def test_a_tree_that_reached_its_bound_goes_on_with_the_next_move() -> None:
    inbox = Inbox()
    with player(max_nodes=300) as engine:
        engine.submit(request(1, ENDLESS, tree="game"), inbox)
        best = inbox.final().moves[0]
        engine.submit(request(2, best.visits, after(best.move), tree="game"), inbox)
        report = inbox.final()
    assert best.visits > 1
    assert report.stats is not None and report.stats.visits == 0, "it knew them all"


def test_a_tree_does_not_outgrow_its_bound() -> None:
    inbox = Inbox()
    with player(max_nodes=300) as engine:
        engine.submit(request(1, ENDLESS), inbox)
        report = inbox.final()
    assert report.root is not None and 250 < report.root.visits < 400


def test_limits_and_overrides_reach_the_search() -> None:
    limits = (MoveLimit(player=BLACK, points=(0, 1), until_depth=1, allow=True),)
    inbox = Inbox()
    with player() as engine:
        engine.submit(request(1, 50, limits=limits, overrides={"rootSymmetryPruning": False}), inbox)
        assert {move.move for move in inbox.final().moves} == {0, 1}


# ---------------------------------------------------------------- ends and reports


def test_stop_ends_a_search_within_one_evaluation() -> None:
    backend, inbox = GatedBackend(), Inbox()
    with player(backend) as engine:
        engine.submit(request(1, ENDLESS), inbox)
        backend.let(20)
        assert backend.wait_entered(22)
        engine.stop(1)
        backend.let(2)
        report = inbox.final()
        assert report.root is not None and report.root.visits >= 20
        assert backend.entered == 22, "nothing was begun after the stop"


def test_stop_of_a_queued_request_reports_nothing() -> None:
    backend, inbox = GatedBackend(), Inbox()
    with player(backend, threads=1) as engine:
        engine.submit(request(1, 5), inbox)
        assert backend.wait_entered(1)
        engine.submit(request(2, 5), inbox)
        engine.stop(2)
        report = inbox.next()
        assert report.id == 2 and report.final and report.root is None and report.error is None
        engine.stop(2)
        engine.stop(77)
        backend.open()
        assert inbox.final().id == 1


def test_time_ends_a_search_by_the_players_clock() -> None:
    now = [0.0]
    inbox = Inbox()
    backend = GatedBackend()
    with player(backend, clock=lambda: now[0]) as engine:
        backend.open()
        engine.submit(request(1, ENDLESS, max_time_s=60.0), inbox)
        assert backend.wait_entered(100)
        assert inbox.empty()
        now[0] = 61.0
        report = inbox.final()
    assert report.stats is not None and report.stats.duration_s == 61.0


def test_partial_reports_come_while_the_search_runs_and_end_with_the_final_one() -> None:
    inbox = Inbox()
    with player() as engine:
        engine.submit(request(1, ENDLESS, report_every_s=0.01), inbox)
        partial = [inbox.next() for _ in range(3)]
        engine.stop(1)
        last = inbox.final()
    assert all(not report.final and report.root is not None for report in partial)
    roots = [report.root.visits for report in [*partial, last] if report.root is not None]
    assert roots == sorted(roots)
    assert inbox.empty(), "nothing comes after the final report"


def test_a_report_that_is_due_before_anything_is_known_comes_once_something_is() -> None:
    """The root takes a second, the one report was due after 0.05."""
    now, looks = [0.0], threading.Semaphore(0)

    def clock() -> float:
        looks.release()
        return now[0]

    backend, inbox = GatedBackend(), Inbox()
    with player(backend, threads=1, clock=clock) as engine:
        engine.submit(request(1, ENDLESS, first_report_after_s=0.05, report_every_s=1e9), inbox)
        assert backend.wait_entered(1)
        engine.totals()  # takes the lock: whoever looked has made up his mind
        while looks.acquire(blocking=False):
            pass
        now[0] = 1.0
        engine.submit(request(2, 1), inbox)  # wakes the clock's thread, the only one that is not in the network
        assert looks.acquire(timeout=WAIT_S)
        engine.totals()
        assert inbox.empty()
        backend.let(3)
        report = inbox.next()
        assert report.id == 1 and not report.final and report.root is not None and report.root.visits >= 1
        for number in (1, 2):
            engine.stop(number)
        backend.open()
        assert inbox.next().final and inbox.next().final, "and there was one report alone"


def test_a_request_for_what_is_there_already_is_answered_at_once() -> None:
    backend, inbox = GatedBackend(), Inbox()
    with player(backend) as engine:
        backend.let(100)
        engine.submit(request(1, 50, tree="game"), inbox)
        inbox.final()
        entered = backend.entered
        engine.submit(request(2, 50, tree="game"), inbox)
        report = inbox.final()
        assert report.root is not None and report.root.visits == 50
        assert backend.entered == entered


# ---------------------------------------------------------------- searches with a time limit


class Paced:
    """A player that makes 20 evaluations in a second of its clock, which goes on only when all its threads are in the
    network and the one that keeps time has seen what time it is, so that nothing depends on which of them the processor
    lets run. It ponders when there is nothing else."""

    def __init__(self, threads: int) -> None:
        self.now_s = 0.0
        self._seen_s = 0.0
        self._seen = threading.Condition()
        self.inbox = Inbox()
        self.finals: list[SearchReport] = []
        self.backend = GatedBackend()
        self._threads = threads
        self.engine = Player(self.backend, threads=threads, batch=1, cache_positions=10_000, seed=1, clock=self._look)
        for number in range(threads):
            self.engine.submit(request(-1 - number, ENDLESS, after(70 + number), background=True), lambda report: None)
        assert self.backend.wait_entered(threads)

    def __enter__(self) -> Paced:
        return self

    def __exit__(self, *_: object) -> None:
        self.backend.open()
        self.engine.close()

    def _look(self) -> float:
        """The time. Who keeps it looks under the player's lock and then waits, until a thread's evaluation wakes it."""
        with self._seen:
            if threading.current_thread().name == "search-clock":
                self._seen_s = self.now_s
                self._seen.notify_all()
            return self.now_s

    def submit(self, *requests: SearchRequest) -> None:
        for each in requests:
            self.engine.submit(each, self.inbox)

    def go_on(self, seconds: float) -> None:
        for _ in range(round(seconds * 20 / self._threads)):
            entered = self.backend.entered
            with self._seen:
                self.now_s += self._threads / 20
            self.backend.let(self._threads)
            assert self.backend.wait_entered(entered + self._threads)
            with self._seen:
                assert self._seen.wait_for(lambda: self._seen_s == self.now_s, WAIT_S)

    def ends(self, count: int) -> dict[int, SearchStats]:
        """What the next `count` searches cost, in the order in which they end."""
        while len(self.finals) < count:
            self.go_on(self._threads / 20)
            while not self.inbox.empty():
                self.finals.append(self.inbox.final())
        return {report.id: report.stats for report in self.finals if report.stats is not None}


def limited(number: int, **kwargs: Any) -> SearchRequest:
    return request(number, ENDLESS, after(number), **{"max_time_s": 8.0, **kwargs})


@pytest.mark.parametrize(("threads", "count"), [(1, 2), (2, 2), (2, 4), (4, 4), (4, 8)])
def test_searches_with_the_same_time_get_comparable_visits(threads: int, count: int) -> None:
    with Paced(threads) as paced:
        # The last ones have more of the network, as fewer others are left.
        paced.submit(*(limited(number) for number in range(count + threads)))
        ended = list(paced.ends(count).values())
    evaluations, visits = [each.evaluations for each in ended], [each.visits for each in ended]
    assert max(evaluations) < 1.2 * min(evaluations) and max(visits) < 2 * min(visits), ended
    # 160 for all of them; a thread that has just begun another search lags by some.
    assert 140 / threads < min(evaluations) and all(8.0 <= each.duration_s < 8.5 for each in ended), ended


def test_a_search_with_a_time_limit_shares_with_one_without() -> None:
    with Paced(2) as paced:
        paced.submit(request(1, 400), limited(2))
        ended = paced.ends(2)
    assert list(ended) == [2, 1]
    assert 70 < ended[2].evaluations < 90 and ended[1].visits == 400


def test_searches_with_a_time_limit_take_nothing_from_another_client() -> None:
    with Paced(2) as paced:
        paced.submit(limited(1, client="a"), limited(2, client="a"), limited(3, client="b"))
        ended = paced.ends(3)
    assert 30 < ended[1].evaluations < 60 and 30 < ended[2].evaluations < 60, ended
    assert 60 < ended[3].evaluations < 120, "half of the network"


def test_behind_a_better_search_of_its_client_a_time_limit_stands_still() -> None:
    with Paced(1) as paced:
        paced.submit(limited(1, priority=-100.0, client="a"))
        paced.go_on(2.0)
        paced.submit(*(request(number, 100, after(number), client="a") for number in (2, 3)))  # clicks
        ended = paced.ends(3)
    assert list(ended) == [2, 3, 1]
    assert abs(ended[1].evaluations - 160) <= 3 and abs(ended[1].duration_s - 8.0) < 0.2
    assert all(abs(ended[number].duration_s - ended[number].evaluations / 20) < 0.2 for number in (2, 3))


def test_beside_one_that_ponders_with_priority_a_time_limit_comes_to_its_end() -> None:
    with Paced(1) as paced:
        paced.submit(limited(1, priority=-100.0), request(2, ENDLESS, after(2), priority=5.0))
        ended = paced.ends(1)
    # All for the better one at first: 500 evaluations take 25 s. Then half of eight seconds.
    assert list(ended) == [1] and abs(ended[1].evaluations - 80) <= 5 and abs(paced.now_s - 33.0) < 1.0


def test_another_clients_priority_lets_nobodys_time_stand_still() -> None:
    with Paced(1) as paced:
        paced.submit(limited(1, client="a"))
        paced.go_on(2.0)
        paced.submit(request(2, 1000, after(2), client="b", priority=5.0))
        ended = paced.ends(1)
        assert list(ended) == [1] and paced.now_s < 9.0


def test_a_search_that_stands_still_can_be_stopped() -> None:
    with Paced(1) as paced:
        paced.submit(limited(1))
        paced.go_on(2.0)
        paced.submit(request(2, ENDLESS, after(2), priority=5.0))
        paced.go_on(20.0)
        assert paced.inbox.empty(), "its time was up long ago"
        paced.engine.stop(1)
        report = paced.inbox.final()
        assert report.id == 1 and report.stats is not None and abs(report.stats.duration_s - 2.0) < 0.2


# ---------------------------------------------------------------- failures


def test_a_sink_that_fails_ends_its_request_only() -> None:
    inbox = Inbox()

    def refuse(report: SearchReport | RawReport) -> None:
        if isinstance(report, SearchReport) and not report.final:
            raise OSError("no room for it")
        inbox(report)

    def refuse_all(report: SearchReport | RawReport) -> None:
        raise OSError("nobody is there")

    with player() as engine:
        engine.submit(request(1, ENDLESS, report_every_s=0.001), refuse)
        assert "no room" in (inbox.final().error or "")
        engine.submit(request(2, 20), refuse_all)
        engine.submit(request(3, ENDLESS, report_every_s=0.001), inbox)
        assert not inbox.next().final, "the clock goes on"
        engine.stop(3)
        assert inbox.final().error is None


def test_an_illegal_position_is_an_error_report() -> None:
    inbox = Inbox()
    with player() as engine:
        engine.submit(request(1, 5, after(3, 3)), inbox)
        assert "Illegal move 1" in (inbox.final().error or "")
        engine.submit(RawRequest(id=2, position=after(3, 3), player=BLACK), inbox)
        assert "Illegal move 1" in (inbox.next_raw().error or "")
        engine.submit(request(3, 5), inbox)
        assert inbox.final().error is None


def test_one_failed_evaluation_fails_one_request_only() -> None:
    inbox = Inbox()
    with player(RaisingBackend(RuntimeError("out of luck"), calls=(5,)), threads=1) as engine:
        engine.submit(request(1, 50, tree="game"), inbox)
        assert inbox.final().error == "out of luck"
        engine.submit(request(2, 50, tree="game"), inbox)
        report = inbox.final()
        assert report.error is None and report.root is not None and report.root.visits == 50


@pytest.mark.parametrize("backend", [RaisingBackend(RuntimeError("out of luck")), NanBackend()], ids=["raises", "nan"])
def test_failure_upon_failure_ends_the_player_and_says_so(backend: Backend) -> None:
    inbox = Inbox()
    failed: queue.Queue[BackendUnavailable] = queue.Queue()
    with player(backend, threads=1, on_failure=failed.put) as engine:
        for number in range(MAX_FAILURES):
            engine.submit(request(number, 5, after(number)), inbox)
            assert inbox.final().error
        assert str(failed.get(timeout=WAIT_S))


@pytest.mark.parametrize(
    "backend",
    [RaisingBackend(BackendUnavailable("the runtime is gone")), MisshapenBackend()],
    ids=["gone", "misshapen"],
)
def test_a_useless_backend_is_told_at_once_and_the_request_left_for_another_worker(backend: Backend) -> None:
    inbox = Inbox()
    failed: queue.Queue[BackendUnavailable] = queue.Queue()
    with player(backend, on_failure=failed.put) as engine:
        engine.submit(request(1, 5), inbox)
        assert str(failed.get(timeout=WAIT_S))
    assert inbox.empty()


def test_closing_does_not_wait_for_searches() -> None:
    backend = GatedBackend()
    with player(backend) as engine:
        backend.open()
        engine.submit(request(1, ENDLESS), Inbox())
        assert backend.wait_entered(10)


# ---------------------------------------------------------------- human-style networks

HUMAN = Path(__file__).parents[1] / "golden" / "human_network.gz"


def as_players(*profiles: str, tree: str = "") -> list[tuple[float, tuple[int, ...]]]:
    """Win rate and visits of the moves, by profile, of searches that one player did one after the other."""
    found = []
    backend = open_backend("core", HUMAN, threads=1, human_profile="rank_9d")
    with player(backend, threads=1) as searching:
        for number, profile in enumerate(profiles):
            inbox = Inbox()
            request = SearchRequest(
                id=number, position=EMPTY, player=BLACK, max_visits=20, tree=tree, human_profile=profile
            )
            searching.submit(request, inbox)
            report = inbox.final()
            assert report.root is not None, report.error
            found.append((report.root.winrate, tuple(move.visits for move in report.moves)))
    backend.close()
    return found


@pytest.mark.parametrize("tree", ["", "mine"], ids=["trees of their own", "one tree"])
def test_whoever_is_imitated_has_evaluations_and_a_tree_of_his_own(tree: str) -> None:
    """The same searches in one player, which share its cache, as each in a new one."""
    alone = {profile: as_players(profile, tree=tree)[0] for profile in ("rank_9d", "rank_20k")}
    assert alone["rank_9d"] != alone["rank_20k"]
    together = as_players("rank_9d", "rank_20k", "rank_9d", "rank_20k", tree=tree)
    assert together == [alone[profile] for profile in ("rank_9d", "rank_20k")] * 2


def test_who_is_named_for_one_evaluation_is_imitated_and_unknown_players_are_an_error() -> None:
    backend = open_backend("core", HUMAN, threads=1, human_profile="rank_9d")
    with player(backend, threads=1) as evaluating:
        inbox = Inbox()

        def ask(number: int, profile: str) -> RawReport:
            evaluating.submit(RawRequest(id=number, position=EMPTY, player=BLACK, human_profile=profile), inbox)
            return inbox.next_raw()

        usual, strong, weak = ask(1, ""), ask(2, "rank_9d"), ask(3, "rank_20k")
        assert usual.policy == strong.policy != weak.policy
        # So many of them are no reason to end the worker: it is not the network's fault.
        for number in range(4, 5 + MAX_FAILURES):
            assert "no human profile" in str(ask(number, "rank_21k").error)
        evaluating.submit(SearchRequest(19, EMPTY, BLACK, 5, tree="mine"), inbox)
        assert inbox.final().error is None
        for number in (20, 21):
            evaluating.submit(SearchRequest(number, EMPTY, BLACK, 5, tree="mine", human_profile="rank_5k_9d"), inbox)
            assert "no human profile" in str(inbox.final().error)
        assert ask(30, "rank_20k").policy == weak.policy
        assert evaluating.totals().visits == 5  # a search that could not begin adds none
    backend.close()
