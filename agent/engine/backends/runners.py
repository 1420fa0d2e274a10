"""What runs for one thread at a time, and the pool of such that serves several."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from agent.engine.backends.interface import Array, Outputs


class Runner(Protocol):
    """A loaded network that one thread uses at a time. It is set for one shape of input; changing that costs time."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the last spatial input."""

    def run(self, spatial: Array, global_: Array) -> Outputs:
        """As `Backend.evaluate`, of contiguous inputs."""


RunnerT = TypeVar("RunnerT", bound=Runner)


class Runners(Generic[RunnerT]):
    """Lends its runners to threads; where all are lent, a thread waits."""

    def __init__(self, runners: Sequence[RunnerT]) -> None:
        """`runners` are at least one."""
        self._idle = list(runners)
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def lend(self, shape: tuple[int, ...]) -> Iterator[RunnerT]:
        """An idle runner, if possible one that is set for `shape`."""
        with self._changed:
            while not self._idle:
                self._changed.wait()
            fitting = (number for number, each in enumerate(self._idle) if each.shape == shape)
            runner = self._idle.pop(next(fitting, -1))
        try:
            yield runner
        finally:
            with self._changed:
                self._idle.append(runner)
                self._changed.notify()

    def close(self) -> None:
        """Drop them. None may be lent."""
        self._idle.clear()
