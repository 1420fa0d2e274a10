"""Threads that search: they take requests by priority, select leaves, run the network, and hand reports over.

Start at `Player._work`, the life of one thread. Each thread takes leaves from the first search that can give any, in
the order that `turns.py` says anew for every batch; when that one waits for its own evaluations (its root, a search
of few visits, the last visits of all), the thread takes from the next, so no core idles while there is work. One lock
guards the jobs; selecting, the network, reports and sinks run outside it. Clock, seed and number of threads are
arguments.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.engine.backends.human_style import imitating
from agent.engine.backends.interface import Backend
from agent.engine.forest import Forest, default_max_nodes
from agent.engine.job import Job
from agent.engine.messages import RawRequest, ReportSink, SearchRequest
from agent.engine.raw import OutputNotFinite, raw_evaluation
from agent.engine.tree import MADE_PROGRESS, EvalCache, LeafBatch, SearchTree
from agent.engine.turns import Turns
from agent.errors import AgentError, BackendUnavailable

log = logging.getLogger(__name__)

# So many requests failing one after the other, with no evaluation between, are no matter of one position any more.
MAX_FAILURES = 3
# A search with a smaller tree (2 MB) goes on when memory is used up by others: a move must not wait for an analysis.
SMALL_TREE_NODES = 1000
# A processor gains a tenth by batches of this size (b15c192, 4 in place of 1), which is not worth that others wait for
# all of them; where batches are larger, a GPU gains most of its speed by them.
SMALL_BATCH = 4
# A thread that waits for the clock looks up at least this often.
_LONGEST_WAIT_S = 10.0
_JOIN_S = 2.0


@dataclass
class Totals:
    """Since the player started. `searching` requests run, `queued` wait."""

    visits: int = 0
    evaluations: int = 0
    cache_hits: int = 0
    searching: int = 0
    queued: int = 0


class Player:
    """Serves searches and raw evaluations with `threads` threads over one backend.

    Reports reach a request's sink from the player's threads; a sink must not call the player. `on_failure` is called
    once, from a thread of the player, when the backend is of no further use.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        threads: int,
        batch: int,
        cache_positions: int,
        seed: int,
        clock: Callable[[], float] = time.monotonic,
        on_failure: Callable[[BackendUnavailable], None] | None = None,
        max_nodes: int | None = None,
    ) -> None:
        self._backend = backend
        self._cache = EvalCache(cache_positions)
        self._clock = clock
        self._on_failure = on_failure
        self._batch = batch
        self._forest = Forest(
            lambda: SearchTree(backend.network, self._cache, seed),
            max_nodes=default_max_nodes(cache_positions) if max_nodes is None else max_nodes,
        )
        self._changed = threading.Condition()
        self._generation = 0
        self._arrivals = 0
        self._jobs: dict[int, Job] = {}
        self._turns = Turns(threads)
        self._done = Totals()
        self._failures = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"search-{index}", daemon=True) for index in range(threads)
        ]
        self._threads.append(threading.Thread(target=self._keep_time, name="search-clock", daemon=True))
        for thread in self._threads:
            thread.start()

    # ------------------------------------------------------------ requests; from any thread

    def submit(self, request: SearchRequest | RawRequest, sink: ReportSink) -> None:
        """Queue a request. `sink` gets its reports, the last one final."""
        with self._changed:
            job = Job(request, sink, self._arrivals)
            self._arrivals += 1
            self._jobs[request.id] = job
            self._turns.join(job)
            self._announce()

    def stop(self, request_id: int) -> None:
        """End a request with what it has. Its final report comes when the evaluations under way are done."""
        with self._changed:
            job = self._jobs.get(request_id)
            if job is None:
                return
            job.stop_requested = True
            ended = self._end_if_idle(job)
            self._announce()
        if ended:
            self._finish(job)

    def clear_cache(self) -> None:
        """Forget cached evaluations and all trees. A search that runs keeps its own to its end."""
        self._cache.clear()
        with self._changed:
            self._forest.clear()

    def totals(self) -> Totals:
        with self._changed:
            running = [job for job in self._jobs.values() if job.tree is not None]
            stats = [job.tree.stats(0.0) for job in running if job.tree is not None]
            return Totals(
                visits=self._done.visits + sum(each.visits for each in stats),
                evaluations=self._done.evaluations + sum(each.evaluations for each in stats),
                cache_hits=self._done.cache_hits + sum(each.cache_hits for each in stats),
                searching=len(running),
                queued=len(self._jobs) - len(running),
            )

    def close(self) -> None:
        """End all threads. Requests that run get no more reports. An evaluation that hangs is left behind."""
        with self._changed:
            self._closed = True
            self._announce()
        for thread in self._threads:
            thread.join(_JOIN_S)

    # ------------------------------------------------------------ one thread

    def _work(self) -> None:
        batch = LeafBatch(self._batch)
        while True:
            with self._changed:
                if self._closed:
                    return
                generation = self._generation
                jobs = self._turns.order(self._jobs.values())
            if any(self._advance(job, batch) for job in jobs):
                continue
            with self._changed:
                if generation == self._generation and not self._closed:
                    self._changed.wait(_LONGEST_WAIT_S)

    def _advance(self, job: Job, batch: LeafBatch) -> bool:
        """Do one batch of work for a job. False where it can give none now."""
        with self._changed:
            if not self._enter(job):
                return False
            generation = self._generation
        worked = False
        try:
            if job.error is None:
                worked = self._run_raw(job) if isinstance(job.request, RawRequest) else self._run_leaves(job, batch)
        except BackendUnavailable as error:
            self._give_up(error)
        except Exception as error:
            # The edge of a thread: whatever goes wrong in a backend or in the core belongs to this request.
            self._fail(job, error)
        finally:
            with self._changed:
                job.users -= 1
                ended = self._end_if_idle(job, stuck=not worked and generation == self._generation)
                if worked or ended:
                    self._announce()
        if ended:
            self._finish(job)
        return worked or ended

    def _enter(self, job: Job) -> bool:
        """Count this thread in, and begin the search where nobody has. Holds the lock."""
        if self._closed:
            return False
        if job.should_end(self._clock()):
            if not job.ending:
                job.ending = True
                self._set_clocks()
            return False
        request = job.request
        if isinstance(request, RawRequest):
            if job.users > 0:
                return False
        elif job.tree is None:
            if not self._forest.is_free(request.tree):
                return False
            self._begin(job, request)
        elif not self._may_grow(job):
            return False
        job.users += 1
        return True

    def _may_grow(self, job: Job) -> bool:
        """Trees that grow at the same time share the memory of one. When it is used up, the search that came first goes
        on alone, to its own bound, and small ones."""
        running = [other for other in self._jobs.values() if other.tree is not None]
        if len(running) == 1 or job.nodes < SMALL_TREE_NODES:
            return True
        if sum(other.nodes for other in running) < self._forest.max_nodes:
            return True
        return job is min(running, key=lambda other: (other.is_background, other.arrival))

    def _begin(self, job: Job, request: SearchRequest) -> None:
        tree = self._forest.take(request.tree)
        try:
            backend = imitating(self._backend, request.human_profile)
            visits = tree.begin(request)
            job.backend = backend
        except Exception as error:
            # The edge of a thread: a request that the front should not have sent ends itself, never the thread.
            job.error = str(error) or type(error).__name__
            visits = 0
        job.start(tree, visits, self._clock(), self._forest.max_nodes)
        self._turns.begin(job, self._jobs.values())
        self._set_clocks()

    def _run_leaves(self, job: Job, batch: LeafBatch) -> bool:
        assert isinstance(job.request, SearchRequest) and job.tree is not None and job.backend is not None
        with self._changed:
            most = 1 if batch.capacity <= SMALL_BATCH and self._turns.is_shared else batch.capacity
        count = job.tree.select(batch, job.visits_asked, most)
        if count == 0:
            return False
        with self._changed:
            # Visits without the network are no evaluation, but they are work that others wait for.
            if self._turns.charge(job, 1 if count == MADE_PROGRESS else count):
                self._set_clocks()
        if count == MADE_PROGRESS:
            return True
        try:
            outputs = job.backend.evaluate(batch.spatial, batch.global_)
            finite = job.tree.deliver(batch, outputs)
        except Exception:
            # Whatever the backend raises, the tree must not wait for these leaves; `_advance` sorts the error.
            job.tree.abandon(batch)
            raise
        if not finite:
            raise OutputNotFinite(f"network {self._backend.network.name} gave a value that is not finite")
        self._failures = 0
        return True

    def _run_raw(self, job: Job) -> bool:
        request = job.request
        assert isinstance(request, RawRequest)
        backend = imitating(self._backend, request.human_profile)
        report = raw_evaluation(
            *(request.position, request.player, request.symmetry, request.optimism, backend, request.id),
            advantage=request.advantage,
        )
        job.send(report)
        with self._changed:
            self._failures = 0
            self._done.evaluations += 1
            self._turns.charge(job, 1)
            job.stop_requested = True
        return True

    # ------------------------------------------------------------ the end of a job

    def _end_if_idle(self, job: Job, *, stuck: bool = False) -> bool:
        """Mark a job over when it should end and nobody works on it. Holds the lock; the caller calls `_finish`."""
        if job.over or job.users > 0:
            return False
        if not job.should_end(self._clock()):
            if not stuck or self._closed:
                return False
            # Nothing is under way and nothing can begin: an answer, however poor, instead of a silent wait.
            job.error = "the search found nothing to do"
        job.over = True
        self._set_clocks()
        return True

    def _finish(self, job: Job) -> None:
        try:
            job.send_final(self._clock())
        except Exception as error:
            # The edge of a thread: the report cannot be made or its sink fails. The next request needs the thread.
            log.error("request %d could not be answered", job.request.id, exc_info=True)
            job.send(job.failure(str(error) or type(error).__name__))
        with self._changed:
            self._jobs.pop(job.request.id, None)
            self._turns.leave(job)
            if job.tree is not None:
                assert isinstance(job.request, SearchRequest)
                if job.backend is not None:  # else it never began: the tree still tells of the search before
                    stats = job.tree.stats(0.0)
                    self._done.visits += stats.visits
                    self._done.evaluations += stats.evaluations
                    self._done.cache_hits += stats.cache_hits
                self._forest.give_back(job.request.tree, job.tree)
                job.tree = None
            self._announce()

    def _fail(self, job: Job, error: Exception) -> None:
        log.error("request %d failed: %s", job.request.id, error, exc_info=not isinstance(error, AgentError))
        with self._changed:
            if job.error is not None:
                return  # another thread met the same trouble with this request
            job.error = str(error) or type(error).__name__
            is_backend = not isinstance(error, AgentError) or isinstance(error, OutputNotFinite)
            self._failures += 1 if is_backend else 0
            hopeless = self._failures >= MAX_FAILURES
        if hopeless:
            job.send(job.failure(job.error))  # before the worker tells its own end
            self._give_up(BackendUnavailable(f"{self._failures} requests failed, the last with: {error}"))

    def _give_up(self, error: BackendUnavailable) -> None:
        """The backend is of no further use: no request is answered any more, so that another worker may."""
        with self._changed:
            first, self._closed = not self._closed, True
            self._announce()
        if first and self._on_failure is not None:
            self._on_failure(error)

    def _announce(self) -> None:
        self._generation += 1
        self._changed.notify_all()

    # ------------------------------------------------------------ the clock

    def _keep_time(self) -> None:
        """Ends searches whose time is up and hands partial reports over."""
        while True:
            with self._changed:
                if self._closed:
                    return
                now = self._clock()
                jobs = [job for job in self._jobs.values() if job.tree is not None and not job.over]
                ended = [job for job in jobs if self._end_if_idle(job)]
                reports = [(job, job.elapsed_s(now)) for job in jobs if not job.over and job.take_report(now)]
                if not ended and not reports:
                    self._changed.wait(self._wait_s(jobs, now))
            for job in ended:
                self._finish(job)
            for job, duration_s in reports:
                try:
                    job.send_partial(duration_s)
                except Exception as error:
                    self._fail(job, error)  # the edge of a thread, as above

    def _set_clocks(self) -> None:
        """After a search began or ends: whose time passes now? Holds the lock."""
        now = self._clock()
        behind = self._turns.behind(self._jobs.values())
        for job in self._jobs.values():
            if job.is_running:
                job.stand_still(job.request.id in behind, now)

    def _wait_s(self, jobs: list[Job], now: float) -> float:
        due = [time_s for job in jobs if (time_s := job.due_s()) is not None and time_s > now]
        return min([_LONGEST_WAIT_S, *(time_s - now for time_s in due)])
