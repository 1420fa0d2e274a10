"""The reports of one query, as they come."""

from __future__ import annotations

import asyncio
from types import TracebackType

from agent.client.conversation import Heard, Report, Unanswered
from agent.client.link import Link
from agent.client.mailbox import Mailbox, is_last
from agent.client.query import Query
from agent.client.results import Analysis, EngineWarning
from agent.errors import AnalysisTimeout, ClientClosed
from agent.waiting import within


class AnalysisStream:
    """The reports of one query; `AsyncAnalysisClient.stream` makes it. `unanswered` are turns that were terminated
    before the engine looked at them, `warnings` what it found odd in the query."""

    def __init__(self, link: Link, query: Query, timeout_s: float | None) -> None:
        self.query = query
        self.warnings: list[EngineWarning] = []
        self.unanswered: list[int] = []
        self._link = link
        self._timeout_s = timeout_s
        self._name = ""
        self._mailbox: Mailbox | None = None
        self._is_over = False

    async def __aenter__(self) -> AnalysisStream:
        self._name, self._mailbox = self._link.ask(self.query)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._is_over = True
        self._link.forget(self._name)

    async def terminate(self) -> None:
        """Make the engine stop now. Its final reports, with what it has found so far, still come."""
        self._link.terminate(self._name)

    def __aiter__(self) -> AnalysisStream:
        return self

    async def __anext__(self) -> Analysis:
        """The next report. Raises as `AsyncAnalysisClient.analyze`."""
        while not self._is_over:
            heard = await self._next()
            self._is_over = is_last(heard)
            if isinstance(heard, EngineWarning):
                self.warnings.append(heard)
            elif isinstance(heard, Unanswered):
                self.unanswered.append(heard.turn)
            elif isinstance(heard, Report):
                return heard.analysis
        raise StopAsyncIteration

    async def _next(self) -> Heard:
        if self._mailbox is None:
            raise ClientClosed("the stream is not open")
        try:
            return await within(self._mailbox.get(), self._timeout_s)
        except asyncio.TimeoutError as error:
            self._is_over = True
            self._link.forget(self._name)
            raise AnalysisTimeout(f"no report within {self._timeout_s:g} s") from error
