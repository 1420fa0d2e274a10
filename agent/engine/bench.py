"""Measures the engine on this machine: the network alone, the search, and how much of the first the second uses.

Start at `run_bench`. Speeds of a small machine drift with its heat and with its neighbours, so nothing is measured
once: each of the ten positions is one round, in which the best ways to run the network alone, our search, and a native
KataGo where one is given take turns. Searches begin with an empty tree and an empty cache.
"""

from __future__ import annotations

import contextlib
import itertools
import resource
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Protocol

import msgspec
import numpy as np

from agent.engine.backends.interface import Array, Backend
from agent.engine.game import Game
from agent.engine.messages import Position, RawReport, SearchReport, SearchRequest
from agent.engine.player import Player
from agent.engine.points import parse_color, parse_vertex
from agent.engine.raw import encode
from agent.engine.rules import parse_rules
from agent.errors import BenchFailed
from agent.events import Benchmarking, Reporter

DEFAULT_VISITS = 200
# Beyond 16 positions at once nothing gained on x86-64, and small boards have no memory for more.
RAW_BATCHES = (1, 2, 4, 8, 16)
# Of the ways to run the network, so many of the best go through all rounds; the rest lost by more than noise.
FINALISTS = 3
RAW_S = 1.0
# b18c384nbt needs minutes for 200 visits on a Cortex-A53; beyond this a search hangs.
SEARCH_S = 1800.0

_POSITIONS = "bench_positions.jsonl"


class Query(msgspec.Struct, frozen=True, rename="camel"):
    """A position as KataGo's analysis engine takes it. The ten that come with the bench are from our golden games."""

    rules: str
    komi: float
    board_x_size: int
    board_y_size: int
    initial_stones: tuple[tuple[str, str], ...]
    initial_player: str
    moves: tuple[tuple[str, str], ...]


class RawRate(msgspec.Struct, frozen=True):
    """The network alone: `threads` callers at once, `batch` positions in each call."""

    threads: int
    batch: int
    evals_per_s: float


class NativeRate(msgspec.Struct, frozen=True):
    """A native KataGo on the same positions, network and visits. `ratio` is our visits/s divided by its."""

    version: str
    threads: int
    visits: int
    visits_per_s: float
    ratio: float
    peak_rss_bytes: int


class BenchResult(msgspec.Struct, frozen=True):
    """What was measured. `search_efficiency` is the search's network evaluations per second divided by `evals_per_s`,
    the best of those `raw` ways that went through all rounds; cache hits and terminal visits, which run no network, are
    apart. `peak_rss_bytes` is that of this process, the sweep over batches included."""

    network: str
    backend: str
    versions: dict[str, str]
    threads: int
    batch: int
    positions: int
    raw: tuple[RawRate, ...]
    evals_per_s: float
    visits: int
    visits_per_s: float
    search_evals_per_s: float
    search_efficiency: float
    evaluations: int
    cache_hits: int
    terminal: int
    peak_rss_bytes: int
    native: NativeRate | None = None


class Opponent(Protocol):
    """A native engine to be measured beside ours (`native_katago.py`)."""

    version: str
    threads: int

    def search(self, query: Query, visits: int) -> tuple[int, float]:
        """Search from nothing; returns visits and seconds."""

    def peak_rss_bytes(self) -> int:
        """Of the process so far."""


@dataclass(frozen=True)
class BenchOptions:
    """`threads` and `batch` are the search's; `cores` bounds the sweep of the network alone."""

    threads: int
    batch: int
    cores: int
    visits: int = DEFAULT_VISITS
    cache_positions: int = 1 << 16
    seed: int = 1
    raw_s: float = RAW_S


def load_positions() -> tuple[Query, ...]:
    """The ten 19×19 positions, 42 to 134 moves into their games."""
    text = resources.files("agent.engine").joinpath(_POSITIONS).read_text("utf-8")
    return tuple(msgspec.json.decode(line, type=Query) for line in text.splitlines())


def run_bench(
    backend: Backend,
    options: BenchOptions,
    reporter: Reporter,
    *,
    queries: Sequence[Query] = (),
    opponent: Opponent | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> BenchResult:
    """Measure `backend` and the search over it, on `queries` (default: the ten).

    Raises:
        BenchFailed: a search gave no result.
        BackendUnavailable: see `Backend.evaluate`.
    """
    return _Bench(backend, options, reporter, tuple(queries) or load_positions(), opponent, clock).run()


class _Bench:
    def __init__(
        self,
        backend: Backend,
        options: BenchOptions,
        reporter: Reporter,
        queries: tuple[Query, ...],
        opponent: Opponent | None,
        clock: Callable[[], float],
    ) -> None:
        self._backend, self._options, self._reporter = backend, options, reporter
        self._queries, self._opponent, self._clock = queries, opponent, clock
        self._positions = [_position(query) for query in queries]
        games = [Game.from_position(position) for position in self._positions]
        inputs = [encode(game, game.to_play, 0) for game in games]
        self._spatial = np.stack([spatial for spatial, _ in inputs])
        self._global = np.stack([global_ for _, global_ in inputs])
        self._searches: list[SearchReport] = []
        self._native: list[tuple[int, float]] = []

    def run(self) -> BenchResult:
        counts = sorted({1, self._options.cores, min(self._options.threads, self._options.cores)})
        ways = list(itertools.product(counts, RAW_BATCHES))
        total = len(ways) + len(self._positions)
        sweep = {}
        for done, way in enumerate(ways):
            self._reporter.report(Benchmarking(f"network alone, {way[0]} threads, batch {way[1]}", done, total))
            sweep[way] = self._raw(*way)
        finalists = sorted(ways, key=lambda way: -_rate([sweep[way]]))[:FINALISTS]
        rounds: dict[tuple[int, int], list[tuple[int, float]]] = {way: [] for way in finalists}
        player = self._player()
        try:
            for index in range(len(self._positions)):
                self._reporter.report(Benchmarking(f"position {index + 1}", len(ways) + index, total))
                for way in finalists:
                    rounds[way].append(self._raw(*way))
                self._searches.append(self._search(player, index))
                if self._opponent is not None:
                    self._native.append(self._opponent.search(self._queries[index], self._options.visits))
        finally:
            player.close()
        self._reporter.report(Benchmarking("done", total, total))
        rates = {**{way: [sweep[way]] for way in ways}, **rounds}
        raw = tuple(RawRate(threads, batch, _rate(rates[threads, batch])) for threads, batch in ways)
        best = max(_rate(rounds[way]) for way in finalists)
        return self._result(raw, best)

    # ------------------------------------------------------------ one measurement

    def _raw(self, threads: int, batch: int) -> tuple[int, float]:
        """Evaluations and seconds of `threads` callers for about `raw_s`, after one call each that is not counted."""
        ready = threading.Barrier(threads + 1)
        counts, ends, errors = [0] * threads, [0.0] * threads, []
        stop = threading.Event()

        def call(index: int) -> None:
            spatial, global_ = self._batch(index * batch, batch)
            try:
                self._backend.evaluate(spatial, global_)
                ready.wait()
                while not (stop.is_set() and counts[index]):
                    self._backend.evaluate(spatial, global_)
                    counts[index] += batch
                    ends[index] = self._clock()
            except Exception as error:  # the edge of a thread: told to the caller below
                errors.append(error)
                ready.abort()

        callers = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(threads)]
        for caller in callers:
            caller.start()
        with contextlib.suppress(threading.BrokenBarrierError):
            ready.wait()
        start = self._clock()
        stop.wait(0.0 if errors else self._options.raw_s)
        stop.set()
        for caller in callers:
            caller.join()
        if errors:
            raise errors[0]
        return sum(counts), max(ends) - start

    def _batch(self, first: int, count: int) -> tuple[Array, Array]:
        which = np.arange(first, first + count) % len(self._spatial)
        return self._spatial[which], self._global[which]

    def _player(self) -> Player:
        options = self._options
        return Player(
            self._backend,
            threads=options.threads,
            batch=options.batch,
            cache_positions=options.cache_positions,
            seed=options.seed,
        )

    def _search(self, player: Player, index: int) -> SearchReport:
        """Search one position with nothing remembered."""
        player.clear_cache()
        position = self._positions[index]
        request = SearchRequest(index + 1, position, position.to_play, self._options.visits)
        finished = threading.Event()
        reports: list[SearchReport | RawReport] = []

        def take(report: SearchReport | RawReport) -> None:
            reports.append(report)
            if isinstance(report, RawReport) or report.final:
                finished.set()

        player.submit(request, take)
        if not finished.wait(SEARCH_S):
            raise BenchFailed(f"position {index + 1} was not searched within {SEARCH_S:.0f} s")
        report = reports[-1]
        if not isinstance(report, SearchReport) or report.error or report.stats is None:
            raise BenchFailed(f"position {index + 1} could not be searched: {report.error}")
        return report

    # ------------------------------------------------------------ the sum

    def _result(self, raw: tuple[RawRate, ...], best: float) -> BenchResult:
        stats = [report.stats for report in self._searches if report.stats is not None]
        seconds = sum(each.duration_s for each in stats)
        visits, evaluations = sum(each.visits for each in stats), sum(each.evaluations for each in stats)
        visits_per_s, search_evals_per_s = visits / seconds, evaluations / seconds
        return BenchResult(
            network=self._backend.network.name,
            backend=self._backend.name,
            versions=self._backend.versions(),
            threads=self._options.threads,
            batch=self._options.batch,
            positions=len(self._positions),
            raw=raw,
            evals_per_s=best,
            visits=visits,
            visits_per_s=visits_per_s,
            search_evals_per_s=search_evals_per_s,
            search_efficiency=search_evals_per_s / best,
            evaluations=evaluations,
            cache_hits=sum(each.cache_hits for each in stats),
            terminal=sum(each.terminal for each in stats),
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10,
            native=self._native_rate(visits_per_s),
        )

    def _native_rate(self, visits_per_s: float) -> NativeRate | None:
        if self._opponent is None:
            return None
        rate = _rate(self._native)
        return NativeRate(
            version=self._opponent.version,
            threads=self._opponent.threads,
            visits=sum(visits for visits, _ in self._native),
            visits_per_s=rate,
            ratio=visits_per_s / rate,
            peak_rss_bytes=self._opponent.peak_rss_bytes(),
        )


def _rate(measurements: Sequence[tuple[int, float]]) -> float:
    """Per second, over all `measurements` of (count, seconds)."""
    return sum(count for count, _ in measurements) / sum(seconds for _, seconds in measurements)


def _position(query: Query) -> Position:
    x_size, y_size = query.board_x_size, query.board_y_size

    def pair(color: str, vertex: str) -> tuple[int, int]:
        parsed_color, point = parse_color(color), parse_vertex(vertex, x_size, y_size)
        if parsed_color is None or point is None:
            raise BenchFailed(f"{color} {vertex} is no move on {x_size}×{y_size}")
        return parsed_color, point

    player, _ = pair(query.initial_player, "pass")
    return Position(
        x_size,
        y_size,
        parse_rules(query.rules),
        query.komi,
        initial_stones=tuple(pair(*stone) for stone in query.initial_stones),
        initial_player=player,
        moves=tuple(pair(*move) for move in query.moves),
    )
