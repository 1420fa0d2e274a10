"""What to do when the worker speaks, dies, hangs or stalls: rules only, no processes and no clock.

Start reading at `Recovery`: it is told what happened and when, and answers with the actions to take. `supervise.py`
does them. Every request stays here until its final report, so that a new worker can be asked the old questions.

How the guilty request is found when the worker keeps dying: every death counts against all requests the worker held.
From `SUSPECT_DEATHS` on a request is a suspect, and suspects are asked alone, one after the other, while all others
wait. One that the worker dies of alone `GUILTY_DEATHS` times is answered with an error; the others are served.

Where there are several `ways` to start a worker (an owner's katago, then the built-in engine), the next one serves
when one fails: at once where it says that it is hopeless, else after `Limits.fall_back_deaths` in a row. It stays until
somebody asks for a new try (`begin`) or the daemon starts again: what fails under load is not tried on clients.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from agent.engine.messages import (
    ClearCache,
    EngineFailed,
    EngineReady,
    FrontMessage,
    Heartbeat,
    RawReport,
    RawRequest,
    ReportSink,
    SearchReport,
    SearchRequest,
    StopRequest,
    WorkerMessage,
)
from agent.events import EngineFellBack, EngineGone, EngineUp, Event, SearchDone

SUSPECT_DEATHS: Final = 2
GUILTY_DEATHS: Final = 2

_RETURNING: Final = "the first engine is to be tried again"
_NO_WORK: Final = (0, 0, 0)
NO_FIX: Final = "See the service log; `agent doctor` checks each link of the chain."


class Limits(msgspec.Struct, frozen=True):
    """Seconds after which patience ends. Tests shorten them; the defaults are for a Pi Zero 2 that swaps."""

    # Twenty missed beats: a board that swaps stalls for seconds, a hung worker for ever.
    heartbeat_s: float = 10.0
    # Loading b18c384nbt from a slow SD card takes most of a minute.
    start_s: float = 180.0
    # One batch of b18c384nbt on a Cortex-A53 takes about ten seconds.
    progress_s: float = 90.0
    # The first restart is at once (a client waits); then double, so that a broken machine is not kept busy.
    backoff_s: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 4.0)
    # So long up and working, and earlier deaths are forgotten.
    stable_s: float = 60.0
    # A suspect that worked so long alone is innocent.
    probation_s: float = 5.0
    # So many in a row, and the next way serves: one restart cures what was a chance, two what was a bad minute.
    fall_back_deaths: int = 3
    # From degraded, one new try so often: a full disk or a missing package is mended by people.
    degraded_s: float = 300.0
    # Between two looks at the clock; a gap of many looks means that we slept, not the worker.
    tick_s: float = 0.25

    @property
    def deaths(self) -> int:
        """Deaths in a row that end in the degraded state."""
        return len(self.backoff_s) + 1


# ---------------------------------------------------------------- actions


class Start(msgspec.Struct, frozen=True):
    """Start a worker, in this one of the `ways`."""

    way: int = 0


class Kill(msgspec.Struct, frozen=True):
    """End the worker with SIGKILL, for this reason; `gone` is to follow."""

    reason: str


class Send(msgspec.Struct, frozen=True):
    message: FrontMessage


class Deliver(msgspec.Struct, frozen=True):
    sink: ReportSink
    report: SearchReport | RawReport


class Tell(msgspec.Struct, frozen=True):
    event: Event


Action = Start | Kill | Send | Deliver | Tell


# ---------------------------------------------------------------- state


@dataclass
class _Outstanding:
    request: SearchRequest | RawRequest
    sink: ReportSink
    submitted_s: float
    sent: bool = False
    stopped: bool = False
    deaths: int = 0
    deaths_alone: int = 0
    partial: SearchReport | None = None


@dataclass
class Recovery:
    """`state` is new, starting, up, waiting (for the next start) or degraded. `reason` and `fix` tell of the last
    death, `fallen_reason` and `fallen_fix` of the one for which another `way` serves; they are empty while the first
    does. All times are seconds of one monotonic clock."""

    limits: Limits = field(default_factory=Limits)
    ways: int = 1
    way: int = 0
    fallen_reason: str = ""
    fallen_fix: str = ""
    state: str = "new"
    reason: str = ""
    fix: str = ""
    ready: EngineReady | None = None
    heartbeat: Heartbeat | None = None
    deaths: int = 0
    restarts: int = 0
    _requests: dict[int, _Outstanding] = field(default_factory=dict)
    _due_s: float = 0.0
    _since_s: float = 0.0
    _seen_s: float = 0.0
    _progress_s: float = 0.0
    _tick_s: float | None = None
    _is_hopeless: bool = False
    _told_fix: str = ""
    _is_returning: bool = False
    _alone: int | None = None
    _alone_since_s: float = 0.0
    _alone_progressed: bool = False

    @property
    def outstanding(self) -> int:
        return len(self._requests)

    # ------------------------------------------------------------ from the service

    def submit(self, request: SearchRequest | RawRequest, sink: ReportSink, now_s: float) -> list[Action]:
        if self.state == "degraded":
            return [Deliver(sink, _error(request, self._down()))]
        if not any(held.sent for held in self._requests.values()):
            self._progress_s = now_s
        self._requests[request.id] = _Outstanding(request, sink, now_s)
        return self._send_what_may_go(now_s)

    def stop(self, request_id: int) -> list[Action]:
        held = self._requests.get(request_id)
        if held is None:
            return []
        if not held.sent:
            del self._requests[request_id]
            return [_final_of_stopped(held)]
        held.stopped = True
        # One evaluation is there as soon as it could be ended.
        return [] if isinstance(held.request, RawRequest) else [Send(StopRequest(id=request_id))]

    def clear_cache(self) -> list[Action]:
        """A worker that is not there has nothing to forget."""
        return [Send(ClearCache())] if self.state == "up" else []

    def begin(self, now_s: float) -> list[Action]:
        """The first start, or a new try because somebody asks for it: from waiting or degraded, and of the first way
        where another one serves."""
        fallen, self.way = self.way > 0, 0
        if self.state in ("starting", "up"):
            # Asked once more before the other way's worker is gone, it still is to go.
            self._is_returning = self._is_returning or fallen
            return [Kill(_RETURNING)] if fallen else []
        self.deaths = 0
        return self._start(now_s)

    # ------------------------------------------------------------ from the worker

    def hear(self, message: WorkerMessage, now_s: float) -> list[Action]:
        self._seen_s = now_s
        if isinstance(message, EngineReady):
            if self._is_returning:
                # It was being started when somebody asked for the first way again.
                return [Kill(_RETURNING)]
            self.state, self.ready, self._since_s, self._progress_s = "up", message, now_s, now_s
            if not self.way:
                self.fallen_reason = self.fallen_fix = ""
            up = EngineUp(pid=message.pid, network=message.network, backend=message.backend, is_fallback=self.way > 0)
            return [Tell(up), *self._send_what_may_go(now_s)]
        if isinstance(message, Heartbeat):
            # The first one of a worker is progress only if it has worked: it comes from the hung, too.
            if _work(message) != (_work(self.heartbeat) if self.heartbeat else _NO_WORK):
                self._note_progress(now_s)
            self.heartbeat = message
            return []
        if isinstance(message, EngineFailed):
            self._told_fix, self._is_hopeless = message.fix, message.hopeless
            return [Kill(message.reason)]
        return self._hear_report(message, now_s)

    def _hear_report(self, report: SearchReport | RawReport, now_s: float) -> list[Action]:
        held = self._requests.get(report.id)
        if held is None or isinstance(report, SearchReport) != isinstance(held.request, SearchRequest):
            # A worker may report once more after a stop that we answered ourselves.
            return []
        self._note_progress(now_s)
        actions: list[Action] = [Deliver(held.sink, report)]
        if isinstance(report, SearchReport) and not report.final:
            held.partial = report
            return actions
        del self._requests[report.id]
        if report.error is None:
            # A runtime that fails in every evaluation answers, too, with errors, and then gives up.
            self.deaths = 0
        if self._alone == report.id:
            self._alone = None
        visits, evaluations = _cost(report)
        done = SearchDone(visits=visits, evaluations=evaluations, latency_s=now_s - held.submitted_s)
        return [*actions, Tell(done), *self._send_what_may_go(now_s)]

    def gone(self, pid: int, reason: str, now_s: float) -> list[Action]:
        """The worker `pid` is dead (or could not be started, `pid` 0) and reaped."""
        self.ready, self.heartbeat = None, None
        if self._is_returning:
            return self._return(pid, reason, now_s)
        self.reason, self.fix = reason, self._told_fix or NO_FIX
        self.deaths += 1
        actions = self._blame()
        if self.way + 1 < self.ways and (self._is_hopeless or self.deaths >= self.limits.fall_back_deaths):
            return [*actions, *self._fall_back(pid, now_s)]
        degraded = self._is_hopeless or self.deaths >= self.limits.deaths
        actions.append(Tell(EngineGone(pid=pid, reason=reason, degraded=degraded, fix=self.fix)))
        if not degraded:
            self.state = "waiting"
            self._due_s = now_s + self.limits.backoff_s[max(0, self.deaths - 1)]
            return actions
        self.state, self._due_s = "degraded", now_s + self.limits.degraded_s
        actions += [Deliver(held.sink, _error(held.request, self._down())) for held in self._requests.values()]
        self._requests.clear()
        return actions

    def _fall_back(self, pid: int, now_s: float) -> list[Action]:
        """The next way serves from now on; it is told nothing of who the old one died of."""
        self.way += 1
        self.deaths = 0
        self.fallen_reason, self.fallen_fix = self.reason, self.fix
        for held in self._requests.values():
            held.deaths = held.deaths_alone = 0
        gone = EngineGone(pid=pid, reason=self.reason, degraded=False)
        fell = EngineFellBack(pid=pid, reason=self.reason, fix=self.fix)
        return [Tell(gone), Tell(fell), *self._start(now_s)]

    def _return(self, pid: int, reason: str, now_s: float) -> list[Action]:
        """We ended the worker of another way ourselves: nobody is to blame."""
        self._is_returning, self._alone, self.deaths = False, None, 0
        actions: list[Action] = [Tell(EngineGone(pid=pid, reason=reason, degraded=False))]
        for held in [held for held in self._requests.values() if held.sent]:
            held.sent = False
            if held.stopped:
                actions.append(_final_of_stopped(held))
                del self._requests[held.request.id]
        return [*actions, *self._start(now_s)]

    def _blame(self) -> list[Action]:
        """Count the death against the requests the worker held; answer those that are stopped or proven guilty."""
        actions: list[Action] = []
        for held in [held for held in self._requests.values() if held.sent]:
            held.sent = False
            held.deaths += 1
            held.deaths_alone += self._alone == held.request.id
            if held.stopped:
                actions.append(_final_of_stopped(held))
            elif held.deaths_alone >= GUILTY_DEATHS:
                what = f"the engine died {held.deaths} times on this request: {self.reason}"
                actions.append(Deliver(held.sink, _error(held.request, what)))
                # The reason for the deaths is found; the machine is well.
                self.deaths = 0
            else:
                continue
            del self._requests[held.request.id]
        self._alone = None
        return actions

    # ------------------------------------------------------------ from the clock

    def tick(self, now_s: float) -> list[Action]:
        """To be called every `tick_s`."""
        slept = self._tick_s is not None and now_s - self._tick_s > 8 * self.limits.tick_s
        self._tick_s = now_s
        if slept:
            # We were stopped or starved ourselves; what the worker sent meanwhile is not read yet.
            self._seen_s = self._progress_s = now_s
        if self.state in ("waiting", "degraded") and now_s >= self._due_s:
            return self._start(now_s)
        if self.state == "starting" and now_s - self._since_s > self.limits.start_s:
            return self._kill(f"the worker was not ready after {self.limits.start_s:.0f} s", now_s)
        return self._tick_up(now_s) if self.state == "up" else []

    def _tick_up(self, now_s: float) -> list[Action]:
        if now_s - self._seen_s > self.limits.heartbeat_s:
            return self._kill(f"the worker gave no sign of life for {self.limits.heartbeat_s:.0f} s", now_s)
        if not any(held.sent for held in self._requests.values()):
            self._progress_s = now_s
        if now_s - self._progress_s > self.limits.progress_s:
            return self._kill(f"the worker made no progress for {self.limits.progress_s:.0f} s", now_s)
        if now_s - self._since_s > self.limits.stable_s and now_s - self._progress_s < self.limits.heartbeat_s:
            self.deaths = 0
        suspect = self._requests.get(self._alone) if self._alone is not None else None
        if suspect and self._alone_progressed and now_s - self._alone_since_s > self.limits.probation_s:
            suspect.deaths = suspect.deaths_alone = 0
            self._alone = None
            return self._send_what_may_go(now_s)
        return []

    # ------------------------------------------------------------ within

    def _start(self, now_s: float) -> list[Action]:
        self.restarts += self.state != "new"
        self.state, self._since_s, self._told_fix, self._is_hopeless = "starting", now_s, "", False
        return [Start(self.way)]

    def _kill(self, reason: str, now_s: float) -> list[Action]:
        # `gone` follows; until then the same deadline must not strike again.
        self._seen_s = self._progress_s = self._since_s = now_s
        return [Kill(reason)]

    def _note_progress(self, now_s: float) -> None:
        self._progress_s = now_s
        self._alone_progressed = True

    def _send_what_may_go(self, now_s: float) -> list[Action]:
        if self.state != "up" or self._alone is not None:
            return []
        suspect = next((held for held in self._requests.values() if held.deaths >= SUSPECT_DEATHS), None)
        if suspect is None:
            return [self._send(held) for held in self._requests.values() if not held.sent]
        self._alone, self._alone_since_s, self._alone_progressed = suspect.request.id, now_s, False
        return [self._send(suspect)]

    def _send(self, held: _Outstanding) -> Send:
        held.sent = True
        return Send(held.request)

    def _down(self) -> str:
        return f"the engine is down: {self.reason}. {self.fix}"


def _work(beat: Heartbeat) -> tuple[int, int, int]:
    return beat.visits_total, beat.evaluations_total, beat.cache_hits_total


def _cost(report: SearchReport | RawReport) -> tuple[int, int]:
    if isinstance(report, RawReport):
        return 0, 1
    return (report.stats.visits, report.stats.evaluations) if report.stats else (0, 0)


def _final_of_stopped(held: _Outstanding) -> Deliver:
    """What a stopped search had reported last, else that there is nothing to report."""
    if isinstance(held.request, RawRequest):
        return Deliver(held.sink, _error(held.request, "stopped"))
    if held.partial is not None:
        return Deliver(held.sink, msgspec.structs.replace(held.partial, final=True))
    return Deliver(held.sink, SearchReport(id=held.request.id, final=True))


def _error(request: SearchRequest | RawRequest, text: str) -> SearchReport | RawReport:
    if isinstance(request, RawRequest):
        return RawReport(id=request.id, error=text)
    return SearchReport(id=request.id, final=True, error=text)
