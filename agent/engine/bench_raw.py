"""The network alone: how fast one way of calling it is. Start at `RawBench.measure`.

A way is how many threads call at once, over how many sessions (1: all share one, as the search does), with how many
positions in each call. Sessions beyond the first are opened for the bench alone, where the memory is there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from agent.engine.backends.interface import Array, Backend
from agent.engine.way import Way


class RawRate(msgspec.Struct, frozen=True):
    """The network alone: `threads` callers at once, over one session or one each, `batch` positions in each call."""

    threads: int
    sessions: int
    batch: int
    evals_per_s: float

    @property
    def way(self) -> Way:
        return Way(self.threads, self.sessions, self.batch)


class Sessions:
    """The backend under test and further ones like it."""

    def __init__(self, first: Backend, open_another: Callable[[], Backend] | None) -> None:
        """`open_another` gives a second backend of the same network; None: there is only the first."""
        self._all = [first]
        self._open_another = open_another

    def provide(self, count: int, fits: Callable[[int], bool]) -> bool:
        """Have `count` sessions, unless there is no way to open more or the memory for so many more does not `fit`.

        Raises:
            BackendUnavailable: see `open_backend`.
        """
        missing = count - len(self._all)
        if missing <= 0:
            return True
        if self._open_another is None or not fits(missing):
            return False
        while len(self._all) < count:
            self._all.append(self._open_another())
        return True

    def of(self, caller: int, count: int) -> Backend:
        """The session that a caller uses where there are `count`."""
        return self._all[caller % count]

    def close_others(self) -> None:
        """Keep the first alone, which belongs to who gave it."""
        while len(self._all) > 1:
            self._all.pop().close()


class RawBench:
    """Calls `sessions` with the given positions, `spatial` [n, 22, y, x] and `global_` [n, 19], for about `seconds`."""

    def __init__(
        self, sessions: Sessions, spatial: Array, global_: Array, seconds: float, clock: Callable[[], float]
    ) -> None:
        self._sessions, self._spatial, self._global = sessions, spatial, global_
        self._seconds, self._clock = seconds, clock

    def measure(self, way: Way, *, warm: bool = True) -> tuple[int, float]:
        """Evaluations and seconds, after one call of each thread that is not counted (with `warm`). Each caller reads
        the clock itself, which may therefore be one of its own.

        Raises:
            BackendUnavailable: see `Backend.evaluate`.
        """
        ready = threading.Barrier(way.threads + 1)
        counts, spent = [0] * way.threads, [0.0] * way.threads
        errors: list[Exception] = []
        stop = threading.Event()

        def call(index: int) -> None:
            backend = self._sessions.of(index, way.sessions)
            spatial, global_ = self._batch(index * way.batch, way.batch)
            try:
                if warm:
                    backend.evaluate(spatial, global_)
                ready.wait()
                start = self._clock()
                while not (stop.is_set() and counts[index]):
                    backend.evaluate(spatial, global_)
                    counts[index] += way.batch
                    spent[index] = self._clock() - start
            except threading.BrokenBarrierError:
                pass  # another caller failed and says why
            except Exception as error:  # the edge of a thread: told to the caller below
                errors.append(error)
                ready.abort()

        callers = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(way.threads)]
        for caller in callers:
            caller.start()
        with contextlib.suppress(threading.BrokenBarrierError):
            ready.wait()
        stop.wait(0.0 if errors else self._seconds)
        stop.set()
        for caller in callers:
            caller.join()
        if errors:
            raise errors[0]
        evaluations = sum(counts)
        return evaluations, evaluations / sum(count / seconds for count, seconds in zip(counts, spent, strict=True))

    def _batch(self, first: int, count: int) -> tuple[Array, Array]:
        which = np.arange(first, first + count) % len(self._spatial)
        return self._spatial[which], self._global[which]


def rate(measurements: Sequence[tuple[int, float]]) -> float:
    """Per second, over all `measurements` of (count, seconds)."""
    return sum(count for count, _ in measurements) / sum(seconds for _, seconds in measurements)
