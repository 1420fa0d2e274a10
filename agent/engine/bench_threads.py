"""The search with different numbers of threads, as `katago benchmark` measures it. Start at `measure_threads`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec

from agent.engine.backends.interface import Array, Backend, Outputs
from agent.engine.messages import Position, RawReport, SearchReport, SearchRequest
from agent.engine.player import Player
from agent.errors import BenchFailed

# b18c384nbt needs minutes for 200 visits on a Cortex-A53; beyond this a search hangs.
SEARCH_S = 1800.0


class ThreadRate(msgspec.Struct, frozen=True):
    """`positions` searches with `threads` threads, in sum: `evaluations` reached the network in `batches` calls."""

    threads: int
    positions: int
    visits: int
    evaluations: int
    batches: int
    seconds: float

    @property
    def visits_per_s(self) -> float:
        return self.visits / self.seconds


class CountingBackend:
    """Passes calls on and counts them and their positions. Threads may call at once."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self._lock = threading.Lock()
        self.name = inner.name
        self.network = inner.network
        self.calls = 0
        self.evaluated = 0

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        with self._lock:
            self.calls += 1
            self.evaluated += len(spatial)
        return self._inner.evaluate(spatial, global_)

    def versions(self) -> dict[str, str]:
        return self._inner.versions()

    def close(self) -> None:
        self._inner.close()


def measure_threads(
    backend: Backend,
    positions: Sequence[Position],
    *,
    threads: int,
    batch: int,
    visits: int,
    cache_positions: int,
    seed: int = 1,
    on_position: Callable[[ThreadRate], None],
) -> ThreadRate:
    """Search each of `positions` from nothing; `on_position` is told how it stands after each.

    Raises BenchFailed when a search gives no result.
    """
    counting = CountingBackend(backend)
    rate = ThreadRate(threads, 0, 0, 0, 0, 0.0)
    player = Player(counting, threads=threads, batch=batch, cache_positions=cache_positions, seed=seed)
    try:
        for number, position in enumerate(positions, start=1):
            player.clear_cache()
            report = _search(player, SearchRequest(number, position, position.to_play, visits))
            assert report.stats is not None and report.root is not None
            seconds = rate.seconds + report.stats.duration_s
            found = rate.visits + report.root.visits
            rate = ThreadRate(threads, number, found, counting.evaluated, counting.calls, seconds)
            on_position(rate)
    finally:
        player.close()
    return rate


def _search(player: Player, request: SearchRequest) -> SearchReport:
    finished = threading.Event()
    reports: list[SearchReport | RawReport] = []

    def take(report: SearchReport | RawReport) -> None:
        reports.append(report)
        finished.set()

    player.submit(request, take)
    if not finished.wait(SEARCH_S):
        raise BenchFailed(f"position {request.id} was not searched within {SEARCH_S:.0f} s")
    report = reports[-1]
    if not isinstance(report, SearchReport) or report.error or report.stats is None or report.root is None:
        raise BenchFailed(f"position {request.id} could not be searched: {report.error}")
    return report
