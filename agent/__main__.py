"""The verbs of the command line: the only place that prints and exits.

Each verb imports what it needs inside itself, so that `agent version` stays quick and `agent run` stays small, calls
one function of the part that does the work, and prints what that returned. A verb that reports has `--json`.
Errors of the agent's own family become two lines on stderr, what went wrong and `fix:`, and exit status 1.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from agent.errors import AgentError

app = typer.Typer(
    name="agent",
    help="Runs a KataGo network on this machine: detects it, pulls a network, serves GTP and analysis, reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def version() -> None:
    """Print the agent's version."""
    from agent import __version__

    print(__version__)


@app.command()
def detect(
    root: Path = typer.Option(Path("/"), "--root", help="Another filesystem root, such as a mounted card."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show what machine this is, and for each fact that cannot be found out, why."""
    import msgspec
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agent.hardware import detect as detect_hardware
    from agent.hardware import sample
    from agent.hardware.describe import live_rows, rows

    hardware, live = detect_hardware(root), sample(root)
    if as_json:
        facts = {**msgspec.to_builtins(hardware), "live": msgspec.to_builtins(live)}
        print(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode())
        return
    table = Table("Fact", "Found", show_lines=False)
    for row in (*rows(hardware), *live_rows(live)):
        table.add_row(Text(row.label), Text(row.text if row.is_known else f"unknown: {row.text}"))
    Console().print(table)


@app.command()
def why(
    root: Path = typer.Option(Path("/"), "--root", help="Another filesystem root, such as a mounted card."),
    native: bool = typer.Option(False, "--native", help="The profile for a native katago, started by hand."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show which profile this machine gets and why, and why each other lost."""
    import msgspec
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agent.hardware import detect as detect_hardware
    from agent.hardware.describe import summary
    from agent.profile import choose, load_profiles
    from agent.profile.describe import lines
    from agent.settings import data_folder

    hardware = detect_hardware(root)
    choice = choose(hardware, load_profiles(data_folder("profiles")), native=native)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(choice), indent=2).decode())
        return
    table = Table("", "", show_header=False)
    table.add_row("Machine", Text(summary(hardware)))
    for label, text in lines(choice):
        table.add_row(Text(label), Text(text))
    Console().print(table)


@app.command()
def convert(
    source: Path = typer.Argument(..., help="A KataGo network: .bin.gz, .bin, .txt.gz or .txt."),
    out: Path = typer.Argument(..., help="The ONNX file to write."),
    form: str = typer.Option("auto", help="How convolutions are written: auto, plain or winograd."),
    as_json: bool = typer.Option(False, "--json", help="Print progress and result as lines of JSON."),
) -> None:
    """Convert a network file to what the engine runs."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from agent.export.convert import convert as convert_network
    from agent.export.emit import Form
    from agent.export.progress import BarReporter, LineReporter

    forms = {"auto": None, **{each.value: each for each in Form}}
    if form not in forms:
        raise typer.BadParameter(f"choose one of: {', '.join(forms)}", param_hint="--form")
    if as_json:
        lines = LineReporter(lambda line: print(line, flush=True))
        info = convert_network(source, out, lines, form=forms[form])
        print(msgspec.json.encode(info).decode())
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        info = convert_network(source, out, BarReporter(progress), form=forms[form])
    print(
        f"{out}: {info.name}, version {info.version}, {info.precision}, {info.form}, {out.stat().st_size / 1e6:.1f} MB"
    )


@app.command()
def pull(
    names: list[str] = typer.Argument(None, help="Networks of the catalogue or .bin.gz files; none: this machine's."),
    state: Path = typer.Option(None, "--state", help="The state folder, instead of the configured one."),
    folders: list[Path] = typer.Option([], "--from", help="A folder to look in before each network's own sources."),
    as_json: bool = typer.Option(False, "--json", help="Print progress and results as lines of JSON."),
) -> None:
    """Fetch networks into the store, verified: each one named, or the best for this machine that can be had."""
    import contextlib

    import msgspec

    from agent.export.progress import LineReporter
    from agent.hardware import detect as detect_hardware
    from agent.model.catalogue import load_catalogue
    from agent.model.progress import progress_on
    from agent.model.pull import pull as pull_first
    from agent.model.pull import pull_named
    from agent.model.store import Store, StoredNetwork
    from agent.profile import choose, load_profiles
    from agent.settings import data_folder, load_settings

    store = Store(state or load_settings().state_dir)
    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    lines = LineReporter(lambda line: print(line, flush=True))

    def show(stored: StoredNetwork) -> None:
        manifest = stored.manifest
        line = f"{manifest.name}: {manifest.size_bytes / 1e6:.1f} MB from {manifest.source}, in {stored.path}"
        print(msgspec.json.encode(stored, enc_hook=str).decode() if as_json else line, flush=True)

    with contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr) as reporter:
        for name in names or ():
            show(pull_named(name, catalogue, store, reporter, refresh=True, folders=folders))
        if not names:
            profile = choose(detect_hardware(), load_profiles(data_folder("profiles"))).require()
            candidates = [catalogue.find(candidate.network) for candidate in profile.networks]
            show(pull_first(candidates, store, reporter, refresh=True, folders=folders))


@app.command()
def install(
    root: Path = typer.Option(Path("/"), "--root", help="The folder of an image to install into, instead of /."),
    start: bool = typer.Option(False, "--now", help="Start the service, too, and wait until it is ready."),
    plan_only: bool = typer.Option(False, "--plan", help="Print the steps and end."),
    only_network: bool = typer.Option(False, "--only-network", hidden=True),
) -> None:
    """Make this machine ready: as root with systemd the service, for anybody else configuration and network."""
    from agent.hardware import detect as detect_hardware
    from agent.install.steps import find_target, plan, plan_network
    from agent.install.steps import install as apply_steps
    from agent.install.system import LiveSystem
    from agent.model.progress import progress_on
    from agent.settings import load_settings

    settings = load_settings()
    with progress_on(sys.stderr) as reporter:

        def provide() -> None:
            from agent.provision import provision

            provision(settings, reporter)

        if only_network:
            steps = plan_network(settings.state_dir, provide)
        else:
            target = find_target(root, settings.state_dir, jetson=detect_hardware().board.family == "jetson")
            steps = plan(target, LiveSystem(), provide, start=start)
        if plan_only:
            for step in steps:
                print(f"{step.name:<14} {step.purpose}")
            return
        apply_steps(steps, reporter)


@app.command()
def doctor(
    config: Path = typer.Option(None, "--config", help="The agent.yaml to read, instead of the default one."),
    as_json: bool = typer.Option(False, "--json", help="Print the findings as lines of JSON."),
) -> None:
    """Check every link of the chain, from this Python to a move and a message; exit status 1 if one is broken."""
    import msgspec

    from agent.install.doctor import examine

    marks = {True: "pass", False: "FAIL", None: "-   "}
    broken = False
    for finding in examine(config):
        broken = broken or not finding.ok
        if as_json:
            print(msgspec.json.encode(finding).decode(), flush=True)
            continue
        print(f"{marks[finding.ok]}  {finding.name:<13}  {finding.detail}", flush=True)
        if finding.fix:
            print(f"{'':21}fix: {finding.fix}", flush=True)
    if broken:
        raise typer.Exit(1)


@app.command(hidden=True)
def engine(
    fd: int = typer.Option(..., help="The inherited end of a socket pair to the front."),
    backend: str = typer.Option(..., help="Network runtime."),
    model: Path | None = typer.Option(None, help="A converted network."),
    threads: int = typer.Option(1, min=1, help="Search threads."),
    batch: int = typer.Option(1, min=1, help="Positions that a thread evaluates at once."),
    cache_positions: int = typer.Option(20_000, min=0, help="Evaluations kept."),
    seed: int | None = typer.Option(None, help="For symmetries and random draws; random if not given."),
) -> None:
    """Serve searches to the daemon that started this process: the worker."""
    import secrets
    import socket

    from agent.engine.lifeline import die_with_parent
    from agent.engine.worker import WorkerOptions, run_worker

    die_with_parent()
    chosen = secrets.randbits(63) if seed is None else seed
    options = WorkerOptions(backend, model, threads, batch, cache_positions, chosen)
    with socket.socket(fileno=fd) as end:
        status = run_worker(end, options)
    raise typer.Exit(status)


@app.command()
def run(
    once: bool = typer.Option(False, "--once", help="End when a move was analysed and a metric came back; 0 if so."),
    config: Path = typer.Option(None, "--config", help="The agent.yaml to read, instead of the default one."),
    network: str = typer.Option(None, "--network", help="A network of the catalogue, or the path of a .bin.gz file."),
    visits: int = typer.Option(None, "--visits", help="Visits per move, instead of the profile's."),
    threads: int = typer.Option(None, "--threads", help="Search threads, instead of the profile's."),
    patience_s: float = typer.Option(None, "--patience", min=0, help="With --once: seconds to wait for the metric."),
) -> None:
    """Serve GTP and analysis on TCP and report over MQTT, until ended: the daemon."""
    from agent.daemon import become_daemon
    from agent.settings import load_settings, with_overrides

    settings = with_overrides(load_settings(config), network=network, visits=visits, threads=threads)
    become_daemon(settings, once=once, patience_s=patience_s)


@app.command()
def gtp(
    config: Path = typer.Option(None, "--config", help="The agent.yaml to read, instead of the default one."),
    network: str = typer.Option(None, "--network", help="A network of the catalogue, or the path of a .bin.gz file."),
    visits: int = typer.Option(None, "--visits", help="Visits per move, instead of the profile's."),
    threads: int = typer.Option(None, "--threads", help="Search threads, instead of the profile's."),
    overrides: list[str] = typer.Option([], "--override-config", help="KataGo's settings: key=value,key=value."),
) -> None:
    """Speak GTP on standard input and output: through the running agent, or with an engine of its own."""
    from agent import run as path

    _serve_stdio("gtp", path.gtp_service, config, network, visits, threads, overrides)


@app.command()
def analysis(
    config: Path = typer.Option(None, "--config", help="The agent.yaml to read, instead of the default one."),
    network: str = typer.Option(None, "--network", help="A network of the catalogue, or the path of a .bin.gz file."),
    visits: int = typer.Option(None, "--visits", help="Visits per move, instead of the profile's."),
    threads: int = typer.Option(None, "--threads", help="Search threads, instead of the profile's."),
    overrides: list[str] = typer.Option([], "--override-config", help="KataGo's settings: key=value,key=value."),
    quit_without_waiting: bool = typer.Option(
        False, "--quit-without-waiting", help="End with the input, without answers to what still waits."
    ),
) -> None:
    """Speak KataGo's JSON analysis on standard input and output, as `gtp` does GTP."""
    from functools import partial

    from agent import run as path

    service = partial(path.analysis_service, quit_without_waiting=quit_without_waiting)
    _serve_stdio("analysis", service, config, network, visits, threads, overrides, may_join=not quit_without_waiting)


@app.command()
def status(
    config: Path = typer.Option(None, "--config", help="The agent.yaml to read, instead of the default one."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Tell how the running agent is; exit status 0 when it is up, 1 when it is degraded or not running."""
    import msgspec

    from agent.service.health import ask_status, find_front, judge, lines
    from agent.settings import load_settings

    front = find_front(load_settings(config).state_dir)
    verdict = judge(front, ask_status(front) if front else None)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(verdict), indent=2).decode())
    else:
        for label, text in lines(verdict):
            print(f"{label:<10} {text}")
    if verdict.state != "up":
        raise typer.Exit(1)


@app.command()
def bench(
    config: Path = typer.Option(None, "--config", help="The agent.yaml to read, instead of the default one."),
    network: str = typer.Option(None, "--network", help="A network of the catalogue, or the path of a .bin.gz file."),
    visits: int = typer.Option(200, "--visits", min=1, help="Visits per position."),
    threads: int = typer.Option(None, "--threads", min=1, help="Search threads, instead of the profile's."),
    batch: int = typer.Option(None, "--batch", min=1, help="Positions in one network call, instead of the profile's."),
    against: Path = typer.Option(None, "--against", help="A native katago to run beside ours, same network, visits."),
    against_threads: int = typer.Option(None, "--against-threads", min=1, help="Its search threads; default: cores."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Measure network and search on ten 19×19 positions, and a native katago beside them."""
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
    from agent.model.store import Store
    from agent.provision import provision
    from agent.settings import load_settings, with_overrides

    settings = with_overrides(load_settings(config), network=network, threads=threads)
    cores = len(os.sched_getaffinity(0))
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
        reporter = BarReporter(progress)
        plan = provision(settings, reporter)
        options = BenchOptions(plan.threads, batch or plan.batch, cores, visits, plan.cache_positions)
        backend = open_backend(plan.backend, Path(plan.model) if plan.model else None, threads=plan.threads)
        stack.callback(backend.close)
        opponent = None
        if against is not None:
            source = Store(settings.state_dir).find(plan.network_sha256)
            if source is None:
                raise typer.BadParameter(
                    "needs a network; the backend of this profile has none", param_hint="--against"
                )
            native = NativeKatago(against, source.path, threads=against_threads or cores, batch=options.batch)
            opponent = stack.enter_context(native)
        result = run_bench(backend, options, reporter, opponent=opponent)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
        return
    Console().print(table(result))


fleet = typer.Typer(help="All devices on one broker.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(fleet, name="fleet")


@fleet.command()
def watch(
    host: str = typer.Option(None, "--host", help="The broker; default: the configured one, or the running agent's."),
    port: int = typer.Option(None, "--port", help="Its port."),
    config: Path = typer.Option(None, "--config", help="The agent.yaml to read, instead of the default one."),
    once: bool = typer.Option(False, "--once", help="Show the table one time and end."),
    listen_s: float = typer.Option(0.0, "--listen", min=0, help="Seconds to wait for measurements before the first."),
    as_json: bool = typer.Option(False, "--json", help="Print the devices as JSON, a line each time."),
) -> None:
    """Show every device that reports to the broker in a live table; Ctrl-C ends it."""
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


@app.command(hidden=True)
def broker(port: int = typer.Option(..., "--port")) -> None:
    """The daemon's own MQTT broker, on loopback, until standard input ends."""
    import asyncio

    from agent.telemetry.broker import serve_broker

    asyncio.run(serve_broker(port, sys.stdin.buffer, lambda: print("listening", flush=True)))


@app.command("provision", hidden=True)
def provision_for_parent() -> None:
    """Detect, choose, pull and convert for the daemon: settings as JSON come on standard input, events go out."""
    import msgspec

    from agent.provision import Failure, provision
    from agent.settings import decode_settings

    def say(event: msgspec.Struct) -> None:
        print(msgspec.json.encode(event).decode(), flush=True)

    class Lines:
        def report(self, event: msgspec.Struct) -> None:
            say(event)

    try:
        say(provision(decode_settings(sys.stdin.buffer.read()), Lines()))
    except AgentError as error:
        say(Failure(message=str(error), fix=error.fix))


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
    overrides: list[str],
    *,
    may_join: bool = True,
) -> None:
    """Join the running agent where the caller asks for nothing that it does not have, else serve with an own engine."""
    import asyncio

    from agent.events import TextReporter
    from agent.run import serve_client
    from agent.settings import load_settings, with_overrides

    _log_to_stderr()
    settings = with_overrides(load_settings(config), network=network, visits=visits, threads=threads)
    reporter = TextReporter(lambda line: print(line, file=sys.stderr, flush=True))
    may_join = may_join and not (network or visits or threads or overrides)
    asyncio.run(serve_client(settings, reporter, kind, service, overrides, may_join=may_join))


def main() -> None:
    """Entry point of the `agent` and `katago-agent` commands. Exit status: 0 done, 1 failed, 2 wrong usage."""
    try:
        app(prog_name="agent")
    except AgentError as error:
        sys.exit(error.explain())


if __name__ == "__main__":
    main()
