"""How a network is called: by how many threads, over how many sessions, with how many positions at once."""

from __future__ import annotations

from typing import NamedTuple


class Way(NamedTuple):
    """`sessions` is 1 (all threads share one) or `threads` (one each)."""

    threads: int
    sessions: int
    batch: int

    def __str__(self) -> str:
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        shared = "one session" if self.sessions == 1 else f"{self.sessions} sessions"
        return f"{threads}, {shared}, batch {self.batch}"
