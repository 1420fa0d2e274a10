"""The positions that runtimes are tried and timed on."""

from __future__ import annotations

import functools
import zlib

import numpy as np

from agent.engine.backends.interface import Array
from agent.engine.bench import load_positions, parse_query
from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.raw import encode

# So many different ones in a batch; beyond them they come again.
POSITIONS = 8
# Moves that a made-up position has, as a share of the points.
_MOVES_SHARE = 0.3
_KOMI = 7.5


@functools.cache
def check_positions(side: int) -> tuple[Position, ...]:
    """The same positions on every machine: on 19×19 out of games, on other boards stones in a fixed pattern."""
    return tuple(parse_query(query) for query in load_positions()[:POSITIONS]) if side == 19 else _made_up(side)


@functools.cache
def check_inputs(side: int) -> tuple[Array, Array]:
    """Their inputs: spatial [n, 22, side, side] and global [n, 19]."""
    positions = check_positions(side)
    games = [Game.from_position(each) for each in positions]
    inputs = [encode(game, game.to_play, 0) for game in games]
    spatial, global_ = (np.stack(arrays) for arrays in zip(*inputs, strict=True))
    return spatial, global_


def _made_up(side: int) -> tuple[Position, ...]:
    """Legal moves in an order that depends on nothing but the numbers, not on a library's random stream."""
    positions = []
    for seed in range(POSITIONS):
        order = sorted(range(side * side), key=lambda point: zlib.crc32(f"{seed} {point}".encode()))
        game, moves = Game(side, side), list[tuple[int, int]]()
        for point in order[: int(_MOVES_SHARE * side * side)]:
            move = (game.to_play, point)
            if game.is_legal(*move):
                game.play(*move)
                moves.append(move)
        positions.append(Position(side, side, game.rules, _KOMI, moves=tuple(moves)))
    return tuple(positions)
