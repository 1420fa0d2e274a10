"""What runs for one thread at a time, and the pool of such that serves several."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from agent.engine.backends.interface import Array, Outputs
from agent.errors import BackendUnavailable


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
        self._closed = False

    @contextlib.contextmanager
    def lend(self, shape: tuple[int, ...]) -> Iterator[RunnerT]:
        """An idle runner, if possible one that is set for `shape`.

        Raises:
            BackendUnavailable: closed; nobody would ever be idle again.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._idle or self._closed)
            if self._closed:
                raise BackendUnavailable("this network was closed", fix="Open the backend again.")
            fitting = (number for number, each in enumerate(self._idle) if each.shape == shape)
            runner = self._idle.pop(next(fitting, -1))
        try:
            yield runner
        finally:
            with self._changed:
                if not self._closed:
                    self._idle.append(runner)
                self._changed.notify()

    def close(self) -> None:
        """Drop them; those that are lent when they come back."""
        with self._changed:
            self._closed = True
            self._idle.clear()
            self._changed.notify_all()
