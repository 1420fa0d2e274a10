"""`agent analyze`: what the engine thinks of a recorded game."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from agent.cli.options import Config, Json, Network, Threads, finite

if TYPE_CHECKING:
    from agent.client import AnalysisClient
    from agent.review.values import Review

# Enough to find a blunder; a Pi 4 needs a quarter of an hour for a game, a desktop some minutes.
VISITS: Final = 100
# An engine of our own may fetch and convert its network first.
OWN_START_S: Final = 3600.0


def analyze(
    record: Path = typer.Argument(..., help="A game as SGF."),
    visits: int = typer.Option(VISITS, "--visits", min=1, help="Visits for each position."),
    turns: str = typer.Option("all", "--turns", help="Positions by moves played, such as 0-50,120 or 200-."),
    html: Path = typer.Option(None, "--html", help="The page to write. Default: the record's name, in this folder."),
    sgf: Path = typer.Option(None, "--sgf", help="Write the record with comments and better variations, too."),
    engine: str = typer.Option(
        None, "--engine", help="Another engine: its command, such as 'katago analysis …', or tcp:// or ws:// address."
    ),
    rules: str = typer.Option(None, "--rules", help="Rules instead of the record's."),
    komi: float = typer.Option(
        None, "--komi", min=-400, max=400, callback=finite, help="Komi instead of the record's."
    ),
    network: Network = None,
    threads: Threads = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Analyse a game: a table, a page with graph and board, SGF with comments. Asks the running agent where there is
    one; otherwise, and with --network or --threads, starts an engine, as `agent analysis` does."""
    import msgspec

    from agent.errors import RecordUnreadable
    from agent.model.disk import storage_errors, write_result
    from agent.model.progress import progress_on
    from agent.record.sgf import parse_sgf, read_bytes
    from agent.review.annotate import annotated
    from agent.review.game import prepare
    from agent.review.page import page
    from agent.review.review import parse_turns, review_game

    if html is None and not as_json:
        html = Path(f"{record.stem}.html")
    _check_places(record, html, sgf)
    try:
        data = read_bytes(record)
        game = parse_sgf(data, komi=komi)
        game = msgspec.structs.replace(game, event=game.event or record.stem)
        prepared = prepare(game, rules=rules, komi=komi)
    except RecordUnreadable as error:
        raise RecordUnreadable(f"{record}: {error}", fix=error.fix) from error
    try:
        wanted = parse_turns(turns, len(game.moves))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--turns") from error
    with progress_on(sys.stderr) as reporter, _client(engine, network, threads, config) as client:
        review = review_game(client, game, prepared, wanted, visits, reporter)
    # All is made before anything is written.
    files: list[tuple[Path, bytes]] = []
    if html is not None:
        files.append((html, page(review).encode()))
    if sgf is not None:
        files.append((sgf, annotated(data, review).encode()))
    # And written before anything is shown: whoever reads the table may leave (`| head`), and it took minutes. So it is
    # shown where the files cannot be written, too.
    try:
        for path, content in files:
            with storage_errors(path):
                write_result(path, content)
    finally:
        if as_json:
            print(msgspec.json.format(msgspec.json.encode(review), indent=2).decode())
        else:
            _print_table(review)
    for path, content in files:
        print(f"{path}: {len(content) / 1000:.0f} kB", file=sys.stderr if as_json else sys.stdout)


def _check_places(record: Path, *outputs: Path | None) -> None:
    """Before minutes of work: can the files be written, and would one take the place of the record or of the other?"""
    import os

    from agent.errors import StoreUnwritable
    from agent.model.disk import is_special, storage_errors

    # What goes to a device or a pipe, such as /dev/null, takes nobody's place.
    files = [path for path in outputs if path is not None and not is_special(path)]
    for path in files:
        with storage_errors(path):
            is_folder = path.is_dir()
        if is_folder or not os.access(Path(os.path.realpath(path)).parent, os.W_OK | os.X_OK):
            raise StoreUnwritable(f"{path} cannot be written", fix="Name a file in a folder that you can write to.")
        if record.exists() and path.exists() and path.samefile(record):
            raise StoreUnwritable(f"{path} is the record itself", fix="Give the result another name.")
    if len({os.path.realpath(path) for path in files}) < len(files):
        raise StoreUnwritable(f"{files[0]} is to be the page and the SGF", fix="Give one of them another name.")


def _client(engine: str | None, network: str | None, threads: int | None, config: Path | None) -> AnalysisClient:
    """Of another engine, or of `agent analysis`, which joins the running agent where it can."""
    import shlex

    from agent.client import AnalysisClient, Stdio, endpoint_of
    from agent.settings import own_command

    if engine is not None:
        if network or threads:
            raise typer.BadParameter("another engine has its own network and threads", param_hint="--engine")
        try:
            return AnalysisClient(endpoint_of(engine if "://" in engine.split(" ")[0] else shlex.split(engine)))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--engine") from error
    command = [*own_command(), "analysis"]
    for option, value in (("--network", network), ("--threads", threads), ("--config", config)):
        if value is not None:
            command += [option, str(value)]
    return AnalysisClient(Stdio(command, on_log=_teller()), connect_s=OWN_START_S)


def _teller() -> Callable[[str], None]:
    """Shows what an engine of our own tells while it starts: it may fetch a network. Its log is for its own verbs."""

    def tell(line: str) -> None:
        if not line.startswith(("INFO ", "DEBUG ")):
            print(line, file=sys.stderr, flush=True)

    return tell


def _print_table(review: Review) -> None:
    from rich.console import Console

    from agent.review.table import table

    # Names are the record's, the version is the engine's: in neither a bracket is markup.
    Console(markup=False, emoji=False).print(table(review))
    for note in review.notes:
        print(f"note: {note}")
