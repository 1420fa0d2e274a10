"""Waiting for something that may not come, and doing something meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(work: Awaitable[T], seconds: float | None) -> T:
    """What `work` gives, if it does so within `seconds` (None: whenever); otherwise it is cancelled, and has ended when
    this does.

    The same as `asyncio.wait_for`, which before Python 3.12 forgets that its caller was cancelled where the result
    arrives in the same turn of the event loop. The caller then goes on for ever, and whoever cancelled it waits for
    ever (https://github.com/python/cpython/issues/86296).

    Raises:
        asyncio.TimeoutError: it took longer.
    """
    if seconds is None:
        return await work
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task,), timeout=seconds)
    except asyncio.CancelledError:
        await _end(task)
        raise
    if not task.done():
        await _end(task)
        if task.cancelled():
            raise asyncio.TimeoutError
    return task.result()


async def _end(task: asyncio.Future[T]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        # Seen, so that asyncio does not report it as an error that nobody saw.
        task.exception()


@contextlib.asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Future[None]]:
    """The work goes on beside the block and ends with it."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def holds_unsent(transport: asyncio.WriteTransport) -> bool:
    """Whether bytes wait that the other end has not taken; none do where the connection is lost."""
    try:
        return transport.get_write_buffer_size() > 0
    except AttributeError:
        # Python 3.10's TLS, once the connection is lost.
        return False
