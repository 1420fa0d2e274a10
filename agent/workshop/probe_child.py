"""The process in which a backend is tried: it may crash, hang or answer nonsense, and only this process is lost.

Start at `serve_probe`. Requests come as lines on one stream, replies go to another (`probe_messages.py`); the parent's
end of it is `probe.py`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

from agent.engine.backends import BACKENDS, Backend, Entry, open_backend
from agent.engine.backends.interface import Array
from agent.engine.bench_raw import RawBench, Sessions
from agent.engine.way import Way
from agent.errors import AgentError, BackendUnavailable
from agent.workshop.check_positions import check_inputs
from agent.workshop.probe_messages import (
    Answer,
    Answers,
    Ask,
    Measure,
    Measured,
    Open,
    Opened,
    Prove,
    Proved,
    Refused,
    Reply,
    Request,
)
from agent.workshop.proof import run_on

# Small positions stand beside two large ones: a runtime may take other kernels for them.
CHECK_SIDES = (19, 19, 9)

_STATUS = Path("/proc/self/status")
_SCHEDSTAT = Path("/proc/thread-self/schedstat")
_CLEAR_REFS = Path("/proc/self/clear_refs")
# Documentation/filesystems/proc.rst of the kernel: 5 resets the peak resident set size.
_RESET_PEAK = "5"


def serve_probe(requests: BinaryIO, replies: BinaryIO, table: Mapping[str, Entry] = BACKENDS) -> None:
    """Answer requests until they end. What a backend raises is a reply; what it does worse ends the process."""
    child = _Child(table)
    for line in requests:
        try:
            reply: Reply = child.do(msgspec.json.decode(line, type=Request))
        except AgentError as error:
            reply = Refused(str(error))
        except Exception as error:  # the edge of a backend: a runtime's own classes have nothing else in common
            reply = Refused(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}")
        replies.write(msgspec.json.encode(reply) + b"\n")
        replies.flush()


class _Child:
    def __init__(self, table: Mapping[str, Entry]) -> None:
        self._table = table
        self._sessions: Sessions | None = None
        self._reopen: Callable[[], Backend] | None = None
        self._warm: set[tuple[Way, int]] = set()

    def do(self, request: Request) -> Reply:
        match request:
            case Open():
                return self._open(request)
            case Ask():
                return self._ask()
            case Prove():
                run_on(self._opened().of(0, 1), request.boards)
                return Proved()
            case Measure():
                return self._measure(request)

    def _open(self, request: Open) -> Opened:
        model = Path(request.model) if request.model else None

        def open_for(threads: int) -> Backend:
            return open_backend(request.backend, model, threads=threads, table=self._table)

        first = open_for(request.threads)
        self._sessions = Sessions(first, lambda: open_for(1))
        return Opened(first.versions(), first.network.form)

    def _ask(self) -> Answers:
        backend = self._opened().of(0, 1)
        answers = []
        for number, side in enumerate(CHECK_SIDES):
            spatial, global_ = check_inputs(side)
            which = slice(number, number + 1)
            outputs = backend.evaluate(spatial[which], global_[which])
            value, policy = _softmax(outputs.value[0]), _softmax(outputs.policy[0, 0])
            if policy.shape != (side * side + 1,) or value.shape != (3,):
                raise BackendUnavailable(f"the outputs have shapes {outputs.policy.shape} and {outputs.value.shape}")
            if not all(np.isfinite(part).all() for part in (*outputs, value, policy)):
                raise BackendUnavailable("an output is not a finite number")
            answers.append(Answer(f"{side}x{side}", tuple(value.tolist()), tuple(policy.tolist())))
        return Answers(tuple(answers))

    def _measure(self, request: Measure) -> Measured:
        sessions, way = self._opened(), Way(request.threads, request.sessions, request.batch)
        if way.sessions == 1:
            sessions.close_others()  # or their memory would count as this way's
        sessions.provide(way.sessions, lambda _: True)
        _reset_peak()
        spatial, global_ = check_inputs(request.side)
        clock = undisturbed_clock if request.undisturbed else time.monotonic
        bench = RawBench(sessions, spatial, global_, request.seconds, clock)
        evaluations, seconds = bench.measure(way, warm=(way, request.side) not in self._warm)
        self._warm.add((way, request.side))
        return Measured(evaluations, seconds, peak_rss_bytes())

    def _opened(self) -> Sessions:
        if self._sessions is None:
            raise BackendUnavailable("no network was opened")
        return self._sessions


def _softmax(logits: Array) -> Array:
    exponents = np.exp(logits - logits.max())
    return np.asarray(exponents / exponents.sum(), np.float32)


def undisturbed_clock(schedstat: Path = _SCHEDSTAT) -> float:
    """Seconds, without those in which the calling thread was ready to run and had no core (the second field of
    schedstat, Documentation/scheduler/sched-stats.rst of the kernel). Waiting for a lock or a device counts. Where the
    kernel does not tell, all seconds do."""
    try:
        waited_ns = int(schedstat.read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        waited_ns = 0
    return time.monotonic() - waited_ns * 1e-9


def _reset_peak() -> None:
    # A kernel that does not offer it tells the peak since the start, which is no less.
    with contextlib.suppress(OSError):
        _CLEAR_REFS.write_text(_RESET_PEAK)


def peak_rss_bytes() -> int:
    """Of this process, by /proc; 0 where there is none."""
    try:
        lines = _STATUS.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)
    except (OSError, IndexError, ValueError):
        return 0
