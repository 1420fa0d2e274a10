"""A real player behind the protocols, in this process and without sockets: whoever waits delivers its reports."""

from __future__ import annotations

import itertools
import queue
from collections.abc import Iterator
from contextlib import contextmanager

from agent.engine.backends.interface import Backend
from agent.engine.messages import EngineReady, RawReport, RawRequest, ReportSink, SearchReport, SearchRequest
from agent.engine.player import Player
from agent.service.gtp import GtpConnection
from agent.service.options import ServiceOptions
from agent.service.outputs import ClearCache, Close, Output, Send, Stop, Submit

WAIT_S = 120.0


class LocalEngine:
    """`messages.Engine` over a player. `deliver_next` hands one report to its request's sink."""

    def __init__(self, player: Player, ready: EngineReady) -> None:
        self.ready: EngineReady | None = ready
        self._player = player
        self._ids = itertools.count(1)
        self._reports: queue.Queue[tuple[ReportSink, SearchReport | RawReport]] = queue.Queue()

    def submit(self, request: SearchRequest | RawRequest, deliver: ReportSink) -> None:
        self._player.submit(request, lambda report: self._reports.put((deliver, report)))

    def stop(self, request_id: int) -> None:
        self._player.stop(request_id)

    def clear_cache(self) -> None:
        self._player.clear_cache()

    def next_id(self) -> int:
        return next(self._ids)

    def deliver_next(self, timeout_s: float = WAIT_S) -> SearchReport | RawReport:
        """Raises queue.Empty."""
        sink, report = self._reports.get(timeout=timeout_s)
        sink(report)
        return report


class LocalGtp:
    """One GTP client of a `LocalEngine`; `reports` are all that came for it."""

    def __init__(self, engine: LocalEngine, options: ServiceOptions | None = None, seed: int | None = 1) -> None:
        self._engine = engine
        self.connection = GtpConnection(options or ServiceOptions(), engine.next_id, lambda: engine.ready, seed)
        self.output = b""
        self.submitted: list[SearchRequest | RawRequest] = []
        self.reports: list[SearchReport | RawReport] = []
        self._running: set[int] = set()

    @property
    def is_busy(self) -> bool:
        """Whether the engine owes this client a last report, other than of pondering that goes on."""
        return bool(self._running)

    def ask(self, line: str) -> str:
        """Give a line and wait for the whole reply."""
        before, replies = len(self.output), self.output.count(b"\n\n")
        self.line(line)
        while self.output.count(b"\n\n") == replies:
            self._engine.deliver_next()
        return self.output[before:].decode()

    def line(self, line: str) -> bytes:
        """Give a line; what was sent at once."""
        before = len(self.output)
        self._carry_out(self.connection.receive_line(line.encode()))
        return self.output[before:]

    def next_report(self) -> SearchReport | RawReport:
        return self._engine.deliver_next()

    def _deliver(self, report: SearchReport | RawReport) -> None:
        self.reports.append(report)
        if isinstance(report, RawReport) or report.final:
            self._running.discard(report.id)
        self._carry_out(self.connection.receive_report(report))

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            if isinstance(output, Send):
                self.output += output.data
            elif isinstance(output, Submit):
                self.submitted.append(output.request)
                if isinstance(output.request, RawRequest) or not output.request.background:
                    self._running.add(output.request.id)
                self._engine.submit(output.request, self._deliver)
            elif isinstance(output, Stop):
                # A search of this client may wait for its last report.
                self._running.add(output.request_id)
                self._engine.stop(output.request_id)
            elif isinstance(output, ClearCache):
                self._engine.clear_cache()
            else:
                assert isinstance(output, Close)


@contextmanager
def local_engine(backend: Backend, *, threads: int = 1, batch: int = 1, seed: int = 1) -> Iterator[LocalEngine]:
    network = backend.network
    ready = EngineReady(
        pid=0,
        network=network.name,
        network_version=network.version,
        network_sha256=network.sha256,
        precision=network.precision,
        backend=backend.name,
        threads=threads,
        batch=batch,
    )
    player = Player(backend, threads=threads, batch=batch, cache_positions=20_000, seed=seed)
    try:
        yield LocalEngine(player, ready)
    finally:
        player.close()
