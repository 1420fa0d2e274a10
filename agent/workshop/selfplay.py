"""Games that a network plays against itself without search, many at once. Start at `play_wave`.

A wave is a number of games on one board size that are played together, so that the network sees batches. Board sizes,
rules, komi and handicaps are drawn from the seed. The same wave gives the same games on the same machine: a wave, not
a game, is what a killed run repeats, because a runtime's last digits may depend on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.engine.backends.interface import Array, Backend
from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE
from agent.engine.raw import encode
from agent.engine.rules import parse_rules_and_komi
from agent.errors import CalibrationError
from agent.workshop.records import GameRecord, game_id

# Beyond eight positions in one call nothing is gained on the machines measured (docs/decisions/0013).
GAMES_PER_WAVE = 8

# Columns, rows, and shares of the waves. Half of the games are on the size that most people play.
BOARDS = ((19, 19, 0.5), (13, 13, 0.2), (9, 9, 0.2), (11, 11, 0.03), (7, 7, 0.03), (13, 9, 0.02), (17, 15, 0.02))
# Japanese, Chinese and AGA rules are what people and servers play; the others exercise every rule that the network is
# told of (tax, button, suicide, superko).
RULES = (
    ("japanese", 0.3),
    ("chinese", 0.25),
    ("aga", 0.12),
    ("tromp-taylor", 0.12),
    ("new-zealand", 0.07),
    ("stone-scoring", 0.05),
    ("ancient-territory", 0.04),
    ("aga-button", 0.05),
)
_GOLDEN_RATIO = (5**0.5 - 1) / 2
_HANDICAP_SHARE = 0.1
_ODD_KOMI_SHARE = 0.25
_ODD_KOMI_STDEV = 6.0
# Temperature of the policy: from the first to the second by half each time as many moves as the board is wide pass
# (the halving that KataGo's own self-play uses).
_TEMPERATURE_EARLY, _TEMPERATURE_LATE = 1.0, 0.25
# Half of the games end as between people, by resignation; the others are played out for their endgames.
_RESIGNING_SHARE = 0.5
_RESIGN_WIN, _RESIGN_MOVES = 0.02, 6
# What is longer is mostly play within settled territory: time without a position worth judging by.
_MOST_MOVES_PER_POINT = 1.1


@dataclass(frozen=True)
class Wave:
    """`number` counts from 0 within the run of `seed`; `games` is how many it plays."""

    seed: int
    number: int
    games: int


def waves(seed: int, games: int) -> tuple[Wave, ...]:
    """The waves of a run of so many games. More games keep the waves that fewer have, but for the last one."""
    starts = range(0, games, GAMES_PER_WAVE)
    return tuple(Wave(seed, number, min(GAMES_PER_WAVE, games - start)) for number, start in enumerate(starts))


def play_wave(backend: Backend, wave: Wave) -> tuple[GameRecord, ...]:
    """Play the games of `wave` to their ends.

    Raises:
        CalibrationError: the network gives numbers that are none.
        BackendUnavailable: see `Backend.evaluate`.
    """
    x_size, y_size = board_of(wave)
    players = [_Player(x_size, y_size, wave, index, backend) for index in range(wave.games)]
    while live := [player for player in players if not player.over]:
        inputs = [encode(player.game, player.game.to_play, 0) for player in live]
        spatial, global_ = (np.stack(arrays) for arrays in zip(*inputs, strict=True))
        outputs = backend.evaluate(spatial, global_)
        for player, logits, value in zip(live, outputs.policy[:, 0], outputs.value, strict=True):
            if not (np.isfinite(logits).all() and np.isfinite(value).all()):
                raise CalibrationError(
                    f"network {backend.network.name} gave a value that is not finite",
                    fix="Play with another network or backend.",
                )
            player.move(logits, value)
    return tuple(player.record() for player in players)


def board_of(wave: Wave) -> tuple[int, int]:
    """Columns and rows. A golden-ratio sequence from a start of the seed's own: few waves already have nearly the
    shares of BOARDS."""
    random = np.random.default_rng([wave.seed, wave.number])
    edges = np.cumsum([share for *_, share in BOARDS])
    place = (np.random.default_rng(wave.seed).random() + wave.number * _GOLDEN_RATIO) % 1.0
    x_size, y_size, _ = BOARDS[min(int(np.searchsorted(edges, place, side="right")), len(BOARDS) - 1)]
    return (x_size, y_size) if random.random() < 0.5 else (y_size, x_size)


@dataclass
class _Player:
    """One game of a wave."""

    x_size: int
    y_size: int
    wave: Wave
    index: int
    backend: Backend
    moves: list[tuple[int, int]] = field(default_factory=list)
    resigned: bool = False
    hopeless: int = 0

    def __post_init__(self) -> None:
        # A generator of its own: what one game draws must not depend on how long the others last.
        self.random = np.random.default_rng([self.wave.seed, self.wave.number, self.index])
        rules, komi = parse_rules_and_komi(str(self.random.choice([n for n, _ in RULES], p=[p for _, p in RULES])))
        stones = self._handicap()
        if stones:
            komi = 0.5
        elif self.random.random() < _ODD_KOMI_SHARE:
            komi += round(float(self.random.normal(0.0, _ODD_KOMI_STDEV)))
        self.resigns = self.random.random() < _RESIGNING_SHARE
        self.start = Position(
            self.x_size,
            self.y_size,
            rules,
            komi,
            initial_stones=tuple((BLACK, point) for point in stones),
            initial_player=WHITE if stones else BLACK,
        )
        self.game = Game.from_position(self.start)
        self.game.set_pass_alive_under_suicide(self.backend.network.prefer_pass_alive)

    @property
    def over(self) -> bool:
        return self.resigned or self.game.finished or len(self.moves) >= _MOST_MOVES_PER_POINT * self.game.area

    def move(self, logits: Array, value: Array) -> None:
        """Play or resign, by the network's raw answer for the side to move."""
        color = self.game.to_play
        legal = list(self.game.legal_moves(color))
        halvings = len(self.moves) / max(self.x_size, self.y_size)
        temperature = _TEMPERATURE_LATE + (_TEMPERATURE_EARLY - _TEMPERATURE_LATE) * 0.5**halvings
        point = legal[int(self.random.choice(len(legal), p=softmax(logits[legal] / temperature)))]
        win, loss, _ = softmax(value)
        self.hopeless = self.hopeless + 1 if min(win, loss) < _RESIGN_WIN else 0
        self.game.play(color, point)
        self.moves.append((color, point))
        self.resigned = self.resigns and self.hopeless >= _RESIGN_MOVES

    def record(self) -> GameRecord:
        position = Position(
            self.x_size,
            self.y_size,
            self.start.rules,
            self.start.komi,
            self.start.initial_stones,
            self.start.initial_player,
            tuple(self.moves),
        )
        network, wave = self.backend.network, self.wave
        name = f"{network.name} {network.sha256} seed {wave.seed} wave {wave.number} game {self.index}"
        return GameRecord(game_id(name), position)

    def _handicap(self) -> Sequence[int]:
        """Points of handicap stones, mostly none."""
        if min(self.x_size, self.y_size) < 9 or self.random.random() >= _HANDICAP_SHARE:
            return ()
        edge = 2 if min(self.x_size, self.y_size) < 13 else 3
        rows, columns = (edge, self.y_size - 1 - edge), (edge, self.x_size - 1 - edge)
        corners = [row * self.x_size + column for row in rows for column in columns]
        count = int(self.random.integers(2, 5))
        return sorted(int(point) for point in self.random.choice(corners, count, replace=False))


def softmax(logits: Array) -> NDArray[np.float64]:
    """Probabilities of one row of logits."""
    exponents = np.exp(logits.astype(np.float64) - float(logits.max()))
    return np.asarray(exponents / exponents.sum(), np.float64)
