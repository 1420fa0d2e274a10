"""Searches without a network, one thread, for tests of the search alone."""

from __future__ import annotations

from collections.abc import Callable

from agent.engine.backends.interface import Array, Outputs
from agent.engine.backends.uniform import UniformBackend
from agent.engine.messages import MoveInfo, Position, SearchReport, SearchRequest
from agent.engine.points import BLACK, WHITE, parse_vertex
from agent.engine.rules import Rules
from agent.engine.tree import MADE_PROGRESS, EvalCache, LeafBatch, SearchTree

Answer = Callable[[Array, Array], Outputs]
UNIFORM = UniformBackend()


def position(size: int = 9, moves: str = "", komi: float = 7.0, **kwargs: object) -> Position:
    """Moves such as "C3 pass D4", Black first."""
    points = [parse_vertex(name, size, size) for name in moves.split()]
    played = tuple((BLACK if i % 2 == 0 else WHITE, point) for i, point in enumerate(points) if point is not None)
    return Position(size, size, Rules(), komi, moves=played, **kwargs)  # type: ignore[arg-type]


def request(where: Position, visits: int, **kwargs: object) -> SearchRequest:
    return SearchRequest(id=1, position=where, player=where.to_play, max_visits=visits, **kwargs)  # type: ignore[arg-type]


def new_tree(seed: int = 1, cache: EvalCache | None = None) -> SearchTree:
    return SearchTree(UNIFORM.network, EvalCache(10_000) if cache is None else cache, seed)


def search(
    tree: SearchTree, wanted: SearchRequest, answer: Answer = UNIFORM.evaluate, batch_size: int = 1
) -> SearchReport:
    batch = LeafBatch(batch_size)
    tree.begin(wanted)
    while not tree.is_done(wanted.max_visits):
        count = tree.select(batch, wanted.max_visits)
        assert count != 0, "a search with nothing in flight must find something to do"
        if count != MADE_PROGRESS:
            assert tree.deliver(batch, answer(batch.spatial, batch.global_))
    return tree.report(wanted, final=True, duration_s=0.0)


def favouring(point: int, logit: float = 3.0) -> Answer:
    """A network that likes one point everywhere, seen as the board is turned: usable with symmetric points only."""

    def answer(spatial: Array, global_: Array) -> Outputs:
        outputs = UNIFORM.evaluate(spatial, global_)
        outputs.policy[:, :, point] = logit
        return outputs

    return answer


def edge_sum(moves: tuple[MoveInfo, ...]) -> int:
    return sum(move.edge_visits for move in moves if move.symmetry_of is None)
