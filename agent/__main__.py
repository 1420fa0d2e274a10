"""The verbs of the command line: the only place that prints and exits.

Each verb imports what it needs inside itself, so that `agent version` stays quick and `agent run` stays small, calls
one function of the part that does the work, and prints what that returned. A verb that reports has `--json`.
Errors of the agent's own family become two lines on stderr, what went wrong and `fix:`, and exit status 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

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
def convert(
    source: Path = typer.Argument(..., help="A KataGo network: .bin.gz, .bin, .txt.gz or .txt."),
    out: Path = typer.Argument(..., help="The ONNX file to write."),
    as_json: bool = typer.Option(False, "--json", help="Print progress and result as lines of JSON."),
) -> None:
    """Convert a network file to what the engine runs."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from agent.export.convert import convert as convert_network
    from agent.export.progress import BarReporter, LineReporter

    if as_json:
        info = convert_network(source, out, LineReporter(lambda line: print(line, flush=True)))
        print(msgspec.json.encode(info).decode())
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        info = convert_network(source, out, BarReporter(progress))
    print(f"{out}: {info.name}, version {info.version}, {info.precision}, {out.stat().st_size / 1e6:.1f} MB")


@app.callback()
def verbs() -> None:
    """Keeps verbs as verbs even while there is only one."""


def main() -> None:
    """Entry point of the `agent` and `katago-agent` commands. Exit status: 0 done, 1 failed, 2 wrong usage."""
    try:
        app(prog_name="agent")
    except AgentError as error:
        print(f"agent: {error}", file=sys.stderr)
        if error.fix:
            print(f"fix: {error.fix}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
