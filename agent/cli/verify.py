"""`agent positions` and `agent verify`: what a network is worth, measured."""

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
    from agent.export.artifact import Accuracy, Artifact
    from agent.settings import Settings
    from agent.workshop.golden import GoldenRow, NativeAnswer
    from agent.workshop.opening import OpenedNetwork
    from agent.workshop.position_set import PositionSet
    from agent.workshop.seen import SeenSet
    from agent.workshop.verify import Verified


def positions(
    network: str = typer.Option(None, "--network", help="Who plays: a catalogue name, a .bin.gz, ONNX or artifact."),
    out: Path = typer.Option(..., "--out", help="The position set (.npz) to write."),
    games: int = typer.Option(0, "--games", min=0, help="Games to play or to use. Default: as many as it takes."),
    count: int = typer.Option(1000, "--positions", min=1, help="Positions to take, spread over all games."),
    seed: int = typer.Option(1, "--seed", min=0, help="Another seed gives other games."),
    sgf: list[Path] = typer.Option([], "--sgf", help="A folder of game records to take instead of self-play."),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make positions to calibrate on or to verify with, by self-play (resumable) or from SGF folders."""
    import contextlib

    import msgspec

    from agent.export.progress import LineReporter
    from agent.model.progress import progress_on
    from agent.workshop.opening import open_player
    from agent.workshop.positions import record_set, self_play_set
    from agent.workshop.sgf import read_folder

    if bool(sgf) == (network is not None):
        raise typer.BadParameter("give a network that plays, or --sgf", param_hint="--network")
    # Records need no state folder: root goes on where their folder may be its own.
    settings = None if sgf else settings_as_owner(config)
    lines = LineReporter(lambda line: print(line, flush=True))
    skipped: list[str] = []
    with contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr) as reporter:
        if settings is None:
            records, skipped = read_folder(sgf, reporter)
            # By name: it goes into manifests and reports, which are for others, too.
            source = "SGF of " + ", ".join(folder.absolute().name for folder in sgf)
            made = record_set(records, out, positions=count, games=games, seed=seed, source=source)
        else:
            opened = open_player(network, settings.state_dir, reporter, human_profile=settings.human_profile)
            try:
                made = self_play_set(opened.backend, out, reporter, positions=count, games=games, seed=seed)
            finally:
                opened.backend.close()
    boards = {group.board: len(group) for group in made.groups}
    if as_json:
        said = {"out": str(out), "positions": len(made), "games": made.games, "boards": boards, "skipped": skipped}
        print(msgspec.json.encode(said | {"sha256": made.sha256(), "source": made.source}).decode())
        return
    for line in skipped:
        print(f"left out: {line}", file=sys.stderr)
    sizes = ", ".join(f"{number} on {board}" for board, number in boards.items())
    print(f"{out}: {len(made)} positions of {made.games} games ({sizes}), from {made.source}")


def verify(
    candidates: list[str] = typer.Argument(..., help="Artifacts or networks to be judged."),
    against: str = typer.Option(..., "--against", help="The reference: a catalogue name, a .bin.gz, ONNX or artifact."),
    positions: Path = typer.Option(None, "--positions", help="Held-out positions; default: 640 of 128 games, played."),
    native: Path = typer.Option(None, "--native", help="A native katago to ask about the golden positions."),
    golden: Path = typer.Option(None, "--golden", help="Golden positions with native KataGo's recorded answers."),
    calibration: list[Path] = typer.Option(
        [],
        "--calibration",
        help="What INT8 was calibrated or trained on, where it does not lie beside it: no game may serve twice.",
    ),
    batch: int = typer.Option(8, "--batch", min=1, help="Positions in one network call."),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Compare networks with a reference, and decide by their gates whether a device may run them."""
    import contextlib
    from functools import partial

    import msgspec
    from rich.console import Console

    from agent.errors import GateRefused
    from agent.export.progress import LineReporter
    from agent.model.progress import progress_on
    from agent.workshop.gates import MIN_GAMES, MIN_POSITIONS
    from agent.workshop.opening import open_network, open_second
    from agent.workshop.verify import Verifier, record

    settings = settings_as_owner(config)
    lines = LineReporter(lambda line: print(line, flush=True))
    results: list[Verified] = []
    with contextlib.ExitStack() as stack:
        reporter = stack.enter_context(contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr))
        reference = open_network(against, settings.state_dir, reporter, human_profile=settings.human_profile)
        stack.callback(reference.backend.close)
        held_out = _held_out(positions, against, reference, settings, reporter)
        _require_apart(candidates, reference, held_out, calibration, settings)
        rows, answers = _native(native, golden, reference, settings, reporter)
        second = partial(open_second, reference.backend.network, settings.state_dir)
        verifier = Verifier(reference, held_out, reporter, batch=batch, rows=rows, native=answers, second=second)
        for named in candidates:
            candidate = open_network(named, settings.state_dir, reporter, human_profile=settings.human_profile)
            try:
                found = verifier.verify(candidate, _seen(calibration, candidate.artifact, settings))
            finally:
                candidate.backend.close()
            results.append(found)
            # First told, then written down: what took minutes is not lost to a folder that cannot be written to.
            if as_json:
                print(msgspec.json.encode(found).decode(), flush=True)
            else:
                Console(markup=False, emoji=False).print(_table(found, reference.label))
            if candidate.artifact is not None and found.judgement is not None:
                record(candidate.artifact, found)
    refused = [found for found in results if found.judgement is not None and not found.judgement.passed]
    if refused:
        said = "; ".join(f"{found.label}: {', '.join(found.judgement.reasons)}" for found in refused if found.judgement)
        few = any(
            found.accuracies[0].positions < MIN_POSITIONS or found.accuracies[0].games < MIN_GAMES for found in refused
        )
        fix = "Verify on more positions first, such as those that are played without --positions." if few else ""
        raise GateRefused(f"the gate refused {said}", fix=fix)


# The default held-out set: another seed than that of `agent positions`, so that no game serves twice.
_HELD_OUT_POSITIONS, _HELD_OUT_GAMES, _HELD_OUT_SEED = 640, 128, 20_000


def _held_out(
    path: Path | None, against: str, reference: OpenedNetwork, settings: Settings, reporter: Reporter
) -> PositionSet:
    """The set at `path`, or the default one, which is played where it is not there yet."""
    from agent.workshop.opening import open_player
    from agent.workshop.place import HELD_OUT, artifact_folder
    from agent.workshop.position_set import load_position_set
    from agent.workshop.positions import self_play_set

    if path is not None:
        return load_position_set(path)
    default = artifact_folder(settings.state_dir, reference.backend.network.sha256 or "unnamed") / HELD_OUT
    if default.exists():
        return load_position_set(default)
    counts = {"positions": _HELD_OUT_POSITIONS, "games": _HELD_OUT_GAMES, "seed": _HELD_OUT_SEED}
    player = open_player(against, settings.state_dir, reporter, human_profile=settings.human_profile)
    try:
        return self_play_set(player.backend, default, reporter, **counts)
    finally:
        player.backend.close()


def _seen(paths: Sequence[Path], artifact: Artifact | None, settings: Settings) -> list[SeenSet]:
    """What it may have been calibrated or trained on: as named, beside it, and where `agent export` keeps what it plays
    for artifacts that go elsewhere. An artifact that was trained saw two sets."""
    from agent.workshop.place import CALIBRATION, artifact_folder
    from agent.workshop.seen import load_seen, was_made_with_positions

    if artifact is None or not was_made_with_positions(artifact):
        return []
    own = artifact_folder(settings.state_dir, artifact.manifest.network.sha256) / CALIBRATION
    kept = [path for path in (artifact.path.with_name(CALIBRATION), own) if path.exists()]
    return [load_seen(path) for path in dict.fromkeys((*paths, *kept))]


def _require_apart(
    candidates: Sequence[str],
    reference: OpenedNetwork,
    positions: PositionSet,
    calibration: Sequence[Path],
    settings: Settings,
) -> None:
    """What the verifier asks of each candidate, too, but before minutes of evaluation."""
    from agent.export.artifact import read_artifact
    from agent.workshop.seen import require_apart
    from agent.workshop.verify import is_reference

    for named in candidates:
        artifact = read_artifact(Path(named))
        if artifact is not None and is_reference(reference.backend.network, artifact.manifest.network):
            require_apart(artifact, positions, _seen(calibration, artifact, settings))


def _native(
    native: Path | None, golden: Path | None, reference: OpenedNetwork, settings: Settings, reporter: Reporter
) -> tuple[Sequence[GoldenRow], Sequence[NativeAnswer]]:
    """The golden positions, and native KataGo's answers where there are any."""
    from agent.model.catalogue import load_catalogue
    from agent.model.store import Store
    from agent.settings import data_folder
    from agent.workshop.golden import packaged_rows, read_golden
    from agent.workshop.native_raw import ask_native
    from agent.workshop.verify import NATIVE_OPTIMISM

    sha256 = reference.backend.network.sha256
    rows = read_golden(golden) if golden is not None else packaged_rows()
    if native is not None:
        stored = Store(settings.state_dir).find(sha256)
        if stored is None:
            raise typer.BadParameter("needs the network's own file: `agent pull` it first", param_hint="--native")
        asked = [row.position() for row in rows]
        return rows, ask_native(native, stored.path, asked, NATIVE_OPTIMISM, reporter)
    entries = load_catalogue(data_folder("profiles") / "networks.yaml").networks
    alias = next((entry.alias for entry in entries if entry.sha256 == sha256), "")
    if golden is None:
        return rows, ()
    answered = [row for row in rows if alias in row.nets]
    if not answered:
        raise typer.BadParameter(f"holds no answers of {alias or 'this network'}", param_hint="--golden")
    return answered, [row.nets[alias] for row in answered]


def _table(found: Verified, reference: str) -> Table:
    from rich.table import Table

    gate = f"no gate: {found.unjudged}"
    if found.judgement is not None:
        gate = "gate passed" if found.judgement.passed else "gate refused: " + "; ".join(found.judgement.reasons)
    table = Table(
        title=f"{found.label} against {reference}", caption=gate, box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("", no_wrap=True)
    for column in ("n", "games", "top-1", "KL", "win", "max", "score", "lead", "owner"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in found.accuracies:
        table.add_row(*_cells(each))
    table.add_section()
    for each in found.yardsticks:
        table.add_row(*_cells(each))
    return table


def _cells(each: Accuracy) -> tuple[str, ...]:
    """For 80 columns: shares without the zero before the point."""

    def short(value: float, digits: int) -> str:
        return f"{value:.{digits}f}".removeprefix("0")

    return (
        each.slice,
        str(each.positions),
        str(each.games),
        f"{100 * each.top1:.1f}%",
        short(each.policy_kl, 5),
        short(each.win_mae, 5),
        short(each.win_max, 4),
        short(each.score_mae, 3),
        short(each.lead_mae, 3),
        short(each.ownership_mae, 4),
    )
