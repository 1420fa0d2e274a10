"""`agent tune`: what this machine should run its network with, by measuring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from agent.cli.options import Config, Json, Network, finite, settings_as_owner

if TYPE_CHECKING:
    from rich.table import Table

    from agent.engine.tuning import Tuned

DEFAULT_BUDGET_S = 60.0


def tune(
    config: Config = None,
    network: Network = None,
    budget_s: float = typer.Option(
        DEFAULT_BUDGET_S, "--budget", min=1.0, callback=finite, help="Seconds that the race may take."
    ),
    everything: bool = typer.Option(False, "--all", help="Measure every way instead of a race; takes many minutes."),
    forms: bool = typer.Option(True, help="Also try the graph in its other form, which is converted for it."),
    as_json: Json = False,
) -> None:
    """Measure runtimes, precisions, threads, sessions, batches and graph forms on this machine, and remember the
    fastest; `agent run` uses it and `agent why` tells of it. Artifacts take part once they passed `agent verify`."""
    import contextlib

    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from agent.engine.tuning import remember
    from agent.export.progress import BarReporter
    from agent.settings import with_overrides
    from agent.tuner import tune_here

    settings = with_overrides(settings_as_owner(config), network=network)
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        reporter = BarReporter(stack.enter_context(Progress(console=console, transient=True)))
        tuned = tune_here(settings, reporter, budget_s=budget_s, everything=everything, forms=forms)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(tuned), indent=2).decode())
    else:
        for table in _tables(tuned):
            Console(markup=False, emoji=False).print(table)
    # At last: where that fails, what was measured has been told.
    remember(settings.state_dir, tuned)


def _tables(tuned: Tuned) -> list[Table]:
    from rich.table import Table
    from rich.text import Text

    from agent.workshop.tuned import MIB
    from agent.workshop.tuned_lines import set_aside_rows

    sizes = {board for timing in tuned.timings for board in timing.evals_per_s}
    boards = sorted(sizes, key=lambda board: -int(board.split("x")[0]))
    speeds = [f"{board}, evals/s" for board in boards]
    shown = Table("", "Runs", "Threads", "Sessions", "Batch", *speeds, "Memory", title=tuned.network)
    for timing in tuned.timings:
        rates = [f"{timing.evals_per_s[board]:.1f}" if board in timing.evals_per_s else "" for board in boards]
        way = [str(number) for number in timing.way]
        mark = "→" if timing == tuned.chosen else ""
        shown.add_row(mark, str(timing.contender), *way, *rates, f"{timing.peak_rss_bytes // MIB} MiB")
    tables = [shown]
    if tuned.set_aside:
        aside = Table("Set aside", "Reason")
        for label, reason in set_aside_rows(tuned.set_aside):
            aside.add_row(Text(label), Text(reason))
        tables.append(aside)
    return tables
