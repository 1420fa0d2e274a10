"""Which way to run which contender is the fastest: by measuring everything, or by a race that measures little. Pure.

Start at `race`. Whoever calls brings a `Measurer`; nothing here knows a runtime, a file or a clock of its own. A race
goes from cheap to dear: every contender once with one usual way, the slow ones drop out; then the ways around that one
for those that are left, larger batches only while they still gain; at the end the best few in turns, so that heat and
neighbours meet all alike. `sweep_all` is what the race is judged by.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

from agent.engine.way import Way
from agent.errors import BackendUnavailable

# The exhaustive sweep: what `agent bench` takes for one measurement, three times in turns.
FULL_S: Final = 1.0
FULL_ROUNDS: Final = 3
# One look in a race: a call of each thread, or this.
LOOK_S: Final = 0.08
# Of the best one's first look, what makes a contender worth a second (a better way gains up to 1.6 with small boards
# and Winograd, and a first look may be wrong by a fifth); and what it needs for its own ways to be tried.
STILL_IN: Final = 0.6
NEARLY: Final = 0.8
# Ways within this of the best go into the final, at most so many, in so many rounds of so many seconds.
FINAL_MARGIN: Final = 0.9
FINALISTS: Final = 4
FINAL_ROUNDS: Final = 4
FINAL_S: Final = 0.25
# Where looks at the same way are further apart than this, neighbours disturb: then each look is taken so many times,
# and as many more ways go into the final.
DISTURBED: Final = 0.06
LOOKS_IF_DISTURBED: Final = 5
# A batch that is twice as large is dear to measure and dear to search with: the walk upwards ends where it gains less
# than this; downwards it ends where it loses more.
GAIN: Final = 1.015
LOSS: Final = 0.98
# The usual way has this batch: large enough to show what batches are worth, small enough to be quick.
USUAL_BATCH: Final = 4


class Option(NamedTuple):
    """`contender` is a number the caller gave."""

    contender: int
    way: Way

    @property
    def in_flight(self) -> int:
        """Positions under way at once."""
        return self.way.threads * self.way.batch


class Sample(NamedTuple):
    """One measurement. `peak_rss_bytes` 0: unknown."""

    evaluations: int
    seconds: float
    peak_rss_bytes: int = 0

    @property
    def rate(self) -> float:
        return self.evaluations / self.seconds


class Measurer(Protocol):
    def measure(self, option: Option, seconds: float) -> Sample:
        """Run `option` for about `seconds`, at least one call of each thread.

        Raises:
            BackendUnavailable: the contender cannot do it; what it said is the reason.
        """


@dataclass
class Findings:
    """All samples of each option that was measured, and the contenders that fell out with their reasons."""

    samples: dict[Option, list[Sample]] = field(default_factory=dict)
    fallen: dict[int, str] = field(default_factory=dict)

    def rate(self, option: Option) -> float:
        """Evaluations/s of the better half of its samples: what disturbs a measurement makes it slower, never faster.
        0 where there are none."""
        rates = sorted((sample.rate for sample in self.samples.get(option, [])), reverse=True)
        return statistics.fmean(rates[: (len(rates) + 1) // 2]) if rates else 0.0

    def spread(self, option: Option) -> float:
        """How far apart its samples are, as a share of the best."""
        rates = [sample.rate for sample in self.samples.get(option, [])]
        return 1 - min(rates) / max(rates) if rates else 0.0

    def peak_rss_bytes(self, option: Option) -> int:
        return max((sample.peak_rss_bytes for sample in self.samples.get(option, [])), default=0)

    def ranking(self) -> list[Option]:
        """The fastest first, of contenders that did not fall out."""
        options = [option for option in self.samples if option.contender not in self.fallen]
        return sorted(options, key=lambda option: (-self.rate(option), option.in_flight))

    def best_of(self, contender: int) -> Option | None:
        return next((option for option in self.ranking() if option.contender == contender), None)


Report = Callable[[str, int, int], object]


def ways_of(threads: int, most_in_flight: int, batches: Sequence[int] = (1, 2, 4, 8, 16)) -> tuple[Way, ...]:
    """All ways for up to `threads` callers: all, half or one of them, one session or one each, each of `batches` as
    long as no more than `most_in_flight` positions (or one for each thread) are under way."""
    counts = sorted({1, max(1, threads // 2), threads}, reverse=True)
    return tuple(
        Way(count, sessions, batch)
        for count in counts
        for sessions in sorted({1, count})
        for batch in batches
        if batch == batches[0] or count * batch <= most_in_flight
    )


# ---------------------------------------------------------------- measuring everything


def sweep_all(contenders: Sequence[int], ways: Sequence[Way], measurer: Measurer, report: Report) -> Findings:
    """Every way of every contender, `FULL_ROUNDS` times in turns."""
    runner = _Runner(measurer)
    options = [Option(contender, way) for contender in contenders for way in ways]
    total = FULL_ROUNDS * len(options)
    for done, (_, option) in enumerate(itertools.product(range(FULL_ROUNDS), options)):
        report(f"contender {option.contender + 1}, {option.way}", done, total)
        runner.take(option, FULL_S)
    return runner.findings


# ---------------------------------------------------------------- the race


def race(
    contenders: Sequence[int],
    ways: Sequence[Way],
    measurer: Measurer,
    clock: Callable[[], float],
    budget_s: float,
    report: Report,
) -> Findings:
    """As much of the sweep as it takes to find its winner, within about `budget_s`: a measurement that would not end in
    time is not begun, except the first."""
    runner = _Runner(measurer, clock, clock() + budget_s)
    usual = _usual(ways)
    for number, contender in enumerate(contenders):
        report(f"contender {contender + 1}, {usual}", number, len(contenders) * 2)
        runner.take(Option(contender, usual), LOOK_S)
    for contender in runner.within(STILL_IN, [Option(contender, usual) for contender in contenders]):
        runner.take(Option(contender, usual), 2 * LOOK_S)
    runner.mind_neighbours([Option(contender, usual) for contender in contenders])
    remaining = runner.within(STILL_IN, [Option(contender, usual) for contender in contenders])
    for number, contender in enumerate(remaining):
        report(f"ways of contender {contender + 1}", len(contenders) + number, len(contenders) * 2)
        # What the leader's other ways gained, this one's may gain, too; where even that is too little it is not tried.
        if number == 0 or runner.may_still_win(Option(contender, usual), remaining[0], usual):
            _explore(contender, usual, ways, runner)
    _play_final(runner, report)
    return runner.findings


def _usual(ways: Sequence[Way]) -> Way:
    """All threads over one session, with the usual batch or the largest below it."""
    threads = max(way.threads for way in ways)
    fitting = [way for way in ways if way.threads == threads and way.sessions == 1 and way.batch <= USUAL_BATCH]
    return max(fitting, key=lambda way: way.batch)


def _explore(contender: int, usual: Way, ways: Sequence[Way], runner: _Runner) -> None:
    """The ways that differ from the usual one in one thing after the other: batch, sessions, threads."""
    allowed = set(ways)
    larger = sorted(way.batch for way in allowed if way[:2] == usual[:2] and way.batch > usual.batch)
    smaller = sorted((way.batch for way in allowed if way[:2] == usual[:2] and way.batch < usual.batch), reverse=True)
    best = Option(contender, usual)
    for direction, least in ((larger, GAIN), (smaller, LOSS)):
        before = Option(contender, usual)
        for batch in direction:
            option = Option(contender, usual._replace(batch=batch))
            if not runner.look(option) or runner.rate(option) < least * runner.rate(before):
                break
            before = option
        best = max(best, before, key=runner.rate)
    best = runner.best_of(contender) or best
    changes = [way for way in ways if way.batch == best.way.batch and way.threads == best.way.threads]
    for way in changes:
        runner.look(Option(contender, way))
    best = runner.best_of(contender) or best
    # Fewer threads with as many positions under way: where cores share one unit, or memory is what limits.
    for threads in sorted({way.threads for way in ways if way.threads < usual.threads}, reverse=True):
        same = Way(threads, min(best.way.sessions, threads), best.way.batch)
        if same in allowed:
            runner.look(Option(contender, same))


def _play_final(runner: _Runner, report: Report) -> None:
    ranking = runner.findings.ranking()
    if not ranking:
        return
    least = FINAL_MARGIN * runner.rate(ranking[0])
    finalists = [option for option in ranking if runner.rate(option) >= least][: FINALISTS + runner.looks - 1]
    if len(finalists) < 2:
        return
    for number in range(FINAL_ROUNDS):
        report(f"final, round {number + 1}", number, FINAL_ROUNDS)
        for option in finalists:
            runner.take(option, FINAL_S)
        leader = runner.rate(runner.findings.ranking()[0])
        # One that is clearly behind after a round needs no more of them.
        finalists = [option for option in finalists if runner.rate(option) >= (0.93 + 0.02 * number) * leader]


class _Runner:
    """Takes samples, keeps the deadline, and lets contenders fall out."""

    def __init__(self, measurer: Measurer, clock: Callable[[], float] | None = None, deadline: float = 0.0) -> None:
        self._measurer, self._clock, self._deadline = measurer, clock, deadline
        self.findings = Findings()
        self.looks = 1
        self.rate = self.findings.rate
        self.best_of = self.findings.best_of

    def take(self, option: Option, seconds: float) -> bool:
        """Measure `option`; False where it cannot be, or there is no time left."""
        if option.contender in self.findings.fallen or self._is_too_long(option, seconds):
            return False
        try:
            sample = self._measurer.measure(option, seconds)
        except BackendUnavailable as error:
            self._drop(option, str(error))
            return False
        self.findings.samples.setdefault(option, []).append(sample)
        return True

    def look(self, option: Option) -> bool:
        """Measure `option` shortly, unless it was measured already."""
        while len(self.findings.samples.get(option, [])) < self.looks:
            if not self.take(option, LOOK_S):
                return option in self.findings.samples and option.contender not in self.findings.fallen
        return True

    def mind_neighbours(self, options: Iterable[Option]) -> None:
        """Look more often from now on, and again at `options`, where the looks so far disagree."""
        looked = [option for option in options if len(self.findings.samples.get(option, [])) > 1]
        if any(self.findings.spread(option) > DISTURBED for option in looked):
            self.looks = LOOKS_IF_DISTURBED
            for option in looked:
                self.look(option)

    def within(self, share: float, options: Iterable[Option]) -> list[int]:
        """The contenders of those `options` that reach `share` of the best of them, the fastest first."""
        found = [option for option in options if option in self.findings.samples]
        found = [option for option in found if option.contender not in self.findings.fallen]
        best = max((self.rate(option) for option in found), default=0.0)
        kept = [option for option in found if self.rate(option) >= share * best]
        return [option.contender for option in sorted(kept, key=self.rate, reverse=True)]

    def may_still_win(self, option: Option, leader: int, usual: Way) -> bool:
        best = max(self.rate(each) for each in self.findings.samples if each.contender not in self.findings.fallen)
        top = self.best_of(leader)
        gained = self.rate(top) / self.rate(Option(leader, usual)) if top else 1.0
        return self.rate(option) * max(1.0, gained) >= NEARLY * best

    def _is_too_long(self, option: Option, seconds: float) -> bool:
        """Whether the measurement would end after the deadline, by what this contender did before."""
        if self._clock is None or not self.findings.samples:
            return False
        top = self.best_of(option.contender)
        # One call that is not counted and one that is, both of every thread.
        call_s = option.in_flight / self.rate(top) if top else 0.0
        warm = option in self.findings.samples
        return self._clock() + max(seconds, call_s) + (0.0 if warm else call_s) > self._deadline

    def _drop(self, option: Option, reason: str) -> None:
        """A contender that fails falls out; one that ran with fewer positions under way, too: what crashes once in a
        tuner crashes in a game."""
        way = f" with {option.way}" if self.best_of(option.contender) else ""
        self.findings.fallen[option.contender] = f"{reason}{way}"
