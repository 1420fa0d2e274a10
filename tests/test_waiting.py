"""Waiting with a limit: what is cancelled stays cancelled, and nothing is left running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from agent.waiting import holds_unsent, running, within

# No scene waits for it; it ends those that hang.
LIMIT_S = 60.0


def play(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


async def for_ever(log: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        # Whoever clears up may have to wait, too.
        await asyncio.sleep(0)
        log.append("ended")


@pytest.mark.parametrize("seconds", [LIMIT_S, None])
def test_the_result_or_the_error_comes_through(seconds: float | None) -> None:
    async def result() -> int:
        await asyncio.sleep(0)
        return 7

    async def error() -> int:
        await asyncio.sleep(0)
        raise OSError("gone")

    async def scene() -> None:
        assert await within(result(), seconds) == 7
        with pytest.raises(OSError, match="gone"):
            await within(error(), seconds)
        there: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        there.set_result(8)
        assert await within(there, seconds) == 8

    play(scene())


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_what_takes_longer_has_ended_when_that_is_told(seconds: float) -> None:
    async def scene() -> None:
        log: list[str] = []
        with pytest.raises(asyncio.TimeoutError):
            await within(for_ever(log), seconds)
        assert log == ["ended"]

    play(scene())


def test_a_result_that_comes_while_the_work_is_ended_is_not_lost() -> None:
    async def reluctant() -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return 9
        raise AssertionError("nobody sets the event")

    async def scene() -> None:
        assert await within(reluctant(), 0.01) == 9

    play(scene())


@pytest.mark.parametrize("seconds", [LIMIT_S, None])
def test_the_work_of_a_cancelled_caller_has_ended_with_it(seconds: float | None) -> None:
    async def scene() -> None:
        log: list[str] = []
        caller = asyncio.ensure_future(within(for_ever(log), seconds))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        assert log == ["ended"]

    play(scene())


@pytest.mark.parametrize("error", [None, OSError("gone")])
def test_a_caller_cancelled_in_the_turn_in_which_the_result_arrives_is_cancelled(error: OSError | None) -> None:
    """`asyncio.wait_for` before Python 3.12 gave the result instead, and the caller went on for ever."""

    async def scene() -> None:
        loop = asyncio.get_running_loop()
        unseen: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: unseen.append(context))
        answer: asyncio.Future[int] = loop.create_future()
        caller = asyncio.ensure_future(within(answer, LIMIT_S))
        await asyncio.sleep(0)
        if error is None:
            answer.set_result(7)
        else:
            answer.set_exception(error)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        del answer, caller
        assert not unseen

    play(scene())


def test_work_that_was_cancelled_by_somebody_else_is_not_called_late() -> None:
    async def scene() -> None:
        work = asyncio.ensure_future(for_ever([]))
        asyncio.get_running_loop().call_soon(work.cancel)
        with pytest.raises(asyncio.CancelledError):
            await within(work, LIMIT_S)

    play(scene())


@pytest.mark.parametrize("error", [None, OSError("gone")])
def test_what_goes_on_beside_a_block_has_ended_with_it(error: OSError | None) -> None:
    async def scene() -> None:
        log: list[str] = []
        with contextlib.suppress(OSError):
            async with running(for_ever(log)) as task:
                await asyncio.sleep(0)
                assert not task.done()
                if error is not None:
                    raise error
        assert log == ["ended"] and task.cancelled()

    play(scene())


class Holding(asyncio.WriteTransport):
    """Holds so many bytes; None is a lost connection, as TLS in Python 3.10 has it."""

    def __init__(self, size: int | None) -> None:
        super().__init__()
        self._size = size

    def get_write_buffer_size(self) -> int:
        if self._size is None:
            raise AttributeError("'NoneType' object has no attribute 'get_write_buffer_size'")
        return self._size


@pytest.mark.parametrize(("size", "expected"), [(0, False), (1, True), (None, False)])
def test_a_lost_connection_holds_nothing(size: int | None, expected: bool) -> None:
    assert holds_unsent(Holding(size)) is expected
