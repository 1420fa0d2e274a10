"""Games that positions are taken from, and how they are taken. Start at `sample_positions`.

A record is a game as the core replays it; where it came from (self-play, SGF) is not known here.
"""

from __future__ import annotations

import hashlib
import itertools
from collections import defaultdict
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.raw import encode
from agent.errors import CalibrationError
from agent.workshop.position_set import Group, PositionSet

SYMMETRIES = 8


class GameRecord(msgspec.Struct, frozen=True):
    """`id` is the game's alone (`game_id`); `position` holds all its moves."""

    id: int
    position: Position

    @property
    def positions(self) -> int:
        """How many positions with a side to move the record holds: before each move."""
        return len(self.position.moves)


def game_id(text: str) -> int:
    """31 bits out of what makes a game unique, so that games of different seeds and folders never share an id but by
    a chance of one in two thousand million for each pair."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") >> 1


def turned(planes: NDArray[np.generic], symmetry: int) -> NDArray[np.generic]:
    """The last two axes, rows and columns, under one of the eight symmetries: 1 and 2 flip rows and columns, 4 swaps
    them last. KataGo's order; every plane of input version 7 turns with the board."""
    if symmetry & 1:
        planes = planes[..., ::-1, :]
    if symmetry & 2:
        planes = planes[..., :, ::-1]
    if symmetry & 4:
        planes = np.swapaxes(planes, -1, -2)
    return planes


def sample_positions(
    records: Sequence[GameRecord], count: int, seed: int, *, prefer_pass_alive: bool, source: str
) -> PositionSet:
    """`count` positions, the same number of each game where its length allows, spread over the game's whole course,
    each under a random symmetry. Fewer only when the games have no more. The same arguments give the same set.

    Raises:
        CalibrationError: no game has any position.
    """
    rows: dict[tuple[int, int], list[_Row]] = defaultdict(list)
    for record, share in zip(records, _shares([record.positions for record in records], count), strict=True):
        random = np.random.default_rng([seed, record.id])
        for row in _rows(record, _spread(record.positions, share, random), random, prefer_pass_alive):
            rows[row.spatial.shape[1], row.spatial.shape[2]].append(row)
    if not rows:
        raise CalibrationError("there is no game with a position to take")
    groups = [_group(size, rows[size]) for size in sorted(rows, reverse=True)]
    return PositionSet(tuple(groups), source)


def end_positions(records: Sequence[GameRecord], *, prefer_pass_alive: bool, source: str) -> PositionSet:
    """The position at the end of each record's moves, upright. A group keeps the order of the records."""
    rows: dict[tuple[int, int], list[_Row]] = defaultdict(list)
    for record in records:
        game = Game.from_position(record.position)
        game.set_pass_alive_under_suicide(prefer_pass_alive)
        row = _row(game, record.position.to_play, record.id, record.positions, 0)
        rows[record.position.y_size, record.position.x_size].append(row)
    return PositionSet(tuple(_group(size, rows[size]) for size in sorted(rows, reverse=True)), source)


class _Row(msgspec.Struct, frozen=True):
    spatial: NDArray[np.bool_]
    global_: NDArray[np.float32]
    legal: NDArray[np.bool_]
    game: int
    move: int


def _shares(lengths: Sequence[int], count: int) -> list[int]:
    """Of each game, so that they sum to `count` where the games have as many: equal but for the short ones."""
    shares = [0] * len(lengths)
    while (missing := count - sum(shares)) > 0:
        room = [index for index, length in enumerate(lengths) if shares[index] < length]
        if not room:
            break
        more, rest = divmod(missing, len(room))
        for place, index in enumerate(room):
            shares[index] = min(lengths[index], shares[index] + more + (place < rest))
    return shares


def _spread(length: int, share: int, random: np.random.Generator) -> list[int]:
    """`share` different numbers below `length`, one at random out of each of as many equal parts."""
    edges = np.linspace(0, length, share + 1).astype(int)
    return [int(random.integers(low, high)) for low, high in itertools.pairwise(edges)]


def _rows(record: GameRecord, at: Sequence[int], random: np.random.Generator, prefer_pass_alive: bool) -> list[_Row]:
    game = Game.from_position(msgspec.structs.replace(record.position, moves=()))
    game.set_pass_alive_under_suicide(prefer_pass_alive)
    wanted, rows = set(at), []
    for number, (color, point) in enumerate(record.position.moves):
        if number in wanted:
            rows.append(_row(game, color, record.id, number, int(random.integers(SYMMETRIES))))
        game.play(color, point, prevent_encore=record.position.prevent_encore)
    return rows


def _row(game: Game, player: int, game_id: int, number: int, symmetry: int) -> _Row:
    if player != game.to_play:
        game = game.copy()
        game.restart(player)
    spatial, global_ = encode(game, player, 0)
    legal = np.zeros(game.area + 1, bool)
    legal[list(game.legal_moves(player))] = True
    board = turned(legal[:-1].reshape(game.y_size, game.x_size), symmetry)
    return _Row(
        np.ascontiguousarray(turned(spatial.astype(bool), symmetry)),
        global_,
        np.append(board.reshape(-1), legal[-1]),
        game_id,
        number,
    )


def _group(size: tuple[int, int], rows: Sequence[_Row]) -> Group:
    return Group(
        *size,
        np.stack([row.spatial for row in rows]),
        np.stack([row.global_ for row in rows]),
        np.stack([row.legal for row in rows]),
        np.array([row.game for row in rows], np.int32),
        np.array([row.move for row in rows], np.int32),
    )
