"""The command line: every verb, in the order of `agent --help`. What they do stands in `agent/cli/`.

Errors of the agent's own family become two lines on stderr, what went wrong and `fix:`, and exit status 1.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

import typer

from agent.cli import (
    analyze,
    children,
    export,
    fleet,
    machine,
    match,
    measure,
    networks,
    qat,
    report,
    serving,
    setup,
    tune,
    verify,
)
from agent.cli import katago as katago_verbs
from agent.errors import AgentError, command_name

app = typer.Typer(
    name="agent",
    help="Runs a KataGo network on this machine: detects it, pulls a network, serves GTP and analysis, reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for verb in (
    machine.version,
    machine.detect,
    machine.why,
    networks.pull,
    networks.convert,
    export.export,
    qat.qat,
    verify.positions,
    verify.verify,
    match.match,
    serving.run,
    serving.gtp,
    serving.analysis,
    analyze.analyze,
    serving.status,
    measure.bench,
    measure.speed,
    tune.tune,
    report.report,
    setup.install,
    setup.doctor,
):
    app.command()(verb)

fleet_app = typer.Typer(help="All devices on one broker.", no_args_is_help=True, rich_markup_mode=None)
fleet_app.command()(fleet.watch)
app.add_typer(fleet_app, name="fleet")
app.add_typer(katago_verbs.app, name="katago")

# What the daemon starts as processes of its own.
app.command(hidden=True)(children.engine)
app.command(hidden=True)(children.broker)
app.command("provision", hidden=True)(children.provision_for_parent)
app.command(hidden=True)(children.probe)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb. Exit status: 0 done, 1 failed, 2 wrong usage."""
    # A terminal that is not set to UTF-8 gets \u2013 for a dash, as standard error does, instead of a traceback.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        app(args=arguments, prog_name=command_name())
    except AgentError as error:
        sys.exit(error.explain())


def katago() -> None:
    """Run `agent katago` with KataGo's own arguments."""
    main(["katago", *sys.argv[1:]])


if __name__ == "__main__":
    main()
