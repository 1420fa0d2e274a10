"""The worker over a real socket pair, in this process and as `agent engine`: messages, garbage, ends, failures."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fakes.backends import GatedBackend, ImitatingBackend, NanBackend
from fakes.worker_front import WAIT_S, Front, Running

from agent.engine.backends import BACKENDS, Entry
from agent.engine.messages import (
    ClearCache,
    EngineFailed,
    EngineReady,
    FrontMessage,
    Heartbeat,
    Ping,
    Position,
    RawReport,
    RawRequest,
    SearchReport,
    SearchRequest,
    StopRequest,
)
from agent.engine.points import BLACK
from agent.engine.rules import Rules
from agent.engine.worker import WorkerOptions, run_worker
from agent.engine.worker_socket import MAX_FRAME_BYTES, Frames, FrontGarbage

HUMAN = Path(__file__).parents[1] / "golden" / "human_network.gz"
EMPTY = Position(9, 9, Rules(), 7.0)
ENDLESS = 1 << 50


def search(number: int, visits: int, **kwargs: Any) -> SearchRequest:
    return SearchRequest(id=number, position=EMPTY, player=BLACK, max_visits=visits, **kwargs)


def options(backend: str = "uniform", **kwargs: Any) -> WorkerOptions:
    return WorkerOptions(
        **{"model": None, "threads": 2, "batch": 1, "cache_positions": 1000, "seed": 1, **kwargs}, backend=backend
    )


@pytest.fixture
def start() -> Iterator[Callable[..., Running]]:
    workers: list[Running] = []

    def begin(*args: Any, backends: Mapping[str, Entry] = BACKENDS, **kwargs: Any) -> Running:
        workers.append(Running(lambda end: run_worker(end, options(*args, **kwargs), backends=backends)))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.end()


# ---------------------------------------------------------------- frames


def test_frames_come_out_whole_however_they_are_cut() -> None:
    messages: list[FrontMessage] = [search(1, 5), StopRequest(id=1), Ping(), ClearCache()]
    payloads = [msgspec.msgpack.encode(message) for message in messages]
    stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
    for size in (1, 3, 7, len(stream)):
        frames = Frames()
        out = [message for i in range(0, len(stream), size) for message in frames.feed(stream[i : i + size])]
        assert out == messages


@pytest.mark.parametrize(
    "data",
    [
        (MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x01\xc1",
        b"\x00\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00\x00\x00\x0a" + msgspec.msgpack.encode({"type": "x"})[:10].ljust(10, b"\x00"),
    ],
    ids=["too-long", "no-msgpack", "empty", "http", "unknown-tag"],
)
def test_garbage_frames_are_refused(data: bytes) -> None:
    with pytest.raises(FrontGarbage):
        Frames().feed(data)


# ---------------------------------------------------------------- service


def test_ready_first_then_answers_and_heartbeats(start: Callable[..., Running]) -> None:
    front = start().front
    ready = front.next()
    assert isinstance(ready, EngineReady)
    assert (ready.network, ready.backend, ready.threads, ready.pid) == ("uniform", "uniform", 2, os.getpid())
    front.send(search(7, 100, ownership=True, policy=True))
    report = front.final(7)
    assert report.root is not None and report.root.visits == 100
    assert report.ownership is not None and len(report.ownership) == 81
    front.send(RawRequest(id=8, position=EMPTY, player=BLACK, symmetry=3))
    raw = front.wait_for(RawReport)
    assert raw.id == 8 and raw.symmetry == 3 and len(raw.policy) == 82
    beat = front.wait_for(Heartbeat, lambda beat: beat.visits_total >= 100 and beat.searching == 0)
    assert beat.rss_bytes > 2**20 and beat.evaluations_total + beat.cache_hits_total >= 100


def test_a_network_that_imitates_players_is_told_as_one(start: Callable[..., Running]) -> None:
    """kata-get-models and query_models pass it on."""
    assert not start().front.next().has_human_sl
    table = {"imitating": Entry(0, lambda model, threads: ImitatingBackend())}
    ready = start("imitating", backends=table).front.next()
    assert ready.has_human_sl and not ready.imitates_anybody
    ready = start("core", model=HUMAN, human_profile="rank_1d").front.next()
    assert (ready.has_human_sl, ready.human_profile, ready.imitates_anybody) == (True, "rank_1d", True)


def test_a_ping_is_answered_while_a_search_runs_and_a_stop_ends_it(start: Callable[..., Running]) -> None:
    backend = GatedBackend()
    front = start("gated", backends={"gated": Entry(0, lambda model, threads: backend)}).front
    try:
        front.send(search(1, ENDLESS))
        # Both threads are in the network from here on, so that nothing but the stop can end it.
        backend.let(20)
        assert backend.wait_entered(22)
        front.send(Ping())
        front.wait_for(Heartbeat, lambda beat: beat.searching == 1 and beat.visits_total > 0)
        front.send(StopRequest(id=1))
        front.send(search(2, 5))
        front.send(StopRequest(id=2))
        assert front.final(2).root is None, "it never began; by now the first stop is heard"
        backend.let(2)
        assert front.final(1).root is not None
    finally:
        backend.open()


def test_an_impossible_request_is_an_error_report(start: Callable[..., Running]) -> None:
    front = start().front
    front.send(SearchRequest(id=1, position=Position(99, 9, Rules(), 7.0), player=BLACK, max_visits=5))
    assert front.final(1).error
    front.send(search(2, 5, overrides={"noSuchParameter": 1.0}))
    assert "noSuchParameter" in (front.final(2).error or "")
    front.send(search(3, 5))
    assert front.final(3).error is None


def test_the_worker_ends_when_its_socket_closes_in_the_middle_of_work(start: Callable[..., Running]) -> None:
    worker = start()
    worker.front.send(search(1, ENDLESS, report_every_s=0.01))
    worker.front.wait_for(SearchReport)
    assert worker.end() == 0


def test_garbage_from_the_front_ends_the_worker_with_a_reason(start: Callable[..., Running]) -> None:
    worker = start()
    worker.front.next()
    worker.front.socket.sendall(b"\xff" * 64)
    failed = worker.front.wait_for(EngineFailed)
    assert "frame" in failed.reason and failed.fix
    with pytest.raises(EOFError):
        while True:
            worker.front.next()
    assert worker.end() == 1


def test_a_backend_that_is_none_is_told(start: Callable[..., Running]) -> None:
    worker = start("abacus")
    failed = worker.front.next()
    assert isinstance(failed, EngineFailed) and "abacus" in failed.reason and "core" in failed.fix
    assert worker.end() == 1


def test_a_network_that_gives_no_numbers_ends_the_worker_after_telling(start: Callable[..., Running]) -> None:
    worker = start("nan", backends={"nan": Entry(0, lambda model, threads: NanBackend())})
    for number in range(3):
        worker.front.send(search(number, 5))
        assert "not finite" in (worker.front.final(number).error or "")
    failed = worker.front.wait_for(EngineFailed)
    assert "not finite" in failed.reason
    assert worker.end() == 1


# ---------------------------------------------------------------- the process


def start_process(*arguments: str) -> tuple[subprocess.Popen[bytes], Front]:
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "agent", "engine", "--fd", str(theirs.fileno()), *arguments]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=Path(__file__).parents[2])
    return process, Front(ours)


def test_the_process_serves_and_ends_with_its_socket() -> None:
    process, front = start_process("--backend", "uniform", "--threads", "2", "--seed", "5")
    try:
        assert isinstance(front.next(), EngineReady)
        front.send(search(1, 200))
        assert front.final(1).error is None
        front.socket.close()
        assert process.wait(WAIT_S) == 0
    finally:
        process.kill()
        process.wait()


def test_a_stopped_process_sends_no_heartbeat_and_goes_on_afterwards() -> None:
    process, front = start_process("--backend", "uniform")
    try:
        front.wait_for(Heartbeat)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        front.socket.settimeout(2.0)
        with pytest.raises(TimeoutError):
            while True:
                front.next()
        process.send_signal(signal.SIGCONT)
        front.socket.settimeout(WAIT_S)
        front.send(search(1, 5))
        assert front.final(1).error is None
    finally:
        process.kill()
        process.wait()
        front.socket.close()
