"""`agent export`: a network in the formats of other runtimes and precisions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.cli.options import Config, Json

if TYPE_CHECKING:
    from rich.table import Table

    from agent.export.artifact import Format
    from agent.export.exporters import Outcome

ALL = "all"


def export(
    network: str = typer.Argument(..., help="A network of the catalogue, or the path of a .bin.gz file."),
    to: list[str] = typer.Option(..., "--to", help="A format, or all. Again for more."),
    out: Path = typer.Option(None, "--out", help="A folder, instead of the network's own below the state folder."),
    calibration: Path = typer.Option(None, "--calibration", help="Positions that `agent positions` made, for INT8."),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a network in other formats, each proved by a run; what is there already is left alone."""
    import contextlib

    import msgspec
    from rich.console import Console

    from agent.export.exporters import export as export_network
    from agent.export.progress import LineReporter
    from agent.model.catalogue import load_catalogue
    from agent.model.progress import progress_on
    from agent.model.pull import pull_named
    from agent.model.store import Store
    from agent.settings import data_folder, load_settings
    from agent.workshop.proof import prove

    formats = _formats(to)
    settings = load_settings(config)
    lines = LineReporter(lambda line: print(line, flush=True))
    with contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr) as reporter:
        catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
        stored = pull_named(network, catalogue, Store(settings.state_dir), reporter)
        folder = out or settings.state_dir / "artifacts" / stored.sha256
        outcomes = []
        for outcome in export_network(stored.path, formats, folder, prove, reporter, calibration=calibration):
            outcomes.append(outcome)
            if as_json and outcome.artifact is not None:
                print(msgspec.json.encode(outcome.artifact.manifest).decode(), flush=True)
    if not as_json:
        Console().print(_table(outcomes))
    failures = [outcome.error for outcome in outcomes if outcome.error]
    for error in failures:
        print(error.explain(), file=sys.stderr)
    raise typer.Exit(1 if failures else 0)


def _formats(names: Sequence[str]) -> list[Format]:
    """In the order of the table of exporters."""
    from agent.export.artifact import Format
    from agent.export.exporters import EXPORTERS

    known = {each.value: each for each in Format}
    for name in names:
        if name != ALL and name not in known:
            raise typer.BadParameter(f"choose of: {ALL}, {', '.join(known)}", param_hint="--to")
    return [each for each in EXPORTERS if ALL in names or each.value in names]


def _table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each format."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("format", "MB", "boards", "gate", "file"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for outcome in outcomes:
        if outcome.artifact is None:
            table.add_row(outcome.format.value, "", "", "", f"failed: {type(outcome.error).__name__}")
            continue
        manifest = outcome.artifact.manifest
        size = f"{manifest.size_bytes / 1e6:.1f}"
        table.add_row(outcome.format.value, size, manifest.board_sizes, manifest.gate, str(outcome.artifact.path))
    return table
