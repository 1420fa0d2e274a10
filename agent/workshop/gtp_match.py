"""Two GTP engines play each other. Start at `play_gtp_match`.

Every opening is played twice with colours exchanged. Several games go on at once, each on a pair of processes of its
own. Finished games stand in a journal, and a match that was killed goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.engine.messages import Position
from agent.errors import PlayerFailed
from agent.events import Reporter, WorkshopProgress
from agent.workshop.contestant import Contestant, GameSettings, command_line
from agent.workshop.elo import Elo, elo_of_pairs
from agent.workshop.gtp_game import GtpGame, play_game
from agent.workshop.gtp_player import Player, start_player
from agent.workshop.gtp_process import PlayerFault
from agent.workshop.journal import Journal, open_journal

# After so many of its own failures in a row an engine does not play; whoever started it should hear of that.
MOST_FAULTS_IN_A_ROW: Final = 5
# A terminal shows a move at once, a log need not hold them all.
_TELL_EVERY_S: Final = 1.0


@dataclass(frozen=True)
class GtpMatchOptions:
    """`games` is rounded up to pairs. `concurrency` is how many of them go on at once. `openings_key` says what the
    openings are, so that a journal of others is left alone."""

    games: int
    settings: GameSettings
    openings_key: str
    concurrency: int = 1

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


class GtpMatchResult(msgspec.Struct, frozen=True):
    """`ends` counts games by how they ended, `mean_moves` those after the opening."""

    elo: Elo
    contestants: tuple[Showing, Showing]
    ends: dict[str, int]
    mean_moves: float
    games: tuple[GtpGame, ...]


def play_gtp_match(
    contestants: tuple[Contestant, Contestant],
    options: GtpMatchOptions,
    openings: Callable[[Sequence[int], set[tuple[int, ...]]], Sequence[Position]],
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
        self._played: dict[tuple[int, bool], GtpGame] = {}
        self._in_a_row = [0, 0]
        self._moves: dict[int, int] = {}
        self._told_s = float("-inf")

    async def play(
        self, openings: Callable[[Sequence[int], set[tuple[int, ...]]], Sequence[Position]], path: Path
    ) -> GtpMatchResult:
        first_table = _Table(self.contestants)
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
            f" {player.contestant.visits or 'own'} visits; {'; '.join(player.contestant.setup)})"
            for player in players
        )
        told = self.options.settings
        clock = "no clock" if told.seconds_per_move is None else f"{told.seconds_per_move:g} s a move"
        return (
            f"GTP match 1 of {who}; {told.size}x{told.size}, komi {told.komi:g}, {told.told_rules()}, {clock},"
            f" {told.most_moves} moves, openings {self.options.openings_key}"
        )

    def _starts(
        self,
        openings: Callable[[Sequence[int], set[tuple[int, ...]]], Sequence[Position]],
        recorded: Sequence[GtpGame],
    ) -> dict[int, Position]:
        """Each pair's opening: the one that its other game had, else a new one."""
        told = self.options.settings
        empty = Position(told.size, told.size, told.judged_by(), told.komi)
        starts = {
            game.pair: msgspec.structs.replace(
                empty, moves=tuple((1 + index % 2, point) for index, point in enumerate(game.moves[: game.opening]))
            )
            for game in recorded
        }
        missing = [pair for pair in range(self.options.pairs) if pair not in starts]
        known = {tuple(point for _, point in start.moves) for start in starts.values()}
        starts.update(zip(missing, openings(missing, known), strict=True))
        return starts

    # ------------------------------------------------------------ tables

    async def _play_all(self, first: _Table, starts: dict[int, Position], record: Journal[GtpGame]) -> None:
        coming = iter(
            [
                (pair, first_is_black)
                for pair in range(self.options.pairs)
                for first_is_black in (True, False)
                if (pair, first_is_black) not in self._played
            ]
        )
        left = 2 * self.options.pairs - len(self._played)
        tables = [first, *(_Table(self.contestants) for _ in range(min(self.options.concurrency, left) - 1))]
        await _all_or_none([self._serve(number, table, coming, starts, record) for number, table in enumerate(tables)])

    async def _serve(
        self,
        number: int,
        table: _Table,
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


class _Table:
    """A pair of processes; a process that failed is replaced when the next game begins."""

    def __init__(self, contestants: tuple[Contestant, Contestant]) -> None:
        self._contestants = contestants
        self._players: list[Player | None] = [None, None]

    async def seat(self) -> tuple[Player, Player]:
        """Both players, started where they are not there."""
        first, second = await _all_or_none([self._sit(0), self._sit(1)])
        return first, second

    async def begin(self, start: Position, settings: GameSettings) -> tuple[Player, Player]:
        """Both, before the first move from `start`. One that fails here is started anew, once.

        Raises:
            PlayerFailed: a new process fails, too: playing on would be of no use.
        """
        first, second = await _all_or_none([self._prepare(0, start, settings), self._prepare(1, start, settings)])
        return first, second

    async def close(self) -> None:
        """End both."""
        players = [player for player in self._players if player is not None]
        self._players = [None, None]
        try:
            await asyncio.gather(*(player.close() for player in players))
        finally:
            for player in players:
                player.kill()

    async def _prepare(self, side: int, start: Position, settings: GameSettings) -> Player:
        was_there = self._players[side] is not None
        player = await self._sit(side)
        try:
            await player.begin(start, settings)
        except PlayerFault as fault:
            await self._leave(side)
            if was_there and fault.kind != "refused":
                return await self._prepare(side, start, settings)
            raise PlayerFailed(f"{player.name} cannot begin a game: it {fault}") from fault
        return player

    async def _sit(self, side: int) -> Player:
        player = self._players[side]
        if player is not None and player.is_usable:
            return player
        await self._leave(side)
        contestant = self._contestants[side]
        try:
            player = self._players[side] = await start_player(contestant)
        except PlayerFault as fault:
            called = contestant.name or command_line(contestant.command)
            raise PlayerFailed(f"{called} does not play: it {fault}") from fault
        return player

    async def _leave(self, side: int) -> None:
        player, self._players[side] = self._players[side], None
        if player is not None:
            await player.close()


async def _all_or_none(work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run all at once; when one fails the others are cancelled and have ended before its error is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks)


def _names(players: tuple[Player, Player]) -> tuple[str, str]:
    """As they are named, else as they call themselves; told apart."""
    first, second = (player.contestant.name or f"{player.name} {player.version}".strip() for player in players)
    return (first, second) if first != second else (f"{first} (first)", f"{second} (second)")


def _elo(games: Sequence[GtpGame]) -> Elo:
    pairs: dict[int, list[float]] = defaultdict(list)
    for game in games:
        pairs[game.pair].append(game.score)
    return elo_of_pairs(list(pairs.values()))
