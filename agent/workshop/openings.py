"""Openings for matches: different for each pair of games, balanced, the same for the same seed. Start at `opening`.

Where there is no network to draw them and to find them even, `blind_opening` draws points at random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from agent.engine.backends.interface import Array, Backend
from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE
from agent.engine.raw import encode
from agent.engine.rules import parse_rules
from agent.errors import CalibrationError
from agent.workshop.selfplay import softmax

# Tromp-Taylor: area is counted as it lies, so that the core alone says who won.
RULES = "tromp-taylor"
# Even on 9×9 and larger boards by what strong programs find; draws count half.
KOMI = 7.0
# A twentieth of the points, at least two: enough for some thousand different openings on 9×9.
_SHARE_OF_POINTS, _LEAST_MOVES = 1 / 20, 2
# How far from even the network may find the position after the opening.
_MOST_UNEVEN = 0.15
_AT_ONCE, _TRIES = 8, 12
# From here on the third line is where games begin; on smaller boards the second is near the middle already.
_LEAST_SIZE_WITH_MARGIN = 9

# Gives openings for these numbers of pairs, none of them a known one.
Finder = Callable[[Sequence[int], set[tuple[int, ...]]], Sequence[Position]]


def start_of(size: int, rules: str = RULES, komi: float = KOMI) -> Position:
    """The empty board that games are opened on.

    Raises:
        RulesError: as `parse_rules`.
    """
    return Position(size, size, parse_rules(rules), komi)


def opening(
    backend: Backend, size: int, seed: int, pair: int, known: set[tuple[int, ...]], start: Position | None = None
) -> Position:
    """The opening of pair number `pair`: moves drawn from the network's policy until about a twentieth of the board is
    full, and nearly even by its win rate. None of `known` where another one can be found; the new one is added.
    `start` is the empty board with other rules and komi than those above.

    Raises:
        CalibrationError: the network gives numbers that are none.
        BackendUnavailable: see `Backend.evaluate`.
    """
    random = np.random.default_rng([seed, pair])
    start = start or start_of(size)
    count = _count(size, random)
    drawn: list[tuple[bool, float, Position]] = []
    for _ in range(_TRIES):
        for uneven, position in _draw(backend, start, count, random):
            drawn.append((_points(position) in known, uneven, position))
        is_known, uneven, best = min(drawn, key=lambda each: each[:2])
        if not is_known and uneven <= _MOST_UNEVEN:
            break
    known.add(_points(best))
    return best


def blind_opening(seed: int, pair: int, known: set[tuple[int, ...]], start: Position) -> Position:
    """The opening of pair number `pair`: moves that no network chose, on points away from the edge and not beside each
    other, so that no stone is lost by them. Who is ahead is anybody's guess; that each side plays it once evens that
    out. None of `known` where another one can be found; the new one is added."""
    random = np.random.default_rng([seed, pair])
    size = start.x_size
    margin = min((size - 1) // 2, 2 if size >= _LEAST_SIZE_WITH_MARGIN else 1)
    inner = [y * size + x for y in range(margin, size - margin) for x in range(margin, size - margin)]
    for _ in range(_TRIES):
        moves: list[int] = []
        free = set(inner)
        # Fewer than a network's: most of what is drawn blindly is worse than a pass.
        for _ in range(_LEAST_MOVES + 2 * int(random.integers(0, 2))):
            if not free:
                break
            point = sorted(free)[int(random.integers(len(free)))]
            moves.append(point)
            free -= {point, point - 1, point + 1, point - size, point + size}
        if tuple(moves) not in known:
            break
    known.add(tuple(moves))
    return msgspec.structs.replace(start, moves=alternating(moves))


def alternating(points: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The points as moves, Black's first."""
    return tuple(((BLACK, WHITE)[index % 2], point) for index, point in enumerate(points))


def _count(size: int, random: np.random.Generator) -> int:
    return max(_LEAST_MOVES, round(size * size * _SHARE_OF_POINTS)) + int(random.integers(0, 3))


def _points(position: Position) -> tuple[int, ...]:
    return tuple(point for _, point in position.moves)


def _draw(backend: Backend, start: Position, count: int, random: np.random.Generator) -> list[tuple[float, Position]]:
    """Some openings, each with how far from even it is."""
    games = [Game.from_position(start) for _ in range(_AT_ONCE)]
    moves: list[list[tuple[int, int]]] = [[] for _ in games]
    for _ in range(count):
        policy, _ = _evaluate(backend, games)
        for game, played, logits in zip(games, moves, policy, strict=True):
            color = game.to_play
            # No pass: it would be no opening.
            legal = [point for point in game.legal_moves(color) if point < game.area]
            if not legal:
                continue  # a board of a few points is full before the opening is over
            point = legal[int(random.choice(len(legal), p=softmax(logits[legal])))]
            game.play(color, point)
            played.append((color, point))
    _, value = _evaluate(backend, games)
    uneven = [abs(float(softmax(row[:2])[0]) - 0.5) for row in value]
    positions = [msgspec.structs.replace(start, moves=tuple(played)) for played in moves]
    return list(zip(uneven, positions, strict=True))


def _evaluate(backend: Backend, games: list[Game]) -> tuple[Array, Array]:
    """Policy logits and value logits."""
    inputs = [encode(game, game.to_play, 0) for game in games]
    spatial, global_ = (np.stack(arrays) for arrays in zip(*inputs, strict=True))
    outputs = backend.evaluate(spatial, global_)
    policy = outputs.policy[:, 0]
    if not (np.isfinite(policy).all() and np.isfinite(outputs.value).all()):
        raise CalibrationError(
            f"network {backend.network.name} gave a value that is not finite", fix="Verify it with `agent verify`."
        )
    return policy, outputs.value
