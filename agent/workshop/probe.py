"""Whether a backend runs a network on this machine, and how fast, found out in a process that may be lost.

Start at `Probe`. A runtime that meets an instruction that the processor lacks, writes past its memory, or never returns
takes its process with it; the prober gets a sentence instead. What the process does is `probe_child.py`'s.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, TypeVar

import msgspec

from agent.engine.way import Way
from agent.errors import BackendUnavailable
from agent.lifeline import die_with_parent
from agent.settings import own_command
from agent.workshop.probe_messages import (
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

# A session of b18c384nbt opens in 0.9 s on a desktop core; a TensorRT engine that must be built first takes minutes.
OPEN_S: Final = 900.0
# One evaluation of b18c384nbt takes some 8 s on a Cortex-A53, one thread.
ANSWER_S: Final = 120.0
# A measurement ends after its own time and two calls of each thread; a call with 16 positions on a slow core goes in.
MEASURE_S: Final = 300.0

# A child whose replies have ended has ended itself or is about to; writing a core file of 2 GB takes some seconds.
_END_S: Final = 30.0

_READ_BYTES: Final = 1 << 16
_LAST_WORDS: Final = 200
# Signals that say what went wrong better than their names do.
_MEANINGS: Final = {
    signal.SIGILL: "it uses an instruction that this processor lacks",
    signal.SIGSEGV: "it read or wrote memory that is not its own",
    signal.SIGBUS: "it read or wrote memory that is not its own",
    signal.SIGABRT: "it gave up",
    signal.SIGKILL: "it was killed, most likely for want of memory",
    signal.SIGFPE: "it divided by zero",
}

R = TypeVar("R", bound=Reply)


class Probe:
    """A child with at most one network. Use it as a context manager: the child ends with it."""

    def __init__(self, command: Sequence[str] = (), *, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the child; `command` instead of our own `agent probe`.

        Raises:
            BackendUnavailable: no process can be started.
        """
        self._clock = clock
        self._pending = b""
        with contextlib.ExitStack() as stack:
            try:
                # Closed with the child, in `close`.
                self._errors = stack.enter_context(tempfile.TemporaryFile())
                self._child = subprocess.Popen(
                    [*(command or (*own_command(), "probe"))],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=self._errors,
                    preexec_fn=die_with_parent,
                )
            except OSError as error:
                raise BackendUnavailable(f"no process to try it in: {error.strerror or error}") from error
            stack.pop_all()

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    def open(self, backend: str, model: str, threads: int, patience_s: float = OPEN_S) -> Opened:
        """Load `model` (a path; empty: none) for `threads` callers.

        Raises:
            BackendUnavailable: it does not load, crashes or takes longer than `patience_s`; says which.
        """
        return self._ask(Open(backend, model, threads), Opened, patience_s)

    def answers(self, patience_s: float = ANSWER_S) -> Answers:
        """What the network says of the check's positions. Raises BackendUnavailable as `open`, also for a number that
        is not finite."""
        return self._ask(Ask(), Answers, patience_s)

    def prove(self, boards: Sequence[tuple[int, int]], patience_s: float = MEASURE_S) -> Proved:
        """Run positions on `boards` (columns, rows). Raises BackendUnavailable as `answers`."""
        return self._ask(Prove(tuple(boards)), Proved, patience_s)

    def measure(
        self, way: Way, side: int, seconds: float, *, undisturbed: bool = False, patience_s: float = MEASURE_S
    ) -> Measured:
        """Call the network for about `seconds`; `undisturbed` leaves out the time in which other processes had the
        cores. Raises BackendUnavailable as `open`."""
        request = Measure(way.threads, way.sessions, way.batch, side, seconds, undisturbed)
        return self._ask(request, Measured, seconds + patience_s)

    def close(self) -> None:
        """End the child at once: it has nothing to lose."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout):
            assert stream is not None
            # The child may have died with a request unread.
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._errors.close()

    # ------------------------------------------------------------ requests and replies

    def _ask(self, request: Request, kind: type[R], patience_s: float) -> R:
        stdin = self._child.stdin
        assert stdin is not None
        try:
            stdin.write(msgspec.json.encode(request) + b"\n")
            stdin.flush()
        except OSError as error:
            raise BackendUnavailable(self._end(patience_s)) from error
        try:
            reply = msgspec.json.decode(self._line(patience_s), type=Reply)
        except msgspec.MsgspecError as error:
            raise BackendUnavailable(f"it answered nonsense: {error}") from error
        if isinstance(reply, Refused):
            raise BackendUnavailable(reply.reason)
        if not isinstance(reply, kind):
            raise BackendUnavailable(f"it answered {type(reply).__name__} to {type(request).__name__}")
        return reply

    def _line(self, patience_s: float) -> bytes:
        stdout = self._child.stdout
        assert stdout is not None
        deadline = self._clock() + patience_s
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(max(0.0, deadline - self._clock())):
                    self._child.kill()
                    self._child.wait()
                    raise BackendUnavailable(f"it hung: no answer within {patience_s:g} s")
                data = os.read(stdout.fileno(), _READ_BYTES)
                if not data:
                    raise BackendUnavailable(self._end(patience_s))
                self._pending += data
        line, self._pending = self._pending.split(b"\n", 1)
        return line

    def _end(self, patience_s: float) -> str:
        """Why the child is gone, or no longer answers."""
        try:
            status = self._child.wait(min(_END_S, patience_s))
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
            return "it closed its end and did not end"
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _LAST_WORDS))
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        said = f" ({words[-1].strip()})" if words else ""
        if status >= 0:
            return f"its process ended with status {status}{said}"
        number = signal.Signals(-status)
        meaning = _MEANINGS.get(number, "it was ended")
        return f"it crashed with {number.name}: {meaning}{said}"
