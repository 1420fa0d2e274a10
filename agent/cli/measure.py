"""`agent bench`: what this machine reaches."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from agent.cli.options import Config, Json, Network, finite, settings_as_owner

TABLE_WIDTH = 150


def bench(
    config: Config = None,
    network: Network = None,
    visits: int = typer.Option(200, "--visits", min=1, help="Visits per position."),
    threads: int = typer.Option(None, "--threads", min=1, help="Search threads, instead of the profile's."),
    batch: int = typer.Option(None, "--batch", min=1, help="Positions in one network call, instead of the profile's."),
    against: Path = typer.Option(None, "--against", help="A native katago to run beside ours, same network, visits."),
    against_threads: int = typer.Option(None, "--against-threads", min=1, help="Its search threads; default: cores."),
    as_json: Json = False,
) -> None:
    """Measure network and search of the built-in engine. Ten 19×19 positions; --against, or where agent.yaml has one
    the katago that serves, is measured on the same ones."""
    import contextlib
    import os

    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from agent.engine.backends import open_backend
    from agent.engine.bench import BenchOptions, run_bench
    from agent.engine.bench_table import table
    from agent.engine.native_katago import NativeKatago
    from agent.export.progress import BarReporter
    from agent.hardware import sample
    from agent.model.store import Store
    from agent.provision import katago_here, provision
    from agent.settings import with_built_in_engine, with_overrides

    wanted = settings_as_owner(config)
    beside = against or (katago_here(wanted) if wanted.engine.wants_native else None)
    settings = with_built_in_engine(with_overrides(wanted, network=network, threads=threads))
    cores = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        reporter = BarReporter(progress)
        plan = provision(settings, reporter)
        model = Path(plan.model) if plan.model else None
        backend = open_backend(plan.backend, model, threads=plan.threads, human_profile=plan.human_profile)
        stack.callback(backend.close)
        memory = sample().memory_available_bytes
        options = BenchOptions(
            plan.threads,
            batch or plan.batch,
            cores,
            visits,
            plan.cache_positions,
            available_bytes=memory if isinstance(memory, int) else 0,
        )
        opponent = None
        if beside is not None:
            source = Store(settings.state_dir).find(plan.network_sha256)
            if source is None:
                raise typer.BadParameter(
                    "needs a network; the backend of this profile has none", param_hint="--against"
                )
            native = NativeKatago(beside, source.path, threads=against_threads or cores, batch=options.batch)
            opponent = stack.enter_context(native)
        result = run_bench(
            backend,
            options,
            reporter,
            opponent=opponent,
            open_another=lambda: open_backend(plan.backend, model, threads=1, human_profile=plan.human_profile),
        )
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
        return
    Console(markup=False, emoji=False).print(table(result))


def speed(
    networks: list[str] = typer.Argument(
        None, help="Networks of the catalogue or .bin.gz files; none: this machine's."
    ),
    config: Config = None,
    against: Path = typer.Option(None, "--against", help="A native katago to measure in turns with ours."),
    boards: list[int] = typer.Option([19, 13, 9], "--board", min=2, max=19, help="Sides of boards. Again for more."),
    unverified: bool = typer.Option(False, "--unverified", help="Also time artifacts that nobody has verified."),
    rounds: int = typer.Option(7, "--rounds", min=1, help="Rounds in which all take turns."),
    turn_s: float = typer.Option(1.5, "--turn", min=0.05, callback=finite, help="Seconds of one turn."),
    as_json: Json = False,
) -> None:
    """Time every path of a network in turns with a native katago, and say what share of the machine's arithmetic each
    uses. The figures also go into the manifests of the artifacts. The machine should have nothing else to do."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from agent.errors import AgentError
    from agent.export.progress import BarReporter
    from agent.settings import with_overrides
    from agent.tuner import SpeedWishes, keep_speeds, speed_here
    from agent.workshop.speed_table import tables

    settings = settings_as_owner(config)
    chosen = [with_overrides(settings, network=name) for name in networks] if networks else [settings]
    sides = tuple(sorted(set(boards), reverse=True))
    found, not_kept = [], list[AgentError]()
    with Progress(console=Console(stderr=True), transient=True) as progress:
        reporter = BarReporter(progress)
        for each in chosen:
            options = SpeedWishes(against, sides, unverified, rounds, turn_s)
            found.append(speed_here(each, reporter, options))
            try:
                keep_speeds(each, found[-1])
            except AgentError as error:
                not_kept.append(error)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        # A file that the tables go to has no width of its own.
        console = Console(width=None if sys.stdout.isatty() else TABLE_WIDTH, markup=False, emoji=False)
        for shown in (shown for result in found for shown in tables(result)):
            console.print(shown)
    # What took an hour is told, whether or not it could be written down.
    if not_kept:
        raise not_kept[0]
