"""`agent bench`: what this machine reaches."""

from __future__ import annotations

from pathlib import Path

import typer

from agent.cli.options import Config, Json, Network


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
    """Measure network and search. Ten 19×19 positions; --against measures a native katago on the same ones."""
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
    from agent.provision import provision
    from agent.settings import load_settings, with_overrides

    settings = with_overrides(load_settings(config), network=network, threads=threads)
    cores = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        reporter = BarReporter(progress)
        plan = provision(settings, reporter)
        model = Path(plan.model) if plan.model else None
        backend = open_backend(plan.backend, model, threads=plan.threads)
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
        if against is not None:
            source = Store(settings.state_dir).find(plan.network_sha256)
            if source is None:
                raise typer.BadParameter(
                    "needs a network; the backend of this profile has none", param_hint="--against"
                )
            native = NativeKatago(against, source.path, threads=against_threads or cores, batch=options.batch)
            opponent = stack.enter_context(native)
        result = run_bench(
            backend,
            options,
            reporter,
            opponent=opponent,
            open_another=lambda: open_backend(plan.backend, model, threads=1),
        )
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
        return
    Console().print(table(result))
