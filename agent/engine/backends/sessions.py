"""A session of its own for each thread that calls, where measuring showed that this is faster than sharing one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.engine.backends import BACKENDS, Backend, Entry, open_backend
from agent.engine.backends.interface import Array, NetworkInfo, Outputs


class SessionPerThread:
    """Looks like the backend whose sessions it holds. Thread n that calls gets session n, always the same one; further
    threads share them from the first on."""

    def __init__(self, sessions: Sequence[Backend]) -> None:
        """`sessions` are at least one, of the same network; they are closed with this."""
        self._sessions = tuple(sessions)
        self._arrivals = itertools.count()
        self._own = threading.local()
        self.name = self._sessions[0].name
        self.network: NetworkInfo = self._sessions[0].network

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        number: int | None = getattr(self._own, "number", None)
        if number is None:
            number = self._own.number = next(self._arrivals) % len(self._sessions)
        return self._sessions[number].evaluate(spatial, global_)

    def versions(self) -> dict[str, str]:
        return self._sessions[0].versions()

    def close(self) -> None:
        """Close all."""
        for session in self._sessions:
            session.close()


def open_sessions(
    name: str,
    model: Path | None,
    *,
    threads: int,
    sessions: int,
    table: Mapping[str, Entry] = BACKENDS,
    human_profile: str = "",
) -> Backend:
    """As `open_backend`; with more than one of `sessions` each serves one thread at a time, and imitates nobody else.

    Raises:
        BackendUnavailable: as `open_backend`; sessions that were open are closed again.
    """
    if sessions == 1:
        return open_backend(name, model, threads=threads, table=table, human_profile=human_profile)
    opened: list[Backend] = []
    try:
        while len(opened) < sessions:
            opened.append(open_backend(name, model, threads=1, table=table, human_profile=human_profile))
    except BaseException:
        for session in opened:
            session.close()
        raise
    return SessionPerThread(opened)
