"""`agent match`: two networks, or any two GTP engines, play each other."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.cli.options import Config, Json, finite, settings_as_owner

if TYPE_CHECKING:
    from rich.table import Table

    from agent.events import Reporter
    from agent.settings import Settings
    from agent.workshop.contestant import Contestant
    from agent.workshop.elo import Elo
    from agent.workshop.gtp_match import GtpMatchOptions, GtpMatchResult

# What `--visits` says unless it is given: enough for moves that a person would not laugh at, few enough for hundreds
# of games.
_VISITS = 32
# Superko ends every game; this ends one that lasts too long all the same, as a draw.
_MOST_MOVES_PER_POINT = 3
# An engine that takes so many times what it was given hangs; a little more is shown in the table.
_SLOWEST = 20


def match(
    first: str = typer.Argument(..., help="A network, an artifact, or a GTP engine's command in quotes."),
    second: str = typer.Argument(..., help="Its opponent."),
    games: int = typer.Option(100, "--games", min=2, help="Games, two for each opening, with colours exchanged."),
    visits: int = typer.Option(
        None, "--visits", min=1, help=f"Visits for every move of both. Networks: {_VISITS}; engines: as they like."
    ),
    board: int = typer.Option(9, "--board", min=5, max=19, help="Side of the board."),
    seed: int = typer.Option(1, "--seed", min=0, help="Another seed gives other openings."),
    threads: int = typer.Option(
        1, "--threads", min=1, max=64, help="2 runs both networks side by side; with engines, a network's own threads."
    ),
    out: Path = typer.Option(None, "--out", help="The games, one JSON line each; a killed match goes on from them."),
    gtp: bool = typer.Option(False, "--gtp", help="Let networks play as engines, too: each in an `agent gtp`."),
    openings: str = typer.Option(
        None, "--openings", help="Engines: a network that draws openings and finds them even, or a folder of SGF files."
    ),
    komi: float = typer.Option(None, "--komi", callback=finite, help="Engines: points for White. Default: 7."),
    rules: str = typer.Option(None, "--rules", help="Engines: rules with area scoring. Default: tromp-taylor."),
    time_per_move: float = typer.Option(
        None, "--time-per-move", min=0.01, callback=finite, help="Engines: seconds for every move."
    ),
    concurrency: int = typer.Option(1, "--concurrency", min=1, max=64, help="Engines: games at once."),
    move_timeout: float = typer.Option(
        None,
        "--move-timeout",
        min=0.1,
        callback=finite,
        help="Engines: seconds after which one that gives no move has lost.",
    ),
    sgf: Path = typer.Option(None, "--sgf", help="Engines: a folder for the games' records."),
    logs: Path = typer.Option(None, "--logs", help="Engines: a folder for all that is said to them and by them."),
    first_name: str = typer.Option("", "--first-name", help="Engines: what to call the first."),
    second_name: str = typer.Option("", "--second-name", help="Engines: what to call the second."),
    first_setup: list[str] = typer.Option([], "--first-setup", help="A GTP command for the first before each game."),
    second_setup: list[str] = typer.Option([], "--second-setup", help="A GTP command for the second before each game."),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Have two networks play each other at equal visits, or two GTP engines, from paired openings; resumable. Tells Elo
    and its bounds."""
    import msgspec

    from agent.workshop.contestant import Contestant, GameSettings, Patience, read_command
    from agent.workshop.gtp_match import GtpMatchOptions
    from agent.workshop.openings import KOMI, RULES

    settings = settings_as_owner(config)
    try:
        commands = [read_command(text) for text in (first, second)]
    except ValueError as error:
        raise typer.BadParameter(f"no command line: {error}") from error
    if not (gtp or any(commands)):
        limits = (komi, rules, time_per_move, move_timeout, openings, sgf, logs)
        said = (first_name, second_name, first_setup, second_setup)
        if any(given is not None for given in limits) or any(said) or concurrency > 1:
            raise typer.BadParameter("two networks play in one process; --gtp lets them play as engines")
        _match_networks(first, second, games, visits or _VISITS, board, seed, threads, out, settings, as_json)
        return
    told = GameSettings(
        size=board,
        komi=KOMI if komi is None else komi,
        rules=rules or RULES,
        most_moves=_MOST_MOVES_PER_POINT * board * board,
        seconds_per_move=time_per_move,
    )
    told.judged_by()  # before anything is started
    limit = visits if visits or time_per_move else _VISITS
    contestants = [
        _network_player(text, limit, threads, config) if command is None else Contestant(command, visits=visits)
        for text, command in zip((first, second), commands, strict=True)
    ]
    named = zip(contestants, (first_name, second_name), (first_setup, second_setup), strict=True)
    one, other = (msgspec.structs.replace(each, name=name, setup=tuple(setup)) for each, name, setup in named)
    # A network's own name; of a command nobody knows what it runs.
    networks = [text if command is None else None for text, command in zip((first, second), commands, strict=True)]
    drawn_by = openings or next((text for text in reversed(networks) if text is not None), None)
    patience = Patience(move_s=move_timeout or max(Patience().move_s, _SLOWEST * (time_per_move or 0.0)))
    options = GtpMatchOptions(games, told, "", concurrency, patience, logs)
    _match_engines((one, other), networks, options, drawn_by, seed, out, sgf, settings, as_json)


def _match_networks(
    first: str,
    second: str,
    games: int,
    visits: int,
    board: int,
    seed: int,
    threads: int,
    out: Path | None,
    settings: Settings,
    as_json: bool,
) -> None:
    import contextlib

    import msgspec

    from agent.workshop.match import MatchOptions, identity, play_match, record_match
    from agent.workshop.opening import open_player

    options = MatchOptions(games, visits, board, seed=seed, threads=threads)
    with contextlib.ExitStack() as stack:
        reporter = stack.enter_context(_reporter(as_json))
        players = []
        for named in (first, second):
            profile = settings.human_profile
            players.append(open_player(named, settings.state_dir, reporter, human_profile=profile))
            stack.callback(players[-1].backend.close)
        key = " against ".join(identity(player) for player in players)
        journal = out or _journal(settings, key, f"{board}-{visits}-{seed}")
        result = play_match(players[0].backend, players[1].backend, options, journal, key, reporter)
    elo = result.elo
    if as_json:
        print(msgspec.json.encode(elo).decode())
    else:
        _tell(elo, f"{players[0].label} against {players[1].label}, {board}x{board}, {visits} visits", seed, journal)
    # Hours of play were told by now, whether or not the artifact's folder can be written to.
    if players[0].artifact is not None:
        record_match(players[0].artifact, players[1].label, options, result.elo)


def _match_engines(
    contestants: tuple[Contestant, Contestant],
    networks: Sequence[str | None],
    options: GtpMatchOptions,
    drawn_by: str | None,
    seed: int,
    out: Path | None,
    sgf: Path | None,
    settings: Settings,
    as_json: bool,
) -> None:
    import msgspec
    from rich.console import Console

    from agent.workshop.gtp_match import play_gtp_match
    from agent.workshop.match_openings import find_openings
    from agent.workshop.match_sgf import GameWriter
    from agent.workshop.opening import network_identity

    told = options.settings
    with _reporter(as_json) as reporter:
        state_dir, profile = settings.state_dir, settings.human_profile
        openings = find_openings(drawn_by, seed, told, state_dir, reporter, human_profile=profile)
        one, other = (
            network_identity(named, state_dir, reporter, human_profile=profile) if named is not None else ""
            for named in networks
        )
        options = msgspec.structs.replace(options, openings_key=openings.key, networks=(one, other))
        what = repr((contestants, told, openings.key)) + one + other
        journal = out or _journal(settings, what, f"{told.size}-gtp-{seed}")
        writer = GameWriter(sgf, told) if sgf is not None else None
        result = play_gtp_match(
            contestants, options, openings.find, journal, reporter, writer.write if writer else None
        )
    if as_json:
        print(msgspec.json.encode(msgspec.structs.replace(result, games=())).decode())
        return
    first, second = result.contestants
    elo = result.elo
    interval = f"95 % interval {100 * elo.score_low:.1f} to {100 * elo.score_high:.1f} %"
    print(f"{first.name} scored {100 * elo.score:.1f} % of {elo.games} games, {interval}")
    Console(markup=False, emoji=False).print(_table(result))
    ends = ", ".join(f"{count} by {end}" for end, count in result.ends.items())
    print(f"{ends}; {result.mean_moves:.0f} moves a game after the opening")
    for showing in result.contestants:
        if showing.deaf_to:
            said = " and ".join(showing.deaf_to)
            print(f"{showing.name} takes no {said} over GTP: what holds is what its command line says")
    _tell(elo, f"{first.name} against {second.name}, {told.size}x{told.size}", seed, journal)


def _network_player(text: str, visits: int | None, threads: int, config: Path | None) -> Contestant:
    """A network as an engine: our own service, in a process of its own."""
    from agent.model.disk import is_there
    from agent.settings import own_command
    from agent.workshop.contestant import Contestant

    if is_there(Path(text)) and not text.endswith(".gz"):
        raise typer.BadParameter(f"an engine plays published networks (.bin.gz), not artifacts such as {text}")
    where = ("--config", str(config)) if config is not None else ()
    command = (*own_command(), "gtp", "--network", text, "--threads", str(threads), *where)
    return Contestant(command, visits=visits)


def _table(result: GtpMatchResult) -> Table:
    from rich.table import Table

    elo = result.elo
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", overflow="fold")
    for column in ("won", "drawn", "lost", "s a move", "slowest", "s in all", "failed"):
        table.add_column(column, justify="right", no_wrap=True)
    for showing, won, lost in zip(result.contestants, (elo.wins, elo.losses), (elo.losses, elo.wins), strict=True):
        failed = ", ".join(f"{count} {kind}" for kind, count in showing.faults.items()) or "0"
        mean_s = showing.seconds / showing.moves if showing.moves else 0.0
        times = (f"{mean_s:.2f}", f"{showing.slowest_s:.2f}", f"{showing.seconds:.0f}")
        table.add_row(showing.name, str(won), str(elo.draws), str(lost), *times, failed)
    return table


def _tell(elo: Elo, what: str, seed: int, journal: Path) -> None:
    print(f"{what}, seed {seed}: {journal}")
    print(f"{elo.games} games in {elo.pairs} pairs: +{elo.wins} ={elo.draws} -{elo.losses}, score {elo.score:.3f}")
    print(f"Elo {elo.elo:+.0f}, 95 % interval {elo.low:+.0f} to {elo.high:+.0f} (normal approximation over pairs)")


def _journal(settings: Settings, key: str, what: str) -> Path:
    return settings.state_dir / "matches" / f"{zlib.crc32(key.encode()):08x}-{what}.jsonl"


def _reporter(as_json: bool) -> AbstractContextManager[Reporter]:
    import contextlib

    from agent.export.progress import LineReporter
    from agent.model.progress import progress_on

    if as_json:
        return contextlib.nullcontext(LineReporter(lambda line: print(line, flush=True)))
    return progress_on(sys.stderr)
