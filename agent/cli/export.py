"""`agent export`: a network in the formats of other runtimes and precisions."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.cli.options import Config, Json, settings_as_owner

if TYPE_CHECKING:
    from rich.table import Table

    from agent.events import Reporter
    from agent.export.artifact import Format
    from agent.export.exporters import Outcome

ALL = "all"


def export(
    network: str = typer.Argument(..., help="A network of the catalogue, or the path of a .bin.gz file."),
    to: list[str] = typer.Option(..., "--to", help="A format, or all. Again for more."),
    out: Path = typer.Option(None, "--out", help="A folder, instead of the network's own below the state folder."),
    calibration: Path = typer.Option(
        None, "--calibration", help="Positions of `agent positions` for static INT8; default: 1000, played once."
    ),
    human_profile: str = typer.Option(
        "",
        "--human-profile",
        help="Whom a human-style network imitates, such as rank_5k; default: the configuration's.",
    ),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a network in other formats, each proved by a run; what is there already is left alone."""
    import contextlib

    import msgspec
    from rich.console import Console

    from agent.export.exporters import export as export_network
    from agent.export.exporters import has_its_tools
    from agent.export.progress import LineReporter
    from agent.model.catalogue import load_catalogue
    from agent.model.progress import progress_on
    from agent.model.pull import pull_named
    from agent.model.store import Store
    from agent.settings import data_folder
    from agent.workshop.formats import FORMATS
    from agent.workshop.place import artifact_folder
    from agent.workshop.proof import prove

    formats = _formats(to)
    settings = settings_as_owner(config)
    state, usual = settings.state_dir, settings.human_profile
    lines = LineReporter(lambda line: print(line, flush=True))
    outcomes: list[Outcome] = []
    with contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr) as reporter:
        catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
        stored = pull_named(network, catalogue, Store(state), reporter)
        # Positions take minutes to play; no format that cannot be written here is worth them.
        asking = any(FORMATS[each].calibrates and has_its_tools(each, FORMATS) for each in formats)
        if calibration is None and asking and _can_be_calibrated(stored.path):
            calibration = _calibration(stored.path, stored.sha256, state, human_profile or usual, reporter)
        folder = out or artifact_folder(state, stored.sha256)
        work = export_network(
            stored.path,
            formats,
            folder,
            prove,
            reporter,
            calibration=calibration,
            human_profile=human_profile,
            usual_profile=usual,
            table=FORMATS,
        )
        for outcome in work:
            outcomes.append(outcome)
            if as_json:
                print(msgspec.json.encode(_said(outcome)).decode(), flush=True)
    if not as_json:
        Console(markup=False, emoji=False).print(_table(outcomes))
        print(f"in {folder}")
    failures = [outcome.error for outcome in outcomes if outcome.error]
    for said in dict.fromkeys(error.explain() for error in failures):
        print(said, file=sys.stderr)
    if failures:
        raise typer.Exit(1)


def _formats(names: Sequence[str]) -> list[Format]:
    """In the order of the table of exporters."""
    from agent.workshop.formats import FORMATS

    known = [each.value for each in FORMATS]
    for name in names:
        if name != ALL and name not in known:
            raise typer.BadParameter(f"choose of: {ALL}, {', '.join(known)}", param_hint="--to")
    return [each for each in FORMATS if ALL in names or each.value in names]


def _can_be_calibrated(source: Path) -> bool:
    from agent.errors import ConversionFailed
    from agent.export.parse import parse_network
    from agent.workshop.forward import require_convolutional

    try:
        require_convolutional(parse_network(source))
    except ConversionFailed:
        return False
    return True


def _calibration(source: Path, sha256: str, state: Path, human_profile: str, reporter: Reporter) -> Path:
    """The network's own positions below the state folder; played where they are not there, which a kill does not undo.
    Another seed than that of `agent verify`, so that no game serves both."""
    from agent.workshop.opening import open_network
    from agent.workshop.place import CALIBRATION, artifact_folder
    from agent.workshop.positions import self_play_set

    out = artifact_folder(state, sha256) / CALIBRATION
    if not out.exists():
        player = open_network(str(source), state, reporter, human_profile=human_profile)
        try:
            self_play_set(player.backend, out, reporter)
        finally:
            player.backend.close()
    return out


def _said(outcome: Outcome) -> dict[str, object]:
    """An outcome for programs: the artifact's manifest, or the error and its fix."""
    import msgspec

    said: dict[str, object] = {
        "format": outcome.format.value,
        "made": outcome.made,
        "seconds": round(outcome.seconds, 3),
    }
    if outcome.artifact is not None:
        manifest = msgspec.to_builtins(outcome.artifact.manifest)
        return {**said, "path": str(outcome.artifact.path), "manifest": manifest}
    return {**said, "error": str(outcome.error), "fix": outcome.error.fix if outcome.error else ""}


def _table(outcomes: Sequence[Outcome]) -> Table:
    """A row for each format."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("format", "MB", "boards", "gate", "file"):
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for outcome in outcomes:
        if outcome.artifact is None:
            table.add_row(outcome.format.value, "", "", "", f"none: {outcome.error}")
            continue
        manifest = outcome.artifact.manifest
        size = f"{manifest.size_bytes / 1e6:.1f}"
        there = "" if outcome.made else " (was there)"
        table.add_row(
            outcome.format.value, size, manifest.board_sizes, manifest.gate, outcome.artifact.path.name + there
        )
    return table
