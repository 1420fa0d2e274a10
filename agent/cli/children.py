"""Hidden verbs: what the daemon starts as processes of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.errors import AgentError

if TYPE_CHECKING:
    import msgspec

    from agent.events import Reporter


def engine(
    fd: int = typer.Option(..., help="The inherited end of a socket pair to the front."),
    backend: str = typer.Option(..., help="Network runtime."),
    model: Path | None = typer.Option(None, help="A converted network."),
    threads: int = typer.Option(1, min=1, help="Search threads."),
    sessions: int = typer.Option(1, min=1, help="1: the threads share one session; or as many as threads."),
    batch: int = typer.Option(1, min=1, help="Positions that a thread evaluates at once."),
    cache_positions: int = typer.Option(20_000, min=0, help="Evaluations kept."),
    human_profile: str = typer.Option("", help="Whom a human-style network imitates."),
    seed: int | None = typer.Option(None, help="For symmetries and random draws; random if not given."),
) -> None:
    """Serve searches to the daemon that started this process: the worker."""
    import secrets
    import socket

    from agent.engine.worker import WorkerOptions, run_worker
    from agent.lifeline import die_with_parent

    die_with_parent()
    chosen = secrets.randbits(63) if seed is None else seed
    options = WorkerOptions(backend, model, threads, batch, cache_positions, chosen, sessions, human_profile)
    with socket.socket(fileno=fd) as end:
        status = run_worker(end, options)
    raise typer.Exit(status)


def broker(port: int = typer.Option(..., "--port")) -> None:
    """The daemon's own MQTT broker, on loopback, until standard input ends or the daemon is killed."""
    import asyncio
    import logging

    from agent.lifeline import die_with_parent
    from agent.telemetry.broker import serve_broker

    die_with_parent()
    # amqtt logs a traceback of what it also raises, and a warning for each reader that goes away.
    logging.getLogger("amqtt").setLevel(logging.CRITICAL)
    asyncio.run(serve_broker(port, sys.stdin.buffer, lambda: print("listening", flush=True)))


def provision_for_parent() -> None:
    """Detect, choose, pull and convert for the daemon: settings as JSON come on standard input, events go out. Where
    standard error is a terminal, progress is drawn there as bars instead."""
    import msgspec

    from agent.events import Converting, DownloadProgress
    from agent.lifeline import die_with_parent
    from agent.model.progress import bars_on

    die_with_parent()

    def say(event: msgspec.Struct) -> None:
        print(msgspec.json.encode(event).decode(), flush=True)

    with bars_on(sys.stderr, lifts_prints=False) as bars:

        class Lines:
            def report(self, event: msgspec.Struct) -> None:
                if bars is None:
                    say(event)
                elif isinstance(event, DownloadProgress | Converting):
                    bars.report(event)
                else:
                    bars.clear()
                    say(event)

        _provision(Lines(), say)


def _provision(reporter: Reporter, say: Callable[[msgspec.Struct], None]) -> None:
    from agent.provision import provision_as_daemon
    from agent.provision_apart import Failure
    from agent.settings import decode_settings

    try:
        say(provision_as_daemon(decode_settings(sys.stdin.buffer.read()), reporter))
    except AgentError as error:
        say(Failure(message=str(error), fix=error.fix))


def probe() -> None:
    """Try a backend for the process that started this one; requests come on standard input."""
    import os

    from agent.lifeline import die_with_parent
    from agent.workshop.probe_child import serve_probe

    die_with_parent()
    # Runtimes print to standard output what they like; the replies keep it for themselves.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        serve_probe(sys.stdin.buffer, replies)
