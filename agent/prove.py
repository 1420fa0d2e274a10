"""The proof that `agent run --once` gives: a move from the engine, and a metric that went to the broker and back."""

from __future__ import annotations

import asyncio
from typing import Final

from agent.engine.messages import Engine, Position, RawReport, SearchReport, SearchRequest
from agent.engine.points import BLACK, vertex
from agent.engine.rules import Rules
from agent.errors import ProofFailed
from agent.events import ChainStep, Reporter
from agent.telemetry import topics
from agent.telemetry.mqtt import Link
from agent.waiting import within

# A first move on the slowest supported board with its profile's visits, and one report interval.
MOVE_S: Final = 300.0
METRIC_S: Final = 60.0


async def prove(
    device_id: str, visits: int, engine: Engine, link: Link, reporter: Reporter, *, patience_s: float = METRIC_S
) -> None:
    """Wait until one move was analysed and one metric of this device came back from the broker.

    Raises ProofFailed.
    """
    metric = asyncio.Event()

    def hear(topic: str, payload: bytes) -> None:
        found = topics.parse(topic)
        if found and found.channel == "m" and payload:
            metric.set()

    link.subscribe(topics.measurement(device_id, "engine"), hear)
    answered: asyncio.Future[SearchReport] = asyncio.get_running_loop().create_future()
    empty = Position(x_size=19, y_size=19, rules=Rules(), komi=7.5)
    request = SearchRequest(id=engine.next_id(), position=empty, player=BLACK, max_visits=visits)
    engine.submit(request, lambda report: _take_final(report, answered))
    try:
        move = await within(answered, MOVE_S)
    except asyncio.TimeoutError as error:
        raise ProofFailed(f"no move within {MOVE_S:.0f} s") from error
    if move.error is not None or move.chosen is None:
        raise ProofFailed(f"no move: {move.error or 'the search chose none'}")
    best = f", {move.root.winrate:.1%} for White" if move.root else ""
    reporter.report(ChainStep("move", f"{vertex(move.chosen, 19, 19)} after {request.max_visits} visits{best}"))
    try:
        await within(metric.wait(), patience_s)
    except asyncio.TimeoutError as error:
        raise ProofFailed(f"no metric came back from the broker within {patience_s:.0f} s: {link.trouble}") from error
    reporter.report(ChainStep("metric", f"came back from the broker at {link.address}"))


def _take_final(report: SearchReport | RawReport, answered: asyncio.Future[SearchReport]) -> None:
    if isinstance(report, SearchReport) and report.final and not answered.done():
        answered.set_result(report)
