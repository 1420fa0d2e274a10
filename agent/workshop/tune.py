"""Finds by measuring what this machine should run a network with. Start at `tune`.

Contenders are files and the backends that run them. Each is tried in a child process (`probe.py`): whether it loads,
whether its answers are right, how fast it is and how much memory it takes; one that crashes, hangs or answers wrongly
is set aside with its reason and the rest goes on. Which measurements are made is `sweep.py`'s.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from agent.engine.tuning import MAIN_BOARD, Contender, SetAside, Timing, Tuned, choose, in_order
from agent.engine.way import Way
from agent.errors import BackendUnavailable, TuneFailed
from agent.events import Benchmarking, Reporter
from agent.workshop.measurer import ChildMeasurer
from agent.workshop.probe import Probe
from agent.workshop.probe_messages import Answers
from agent.workshop.sweep import LOOK_S, Findings, Option, race, sweep_all

# Told beside the main board: what a network is worth on the smaller ones.
OTHER_SIDES: Final = (13, 9)
# So many contenders are measured there: those that another board's figures may speak for.
_BESIDE: Final = 4
MIB: Final = 1 << 20


@dataclass(frozen=True)
class TuneOptions:
    """`ways` to try, the first of any count of threads being legal for all; `memory_bytes` is what a worker may take
    (None: unknown); `budget_s` bounds a race, which `everything` replaces by an exhaustive sweep without a bound."""

    ways: tuple[Way, ...]
    budget_s: float
    memory_bytes: int | None = None
    everything: bool = False


@dataclass(frozen=True)
class Subject:
    """What a choice is remembered for."""

    hardware: str
    network: str
    network_sha256: str
    versions: dict[str, str]


def tune(
    contenders: Sequence[Contender],
    subject: Subject,
    expected: Answers | None,
    options: TuneOptions,
    reporter: Reporter,
    *,
    open_probe: Callable[[], Probe] = Probe,
    clock: Callable[[], float] = time.monotonic,
) -> Tuned:
    """Measure `contenders` and choose one. `expected` are the check's right answers; None: there are none, and only
    answers that are no numbers count as wrong.

    Raises:
        TuneFailed: none of them works here; names each reason.
    """
    start = clock()
    numbers = range(len(contenders))

    def tell(what: str, done: int, total: int) -> None:
        reporter.report(Benchmarking(what, done, total))

    threads = max(way.threads for way in options.ways)
    with ChildMeasurer(contenders, expected, threads, options.memory_bytes, open_probe) as bench:
        if options.everything:
            findings = sweep_all(numbers, options.ways, bench, tell)
        else:
            findings = race(numbers, options.ways, bench, clock, options.budget_s, tell)
        first = choose(_timings(contenders, findings, {}), memory_bytes=options.memory_bytes)
        beside = _measure_beside(_best_options(contenders, findings, first), findings, bench, tell)
    timings, set_aside = _sum_up(contenders, findings, beside, options)
    chosen = choose(timings, memory_bytes=options.memory_bytes)
    if chosen is None:
        reasons = "; ".join(f"{lost.contender}: {lost.reason}" for lost in set_aside) or "there was nothing to try"
        raise TuneFailed(f"nothing that could run {subject.network} works here: {reasons}")
    return Tuned(
        hardware=subject.hardware,
        network=subject.network,
        network_sha256=subject.network_sha256,
        versions=subject.versions,
        chosen=chosen,
        timings=in_order(timings),
        set_aside=set_aside,
        sweep="all" if options.everything else "race",
        taken_s=round(clock() - start, 3),
        when=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    )


def _best_options(contenders: Sequence[Contender], findings: Findings, chosen: Timing | None) -> list[Option]:
    """The chosen way, and the fastest of the best other contenders."""
    best = {option.contender: option for option in reversed(findings.ranking())}
    if chosen is not None:
        number = contenders.index(chosen.contender)
        best[number] = Option(number, chosen.way)
    return sorted(best.values(), key=findings.rate, reverse=True)[:_BESIDE]


def _measure_beside(
    options: Sequence[Option], findings: Findings, bench: ChildMeasurer, tell: Callable[[str, int, int], object]
) -> dict[Option, dict[str, float]]:
    """Evaluations/s of `options` on other boards; what fails there falls out."""
    found: dict[Option, dict[str, float]] = {}
    for side in OTHER_SIDES:
        for number, option in enumerate(options):
            if option.contender in findings.fallen:
                continue
            tell(f"{side}x{side}, contender {option.contender + 1}", number, len(options))
            try:
                sample = bench.measure(option, 2 * LOOK_S, side)
            except BackendUnavailable as error:
                findings.fallen[option.contender] = f"on {side}x{side}: {error}"
                continue
            found.setdefault(option, {})[f"{side}x{side}"] = sample.evaluations / sample.seconds
    return found


def _timings(
    contenders: Sequence[Contender], findings: Findings, beside: dict[Option, dict[str, float]]
) -> list[Timing]:
    return [
        Timing(
            contenders[option.contender],
            *option.way,
            evals_per_s={MAIN_BOARD: findings.rate(option), **beside.get(option, {})},
            peak_rss_bytes=findings.peak_rss_bytes(option),
        )
        for option in findings.ranking()
    ]


def _sum_up(
    contenders: Sequence[Contender], findings: Findings, beside: dict[Option, dict[str, float]], options: TuneOptions
) -> tuple[list[Timing], tuple[SetAside, ...]]:
    timings = _timings(contenders, findings, beside)
    set_aside = [SetAside(contenders[number], reason) for number, reason in sorted(findings.fallen.items())]
    for number, contender in enumerate(contenders):
        own = [timing.peak_rss_bytes for timing in timings if timing.contender == contender]
        if own and options.memory_bytes is not None and min(own) > options.memory_bytes:
            need, have = min(own) // MIB, options.memory_bytes // MIB
            set_aside.append(SetAside(contender, f"it needs {need} MiB, and the worker may take {have} MiB"))
        elif not own and number not in findings.fallen:
            set_aside.append(SetAside(contender, "there was no time to try it; give `agent tune` a larger --budget"))
    return timings, tuple(set_aside)
