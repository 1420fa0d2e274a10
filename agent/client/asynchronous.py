"""The client for asyncio. Start reading at `AsyncAnalysisClient`; the connection is `link.py`'s."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Any, Final, TypeVar

import msgspec

from agent.client.conversation import Done
from agent.client.endpoints import CONNECT_S, START_S, Endpoint, Retries, Stdio, endpoint_of
from agent.client.link import Link
from agent.client.query import Query
from agent.client.results import Analysis, EngineVersion, EngineWarning, Model
from agent.client.stream import AnalysisStream
from agent.errors import AnalysisTerminated, AnalysisTimeout, AnswerUnreadable
from agent.waiting import within

T = TypeVar("T")

RETRIES: Final = Retries()


class AsyncAnalysisClient:
    """Asks an analysis engine; any number of queries may wait at once. Use it as an async context manager.

    `endpoint` is an address, the command of an engine as a list, or an `Endpoint`. `connect_s` is how long it may take
    until the engine says its version (default: 10 s for a service, 10 minutes for an engine that we start). `timeout_s`
    is how long `analyze` and its like wait for their whole answer, and a stream for its next report, where the call
    does not say otherwise; None is without limit.
    """

    def __init__(
        self,
        endpoint: Endpoint | str | Sequence[str],
        *,
        connect_s: float | None = None,
        timeout_s: float | None = None,
        retries: Retries = RETRIES,
    ) -> None:
        self.endpoint = endpoint_of(endpoint)
        usual_s = START_S if isinstance(self.endpoint, Stdio) else CONNECT_S
        self._link = Link(self.endpoint, connect_s if connect_s is not None else usual_s, retries)
        self._timeout_s = timeout_s

    # ------------------------------------------------------------ life

    async def __aenter__(self) -> AsyncAnalysisClient:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect, or start the engine, and hear its version. Again is nothing, but where the engine was given up.

        Raises:
            EngineUnreachable: nobody is there, or says nothing within `connect_s`.
            AnswerUnreadable: somebody is there who does not speak KataGo's analysis protocol.
        """
        await self._link.open()

    async def close(self) -> None:
        """End what still runs and let go of the engine; one that we started ends. Again is nothing."""
        await self._link.close()

    @property
    def engine(self) -> EngineVersion:
        """What the engine said of itself when the connection was opened."""
        return self._link.version

    @property
    def warnings(self) -> tuple[EngineWarning, ...]:
        """The newest that the engine gave, oldest first; see `AnalysisStream.warnings` for those of one query."""
        return tuple(self._link.warnings)

    # ------------------------------------------------------------ queries

    async def analyze(self, query: Query, *, timeout_s: float | None = None) -> Analysis:
        """The final report of the one turn that `query` asks for. Cancelling this terminates the query.

        Raises:
            AnalysisRefused: the engine does not take the query; names the field.
            AnalysisFailed: the engine took it and could not answer.
            AnalysisTerminated: something else terminated it before it began.
            AnalysisTimeout: not within `timeout_s`; the query is terminated.
            AnswerUnreadable: what came is no analysis.
            EngineUnreachable: the connection broke and could not be opened again. The next call tries once more.
            ClientClosed: outside the `async with` block.
            ValueError: `query` asks for several turns; see `analyze_turns`. Also, as TypeError, what JSON cannot hold.
        """
        if len(query.turns) != 1:
            raise ValueError(f"the query asks for {len(query.turns)} turns; use analyze_turns or stream")
        (analysis,) = await self.analyze_turns(query, timeout_s=timeout_s)
        return analysis

    async def analyze_turns(self, query: Query, *, timeout_s: float | None = None) -> tuple[Analysis, ...]:
        """The final reports of all turns that `query` asks for, in the order of the game. Raises as `analyze`."""
        return await self._within(self._final_reports(query), timeout_s)

    async def analyze_all(self, queries: Sequence[Query], *, timeout_s: float | None = None) -> tuple[Analysis, ...]:
        """The final reports of queries of one turn each, all asked at once, in the order of `queries`. Raises as
        `analyze`; the first error terminates the others."""
        asked = [asyncio.ensure_future(self.analyze(query, timeout_s=timeout_s)) for query in queries]
        try:
            return tuple(await asyncio.gather(*asked))
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def stream(self, query: Query, *, timeout_s: float | None = None) -> AnalysisStream:
        """Reports as they come, partial ones too where `query.report_every_s` is set:

            async with client.stream(query) as reports:
                async for report in reports:
                    ...

        Leaving the block terminates what is not answered yet.
        """
        return AnalysisStream(self._link, query, timeout_s if timeout_s is not None else self._timeout_s)

    # ------------------------------------------------------------ actions

    async def models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """The networks that the engine has loaded. Raises as `analyze`."""
        reply = await self._act("query_models", timeout_s)
        try:
            return msgspec.convert(reply.get("models", []), tuple[Model, ...])
        except msgspec.ValidationError as error:
            raise AnswerUnreadable(f"what the engine says of its networks is odd: {error}") from error

    async def clear_cache(self, *, timeout_s: float | None = None) -> None:
        """Make the engine forget its evaluations. Raises as `analyze`."""
        await self._act("clear_cache", timeout_s)

    async def terminate_all(self, *, timeout_s: float | None = None) -> None:
        """End all queries: each answers with what it has. On a native engine those of other clients, too. Raises as
        `analyze`."""
        await self._act("terminate_all", timeout_s)

    # ------------------------------------------------------------ inside

    async def _final_reports(self, query: Query) -> tuple[Analysis, ...]:
        found = {}
        async with AnalysisStream(self._link, query, None) as reports:
            async for report in reports:
                if not report.is_during_search:
                    found[report.turn_number] = report
        if reports.unanswered:
            raise AnalysisTerminated(f"the query was terminated before turn {reports.unanswered[0]} was looked at")
        return tuple(found[turn] for turn in query.turns)

    async def _act(self, action: str, timeout_s: float | None) -> dict[str, Any]:
        return await self._within(self._reply(action), timeout_s)

    async def _reply(self, action: str) -> dict[str, Any]:
        name, mailbox = self._link.act(action)
        try:
            while not isinstance(heard := await mailbox.get(), Done):
                pass
            return heard.reply
        finally:
            self._link.forget(name)

    async def _within(self, answer: Awaitable[T], timeout_s: float | None) -> T:
        patience_s = timeout_s if timeout_s is not None else self._timeout_s
        try:
            return await within(answer, patience_s)
        except asyncio.TimeoutError as error:
            raise AnalysisTimeout(f"no answer from {self.endpoint} within {patience_s:g} s") from error
