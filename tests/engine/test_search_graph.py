"""Where moves lead to one position: shared nodes, circles, and what is kept when the game goes on."""

from __future__ import annotations

import zlib

import msgspec
import numpy as np
import pytest

from agent.engine.backends.interface import Array, Outputs
from agent.engine.messages import Position, SearchRequest
from agent.engine.points import BLACK, vertex
from agent.engine.rules import parse_rules
from agent.engine.tree import MADE_PROGRESS, LeafBatch
from tests.fakes.small_searches import UNIFORM, Answer, edge_sum, favouring, new_tree, position, request, search

TREE: dict[str, float | int | bool] = {"useGraphSearch": False}


def test_moves_that_lead_to_one_position_share_what_is_below() -> None:
    wanted = request(position(5), 600)
    graph, tree = new_tree(), new_tree()
    shared = search(graph, wanted)
    search(tree, msgspec.structs.replace(wanted, overrides=TREE))
    assert graph.nodes < 0.9 * tree.nodes
    assert shared.root is not None and shared.root.visits == 600 and edge_sum(shared.moves) == 599


def test_a_position_that_is_known_counts_at_once_with_all_its_visits() -> None:
    """Two pairs of moves that are worth the same lead to one position; its second parent needs no evaluation of it."""
    wanted = request(position(7), 400, overrides={"rootSymmetryPruning": False})
    stats = search(new_tree(), wanted).stats
    assert stats is not None and stats.cache_hits > 0
    assert stats.evaluations + stats.cache_hits + stats.terminal == stats.visits


@pytest.mark.parametrize("ko", ["SIMPLE", "POSITIONAL", "SITUATIONAL"])
@pytest.mark.parametrize("bound", [3, 50])
def test_positions_that_come_again_end_no_search(ko: str, bound: int) -> None:
    """On a board where everything is taken again and again, circles and superko meet shared nodes all the time."""
    rules = parse_rules({"ko": ko, "scoring": "AREA", "tax": "NONE", "suicide": True})
    tree = new_tree()
    wanted = SearchRequest(
        id=1,
        position=Position(3, 2, rules, 0.5),
        player=BLACK,
        max_visits=20_000,
        overrides={"graphSearchRepBound": bound},
    )
    report = search(tree, wanted)
    assert report.root is not None and report.root.visits == 20_000
    assert (tree.virtual_losses, tree.in_flight) == (0, 0)
    assert edge_sum(report.moves) == 19_999


def test_playing_on_keeps_shared_nodes_and_drops_the_others() -> None:
    tree = new_tree()
    where, overrides = position(5), {"rootSymmetryPruning": False}
    report = search(tree, request(where, 800, overrides=overrides))
    before = tree.nodes
    first = vertex(report.moves[0].move, 5, 5)
    assert tree.begin(request(position(5, first), 800, overrides=overrides)) == report.moves[0].visits
    assert report.moves[0].visits / 2 < tree.nodes < before
    again = search(tree, request(position(5, first), 1600, overrides=overrides))
    assert again.root is not None and again.root.visits == 1600 and edge_sum(again.moves) == 1599


def test_a_reused_root_forgets_moves_that_mirror_another() -> None:
    """Deeper in the tree White's answers to the centre stone were all searched; as the root's moves they are alike."""
    tree = new_tree()
    search(tree, request(position(5), 600), favouring(12))
    kept = tree.begin(request(position(5, "C3"), 600))
    report = search(tree, request(position(5, "C3"), 600))
    assert 0 < kept < 600 and report.root is not None and report.root.visits == 600
    assert sum(move.symmetry_of is None for move in report.moves) <= 7
    assert edge_sum(report.moves) == 599


def opinionated(seed: int, certainty: float, passing: float = 0.0) -> Answer:
    """A network with its own taste in every position; `passing` is added to the logit of each pass."""

    def answer(spatial: Array, global_: Array) -> Outputs:
        outputs = UNIFORM.evaluate(spatial, global_)
        for i, planes in enumerate(spatial):
            taste = np.random.default_rng([seed, zlib.crc32(planes.tobytes())])
            outputs.policy[i] = taste.normal(0.0, certainty, outputs.policy[i].shape)
            outputs.value[i] = taste.normal(0.0, 0.3, outputs.value[i].shape)
        outputs.policy[:, :, -1] += passing
        return outputs

    return answer


def tiny(x_size: int, y_size: int, ko: str, visits: int = 2000) -> SearchRequest:
    """Everything comes again and again, and nodes are shared that KataGo's default bound would keep apart."""
    rules = parse_rules({"ko": ko, "scoring": "AREA", "tax": "NONE", "suicide": True})
    overrides: dict[str, float | int | bool] = {"graphSearchRepBound": 3, "cpuctExploration": 3.0}
    where = Position(x_size, y_size, rules, 0.5)
    return SearchRequest(id=1, position=where, player=BLACK, max_visits=visits, overrides=overrides)


@pytest.mark.parametrize("seed", [2, 3])
def test_where_the_game_is_over_on_one_way_it_may_go_on_upon_another(seed: int) -> None:
    """A third repetition ends it, but only on the way that has seen the first two. It ended the process by a crash."""
    tree = new_tree(seed)
    report = search(tree, tiny(3, 2, "SIMPLE"), opinionated(seed, 4.0))
    assert report.root is not None and report.root.visits == 2000 and edge_sum(report.moves) == 1999
    assert (tree.virtual_losses, tree.in_flight) == (0, 0)


def test_a_move_that_superko_forbids_on_one_way_is_not_chosen_there_for_ever() -> None:
    """The network is asked again, for what is legal on this way: visits that teach nothing were most of this search."""
    stats = search(new_tree(4), tiny(4, 1, "POSITIONAL"), opinionated(4, 2.0, passing=-4.0)).stats
    assert stats is not None and stats.cache_hits < 800 < stats.terminal


@pytest.mark.parametrize("seed", [1, 4])
def test_a_second_evaluation_may_be_abandoned_as_any_other(seed: int) -> None:
    tree, batch, wanted = new_tree(seed), LeafBatch(1), tiny(4, 1, "POSITIONAL")
    answer, asked = opinionated(seed, 2.0, passing=-4.0), 0
    tree.begin(wanted)
    while not tree.is_done(wanted.max_visits):
        if tree.select(batch, wanted.max_visits) == MADE_PROGRESS:
            continue
        asked += 1
        if asked % 2:
            tree.abandon(batch)
        else:
            tree.deliver(batch, answer(batch.spatial, batch.global_))
    report = tree.report(wanted, final=True, duration_s=0.0)
    assert report.root is not None and report.root.visits == 2000 and edge_sum(report.moves) == 1999
    assert (tree.virtual_losses, tree.in_flight) == (0, 0)
