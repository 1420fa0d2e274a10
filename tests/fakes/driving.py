"""Carries out what a protocol object wants, with the scripted engine and without I/O."""

from __future__ import annotations

from fakes.engine import FakeEngine

from agent.engine.messages import RawReport, SearchReport
from agent.service.analysis import AnalysisConnection
from agent.service.gtp import GtpConnection
from agent.service.options import ServiceOptions
from agent.service.outputs import ClearCache, Close, Connection, Output, Send, Stop, Submit


class Driver:
    """`output` collects what was sent; `is_closed` tells that the connection wanted to end."""

    def __init__(self, connection: Connection, engine: FakeEngine) -> None:
        self.connection = connection
        self.engine = engine
        self.output = b""
        self.is_closed = False

    def line(self, text: str | bytes) -> bytes:
        """Give a line; what was sent at once because of it."""
        before = len(self.output)
        self._carry_out(self.connection.receive_line(text.encode() if isinstance(text, str) else text))
        return self.output[before:]

    def release(self, *, final: bool = True) -> bytes:
        """Let the engine answer its oldest request; what was sent because of it."""
        before = len(self.output)
        self.engine.release(final=final)
        return self.output[before:]

    def report(self, report: SearchReport | RawReport) -> bytes:
        before = len(self.output)
        self.engine.report(report)
        return self.output[before:]

    def ask(self, text: str | bytes) -> bytes:
        """Give a line and let the engine answer all that is asked of it."""
        before = len(self.output)
        self.line(text)
        while self.engine.waiting:
            self.engine.release()
        return self.output[before:]

    def end(self) -> bytes:
        before = len(self.output)
        self._carry_out(self.connection.receive_end())
        return self.output[before:]

    def deliver(self, report: SearchReport | RawReport) -> None:
        self._carry_out(self.connection.receive_report(report))

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            assert not self.is_closed, "nothing may follow Close"
            if isinstance(output, Send):
                self.output += output.data
            elif isinstance(output, Submit):
                self.engine.submit(output.request, self.deliver)
            elif isinstance(output, Stop):
                self.engine.stop(output.request_id)
            elif isinstance(output, ClearCache):
                self.engine.clear_cache()
            elif isinstance(output, Close):
                self.is_closed = True


def gtp(options: ServiceOptions | None = None, engine: FakeEngine | None = None, seed: int | None = 1) -> Driver:
    engine = engine or FakeEngine()
    return Driver(GtpConnection(options or ServiceOptions(), engine.next_id, lambda: engine.ready, seed), engine)


def analysis(options: ServiceOptions | None = None, *, quit_without_waiting: bool = False) -> Driver:
    engine = FakeEngine()
    connection = AnalysisConnection(
        options or ServiceOptions(),
        engine.next_id,
        lambda: engine.ready,
        quit_without_waiting=quit_without_waiting,
    )
    return Driver(connection, engine)
