"""`agent run`, `gtp`, `analysis` and `status`: the daemon, its clients, and how it is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from agent.cli.options import Config, Json, Network, Overrides, Threads, Visits, settings_as_owner

if TYPE_CHECKING:
    from agent.service.config_keys import Configuration


def run(
    once: bool = typer.Option(False, "--once", help="End when a move was analysed and a metric came back; 0 if so."),
    config: Config = None,
    network: Network = None,
    visits: Visits = None,
    threads: Threads = None,
    patience_s: float = typer.Option(None, "--patience", min=0, help="With --once: seconds to wait for the metric."),
) -> None:
    """Serve GTP and analysis on TCP, WebSocket and Unix sockets, and report over MQTT. This is the daemon; Ctrl-C or
    SIGTERM ends it."""
    from agent.daemon import become_daemon
    from agent.errors import AgentError
    from agent.outage import fail_as_service, is_service
    from agent.settings import with_overrides

    try:
        settings = with_overrides(settings_as_owner(config), network=network, visits=visits, threads=threads)
    except AgentError as error:
        if once or not is_service():
            raise
        fail_as_service(None, error)
    become_daemon(settings, once=once, patience_s=patience_s)


def gtp(
    config: Config = None,
    network: Network = None,
    visits: Visits = None,
    threads: Threads = None,
    overrides: Overrides = None,
) -> None:
    """Speak GTP on standard input and output. Joins the running agent where there is one, unless --network, --visits,
    --threads or --override-config asks for something else; otherwise starts an engine of its own."""
    from agent import run as path

    _serve_stdio("gtp", path.gtp_service, config, network, visits, threads, overrides)


def analysis(
    config: Config = None,
    network: Network = None,
    visits: Visits = None,
    threads: Threads = None,
    overrides: Overrides = None,
    quit_without_waiting: bool = typer.Option(
        False, "--quit-without-waiting", help="End with the input, without answers to what still waits."
    ),
) -> None:
    """Speak KataGo's JSON analysis on standard input and output. Joins the running agent or starts an engine, as `gtp`
    does."""
    from functools import partial

    from agent import run as path

    service = partial(path.analysis_service, quit_without_waiting=quit_without_waiting)
    _serve_stdio("analysis", service, config, network, visits, threads, overrides, may_join=not quit_without_waiting)


def status(
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Tell how the running agent is. Exit status 0 when it is up, 1 when it is degraded or not running."""
    import msgspec

    from agent.errors import as_called
    from agent.service.health import ask_status, find_front, judge, lines
    from agent.settings import load_settings

    front = find_front(load_settings(config).state_dir)
    verdict = judge(front, ask_status(front) if front else None)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(verdict), indent=2).decode())
    else:
        for label, text in lines(verdict):
            print(f"{label:<10} {as_called(text)}")
    if verdict.state != "up":
        raise typer.Exit(1)


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)


def _serve_stdio(
    kind: str,
    service: Callable[..., Any],
    config: Path | None,
    network: str | None,
    visits: int | None,
    threads: int | None,
    overrides: Sequence[str] | None,
    *,
    may_join: bool = True,
) -> None:
    """Join the running agent where the caller asks for nothing that it does not have, else serve with an own engine."""
    import asyncio

    from agent.events import TextReporter
    from agent.run import serve_client
    from agent.service.config_keys import configure
    from agent.settings import with_overrides

    _log_to_stderr()
    settings = with_overrides(settings_as_owner(config), network=network, visits=visits, threads=threads)
    reporter = TextReporter(tell)
    configuration = configure(kind, overrides=overrides or ())
    tell_leftovers(configuration)
    may_join = may_join and not (network or visits or threads or overrides)
    asyncio.run(serve_client(settings, reporter, kind, service, configuration, may_join=may_join))


def tell_leftovers(configuration: Configuration) -> None:
    """Name once, on standard error, the settings that change nothing, in KataGo's words where it would say so too."""
    left = configuration.leftovers()
    if left.unknown:
        name = configuration.name
        tell("--------------")
        tell(
            "WARNING: Config had unused keys! You may have a typo, an option you specified is being unused from " + name
        )
        for key in left.unknown:
            tell(f"WARNING: Unused key '{key}' in {name}")
        tell("--------------")
    if left.without_effect:
        tell(f"Without effect here: {', '.join(left.without_effect)}")


def tell(line: str) -> None:
    """On standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)
