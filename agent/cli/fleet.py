"""`agent fleet watch`: all devices on one broker."""

from __future__ import annotations

import typer

from agent.cli.options import Config


def watch(
    host: str = typer.Option(None, "--host", help="The broker; default: the configured one, or the running agent's."),
    port: int = typer.Option(None, "--port", help="Its port."),
    config: Config = None,
    once: bool = typer.Option(False, "--once", help="Show the table one time and end."),
    listen_s: float = typer.Option(0.0, "--listen", min=0, help="Seconds to wait for measurements before the first."),
    as_json: bool = typer.Option(False, "--json", help="Print the devices as JSON, a line each time."),
) -> None:
    """Show every device on the broker in a live table. Ctrl-C ends it."""
    import asyncio
    import contextlib

    import msgspec
    from rich.console import Console
    from rich.live import Live

    from agent.fleet.state import View
    from agent.fleet.table import table
    from agent.fleet.watch import choose_broker
    from agent.fleet.watch import watch as watch_fleet
    from agent.settings import load_settings

    broker = choose_broker(load_settings(config), host, port)
    console = Console()

    def show(devices: list[View], address: str) -> None:
        if as_json:
            print(msgspec.json.encode(devices).decode(), flush=True)
        elif once:
            console.print(table(devices, address))
        else:
            live.update(table(devices, address))

    live = Live(console=console, auto_refresh=True, refresh_per_second=2)
    with contextlib.suppress(KeyboardInterrupt), contextlib.nullcontext() if once or as_json else live:
        asyncio.run(watch_fleet(broker, show, once=once, listen_s=listen_s))
