"""The process `agent engine`: runtime and search behind a socket pair. Start at `run_worker`.

One thread, the main one, reads requests and sends heartbeats; the player's threads send reports as they come. What goes
over the socket is in `messages.py`. The worker ends when its socket closes, or after it said `EngineFailed`.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.engine import library
from agent.engine.backends import BACKENDS, Backend, Entry
from agent.engine.backends.human_style import Imitator
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
)
from agent.engine.player import Player
from agent.engine.worker_socket import Connection, Frames, FrontGarbage, resident_bytes
from agent.errors import AgentError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerOptions:
    """What the command line says. `model` is a converted network, None for backends without one. `sessions` is 1, which
    all threads share, or one for each of the `threads`. `human_profile` is whom a human-style network imitates where no
    request names somebody else."""

    backend: str
    model: Path | None
    threads: int
    batch: int
    cache_positions: int
    seed: int
    sessions: int = 1
    human_profile: str = ""


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
            options.backend,
            options.model,
            threads=options.threads,
            sessions=options.sessions,
            table=backends,
            human_profile=options.human_profile,
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
        human_profile=network.human_profile,
        imitates_anybody=isinstance(backend, Imitator),
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
