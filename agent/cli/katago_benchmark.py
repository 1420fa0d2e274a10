"""`agent katago benchmark`: visits per second by number of threads, in the lines that readers of KataGo's know."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import typer

from agent.cli.katago_options import Configs, Model, Overriding, read_configuration
from agent.cli.options import settings_as_owner

if TYPE_CHECKING:
    from agent.engine.bench_threads import ThreadRate

# What KataGo's benchmark goes by: of two engines that differ in speed alone.
ELO_PER_DOUBLING: Final = 250
# The difference of two speeds on a machine at rest; below it fewer threads are recommended.
NOISE: Final = 0.03
MOST_THREADS: Final = 4096


def benchmark(
    model: Model = None,
    config: Configs = None,
    override_config: Overriding = None,
    visits: int = typer.Option(
        80, "-v", "-visits", "--visits", min=2, max=999_999_999, metavar="VISITS", help="Visits of each search."
    ),
    threads: str = typer.Option(
        "", "-t", "-threads", "--threads", metavar="THREADS", help="Numbers of threads to test, such as 1,2,4."
    ),
    positions: int = typer.Option(
        10, "-n", "-numpositions", "--numpositions", min=1, max=10, metavar="NUM", help="19×19 positions to search."
    ),
    batch: int = typer.Option(
        None, "-fixed-batch-size", "--fixed-batch-size", min=1, max=65536, metavar="NUM", help="Positions at once."
    ),
    seconds: float = typer.Option(
        5.0, "-i", "-time", "--time", metavar="SECONDS", help="Taken and not used: seconds of a move in a game."
    ),
    tune: bool = typer.Option(False, "-s", "-tune", "--tune", help="Find the best number of threads: the default."),
) -> None:
    """Search the same positions with several numbers of threads and tell the visits per second of each."""
    import os
    from pathlib import Path

    from agent.engine.backends.sessions import open_sessions
    from agent.engine.bench import load_positions, parse_query
    from agent.engine.bench_threads import measure_threads
    from agent.events import TextReporter
    from agent.provision import provision
    from agent.settings import with_built_in_engine, with_overrides

    del seconds, tune
    configuration = read_configuration("gtp", config or [], override_config or [])
    counts = thread_counts(threads, len(os.sched_getaffinity(0)))
    reporter = TextReporter(lambda line: print(line, file=sys.stderr, flush=True))
    plan = provision(with_built_in_engine(with_overrides(settings_as_owner(), network=model)), reporter)
    asked = configuration.wishes()
    chosen = [parse_query(query) for query in load_positions()[:positions]]
    print(f"Testing using {visits} visits.\n")
    print(f"This machine is currently set to use numSearchThreads = {asked.threads(MOST_THREADS) or plan.threads}")
    print(f"Testing different numbers of threads (board size 19x19), {plan.network} on {plan.backend}:", flush=True)
    rates = []
    for count in counts:
        sessions = min(plan.sessions, count)
        backend = open_sessions(
            plan.backend,
            Path(plan.model) if plan.model else None,
            threads=count,
            sessions=sessions,
            human_profile=plan.human_profile,
        )
        try:
            rate = measure_threads(
                backend,
                chosen,
                threads=count,
                batch=batch or asked.batch(count, plan.batch),
                visits=visits,
                cache_positions=plan.cache_positions,
                on_position=lambda rate: print(f"\r{_progress(rate, len(chosen))}      ", end="", flush=True),
            )
        finally:
            backend.close()
        rates.append(rate)
        print(f"\r{row(rate, len(chosen))}", flush=True)
    if len(rates) > 1:
        print("\n" + "\n".join(comparison(rates)) + "\n")


def thread_counts(text: str, cores: int) -> list[int]:
    """The numbers of `-threads`; without any 1, 2, 3, 4, 6, 8, 12… up to the cores. Raises BadParameter."""
    if not text:
        steps = {power * factor for power in (1 << n for n in range(13)) for factor in (2, 3)}
        return sorted({1, cores} | {step for step in steps if step <= cores})
    pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
    wrong = [piece for piece in pieces if not (piece.isascii() and piece.isdigit() and 0 < int(piece) <= MOST_THREADS)]
    if wrong or not pieces:
        raise typer.BadParameter(f"Number of threads to use: invalid value: {', '.join(wrong)}", param_hint="-threads")
    return list(dict.fromkeys(int(piece) for piece in pieces))


def _progress(rate: ThreadRate, total: int) -> str:
    return (
        f"numSearchThreads = {rate.threads:2d}: {rate.positions} / {total} positions,"
        f" visits/s = {rate.visits_per_s:.2f} ({rate.seconds:.1f} secs)"
    )


def row(rate: ThreadRate, total: int) -> str:
    """One number of threads, in KataGo's form."""
    return (
        f"numSearchThreads = {rate.threads:2d}: {rate.positions} / {total} positions,"
        f" visits/s = {rate.visits_per_s:.2f} nnEvals/s = {rate.evaluations / rate.seconds:.2f}"
        f" nnBatches/s = {rate.batches / rate.seconds:.2f}"
        f" avgBatchSize = {rate.evaluations / max(1, rate.batches):.2f} ({rate.seconds:.1f} secs)"
    )


def comparison(rates: Sequence[ThreadRate]) -> list[str]:
    """All numbers of threads beside the first, and which one to take: the fewest of those that are fastest."""
    fastest = max(rate.visits_per_s for rate in rates)
    best = next(rate for rate in rates if rate.visits_per_s >= (1 - NOISE) * fastest)
    lines = [f"Twice the speed is worth about {ELO_PER_DOUBLING} Elo. By speed alone:"]
    for rate in rates:
        gain = ELO_PER_DOUBLING * math.log2(rate.visits_per_s / rates[0].visits_per_s)
        beside = "(baseline)" if rate is rates[0] else f"{gain:+5.0f} Elo"
        lines.append(f"numSearchThreads = {rate.threads:2d}: {beside}{' (recommended)' if rate is best else ''}")
    return lines
