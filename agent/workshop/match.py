"""Two networks play each other with our search at equal visits. Start at `play_match`.

Many games go on at once: each asks for one evaluation at a time, so that no search pays for a batch with worse moves,
and the evaluations of all games that wait for the same network make a batch. Every opening is played twice with
colours exchanged. Finished games stand in a journal, and a match that was killed goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from agent.engine.backends.interface import Backend, Outputs
from agent.engine.game import Game
from agent.engine.messages import Position, SearchRequest
from agent.engine.points import BLACK, WHITE, opponent
from agent.engine.raw import OutputNotFinite
from agent.engine.tree import MADE_PROGRESS, EvalCache, LeafBatch, SearchTree
from agent.errors import EngineError
from agent.events import Reporter, WorkshopProgress
from agent.export.artifact import Artifact, ArtifactManifest, MatchFigures, digest
from agent.workshop.amend import amend, require_intact
from agent.workshop.elo import Elo, elo_of_pairs
from agent.workshop.journal import open_journal
from agent.workshop.opening import OpenedNetwork
from agent.workshop.openings import opening

FIRST, SECOND = 0, 1
# 32 games give each network batches of some 16, past which nothing is gained (docs/decisions/0013).
GAMES_AT_ONCE = 32
# A game ends early when both networks' searches have found the same side lost for so many moves in a row.
RESIGN_WIN, RESIGN_MOVES = 0.03, 6
# Superko ends every game; this ends one that lasts too long all the same, as a draw.
_MOST_MOVES_PER_POINT = 3
_CACHE_POSITIONS = 1 << 14


class PlayedGame(msgspec.Struct, frozen=True):
    """One line of the journal. `first_is_black` tells the colours; `score` is the first network's (1, ½, 0), `end` how
    it came about: "resign", "score" or "length". `moves` are points, Black first, the opening's included."""

    pair: int
    first_is_black: bool
    score: float
    end: str
    white_score: float
    moves: tuple[int, ...]


@dataclass(frozen=True)
class MatchOptions:
    """`games` is rounded up to pairs. `threads` run networks at once: 2 lets both run side by side."""

    games: int
    visits: int
    size: int
    seed: int = 1
    games_at_once: int = GAMES_AT_ONCE
    threads: int = 1

    @property
    def pairs(self) -> int:
        return -(-self.games // 2)


@dataclass(frozen=True)
class MatchResult:
    """`evaluations` and their time are those of this run alone, not of games from the journal."""

    elo: Elo
    games: tuple[PlayedGame, ...]
    evaluations: int


def play_match(
    first: Backend, second: Backend, options: MatchOptions, journal: Path, key: str, reporter: Reporter
) -> MatchResult:
    """Play `options.games` games, those in the journal at `journal` included. `key` names the two networks; a journal
    of others, or of other visits, board or seed, is left alone. Openings are the second's.

    Raises:
        JournalUnusable: see `open_journal`.
        OutputNotFinite: a network gave numbers that are none.
        BackendUnavailable: see `Backend.evaluate`.
    """
    key = f"match 1 of {key}; {options.visits} visits, {options.size}x{options.size}, seed {options.seed}"
    with open_journal(journal, key, PlayedGame, replace=False) as record:
        played = {(game.pair, game.first_is_black): game for game in record.pieces if game.pair < options.pairs}
        with ThreadPoolExecutor(options.threads) as pool:
            table = _Table((first, second), options, pool)
            _report(played, options, reporter)
            for game in table.play(set(played)):
                record.add(game)
                played[game.pair, game.first_is_black] = game
                _report(played, options, reporter)
    games = tuple(played[name] for name in sorted(played))
    return MatchResult(_elo(games), games, table.evaluations)


def identity(player: OpenedNetwork) -> str:
    """What makes a player the same one after a restart: its file, not its name; and whom it imitates where its file
    leaves that open.

    Raises:
        GateRefused: an artifact is not the file that its manifest names, into which the result would go.
    """
    if player.artifact is not None:
        require_intact(player.artifact)
    profile = player.backend.network.human_profile if player.artifact is None else ""
    return f"{player.label} {digest(player.path)}" + (f" as {profile}" if profile else "")


def record_match(artifact: Artifact, opponent: str, options: MatchOptions, elo: Elo) -> Artifact:
    """Write the figures into the artifact's manifest, in the place of older ones of the same kind of match.

    Raises:
        GateRefused: the artifact is gone, or another one by now.
        ConversionFailed: the manifest cannot be written.
    """
    board = f"{options.size}x{options.size}"
    figures = MatchFigures(opponent, board, options.visits, elo.games, elo.score, elo.elo, elo.low, elo.high)
    kind = (figures.opponent, figures.board, figures.visits)

    def change(now: ArtifactManifest) -> ArtifactManifest:
        others = [each for each in now.matches if (each.opponent, each.board, each.visits) != kind]
        return msgspec.structs.replace(now, matches=(*others, figures))

    return amend(artifact.path, artifact.manifest.sha256, change)


def _elo(games: Sequence[PlayedGame]) -> Elo:
    pairs: dict[int, list[float]] = defaultdict(list)
    for game in games:
        pairs[game.pair].append(game.score)
    return elo_of_pairs(list(pairs.values()))


def _report(played: dict[tuple[int, bool], PlayedGame], options: MatchOptions, reporter: Reporter) -> None:
    detail = ""
    if played:
        elo = _elo(list(played.values()))
        detail = f"+{elo.wins} ={elo.draws} -{elo.losses}, Elo {elo.elo:+.0f} [{elo.low:+.0f}, {elo.high:+.0f}]"
    reporter.report(WorkshopProgress("match", len(played), 2 * options.pairs, detail))


class _Table:
    """Where the games are played."""

    def __init__(self, backends: tuple[Backend, Backend], options: MatchOptions, pool: ThreadPoolExecutor) -> None:
        self.backends, self.options = backends, options
        self.caches = (EvalCache(_CACHE_POSITIONS), EvalCache(_CACHE_POSITIONS))
        self.evaluations = 0
        self._pool = pool

    def play(self, done: set[tuple[int, bool]]) -> Iterator[PlayedGame]:
        """The games that are not `done`, in the order in which they end."""
        coming = self._coming(done)
        live: list[_Game] = []
        while True:
            while len(live) < self.options.games_at_once and (fresh := next(coming, None)) is not None:
                live.append(fresh)
            if not live:
                return
            waiting: tuple[list[_Game], list[_Game]] = ([], [])
            for game in live:
                game.advance()
                if game.result is None:
                    waiting[game.side].append(game)
            self._evaluate(waiting)
            yield from (game.result for game in live if game.result is not None)
            live = [game for game in live if game.result is None]

    def _coming(self, done: set[tuple[int, bool]]) -> Iterator[_Game]:
        known: set[tuple[int, ...]] = set()
        for pair in range(self.options.pairs):
            start = opening(self.backends[SECOND], self.options.size, self.options.seed, pair, known)
            for first_is_black in (True, False):
                if (pair, first_is_black) not in done:
                    yield _Game(self, pair, first_is_black, start)

    def _evaluate(self, waiting: tuple[list[_Game], list[_Game]]) -> None:
        """One batch for each network."""
        asked = [(side, games) for side, games in enumerate(waiting) if games]
        answers = [self._pool.submit(self._run, self.backends[side], games) for side, games in asked]
        for (_, games), answer in zip(asked, answers, strict=True):
            outputs = answer.result()
            self.evaluations += len(games)
            for index, game in enumerate(games):
                game.take(Outputs(*(part[index : index + 1] for part in outputs)))

    @staticmethod
    def _run(backend: Backend, games: Sequence[_Game]) -> Outputs:
        spatial = np.concatenate([game.batch.spatial for game in games])
        global_ = np.concatenate([game.batch.global_ for game in games])
        return backend.evaluate(spatial, global_)


class _Game:
    """One game: the position, and each side's own tree, which it keeps from move to move."""

    def __init__(self, table: _Table, pair: int, first_is_black: bool, start: Position) -> None:
        self.pair, self.first_is_black, self.position = pair, first_is_black, start
        self.result: PlayedGame | None = None
        self.batch = LeafBatch(1)
        self._options = table.options
        self._game = Game.from_position(start)
        # Both sides of both games get different draws from one seed.
        seeds = np.random.SeedSequence([table.options.seed, pair, first_is_black]).generate_state(2, np.uint64)
        self._trees = [
            SearchTree(backend.network, cache, int(seed))
            for backend, cache, seed in zip(table.backends, table.caches, seeds, strict=True)
        ]
        self._white_wins: list[float] = []
        self._begin()

    def advance(self) -> None:
        """Go on until an evaluation is needed, which `batch` then asks for, or until the game is over."""
        while self.result is None:
            selected = self._tree.select(self.batch, self._options.visits)
            if selected > 0:
                return
            if selected != MADE_PROGRESS:
                self._move()

    def take(self, outputs: Outputs) -> None:
        """What the network said to `batch`."""
        if not self._tree.deliver(self.batch, outputs):
            raise OutputNotFinite(f"a network gave a value that is not finite in game {self.pair}")

    @property
    def side(self) -> int:
        """Which network is to move."""
        return FIRST if (self.position.to_play == BLACK) == self.first_is_black else SECOND

    @property
    def _tree(self) -> SearchTree:
        return self._trees[self.side]

    def _begin(self) -> None:
        self._request = SearchRequest(1, self.position, self.position.to_play, self._options.visits, pv_len=1)
        self._tree.begin(self._request)

    def _move(self) -> None:
        report = self._tree.report(self._request, final=True, duration_s=0.0)
        if report.root is None or report.chosen is None:
            raise EngineError(f"the search found no move: {report.error}", fix="Run `agent doctor`.")
        color, point = self.position.to_play, report.chosen
        self._white_wins.append(report.root.winrate)
        self._game.play(color, point)
        self.position = msgspec.structs.replace(self.position, moves=(*self.position.moves, (color, point)))
        self.result = self._ended()
        if self.result is None:
            self._begin()

    def _ended(self) -> PlayedGame | None:
        recent = self._white_wins[-RESIGN_MOVES:]
        if self._game.finished:
            white_score = self._game.final_white_score()
            winner = WHITE if white_score > 0 else BLACK if white_score < 0 else None
            return self._played("score", winner, white_score)
        if len(recent) == RESIGN_MOVES and max(recent) < RESIGN_WIN:
            return self._played("resign", BLACK)
        if len(recent) == RESIGN_MOVES and min(recent) > 1 - RESIGN_WIN:
            return self._played("resign", WHITE)
        if len(self.position.moves) >= _MOST_MOVES_PER_POINT * self._game.area:
            return self._played("length", None)
        return None

    def _played(self, end: str, winner: int | None, white_score: float = 0.0) -> PlayedGame:
        first = BLACK if self.first_is_black else opponent(BLACK)
        score = 0.5 if winner is None else 1.0 if winner == first else 0.0
        moves = tuple(point for _, point in self.position.moves)
        return PlayedGame(self.pair, self.first_is_black, score, end, white_score, moves)
