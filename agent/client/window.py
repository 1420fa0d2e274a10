"""Which queries the engine has, and which wait here until it has answered some. Pure; start at `Window.take`.

Our service stops reading a client for whom too much waits. What the client sends then stays in the kernel, which takes
the service for gone after a minute.
"""

from __future__ import annotations

import heapq
from collections import Counter
from typing import Final, NamedTuple


class Limits(NamedTuple):
    """Where one of them is reached, the next query waits here."""

    turns: int
    size_bytes: int


# Our service stops at 10 000 turns or 4 MiB (agent/service/analysis.py). With the double for what is more urgent, and
# the query that passes a limit (a game; a line of 1 MiB at most), this stays below both. It is a hundred times what an
# engine searches at once, so that none is idle while the next query is on its way.
SERVICE: Final = Limits(turns=2_000, size_bytes=1 << 20)
# What is more urgent than all that the engine has need not wait for it, as in the service itself (SUBMIT_LIMIT).
URGENT: Final = 2


class _Query:
    def __init__(self, priority: int, turns: int, size_bytes: int) -> None:
        self.priority, self.turns, self.size_bytes = priority, turns, size_bytes
        self.is_out = False


class Window:
    """Queries by name; without `limits` all may go at once."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits
        self._queries: dict[str, _Query] = {}
        # A heap: highest priority first, then first come. Names that were dropped stay until it is their turn.
        self._held: list[tuple[int, int, str]] = []
        self._arrivals = 0
        # What the engine has, by priority.
        self._turns: Counter[int] = Counter()
        self._bytes: Counter[int] = Counter()

    def put(self, name: str, *, priority: int, turns: int, size_bytes: int) -> None:
        self._queries[name] = _Query(priority, turns, size_bytes)
        heapq.heappush(self._held, (-priority, self._arrivals, name))
        self._arrivals += 1

    def take(self) -> str | None:
        """The next query that may go to the engine, which has it from now on; None where none may go now."""
        while self._held:
            name = self._held[0][2]
            query = self._queries.get(name)
            if query is not None and not self._has_room(query.priority):
                return None
            heapq.heappop(self._held)
            if query is not None:
                query.is_out = True
                self._turns[query.priority] += query.turns
                self._bytes[query.priority] += query.size_bytes
                return name
        return None

    def is_held(self, name: str) -> bool:
        """Whether it waits here."""
        return name in self._queries and not self._queries[name].is_out

    def answered(self, name: str) -> None:
        """The engine is done with one turn of it."""
        query = self._queries[name]
        query.turns -= 1
        if query.is_out:
            self._turns[query.priority] -= 1

    def drop(self, name: str) -> None:
        """It is over, here and there. For a name that is none, nothing."""
        query = self._queries.pop(name, None)
        if query is not None and query.is_out:
            self._turns[query.priority] -= query.turns
            self._bytes[query.priority] -= query.size_bytes
            if not self._bytes[query.priority]:
                del self._bytes[query.priority], self._turns[query.priority]
        if len(self._held) > 2 * len(self._queries):
            self._held = [entry for entry in self._held if self.is_held(entry[2])]
            heapq.heapify(self._held)

    def _has_room(self, priority: int) -> bool:
        if self._limits is None:
            return True
        return all(
            _at_least(priority, counted) < limit and counted.total() < URGENT * limit
            for counted, limit in ((self._turns, self._limits.turns), (self._bytes, self._limits.size_bytes))
        )


def _at_least(priority: int, counted: Counter[int]) -> int:
    return sum(count for other, count in counted.items() if other >= priority)
