"""The protocols that can be served: for `serve.py`, a function from an engine to a new client's connection."""

from __future__ import annotations

from agent.engine.messages import Engine
from agent.service.analysis import AnalysisConnection
from agent.service.gtp import GtpConnection
from agent.service.options import ServiceOptions
from agent.service.serve import MakeConnection


def gtp(options: ServiceOptions) -> MakeConnection:
    def make(engine: Engine) -> GtpConnection:
        return GtpConnection(options, engine.next_id, lambda: engine.ready)

    return make


def analysis(options: ServiceOptions, *, quit_without_waiting: bool = False) -> MakeConnection:
    def make(engine: Engine) -> AnalysisConnection:
        return AnalysisConnection(
            options, engine.next_id, lambda: engine.ready, quit_without_waiting=quit_without_waiting
        )

    return make
