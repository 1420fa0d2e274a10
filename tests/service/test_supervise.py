"""The supervisor against a real child process that speaks the protocol and crashes, hangs, stalls or talks garbage."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from fakes import scripted_worker
from fakes.scripted_worker import Script

from agent.engine.messages import Position, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.rules import Rules
from agent.events import EngineGone, EngineUp, Event, SearchDone
from agent.service.recovery import Limits
from agent.service.supervise import OOM_SCORE, Supervisor

# Short patience, so that hanging takes seconds; far above what a start or an answer takes on a machine with load.
LIMITS = Limits(heartbeat_s=3.0, start_s=15.0, progress_s=3.0, backoff_s=(0.0, 0.05, 0.05, 0.05, 0.05), tick_s=0.05)
# Every life in the test of silent starts is judged by it, the healthy one as well: a Python start of 0.2 s of CPU.
SILENT_START_S = 6.0
CRASH, HANG, STALL, GARBAGE, PARTIAL, CRASH_AFTER_PARTIAL, FINE = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.5
KOMI = {
    str(CRASH): "crash",
    str(HANG): "hang",
    str(STALL): "stall",
    str(GARBAGE): "garbage",
    str(PARTIAL): "partial",
    str(CRASH_AFTER_PARTIAL): "crash_after_partial",
}


class Events:
    """A reporter that can be waited on."""

    def __init__(self) -> None:
        self.seen: list[Event] = []
        self._more = asyncio.Event()

    def report(self, event: Event) -> None:
        self.seen.append(event)
        self._more.set()

    async def until(self, kind: type[Event], count: int) -> list[Event]:
        while len(found := [event for event in self.seen if isinstance(event, kind)]) < count:
            self._more.clear()
            await self._more.wait()
        return found


class Asked:
    """One request and all its reports."""

    def __init__(self, engine: Supervisor, komi: float, *, raw: bool = False) -> None:
        position = Position(x_size=9, y_size=9, rules=Rules(), komi=komi)
        kind = RawRequest if raw else SearchRequest
        rest = {} if raw else {"max_visits": 10}
        self.request = kind(id=engine.next_id(), position=position, player=1, **rest)
        self.reports: list[SearchReport | RawReport] = []
        self.first = asyncio.Event()
        self._final: asyncio.Future[SearchReport | RawReport] = asyncio.get_running_loop().create_future()
        engine.submit(self.request, self._take)

    def _take(self, report: SearchReport | RawReport) -> None:
        self.reports.append(report)
        self.first.set()
        if isinstance(report, RawReport) or report.final:
            assert not self._final.done(), "the final report came twice"
            self._final.set_result(report)

    async def final(self) -> SearchReport | RawReport:
        return await self._final


Play = Callable[[Supervisor, Events], Awaitable[None]]


def play(folder: Path, script: Script, scene: Play, limits: Limits = LIMITS) -> list[int]:
    """Run the scene with a supervised scripted worker; the pids of all workers that were started are returned."""
    path = folder / "script.json"
    path.write_bytes(msgspec.json.encode(script))

    async def run() -> None:
        events = Events()
        supervisor = Supervisor([sys.executable, scripted_worker.__file__, str(path)], events, limits=limits)
        task = asyncio.create_task(supervisor.run())
        try:
            await asyncio.wait_for(scene(supervisor, events), 60)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    pids = [int(line) for line in (folder / "lives").read_text().split()]
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "a worker was left behind"
    return pids


def script(folder: Path, **changes: object) -> Script:
    return msgspec.structs.replace(Script(lives=str(folder / "lives"), komi=KOMI), **changes)


def test_questions_are_answered_and_told(tmp_path: Path) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        search, raw = Asked(engine, FINE), Asked(engine, FINE, raw=True)
        assert (await search.final()).error is None
        assert (await raw.final()).error is None
        assert [(done.visits, done.evaluations) for done in await events.until(SearchDone, 2)] == [(10, 9), (0, 1)]
        assert engine.ready is not None and engine.status.state == "up"
        pid = engine.ready.pid
        assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) == OOM_SCORE

    assert len(play(tmp_path, script(tmp_path), scene)) == 1


@pytest.mark.parametrize("komi", [CRASH, HANG, STALL, GARBAGE, CRASH_AFTER_PARTIAL])
def test_a_worker_that_fails_once_is_replaced_and_asked_again(tmp_path: Path, komi: float) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        asked = [Asked(engine, komi), Asked(engine, FINE), Asked(engine, FINE, raw=True)]
        first = await asked[0].final()
        assert isinstance(first, SearchReport) and first.error is None and first.chosen == 2
        assert (await asked[2].final()).error is None
        assert (await asked[1].final()).error is None
        assert engine.status.restarts == 1
        assert [gone.degraded for gone in await events.until(EngineGone, 1)] == [False]

    assert len(play(tmp_path, script(tmp_path, only_lives=[1]), scene)) == 2


def test_a_killed_worker_is_up_again_within_five_seconds(tmp_path: Path) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        begun_s = time.monotonic()
        asked = [Asked(engine, PARTIAL) for _ in range(4)]
        await events.until(EngineUp, 1)
        # As slow as the machine is at this moment, it may be once more.
        within_s = 5.0 + 3 * (time.monotonic() - begun_s)
        for one in asked:
            await one.first.wait()
        os.kill(engine.ready.pid, signal.SIGKILL)
        gone = await asyncio.wait_for(events.until(EngineGone, 1), within_s)
        assert "SIGKILL" in gone[0].reason
        await asyncio.wait_for(events.until(EngineUp, 2), within_s)
        for one in asked:
            engine.stop(one.request.id)
            final = await one.final()
            assert final.error is None and final.chosen == 2

    play(tmp_path, script(tmp_path), scene, Limits())


def test_a_poisonous_request_is_refused_and_the_others_are_served(tmp_path: Path) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        poison = Asked(engine, CRASH)
        others = [Asked(engine, FINE), Asked(engine, FINE, raw=True)]
        assert "died" in ((await poison.final()).error or "")
        assert [(await other.final()).error for other in others] == [None, None]
        assert not any(gone.degraded for gone in await events.until(EngineGone, 1))
        assert (await Asked(engine, FINE).final()).error is None

    play(tmp_path, script(tmp_path), scene)


def test_a_crash_loop_ends_degraded_with_reason_and_fix(tmp_path: Path) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        waiting = Asked(engine, FINE)
        error = (await waiting.final()).error or ""
        assert "no runtime here" in error and "Install one." in error
        status = await engine.settled()
        assert (status.state, status.fix) == ("degraded", "Install one.")
        assert [gone.degraded for gone in await events.until(EngineGone, LIMITS.deaths)][-1] is True
        assert "no runtime here" in ((await Asked(engine, FINE).final()).error or "")

    pids = play(tmp_path, script(tmp_path, at_start="fail"), scene)
    assert len(pids) == LIMITS.deaths


def test_from_degraded_a_retry_brings_a_mended_engine_up(tmp_path: Path) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        assert (await engine.settled()).state == "degraded"
        engine.retry()
        assert (await Asked(engine, FINE).final()).error is None

    play(tmp_path, script(tmp_path, at_start="exit", only_lives=list(range(1, LIMITS.deaths + 1))), scene)


@pytest.mark.parametrize("how", ["silent", "garbage", "exit"])
def test_a_worker_that_does_not_start_well_is_replaced(tmp_path: Path, how: str) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        assert (await Asked(engine, FINE).final()).error is None

    limits = msgspec.structs.replace(LIMITS, start_s=SILENT_START_S) if how == "silent" else LIMITS
    assert len(play(tmp_path, script(tmp_path, at_start=how, only_lives=[1]), scene, limits)) == 2


def test_a_command_that_cannot_run_degrades(tmp_path: Path) -> None:
    async def run() -> None:
        supervisor = Supervisor([str(tmp_path / "absent")], Events(), limits=LIMITS)
        task = asyncio.create_task(supervisor.run())
        status = await asyncio.wait_for(supervisor.settled(), 30)
        assert status.state == "degraded" and "could not be started" in status.reason
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())


def test_stop_is_answered_while_no_worker_is_there(tmp_path: Path) -> None:
    async def scene(engine: Supervisor, events: Events) -> None:
        asked = Asked(engine, FINE)
        engine.stop(asked.request.id)
        engine.stop(asked.request.id)
        engine.stop(4711)
        assert (await asked.final()) == SearchReport(id=asked.request.id, final=True)
        assert (await Asked(engine, FINE).final()).error is None

    play(tmp_path, script(tmp_path), scene)


def test_a_client_that_cannot_take_its_report_harms_nobody(tmp_path: Path) -> None:
    def refuse(report: SearchReport | RawReport) -> None:
        raise ConnectionResetError("the client is gone")

    async def scene(engine: Supervisor, events: Events) -> None:
        position = Position(x_size=9, y_size=9, rules=Rules(), komi=FINE)
        engine.submit(RawRequest(id=engine.next_id(), position=position, player=1), refuse)
        assert (await Asked(engine, FINE).final()).error is None

    play(tmp_path, script(tmp_path), scene)


class Faulty(Events):
    """A reporter that breaks its promise not to raise."""

    def __init__(self, at: type[Event]) -> None:
        super().__init__()
        self._at = at

    def report(self, event: Event) -> None:
        super().report(event)
        if isinstance(event, self._at):
            raise BrokenPipeError("nobody reads")


@pytest.mark.parametrize(("at", "at_start"), [(EngineUp, "ready"), (EngineGone, "exit")])
def test_a_fault_of_ours_is_told_and_leaves_no_worker_behind(tmp_path: Path, at: type[Event], at_start: str) -> None:
    """It is neither taken for the worker's own end nor lost when the next one starts."""
    path = tmp_path / "script.json"
    path.write_bytes(msgspec.json.encode(script(tmp_path, at_start=at_start)))

    async def run() -> None:
        supervisor = Supervisor([sys.executable, scripted_worker.__file__, str(path)], Faulty(at), limits=LIMITS)
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(supervisor.run(), 30)

    asyncio.run(run())
    (pid,) = (tmp_path / "lives").read_text().split()
    assert not Path(f"/proc/{pid}").exists()
