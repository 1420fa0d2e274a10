"""`agent positions`, `agent verify` and `agent match`: what a network is worth, measured."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from agent.cli.options import Config, Json


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
    from agent.settings import load_settings
    from agent.workshop.opening import open_network
    from agent.workshop.positions import record_set, self_play_set
    from agent.workshop.sgf import read_folder

    if bool(sgf) == (network is not None):
        raise typer.BadParameter("give a network that plays, or --sgf", param_hint="--network")
    settings = load_settings(config)
    lines = LineReporter(lambda line: print(line, flush=True))
    skipped: list[str] = []
    with contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr) as reporter:
        if sgf:
            records, skipped = read_folder(sgf, reporter)
            source = "SGF of " + ", ".join(str(folder) for folder in sgf)
            made = record_set(records, out, positions=count, games=games, seed=seed, source=source)
        else:
            opened = open_network(network, settings.state_dir, reporter)
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
