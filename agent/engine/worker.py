"""The process `agent engine`: runtime and search behind a socket pair. Start at `run_worker`.

One thread, the main one, reads requests and sends heartbeats; the player's threads send reports as they come. What goes
over the socket is in `messages.py`. The worker ends when its socket closes, or after it said `EngineFailed`.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.engine import library
from agent.engine.backends import BACKENDS, Backend, Entry
from agent.engine.backends.sessions import open_sessions
from agent.engine.messages import (
    HEARTBEAT_S,
    ClearCache,
    EngineFailed,
    EngineReady,
    FrontMessage,
    Heartbeat,
    Ping,
    RawReport,
    RawRequest,
    SearchReport,
    SearchRequest,
    StopRequest,
    WorkerMessage,
)
from agent.engine.player import Player
from agent.errors import AgentError, EngineError

log = logging.getLogger(__name__)

# The largest request is a game of some thousand moves, 10 kB; the front's own limit for reports is the same.
MAX_FRAME_BYTES = 16 * 2**20
_READ_BYTES = 65536
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class FrontGarbage(EngineError):
    """The front sent what is no message."""

    fix = "Front and worker are of different versions; restart the agent."


@dataclass(frozen=True)
class WorkerOptions:
    """What the command line says. `model` is a converted network, None for backends without one. `sessions` is 1, which
    all threads share, or one for each of the `threads`."""

    backend: str
    model: Path | None
    threads: int
    batch: int
    cache_positions: int
    seed: int
    sessions: int = 1


class Frames:
    """Cuts a byte stream into messages, each led by its length as a 4-byte big-endian number. No I/O."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._decoder = msgspec.msgpack.Decoder(FrontMessage)

    def feed(self, data: bytes) -> list[FrontMessage]:
        """The messages that are complete now. Raises FrontGarbage."""
        self._buffer += data
        messages: list[FrontMessage] = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > MAX_FRAME_BYTES:
                raise FrontGarbage(f"the front sent a frame of {length} bytes")
            if len(self._buffer) < 4 + length:
                break
            payload = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            try:
                messages.append(self._decoder.decode(payload))
            except msgspec.MsgspecError as error:
                raise FrontGarbage(f"the front sent no message: {error}") from error
        return messages


class Connection:
    """The worker's end of the socket pair. `send` may be called by any thread."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: WorkerMessage) -> None:
        """Send one message whole. A front that is gone is no error: the main loop sees it too."""
        with self._sending:
            try:
                payload = self._encoder.encode(message)
                self._socket.sendall(len(payload).to_bytes(4, "big") + payload)
            except OSError:
                self.closed = True

    def receive(self) -> bytes:
        """What there is to read; empty at the end."""
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""


def run_worker(
    end: socket.socket,
    options: WorkerOptions,
    clock: Callable[[], float] = time.monotonic,
    backends: Mapping[str, Entry] = BACKENDS,
) -> int:
    """Open the backend, serve until the socket closes, and return the exit status: 0, or 1 after `EngineFailed`."""
    connection = Connection(end)
    try:
        # A core that is missing or of another version is told like a runtime that is.
        library.load()
        backend = open_sessions(
            options.backend, options.model, threads=options.threads, sessions=options.sessions, table=backends
        )
    except AgentError as error:
        connection.send(EngineFailed(reason=str(error), fix=error.fix))
        return 1
    failures: list[AgentError] = []
    wake_read, wake_write = os.pipe()

    def fail(error: AgentError) -> None:
        failures.append(error)
        os.write(wake_write, b"!")

    player = Player(
        backend,
        threads=options.threads,
        batch=options.batch,
        cache_positions=options.cache_positions,
        seed=options.seed,
        clock=clock,
        on_failure=fail,
    )
    connection.send(_ready(backend, options))
    try:
        _serve(connection, player, wake_read, clock)
    except FrontGarbage as error:
        failures.append(error)
    if failures:
        log.error("the worker ends: %s", failures[0])
        connection.send(EngineFailed(reason=str(failures[0]), fix=failures[0].fix))
    player.close()
    return 1 if failures else 0


def _serve(connection: Connection, player: Player, wake: int, clock: Callable[[], float]) -> None:
    """Read requests and send heartbeats until the socket closes or `wake` becomes readable. Raises FrontGarbage."""
    frames = Frames()
    with selectors.DefaultSelector() as selector:
        selector.register(connection, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        next_heartbeat = clock()
        while not connection.closed:
            now = clock()
            if now >= next_heartbeat:
                connection.send(_heartbeat(player))
                next_heartbeat = now + HEARTBEAT_S
            ready = {key.fileobj for key, _ in selector.select(max(0.0, next_heartbeat - clock()))}
            if wake in ready:
                return
            if connection not in ready:
                continue
            data = connection.receive()
            if not data:
                return
            for message in frames.feed(data):
                _handle(message, connection, player)


def _handle(message: FrontMessage, connection: Connection, player: Player) -> None:
    def deliver(report: SearchReport | RawReport) -> None:
        connection.send(report)

    match message:
        case SearchRequest() | RawRequest():
            player.submit(message, deliver)
        case StopRequest():
            player.stop(message.id)
        case ClearCache():
            player.clear_cache()
        case Ping():
            connection.send(_heartbeat(player))


def _ready(backend: Backend, options: WorkerOptions) -> EngineReady:
    network = backend.network
    return EngineReady(
        pid=os.getpid(),
        network=network.name,
        network_version=network.version,
        network_sha256=network.sha256,
        precision=network.precision,
        backend=backend.name,
        threads=options.threads,
        batch=options.batch,
        has_human_sl=bool(network.human_profile),
        runtime_versions=backend.versions(),
    )


def _heartbeat(player: Player) -> Heartbeat:
    totals = player.totals()
    return Heartbeat(
        queued=totals.queued,
        searching=totals.searching,
        visits_total=totals.visits,
        evaluations_total=totals.evaluations,
        cache_hits_total=totals.cache_hits,
        rss_bytes=resident_bytes(),
    )


def resident_bytes() -> int:
    """Memory that this process holds now, by /proc; 0 where there is none."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
