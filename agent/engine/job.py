"""One request while a player has it: waiting, running, over. No threads here; the player calls under its lock unless a
method says otherwise."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from agent.engine.backends.interface import Backend
from agent.engine.messages import RawReport, RawRequest, ReportSink, SearchReport, SearchRequest
from agent.engine.stop import Condition, Progress, any_of, stop_is_requested, time_passes, tree_holds, visits_reach
from agent.engine.tree import SearchTree


@dataclass
class Job:
    """A search or a raw evaluation. `tree` and `backend` are None until it runs, `backend` also where it could not
    begin; `users` are threads at work on it."""

    request: SearchRequest | RawRequest
    sink: ReportSink
    arrival: int
    tree: SearchTree | None = None
    backend: Backend | None = None  # the player's, told whom to imitate
    started_s: float = 0.0  # later by what its own clock stood still since
    still_since_s: float | None = None
    served: int = 0  # evaluations since it shares with others of its client: see `Turns.begin`
    given: int = 0  # evaluations in all
    visits_before: int = 0
    users: int = 0
    stop_requested: bool = False
    ending: bool = False  # no thread may begin work on it; the last evaluations are under way
    over: bool = False  # no thread may begin work on it; the final report is being made
    error: str | None = None
    next_report_s: float | None = None
    ends: Condition = stop_is_requested
    _delivery: threading.Lock = field(default_factory=threading.Lock)
    _final_sent: bool = False

    @property
    def order(self) -> tuple[float, int]:
        """Highest priority first, then in order of arrival. Raw evaluations are one network run and go before all."""
        if isinstance(self.request, RawRequest):
            return (float("-inf"), self.arrival)
        return (-self.request.priority, self.arrival)

    @property
    def is_background(self) -> bool:
        return isinstance(self.request, SearchRequest) and self.request.background

    @property
    def is_timed(self) -> bool:
        return isinstance(self.request, SearchRequest) and self.request.max_time_s is not None

    @property
    def is_running(self) -> bool:
        """Whether a thread may work on it, and nobody needs to begin it."""
        return self.tree is not None and not (self.ending or self.over)

    @property
    def visits_asked(self) -> int:
        """What the root may have in the end, those from before included."""
        return self.request.visits_from(self.visits_before) if isinstance(self.request, SearchRequest) else 1

    @property
    def nodes(self) -> int:
        """Of the tree while it runs."""
        return 0 if self.tree is None else self.tree.nodes

    def start(self, tree: SearchTree, visits: int, now_s: float, max_nodes: int) -> None:
        """The search runs from now on `tree`, which has `visits` already."""
        request = self.request
        assert isinstance(request, SearchRequest)
        self.tree = tree
        self.started_s = now_s
        self.visits_before = visits
        conditions = [stop_is_requested, visits_reach(self.visits_asked), tree_holds(max_nodes)]
        if request.max_time_s is not None:
            conditions.append(time_passes(request.max_time_s))
        self.ends = any_of(*conditions)
        first = request.first_report_after_s
        if request.report_every_s is not None:
            self.next_report_s = now_s + (request.report_every_s if first is None else first)

    def elapsed_s(self, now_s: float) -> float:
        """Since it began, by its own clock."""
        return (now_s if self.still_since_s is None else self.still_since_s) - self.started_s

    def stand_still(self, is_behind: bool, now_s: float) -> None:
        """Stop its own clock, or let it go on. Partial reports are due by the player's: a client counts on them."""
        if is_behind and self.still_since_s is None:
            self.still_since_s = now_s
        elif not is_behind and self.still_since_s is not None:
            self.started_s += now_s - self.still_since_s
            self.still_since_s = None

    def progress(self, now_s: float) -> Progress:
        if self.tree is None:
            return Progress(stop_requested=self.stop_requested)
        visits = self.tree.visits
        return Progress(
            visits=visits,
            playouts=visits - self.visits_before,
            elapsed_s=self.elapsed_s(now_s),
            nodes=self.tree.nodes,
            stop_requested=self.stop_requested,
        )

    def should_end(self, now_s: float) -> bool:
        """No more playouts are to begin."""
        return self.ending or self.over or self.error is not None or self.ends(self.progress(now_s))

    def due_s(self) -> float | None:
        """When the player must look at a running search again by the clock."""
        times = [] if self.next_report_s is None else [self.next_report_s]
        limit_s = self.request.max_time_s if isinstance(self.request, SearchRequest) else None
        if limit_s is not None and self.still_since_s is None:
            times.append(self.started_s + limit_s)
        return min(times) if times else None

    def take_report(self, now_s: float) -> bool:
        """Whether a partial report is to be made now; the next one is due an interval later. While nothing is known
        none is made, and the one that was due comes as soon as something is, as KataGo's."""
        if self.next_report_s is None or now_s < self.next_report_s or self.tree is None or self.tree.visits == 0:
            return False
        assert isinstance(self.request, SearchRequest) and self.request.report_every_s is not None
        # Late by more than an interval: the missed reports are not made up for.
        on_time_s = self.next_report_s + self.request.report_every_s
        self.next_report_s = on_time_s if on_time_s > now_s else now_s + self.request.report_every_s
        return True

    # ------------------------------------------------------------ reports; without the player's lock

    def send(self, report: SearchReport | RawReport) -> None:
        """Hand a report over; after the final one, nothing."""
        with self._delivery:
            if self._final_sent:
                return
            self._final_sent = isinstance(report, RawReport) or report.final
            self.sink(report)

    def send_partial(self, duration_s: float) -> None:
        """Hand over what is known after so long, unless nothing is yet or the search ended meanwhile."""
        assert isinstance(self.request, SearchRequest)
        # The tree goes to the next search only after the final report, which waits for this lock.
        with self._delivery:
            if self._final_sent or self.tree is None:
                return
            report = self.tree.report(self.request, final=False, duration_s=duration_s)
            if report.root is not None:
                self.sink(report)

    def send_final(self, now_s: float) -> None:
        if self.error is not None:
            self.send(self.failure(self.error))
        elif isinstance(self.request, RawRequest) or self.tree is None:
            self.send(self.nothing())
        else:
            self.send(self.tree.report(self.request, final=True, duration_s=self.elapsed_s(now_s)))

    def failure(self, reason: str) -> SearchReport | RawReport:
        if isinstance(self.request, RawRequest):
            return RawReport(id=self.request.id, error=reason)
        return SearchReport(id=self.request.id, final=True, error=reason)

    def nothing(self) -> SearchReport | RawReport:
        """The answer to a request that was stopped before anything was known."""
        if isinstance(self.request, RawRequest):
            return RawReport(id=self.request.id, error="stopped")
        return SearchReport(id=self.request.id, final=True)
