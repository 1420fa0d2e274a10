"""Two GTP engines play each other. Start at `play_gtp_match`.

Every opening is played twice with colours exchanged. Several games go on at once, each on a pair of processes of its
own. Finished games stand in a journal, and a match that was killed goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.engine.messages import Position
from agent.errors import PlayerFailed
from agent.events import Reporter, WorkshopProgress
from agent.workshop.contestant import Contestant, GameSettings, Patience, command_line
from agent.workshop.elo import Elo, elo_of_pairs
from agent.workshop.gtp_game import GtpGame, play_game
from agent.workshop.gtp_player import Player
from agent.workshop.gtp_table import Table, all_or_none
from agent.workshop.journal import Journal, open_journal
from agent.workshop.openings import Finder, alternating

# After so many of its own failures in a row an engine does not play; whoever started it should hear of that.
MOST_FAULTS_IN_A_ROW: Final = 5
# A terminal shows a move at once, a log need not hold them all.
_TELL_EVERY_S: Final = 1.0


class GtpMatchOptions(msgspec.Struct, frozen=True):
    """`games` is rounded up to pairs. `concurrency` is how many of them go on at once. `openings_key` says what the
    openings are, so that a journal of others is left alone, and `networks` so for either contestant what file its
    command line names, where that is known. `logs` is a folder for what engines are told and say."""

    games: int
    settings: GameSettings
    openings_key: str
    concurrency: int = 1
    patience: Patience = Patience()
    logs: Path | None = None
    networks: tuple[str, str] = ("", "")

    @property
    def pairs(self) -> int:
        return -(-self.games // 2)


class Showing(msgspec.Struct, frozen=True):
    """What one contestant showed: `faults` counts the games that it lost by failing, by kind; `deaf_to` are settings
    that did not reach it."""

    name: str
    version: str
    command: str
    moves: int
    seconds: float
    slowest_s: float
    faults: dict[str, int]
    deaf_to: tuple[str, ...]


class GtpMatchResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ends` counts games by how they ended, `mean_moves` those after the opening."""

    elo: Elo
    contestants: tuple[Showing, Showing]
    ends: dict[str, int]
    mean_moves: float
    games: tuple[GtpGame, ...] = ()


def play_gtp_match(
    contestants: tuple[Contestant, Contestant],
    options: GtpMatchOptions,
    openings: Finder,
    journal: Path,
    reporter: Reporter,
    finished: Callable[[GtpGame, tuple[str, str]], object] | None = None,
) -> GtpMatchResult:
    """Play `options.games` games, those in the journal at `journal` included. `openings` gives those of the pairs that
    it is asked for, other than the known ones. `finished` gets every game, those of the journal too, and both names.

    Raises:
        PlayerFailed: an engine cannot begin a game, or fails `MOST_FAULTS_IN_A_ROW` games in a row; the games that were
            finished are kept.
        JournalUnusable: see `open_journal`.
    """
    return asyncio.run(_Match(contestants, options, reporter, finished).play(openings, journal))


class _Match:
    def __init__(
        self,
        contestants: tuple[Contestant, Contestant],
        options: GtpMatchOptions,
        reporter: Reporter,
        finished: Callable[[GtpGame, tuple[str, str]], object] | None,
    ) -> None:
        self.contestants, self.options = contestants, options
        self._reporter, self._finished = reporter, finished
        self._names = ("", "")
        self._played: dict[tuple[int, bool], GtpGame] = {}
        self._in_a_row = [0, 0]
        self._moves: dict[int, int] = {}
        self._told_s = float("-inf")
        self._on_ctrl_c = signal.getsignal(signal.SIGINT)

    async def play(self, openings: Finder, path: Path) -> GtpMatchResult:
        first_table = Table(self.contestants, self.options.patience, self.options.logs)
        try:
            # They tell who they are, which belongs to what the journal is of; the first table plays on with them.
            introduced = await first_table.seat()
            self._names = _names(introduced)
            deaf = tuple(each.deaf_to(self.options.settings) for each in introduced)
            with open_journal(path, self._key(introduced), GtpGame, replace=False) as record:
                for game in record.pieces:
                    if game.pair < self.options.pairs:
                        self._keep(game)
                self._report()
                starts = self._starts(openings, record.pieces)
                await self._play_all(first_table, starts, record)
        finally:
            await first_table.close()
        return self._result(introduced, (deaf[0], deaf[1]))

    def _key(self, players: tuple[Player, Player]) -> str:
        """What has to be equal for games to be of one match."""
        who = " against ".join(
            f"{command_line(player.contestant.command)} ({player.name} {player.version};"
            f" {player.contestant.visits or 'own'} visits; {'; '.join(player.contestant.setup)}"
            f"{f'; network {network}' if network else ''})"
            for player, network in zip(players, self.options.networks, strict=True)
        )
        told = self.options.settings
        clock = "no clock" if told.seconds_per_move is None else f"{told.seconds_per_move:g} s a move"
        return (
            f"GTP match 1 of {who}; {told.size}x{told.size}, komi {told.komi:g}, {told.told_rules()}, {clock},"
            f" {told.most_moves} moves, openings {self.options.openings_key}"
        )

    def _starts(self, openings: Finder, recorded: Sequence[GtpGame]) -> dict[int, Position]:
        """Each pair's opening: the one that its other game had, else a new one."""
        told = self.options.settings
        empty = Position(told.size, told.size, told.judged_by(), told.komi)
        starts = {
            game.pair: msgspec.structs.replace(empty, moves=alternating(game.moves[: game.opening]))
            for game in recorded
        }
        missing = [pair for pair in range(self.options.pairs) if pair not in starts]
        known = {tuple(point for _, point in start.moves) for start in starts.values()}
        with _hearing_ctrl_c(self._on_ctrl_c):
            found = openings(missing, known)
        for pair, start in zip(missing, found, strict=True):
            starts[pair] = msgspec.structs.replace(empty, moves=start.moves)
        return starts

    # ------------------------------------------------------------ tables

    async def _play_all(self, first: Table, starts: dict[int, Position], record: Journal[GtpGame]) -> None:
        coming = iter(
            [
                (pair, first_is_black)
                for pair in range(self.options.pairs)
                for first_is_black in (True, False)
                if (pair, first_is_black) not in self._played
            ]
        )
        left = 2 * self.options.pairs - len(self._played)
        others = range(min(self.options.concurrency, left) - 1)
        tables = [first, *(Table(self.contestants, self.options.patience, self.options.logs) for _ in others)]
        await all_or_none([self._serve(number, table, coming, starts, record) for number, table in enumerate(tables)])

    async def _serve(
        self,
        number: int,
        table: Table,
        coming: Iterator[tuple[int, bool]],
        starts: dict[int, Position],
        record: Journal[GtpGame],
    ) -> None:
        """One table: game after game, until there are no more."""
        settings = self.options.settings
        try:
            for pair, first_is_black in coming:
                players = await table.begin(starts[pair], settings)

                def tell(moves: int) -> None:
                    self._moves[number] = moves
                    self._report_move()

                game = await play_game(players, starts[pair], pair, first_is_black, settings, tell)
                self._moves.pop(number, None)
                record.add(game)
                self._keep(game)
                self._report()
                self._stop_where_hopeless(game)
        finally:
            await table.close()

    def _keep(self, game: GtpGame) -> None:
        self._played[game.pair, game.first_is_black] = game
        if self._finished is not None:
            self._finished(game, self._names)

    def _stop_where_hopeless(self, game: GtpGame) -> None:
        loser = 0 if game.score == 0 else 1
        self._in_a_row[loser] = self._in_a_row[loser] + 1 if game.fault else 0
        self._in_a_row[1 - loser] = 0
        if self._in_a_row[loser] >= MOST_FAULTS_IN_A_ROW:
            raise PlayerFailed(
                f"{self._names[loser]} failed {MOST_FAULTS_IN_A_ROW} games in a row; in the last one it {game.fault}"
            )

    # ------------------------------------------------------------ telling

    def _report(self) -> None:
        detail = ""
        if self._played:
            elo = _elo(list(self._played.values()))
            detail = (
                f"+{elo.wins} ={elo.draws} -{elo.losses},"
                f" {100 * elo.score:.0f} % [{100 * elo.score_low:.0f}, {100 * elo.score_high:.0f}]"
            )
        if self._moves:
            detail += f" (at move {', '.join(str(moves) for moves in self._moves.values())})"
        self._reporter.report(WorkshopProgress("match", len(self._played), 2 * self.options.pairs, detail.strip()))

    def _report_move(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._told_s >= _TELL_EVERY_S:
            self._told_s = now_s
            self._report()

    def _result(self, players: tuple[Player, Player], deaf: tuple[tuple[str, ...], tuple[str, ...]]) -> GtpMatchResult:
        games = tuple(self._played[name] for name in sorted(self._played))
        showings = []
        for side, player in enumerate(players):
            seconds = [taken for game in games for taken in game.seconds_of(side)]
            faults = Counter(game.end for game in games if game.fault and game.score == side)
            showings.append(
                Showing(
                    name=self._names[side],
                    version=player.version,
                    command=command_line(player.contestant.command),
                    moves=len(seconds),
                    seconds=round(sum(seconds), 3),
                    slowest_s=max(seconds, default=0.0),
                    faults=dict(sorted(faults.items())),
                    deaf_to=deaf[side],
                )
            )
        return GtpMatchResult(
            elo=_elo(games),
            contestants=(showings[0], showings[1]),
            ends=dict(sorted(Counter(game.end for game in games).items())),
            mean_moves=sum(len(game.moves) - game.opening for game in games) / len(games),
            games=games,
        )


@contextlib.contextmanager
def _hearing_ctrl_c(handler: Any) -> Iterator[None]:
    """SIGINT goes to `handler`, as it did before asyncio took it (Python 3.11): the first Ctrl-C would not be heard
    before the event loop turns again, and openings that a large network draws on a small board computer take an hour.
    In a thread their drawing could not be ended, which asyncio waits for."""
    before = signal.getsignal(signal.SIGINT)
    # Only in the main thread is it asyncio's, and may it be set.
    if before is handler:
        yield
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _names(players: tuple[Player, Player]) -> tuple[str, str]:
    """As they are named, else as they call themselves; told apart."""
    first, second = (player.contestant.name or f"{player.name} {player.version}".strip() for player in players)
    return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")


def _elo(games: Sequence[GtpGame]) -> Elo:
    pairs: dict[int, list[float]] = defaultdict(list)
    for game in games:
        pairs[game.pair].append(game.score)
    return elo_of_pairs(list(pairs.values()))
