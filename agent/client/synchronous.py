"""The client for programs without asyncio: `AsyncAnalysisClient` on an event loop in a thread of its own.

Any number of threads may ask at once. Ctrl-C while waiting terminates the query.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

from agent.client.asynchronous import RETRIES, AsyncAnalysisClient
from agent.client.endpoints import Endpoint, Retries
from agent.client.query import Query
from agent.client.results import Analysis, EngineVersion, EngineWarning, Model
from agent.client.stream import AnalysisStream
from agent.client.transports import CLOSE_S
from agent.errors import ClientClosed

T = TypeVar("T")


class AnalysisClient:
    """Asks an analysis engine. Use it as a context manager. Arguments, results and errors as `AsyncAnalysisClient`'s.

    A method that `AsyncAnalysisClient` has, too, does the same.
    """

    def __init__(
        self,
        endpoint: Endpoint | str | Sequence[str],
        *,
        connect_s: float | None = None,
        timeout_s: float | None = None,
        retries: Retries = RETRIES,
    ) -> None:
        self._client = AsyncAnalysisClient(endpoint, connect_s=connect_s, timeout_s=timeout_s, retries=retries)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        # What is asked goes into the loop before it is stopped, or not at all.
        self._door = threading.Lock()
        # Who closes second waits for the first, so that the engine has its time to end.
        self._closing = threading.RLock()

    def __enter__(self) -> AnalysisClient:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """As `AsyncAnalysisClient.open`."""
        if self._loop is not None:
            return self.wait_for(self._client.open())
        loop = self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=_run, args=(loop,), name="analysis client", daemon=True)
        self._thread.start()
        try:
            self.wait_for(self._client.open())
        except BaseException:
            self._end_loop(loop)
            raise

    def close(self) -> None:
        """As `AsyncAnalysisClient.close`."""
        with self._closing:
            loop = self._loop
            if loop is None:
                return
            try:
                # Another thread that could not open it may have ended the loop.
                with contextlib.suppress(ClientClosed):
                    self.wait_for(self._client.close())
            finally:
                self._end_loop(loop)

    @property
    def engine(self) -> EngineVersion:
        """What the engine said of itself when the connection was opened."""
        return self._client.engine

    @property
    def warnings(self) -> tuple[EngineWarning, ...]:
        """The newest that the engine gave, oldest first."""
        return self._client.warnings

    def analyze(self, query: Query, *, timeout_s: float | None = None) -> Analysis:
        """As `AsyncAnalysisClient.analyze`."""
        return self.wait_for(self._client.analyze(query, timeout_s=timeout_s))

    def analyze_turns(self, query: Query, *, timeout_s: float | None = None) -> tuple[Analysis, ...]:
        """As `AsyncAnalysisClient.analyze_turns`."""
        return self.wait_for(self._client.analyze_turns(query, timeout_s=timeout_s))

    def analyze_all(self, queries: Sequence[Query], *, timeout_s: float | None = None) -> tuple[Analysis, ...]:
        """As `AsyncAnalysisClient.analyze_all`."""
        return self.wait_for(self._client.analyze_all(queries, timeout_s=timeout_s))

    def stream(self, query: Query, *, timeout_s: float | None = None) -> SyncAnalysisStream:
        """As `AsyncAnalysisClient.stream`, with plain `with` and `for`."""
        return SyncAnalysisStream(self, self._client.stream(query, timeout_s=timeout_s))

    def models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """As `AsyncAnalysisClient.models`."""
        return self.wait_for(self._client.models(timeout_s=timeout_s))

    def clear_cache(self, *, timeout_s: float | None = None) -> None:
        """As `AsyncAnalysisClient.clear_cache`."""
        self.wait_for(self._client.clear_cache(timeout_s=timeout_s))

    def terminate_all(self, *, timeout_s: float | None = None) -> None:
        """As `AsyncAnalysisClient.terminate_all`."""
        self.wait_for(self._client.terminate_all(timeout_s=timeout_s))

    def wait_for(self, answer: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine of the asynchronous client to its end."""
        with self._door:
            if self._loop is None:
                answer.close()
                raise ClientClosed("the client is not open")
            waiting = asyncio.run_coroutine_threadsafe(answer, self._loop)
        try:
            return waiting.result()
        except concurrent.futures.CancelledError as error:
            raise ClientClosed("the client was closed while this waited") from error
        except BaseException:
            # Ctrl-C, most of all: what runs on must not outlive who asked.
            waiting.cancel()
            raise

    def _end_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing where another thread did so, and perhaps opened the client again since."""
        with self._door:
            if self._loop is not loop:
                return
            thread, self._loop, self._thread = self._thread, None, None
        assert thread is not None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run `loop` until it is stopped, and then whatever is left in it to its end, cancelled: who was interrupted while
    the engine started leaves no engine behind, and who still waits is woken."""
    loop.run_forever()
    # Twice: at first an engine may end in order, then it is killed. asyncio itself waits for ever for a process that it
    # was just about to start.
    for _ in range(2):
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=CLOSE_S))


class SyncAnalysisStream:
    """The reports of one query; `AnalysisClient.stream` makes it. As `AnalysisStream`."""

    def __init__(self, client: AnalysisClient, reports: AnalysisStream) -> None:
        self._client = client
        self._reports = reports

    @property
    def query(self) -> Query:
        return self._reports.query

    @property
    def warnings(self) -> list[EngineWarning]:
        return self._reports.warnings

    @property
    def unanswered(self) -> list[int]:
        return self._reports.unanswered

    def __enter__(self) -> SyncAnalysisStream:
        self._client.wait_for(self._reports.__aenter__())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # A client that was closed inside the block has let go of its streams.
        with contextlib.suppress(ClientClosed):
            self._client.wait_for(self._reports.__aexit__(kind, error, tb))

    def terminate(self) -> None:
        """As `AnalysisStream.terminate`."""
        self._client.wait_for(self._reports.terminate())

    def __iter__(self) -> Iterator[Analysis]:
        return self

    def __next__(self) -> Analysis:
        try:
            return self._client.wait_for(self._reports.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None
