"""From counters and single answers to rates and percentiles; pure, the clock is passed in."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

# What a dashboard calls "now"; longer than the longest report interval that is usual (10 s).
LATENCY_WINDOW_S: Final = 60.0
# Bounds memory: at 100 answers/s, more than any board gives, the window is 10 s.
LATENCIES: Final = 1000


class Rates:
    """Counters that start at zero with each source, as changes per second."""

    def __init__(self) -> None:
        self._source: object = None
        self._totals: Mapping[str, float] = {}
        self._time_s: float | None = None

    def update(self, source: object, totals: Mapping[str, float], now_s: float) -> dict[str, float]:
        """Rates since the last update; empty for the first, and where no time passed. A new `source` began at zero."""
        before = self._totals if source == self._source else dict.fromkeys(totals, 0.0)
        since, self._time_s = self._time_s, now_s
        self._source, self._totals = source, dict(totals)
        if since is None or now_s <= since:
            return {}
        return {name: max(0.0, total - before.get(name, 0.0)) / (now_s - since) for name, total in totals.items()}


class Latencies:
    """The answers of the last minute."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, float]] = deque(maxlen=LATENCIES)

    def add(self, latency_s: float, now_s: float) -> None:
        self._answers.append((now_s, latency_s))

    def percentiles(self, wanted: Sequence[int], now_s: float) -> list[float | None]:
        """The wanted percentiles in seconds; None for each while nobody asked anything."""
        while self._answers and now_s - self._answers[0][0] > LATENCY_WINDOW_S:
            self._answers.popleft()
        ranked = sorted(latency for _, latency in self._answers)
        return [percentile(ranked, percent) if ranked else None for percent in wanted]


def percentile(ranked: Sequence[float], percent: int) -> float:
    """The smallest value that `percent` % of the values do not exceed (nearest rank)."""
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]
