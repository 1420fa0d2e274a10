"""A native KataGo as the speed table needs it: evaluations per second of its network, at its best setting.

Each query is a position at three visits, and the cache is off, so that it costs a known number of evaluations; several
queries are under way at once, so that its threads and its own batching have what they need. Start at `NativeSpeed`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from agent.engine.messages import Position
from agent.engine.native_process import START_S, NativeProcess
from agent.engine.points import color_letter, vertex
from agent.engine.rules import rules_to_json
from agent.workshop.check_positions import check_positions

# One evaluation of b18c384nbt takes Eigen some 8 s on a Cortex-A53; a measurement is ended after this.
MEASURE_S = 600.0
# One visit is one evaluation, and the root is evaluated twice where there is no cache to find it in: KataGo 1.17 itself
# counts 90 rows for 10 queries of 8 visits, 210 for 10 of 20.
_VISITS = 3
_EVALUATIONS = _VISITS + 1


class NativeSetting(NamedTuple):
    """`eigen_threads` compute (numEigenThreadsPerModel; other builds take no notice), `queries` are under way at once.
    The Eigen backend's own batch is 2 and cannot be set (KataGo, program/setup.cpp)."""

    eigen_threads: int
    queries: int

    def __str__(self) -> str:
        return f"{self.eigen_threads} threads, {self.queries} queries at once"


def native_settings(cores: int) -> tuple[NativeSetting, ...]:
    """Those worth trying: a thread for each core, and for batches of 2 to fill, twice or four times as many queries."""
    counts = sorted({1, cores})
    return tuple(NativeSetting(threads, threads * more) for threads in counts for more in (1, 2, 4))


class NativeSpeed:
    """One process for one network, board and setting. Use it as a context manager: the process ends with it."""

    def __init__(
        self,
        command: Path,
        network: Path,
        side: int,
        setting: NativeSetting,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start `command analysis` on `network` (.bin.gz), with buffers for boards of `side`² points.

        Raises:
            BenchFailed: it does not start; ends with its last words.
        """
        self.setting, self._clock = setting, clock
        self._queries = [_query(position) for position in check_positions(side)]
        self._asked = 0
        self._process = NativeProcess(command, "analysis", network, _config(side, setting))
        try:
            # Loading ends with the first answers, which also make buffers warm.
            evaluations, seconds = self._run(setting.queries, START_S)
        except BaseException:
            self.close()
            raise
        self._rate = evaluations / max(seconds, 1e-3)

    def __enter__(self) -> NativeSpeed:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def measure(self, seconds: float) -> tuple[int, float]:
        """Evaluations and seconds, of about `seconds`.

        Raises:
            BenchFailed: it ended or refused.
        """
        at_once = self.setting.queries
        # Whole rounds of queries: at the end of a measurement no thread should wait for another's last query.
        rounds = max(1, round(self._rate * seconds / (_EVALUATIONS * at_once)))
        evaluations, taken_s = self._run(rounds * at_once, MEASURE_S)
        self._rate = evaluations / taken_s
        return evaluations, taken_s

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _run(self, count: int, patience_s: float) -> tuple[int, float]:
        """Evaluations and seconds of `count` queries."""
        lines = []
        for number in range(self._asked, self._asked + count):
            lines.append(json.dumps({"id": f"{number}", **self._queries[number % len(self._queries)]}))
        self._asked += count
        with self._process.patience(patience_s):
            start = self._clock()
            self._process.send("\n".join(lines))
            answered = 0
            while answered < count:
                answer = self._process.answer()
                if "error" in answer:
                    raise self._process.failed(f"native katago refused a position: {answer['error']}")
                answered += "warning" not in answer and not answer.get("isDuringSearch", False)
            return count * _EVALUATIONS, self._clock() - start


def _query(position: Position) -> dict[str, object]:
    x_size, y_size = position.x_size, position.y_size

    def named(moves: tuple[tuple[int, int], ...]) -> list[list[str]]:
        return [[color_letter(color), vertex(point, x_size, y_size)] for color, point in moves]

    return {
        "rules": json.loads(rules_to_json(position.rules)),
        "komi": position.komi,
        "boardXSize": x_size,
        "boardYSize": y_size,
        "initialStones": named(position.initial_stones),
        "initialPlayer": color_letter(position.initial_player),
        "moves": named(position.moves),
        "analyzeTurns": [len(position.moves)],
        "maxVisits": _VISITS,
    }


def _config(side: int, setting: NativeSetting) -> dict[str, object]:
    return {
        "numAnalysisThreads": setting.queries,
        "numSearchThreadsPerAnalysisThread": 1,
        "numEigenThreadsPerModel": setting.eigen_threads,
        "nnMaxBatchSize": max(1, setting.queries // setting.eigen_threads),
        # No cache: each visit is to be an evaluation.
        "nnCacheSizePowerOfTwo": -1,
        "maxBoardXSizeForNNBuffer": side,
        "maxBoardYSizeForNNBuffer": side,
        "reportAnalysisWinratesAs": "WHITE",
    }
