"""Measures the engine on this machine: the network alone, the search, and how much of the first the second uses.

Start at `run_bench`. Speeds of a small machine drift with its heat and with its neighbours, so nothing is measured
once: each of the ten positions is one round, in which the best ways to run the network alone, our search, and a native
KataGo where one is given take turns. Searches begin with an empty tree and an empty cache.
"""

from __future__ import annotations

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

from agent.engine.backends.interface import Backend
from agent.engine.bench_raw import RawBench, RawRate, Sessions, rate
from agent.engine.game import Game
from agent.engine.messages import Position, RawReport, SearchReport, SearchRequest
from agent.engine.player import Player
from agent.engine.points import parse_color, parse_vertex
from agent.engine.raw import encode
from agent.engine.rules import parse_rules
from agent.engine.way import Way
from agent.engine.worker_socket import resident_bytes
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
    apart. The search shares one session; ways with one session a thread are missing from `raw` where there was no
    memory for them. `peak_rss_bytes` is that of this process, with all its sessions and the sweep over batches."""

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
    """`threads` and `batch` are the search's; `cores` bounds the sweep of the network alone, and `available_bytes` what
    sessions beyond the first may take (0: there are none)."""

    threads: int
    batch: int
    cores: int
    visits: int = DEFAULT_VISITS
    cache_positions: int = 1 << 16
    seed: int = 1
    raw_s: float = RAW_S
    available_bytes: int = 0


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
    open_another: Callable[[], Backend] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> BenchResult:
    """Measure `backend` and the search over it, on `queries` (default: the ten). `open_another` gives further sessions
    of the same network, which are closed again.

    Raises:
        BenchFailed: a search gave no result.
        BackendUnavailable: see `Backend.evaluate`.
    """
    sessions = Sessions(backend, open_another)
    try:
        return _Bench(backend, sessions, options, reporter, tuple(queries) or load_positions(), opponent, clock).run()
    finally:
        sessions.close_others()


class _Bench:
    def __init__(
        self,
        backend: Backend,
        sessions: Sessions,
        options: BenchOptions,
        reporter: Reporter,
        queries: tuple[Query, ...],
        opponent: Opponent | None,
        clock: Callable[[], float],
    ) -> None:
        self._backend, self._sessions, self._options, self._reporter = backend, sessions, options, reporter
        self._queries, self._opponent, self._clock = queries, opponent, clock
        self._positions = [parse_query(query) for query in queries]
        games = [Game.from_position(position) for position in self._positions]
        inputs = [encode(game, game.to_play, 0) for game in games]
        spatial, global_ = (np.stack(arrays) for arrays in zip(*inputs, strict=True))
        self._alone = RawBench(sessions, spatial, global_, options.raw_s, clock)
        self._rss_at_start = resident_bytes()
        self._searches: list[SearchReport] = []
        self._native: list[tuple[int, float]] = []

    def run(self) -> BenchResult:
        counts = sorted({1, self._options.cores, min(self._options.threads, self._options.cores)})
        shared = [Way(threads, 1, batch) for threads, batch in itertools.product(counts, RAW_BATCHES)]
        apart = [Way(threads, threads, batch) for threads, batch in itertools.product(counts[1:], RAW_BATCHES)]
        total = len(shared) + len(apart) + len(self._positions)
        sweep: dict[Way, tuple[int, float]] = {}
        for done, way in enumerate((*shared, *apart)):
            self._reporter.report(Benchmarking(f"network alone, {way}", done, total))
            if self._sessions.provide(way.sessions, self._fits):
                sweep[way] = self._alone.measure(way)
        finalists = sorted(sweep, key=lambda way: -rate([sweep[way]]))[:FINALISTS]
        if all(way.sessions == 1 for way in finalists):
            self._sessions.close_others()
        rounds = self._play_rounds(finalists, total)
        raw = tuple(RawRate(*way, rate(rounds.get(way, [measured]))) for way, measured in sweep.items())
        return self._result(raw, max(rate(measured) for measured in rounds.values()))

    def _play_rounds(self, finalists: Sequence[Way], total: int) -> dict[Way, list[tuple[int, float]]]:
        """All that takes turns, one round for each position; returns what the network did alone."""
        rounds: dict[Way, list[tuple[int, float]]] = {way: [] for way in finalists}
        player = self._player()
        try:
            for index in range(len(self._positions)):
                done = total - len(self._positions) + index
                self._reporter.report(Benchmarking(f"position {index + 1}", done, total))
                for way in finalists:
                    rounds[way].append(self._alone.measure(way))
                self._searches.append(self._search(player, index))
                if self._opponent is not None:
                    self._native.append(self._opponent.search(self._queries[index], self._options.visits))
        finally:
            player.close()
        self._reporter.report(Benchmarking("done", total, total))
        return rounds

    def _fits(self, sessions: int) -> bool:
        """Whether there is memory for so many more. Each is taken to need what the process holds now."""
        now = resident_bytes()
        return now * sessions <= self._options.available_bytes - (now - self._rss_at_start)

    # ------------------------------------------------------------ one measurement

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
        native_visits_per_s = rate(self._native)
        return NativeRate(
            version=self._opponent.version,
            threads=self._opponent.threads,
            visits=sum(visits for visits, _ in self._native),
            visits_per_s=native_visits_per_s,
            ratio=visits_per_s / native_visits_per_s,
            peak_rss_bytes=self._opponent.peak_rss_bytes(),
        )


def parse_query(query: Query) -> Position:
    """The position in the core's terms. Raises BenchFailed for a move that is none."""
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
