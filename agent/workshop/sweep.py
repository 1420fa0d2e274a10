"""Which way to run which contender is the fastest: by measuring everything, or by a race that measures little. Pure.

Start at `race`. Whoever calls brings a `Measurer`; nothing here knows a runtime, a file or a clock of its own. A race
goes from cheap to dear: every contender once with one usual way, the slow ones drop out; then the ways around that one
for those that are left, larger batches only while they still gain; at the end the best few in turns. A machine's speed
moves by a tenth and more within seconds, so every look is taken beside one at a way that is known already, and what
counts is the ratio of both. `sweep_all` is what the race is judged by.
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
NEARLY: Final = 0.84
# The final, round by round: at most so many, as long as they reach this share of the best. It ends when one is left
# that was measured for `SURE_S`, or all that are left for `ENOUGH_S`.
FINAL: Final = ((5, 0.86), (4, 0.89), (4, 0.91), (3, 0.93), (3, 0.94), (3, 0.95))
FINAL_S: Final = 0.25
SURE_S: Final = 0.7
ENOUGH_S: Final = 1.2
# A batch that is twice as large is dear to measure and dear to search with: the walk upwards ends where it gains less
# than this; downwards it ends where it loses more.
GAIN: Final = 1.015
LOSS: Final = 0.98
# So close to that, a look of less than `LOOKED_S` decides nothing; so many do.
CLOSE: Final = 0.04
LOOKED_S: Final = 0.25
MOST_LOOKS: Final = 3
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
    """All samples of each option that was measured, and the contenders that fell out with their reasons.

    With a `reference`, `ratios` are how much faster an option is than that one, each of two measurements side by side.
    """

    samples: dict[Option, list[Sample]] = field(default_factory=dict)
    fallen: dict[int, str] = field(default_factory=dict)
    reference: Option | None = None
    ratios: dict[Option, list[float]] = field(default_factory=dict)

    def rate(self, option: Option) -> float:
        """Evaluations/s; 0 for what was not measured. Medians, as a burst of speed is as usual as a disturbance."""
        if self.reference is not None and option in self.ratios:
            return self._median_rate(self.reference) * statistics.median(self.ratios[option])
        return self._median_rate(option)

    def _median_rate(self, option: Option) -> float:
        samples = self.samples.get(option)
        return statistics.median(sample.rate for sample in samples) if samples else 0.0

    def seconds(self, option: Option) -> float:
        """How long it was measured."""
        return sum(sample.seconds for sample in self.samples.get(option, []))

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
    remaining = runner.within(STILL_IN, [Option(contender, usual) for contender in contenders])
    if remaining:
        runner.refer_to(Option(remaining[0], usual))
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
    """The ways that differ from the usual one in one thing after the other: batch, sessions, batch again, threads."""
    best = _walk(Option(contender, usual), ways, runner)
    for way in ways:
        if way.batch == best.way.batch and way.threads == best.way.threads:
            runner.look(Option(contender, way), beside=best)
    best = runner.best_of(contender) or best
    if best.way.sessions != usual.sessions:
        best = _walk(best, ways, runner)
    # Fewer threads with as many positions under way: where cores share one unit, or memory is what limits.
    for threads in sorted({way.threads for way in ways if way.threads < usual.threads}, reverse=True):
        same = Way(threads, min(best.way.sessions, threads), best.way.batch)
        if same in ways:
            runner.look(Option(contender, same), beside=best)


def _walk(start: Option, ways: Sequence[Way], runner: _Runner) -> Option:
    """Upwards and downwards from the batch of `start`, as long as that pays; the best one met."""
    batches = [way.batch for way in ways if way[:2] == start.way[:2]]
    larger = sorted(batch for batch in batches if batch > start.way.batch)
    smaller = sorted((batch for batch in batches if batch < start.way.batch), reverse=True)
    best = start
    for direction, least in ((larger, GAIN), (smaller, LOSS)):
        before = start
        for batch in direction:
            option = Option(start.contender, start.way._replace(batch=batch))
            if not runner.reaches(least, option, before):
                break
            before = option
        best = max(best, before, key=runner.rate)
    return best


def _play_final(runner: _Runner, report: Report) -> None:
    """Who takes part is decided anew for each round: one that did badly makes room for one that was unlucky before."""
    for number, (places, margin) in enumerate(FINAL):
        report(f"final, round {number + 1}", number, len(FINAL))
        ranking = runner.findings.ranking()
        if not ranking:
            return
        finalists = [option for option in ranking[:places] if runner.rate(option) >= margin * runner.rate(ranking[0])]
        spent = [runner.findings.seconds(option) for option in finalists]
        if min(spent) >= (SURE_S if len(finalists) == 1 else ENOUGH_S):
            return
        runner.play(finalists, FINAL_S)


class _Runner:
    """Takes samples, keeps the deadline, and lets contenders fall out."""

    def __init__(self, measurer: Measurer, clock: Callable[[], float] | None = None, deadline: float = 0.0) -> None:
        self._measurer, self._clock, self._deadline = measurer, clock, deadline
        self._latest: Option | None = None
        self._played: set[Option] = set()
        self.findings = Findings()
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
        self._latest = option
        return True

    def refer_to(self, option: Option) -> None:
        """From now on rates are ratios to that of `option`."""
        rates = {each: self.rate(each) for each in self.findings.samples}
        self.findings.reference = option
        self.findings.ratios = {each: [rate / rates[option]] for each, rate in rates.items()}

    def look(self, option: Option, beside: Option, looks: int = 1) -> bool:
        """Measure `option` shortly beside one whose rate is known, unless it was measured so often already."""
        while len(self.findings.samples.get(option, [])) < looks:
            # What was measured last need not be measured again.
            if not ((self._latest == beside or self.take(beside, LOOK_S)) and self.take(option, LOOK_S)):
                break
            self._compare(option, self.findings.samples[option][-1], beside, self.findings.samples[beside][-1])
        return option in self.findings.samples and option.contender not in self.findings.fallen

    def reaches(self, least: float, option: Option, before: Option) -> bool:
        """Whether `option` is `least` times as fast as `before`: looks again as long as that is close."""
        for looks in range(1, MOST_LOOKS + 1):
            if not self.look(option, before, looks):
                return False
            gained = self.rate(option) / self.rate(before)
            if abs(gained / least - 1) > CLOSE or self.findings.seconds(option) > LOOKED_S:
                break
        return gained >= least

    def play(self, options: Sequence[Option], seconds: float) -> None:
        """Measure `options` in turns beside the reference; from now on only such turns count for them."""
        reference = self.findings.reference
        if reference is None or reference.contender in self.findings.fallen:
            reference = options[0]
            self.refer_to(reference)
        if not self.take(reference, seconds):
            return
        for option in options:
            if option == reference or not self.take(option, seconds):
                continue
            if option not in self._played:
                self._played.add(option)
                self.findings.ratios[option] = []
            self._compare(option, self.findings.samples[option][-1], reference, self.findings.samples[reference][-1])

    def _compare(self, option: Option, sample: Sample, beside: Option, other: Sample) -> None:
        known = statistics.median(self.findings.ratios[beside])
        self.findings.ratios.setdefault(option, []).append(known * sample.rate / other.rate)

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
