"""Made-up machines to tune on: how fast each contender is in each way is known, time is counted and not spent."""

from __future__ import annotations

import random

from agent.engine.way import Way
from agent.workshop.sweep import Option, Sample

OPEN_S = 1.0
# The mean length of a burst of speed, and of the time between two.
BURST_S = 3.0


class World:
    """Two to eight cores, one to seven contenders. A contender gains from batches up to some size, from threads nearly
    in proportion, and likes sessions of its own or not; a larger batch may fall out of a cache. Measuring has noise."""

    def __init__(self, seed: int, *, noise: float = 0.02, neighbours: float = 0.0, bursts: float = 0.0) -> None:
        """`noise` is the standard deviation of a measurement, `neighbours` the mean of what others' work adds to it.
        Half of the time, for seconds, everything is faster by the share `bursts`."""
        self._random = random.Random(seed)
        self._noise, self._neighbours, self._bursts = noise, neighbours, bursts
        self._weather = random.Random(seed + 1)
        self._is_fast, self._turns_s = False, 0.0
        self.threads = self._random.choice((1, 2, 4, 8))
        self.contenders = range(self._random.randint(1, 7))
        self._traits = [self._contender() for _ in self.contenders]
        self._opened: set[int] = set()
        self._warm: set[Option] = set()
        self.now_s = 0.0
        self.measured = 0

    def clock(self) -> float:
        return self.now_s

    def _contender(self) -> dict[str, float]:
        draw = self._random
        return {
            "base": 2 ** draw.uniform(2.5, 6.5),
            "half_batch": draw.choice((0.0, 0.1, 0.3, 0.7)),
            "cache_batch": draw.choice((2, 4, 8, 64)),
            "scaling": draw.uniform(0.75, 1.0),
            "own_sessions": draw.choice((0.9, 1.0, 1.0, 1.06, 1.15)),
        }

    def rate(self, option: Option) -> float:
        """The truth."""
        trait, way = self._traits[option.contender], option.way
        batching = way.batch / (way.batch + trait["half_batch"])
        beyond = 0.85 if way.batch > trait["cache_batch"] else 1.0
        shared = trait["own_sessions"] if way.sessions > 1 else 1.0
        return trait["base"] * batching * beyond * shared * way.threads ** trait["scaling"]

    def best_rate(self, ways: tuple[Way, ...]) -> float:
        return max(self.rate(Option(contender, way)) for contender in self.contenders for way in ways)

    def measure(self, option: Option, seconds: float) -> Sample:
        """As `Measurer`; a call that is not counted goes before the first of each way."""
        self.measured += 1
        call_s = option.in_flight / self.rate(option)
        if option.contender not in self._opened:
            self._opened.add(option.contender)
            self.now_s += OPEN_S
        if option not in self._warm:
            self._warm.add(option)
            self.now_s += call_s
        calls = max(1, round(seconds / call_s))
        taken_s = calls * call_s * (1 + self._random.gauss(0, self._noise)) / self._pace()
        if self._neighbours:
            taken_s *= 1 + self._random.expovariate(1 / self._neighbours)
        self.now_s += taken_s
        return Sample(calls * option.in_flight, taken_s)

    def _pace(self) -> float:
        while self._turns_s <= self.now_s:
            self._is_fast = not self._is_fast
            self._turns_s += self._weather.expovariate(1 / BURST_S)
        return 1 + self._bursts if self._is_fast else 1.0
