"""The worker as a child process: start it, talk to it, end it. What to do when is `recovery.py`'s to say.

Start reading at `Supervisor`, the service's `messages.Engine`. Front and worker share a socket pair; when either end
dies the other one reads end-of-file at once, so no death goes unnoticed and no worker is left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from agent.engine.messages import (
    EngineReady,
    FrontMessage,
    Heartbeat,
    RawRequest,
    ReportSink,
    SearchRequest,
    WorkerMessage,
)
from agent.events import Reporter
from agent.service.recovery import Action, Deliver, Kill, Limits, Recovery, Send, Start, Tell

log = logging.getLogger(__name__)

# The largest report is moves' ownership on 19×19: 362 moves × 361 points × 9 bytes, twice with deviations.
MAX_FRAME_BYTES: Final = 16 * 2**20
# So much of what the worker says is read before it is looked at; a longer frame is gathered all the same. Above twice
# that the worker waits, instead of the front's memory growing.
READ_AHEAD_BYTES: Final = 64 * 1024
# A killed process is gone in milliseconds unless it hangs in the kernel; then we go on without waiting for it.
REAP_S: Final = 5.0
# At an orderly end: so long for the worker to end by itself when its socket closes.
GOODBYE_S: Final = 1.0
# The kernel's out-of-memory killer should take the worker, which can be replaced, and not the front (0).
OOM_SCORE: Final = 500

_SIGNALS: Final[dict[int, str]] = {
    signal.SIGKILL: "was killed (SIGKILL); if nobody did it, memory ran out: `journalctl -k | grep -i oom`",
    signal.SIGILL: "met an illegal instruction; the network runtime was not built for this processor",
    signal.SIGBUS: "met a bus error; the disk with the network may be failing",
}

encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(WorkerMessage)


def frame(payload: bytes) -> bytes:
    """The payload led by its length, as it goes over the socket pair."""
    return len(payload).to_bytes(4, "big") + payload


class Status(msgspec.Struct, frozen=True):
    """What the supervisor knows at one moment. `state` as in `Recovery`."""

    state: str
    reason: str
    fix: str
    pid: int | None
    restarts: int
    outstanding: int
    ready: EngineReady | None
    heartbeat: Heartbeat | None
    ticked_s: float
    fallen_reason: str = ""
    fallen_fix: str = ""


class Supervisor:
    """`messages.Engine` over one supervised child process. `command` starts the worker, `fallback`, where there is one,
    another that serves when the first fails; `--fd N` is added to them."""

    def __init__(
        self,
        command: Sequence[str],
        reporter: Reporter,
        *,
        fallback: Sequence[str] = (),
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._commands = (tuple(command), *([tuple(fallback)] if fallback else []))
        self._reporter = reporter
        self._limits = limits or Limits()
        self._clock = clock
        self._recovery = Recovery(self._limits, ways=len(self._commands))
        self._ids = itertools.count(1)
        self._worker: _Worker | None = None
        self._attending: asyncio.Task[None] | None = None
        self._ticked_s = clock()
        self._changed: asyncio.Event | None = None

    # ------------------------------------------------------------ messages.Engine

    @property
    def ready(self) -> EngineReady | None:
        return self._recovery.ready

    def submit(self, request: SearchRequest | RawRequest, deliver: ReportSink) -> None:
        self._do(self._recovery.submit(request, deliver, self._clock()))

    def stop(self, request_id: int) -> None:
        self._do(self._recovery.stop(request_id))

    def clear_cache(self) -> None:
        self._do(self._recovery.clear_cache())

    def next_id(self) -> int:
        return next(self._ids)

    # ------------------------------------------------------------ for the daemon

    @property
    def status(self) -> Status:
        known = self._recovery
        return Status(
            state=known.state,
            reason=known.reason,
            fix=known.fix,
            pid=self._worker.pid if self._worker else None,
            restarts=known.restarts,
            outstanding=known.outstanding,
            ready=known.ready,
            heartbeat=known.heartbeat,
            ticked_s=self._ticked_s,
            fallen_reason=known.fallen_reason,
            fallen_fix=known.fallen_fix,
        )

    def retry(self) -> None:
        """Start again now, also from the degraded state; the first command where the fallback serves."""
        self._do(self._recovery.begin(self._clock()))

    async def settled(self) -> Status:
        """Wait until the worker is up, or degraded."""
        while self._recovery.state not in ("up", "degraded"):
            self._changed = self._changed or asyncio.Event()
            await self._changed.wait()
        return self.status

    async def run(self) -> None:
        """Keep a worker running until cancelled; then end it. Raises what the reporter does."""
        try:
            self._do(self._recovery.begin(self._clock()))
            while True:
                await asyncio.sleep(self._limits.tick_s)
                if self._attending is not None and self._attending.done():
                    # A fault of ours in there must end the daemon, which systemd starts again, not leave it deaf; so
                    # it is looked at before the next worker is started.
                    self._attending.result()
                self._ticked_s = self._clock()
                self._do(self._recovery.tick(self._ticked_s))
        finally:
            await self._end()

    async def _end(self) -> None:
        attending, worker = self._attending, self._worker
        if attending is None:
            return
        attending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            # Its fault, if it has one, `run` raises.
            await asyncio.gather(attending, return_exceptions=True)
        if worker is not None:
            await worker.end()

    # ------------------------------------------------------------ doing

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                if self._worker is not None:
                    self._worker.send(action.message)
            elif isinstance(action, Deliver):
                # Later, so that a protocol object never hears an answer inside its own question.
                asyncio.get_running_loop().call_soon(_deliver, action)
            elif isinstance(action, Tell):
                self._reporter.report(action.event)
            elif isinstance(action, Kill):
                if self._worker is not None:
                    self._worker.kill(action.reason)
            elif isinstance(action, Start):
                self._attending = asyncio.ensure_future(self._attend(self._commands[action.way]))
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def _attend(self, command: Sequence[str]) -> None:
        """One worker's life, from its start until it is dead and reaped."""
        pid, reason = 0, ""
        try:
            worker = await _Worker.start(command)
        except OSError as error:
            reason = f"the worker could not be started: {error}"
        else:
            self._worker, pid = worker, worker.pid
            reason = await worker.listen(lambda message: self._do(self._recovery.hear(message, self._clock())))
            worker.kill(reason)
            reason = await worker.reap()
            self._worker = None
        log.warning("worker %d: %s", pid, reason)
        self._do(self._recovery.gone(pid, reason, self._clock()))


def _deliver(action: Deliver) -> None:
    try:
        action.sink(action.report)
    except Exception:
        # The edge to the protocols: one client's fault must not take the engine from the others.
        log.exception("a client could not take its report")


class _Worker:
    """One child process and our end of its socket pair."""

    def __init__(
        self, process: subprocess.Popen[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._reason = ""

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, command: Sequence[str]) -> _Worker:
        """Raises OSError where the child cannot be started."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(
                    [*command, "--fd", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    # stdout may be a GTP connection of our own; nothing but the protocol belongs there.
                    stdout=sys.stderr.fileno(),
                    # Ctrl-C in a terminal is for the front, which ends the worker in order.
                    start_new_session=True,
                )
            with contextlib.suppress(OSError):
                Path(f"/proc/{process.pid}/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
            ours.setblocking(False)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=READ_AHEAD_BYTES)
        except BaseException:
            # A child that is there already ends at this.
            ours.close()
            raise
        return cls(process, reader, writer)

    def send(self, message: FrontMessage) -> None:
        if not self._writer.is_closing():
            self._writer.write(frame(encode(message)))

    async def listen(self, hear: Callable[[WorkerMessage], None]) -> str:
        """Hand on every message until the socket ends or holds garbage; the reason is returned."""
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(4), "big")
                if length > MAX_FRAME_BYTES:
                    return f"the worker sent garbage (a frame of {length} bytes)"
                message = _decoder.decode(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, OSError):
                return ""
            except msgspec.MsgspecError as error:
                return f"the worker sent garbage ({error})"
            hear(message)

    def kill(self, reason: str) -> None:
        """SIGKILL, which also ends a stopped process. The first reason stands."""
        self._reason = self._reason or reason
        if self._process.poll() is None and self._reason:
            self._process.kill()
        self._writer.transport.abort()

    async def reap(self) -> str:
        """Wait for the death; the reason is `kill`'s, else what the exit status tells."""
        code = await self._exit_status(GOODBYE_S)
        if code is None:
            self._process.kill()
            code = await self._exit_status(REAP_S)
        if self._reason:
            return self._reason
        if code is None:
            return "the worker hangs in the kernel and was left behind"
        if code >= 0:
            return f"the worker ended with status {code}"
        return f"the worker {_SIGNALS.get(-code) or f'died of signal {-code} ({signal.strsignal(-code)})'}"

    async def end(self) -> None:
        """The orderly end: close the socket, and kill what does not go by itself."""
        self._writer.transport.abort()
        if await self._exit_status(GOODBYE_S) is None:
            self._process.kill()
            await self._exit_status(REAP_S)

    async def _exit_status(self, patience_s: float) -> int | None:
        # Polled: a pidfd needs Linux 5.3, a child watcher of asyncio costs a thread for each worker.
        deadline = time.monotonic() + patience_s
        while self._process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        return self._process.returncode
