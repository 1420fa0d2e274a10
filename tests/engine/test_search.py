"""The search alone, one thread, without a network: selection by hand, ends of games, reuse, limits, counts."""

from __future__ import annotations

import math
from collections import Counter

import msgspec
import numpy as np
import pytest

from agent.engine.backends.interface import Array, Outputs
from agent.engine.game import Game
from agent.engine.library import load
from agent.engine.messages import MoveLimit, Position, SearchRequest
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules
from agent.engine.search_params import SEARCH_PARAMS
from agent.engine.tree import EVALUATED_AS, MADE_PROGRESS, TURNS_BEFORE, EvalCache, LeafBatch, core_params, made
from agent.errors import EngineError, IllegalMove, SettingRefused
from tests.fakes.small_searches import UNIFORM, edge_sum, favouring, new_tree, position, request, search

WITHOUT_CHANCE: dict[str, float | int | bool] = {
    "chosenMoveTemperature": 0.0,
    "chosenMoveTemperatureEarly": 0.0,
    "nnRandomize": False,
}
# Half of the advantage, of KataGo's 19 numbers beside the planes.
ADVANTAGE_INPUT = 16

# ---------------------------------------------------------------- parameters


def test_python_and_core_name_the_same_parameters_with_the_same_defaults() -> None:
    ours = {EVALUATED_AS: 0.0, TURNS_BEFORE: 0.0}
    assert core_params() == ours | {name: float(param.default) for name, param in SEARCH_PARAMS.items()}


def test_an_override_out_of_range_is_refused() -> None:
    with pytest.raises(SettingRefused):
        new_tree().begin(request(position(), 10, overrides={"cpuctExploration": 1e9}))


def test_a_core_that_could_make_nothing_is_an_error() -> None:
    with pytest.raises(EngineError, match="the core could not start a search"):
        made(load(), None)


# ---------------------------------------------------------------- selection


def test_one_visit_is_the_networks_own_answer() -> None:
    report = search(new_tree(), request(position(), 1, policy=True, ownership=True))
    assert report.root is not None and report.stats is not None
    assert report.root.visits == 1 and report.moves == ()
    assert report.root.winrate == pytest.approx(0.5, abs=1e-6)
    assert report.policy is not None and sum(report.policy) == pytest.approx(1.0, abs=1e-3)
    assert report.stats.evaluations == 1
    assert report.chosen is not None


def test_policy_draws_visits() -> None:
    center = 40
    report = search(new_tree(), request(position(), 50), favouring(center))
    assert report.moves[0].move == center
    assert report.moves[0].visits > 3 * max((move.visits for move in report.moves[1:]), default=1)
    assert report.moves[0].prior == pytest.approx(math.exp(3.0) / (math.exp(3.0) + 81), rel=1e-3)


def test_the_policys_temperature_may_be_near_0() -> None:
    """Where no move has much of the policy, powers of the shares would all be 0."""
    report = search(new_tree(), request(position(19), 1, overrides={"nnPolicyTemperature": 0.01}), favouring(180))
    assert report.chosen == 180
    report = search(new_tree(), request(position(19), 20, overrides={"nnPolicyTemperature": 0.01}), favouring(180))
    assert [(move.move, move.prior) for move in report.moves] == [(180, pytest.approx(1.0, abs=1e-3))]


@pytest.mark.parametrize(("temperature", "share"), [(0.5, 0.95), (1.0, 0.95), (5.0, math.exp(2) / (math.exp(2) + 81))])
def test_the_pass_is_capped_after_the_policys_temperature(temperature: float, share: float) -> None:
    wanted = request(position(), 1, policy=True, overrides={"nnPolicyTemperature": temperature})
    policy = search(new_tree(), wanted, favouring(81, 10.0)).policy
    assert policy is not None and policy[81] == pytest.approx(share, abs=1e-3)


def test_equal_moves_are_tried_in_turn() -> None:
    overrides = {"rootSymmetryPruning": False, "fpuReductionMax": 0.0, "rootFpuReductionMax": 0.0}
    report = search(new_tree(), request(position(5), 1 + 26, overrides=overrides))
    assert sorted(move.edge_visits for move in report.moves) == [1] * 26


def test_first_play_urgency_by_hand() -> None:
    """A second child is visited when its exploration makes up for first-play urgency, by the formula of puct.cpp."""
    first, visits = 12, 30
    overrides: dict[str, float | int | bool] = {"cpuctUtilityStdevScale": 0.0, "rootSymmetryPruning": False}
    report = search(new_tree(), request(position(5), visits, overrides=overrides), favouring(first, 5.0))
    prior = math.exp(5.0) / (math.exp(5.0) + 25)
    other = 1 / (math.exp(5.0) + 25)
    expected = {first: 0}
    for done in range(visits - 1):
        total = float(done)
        tried = prior + other * (len(expected) - 1) if done else 0.0
        scale = (1.0 + 0.45 * math.log((total + 500) / 500)) * math.sqrt(total + 0.01)
        best = max(expected, key=lambda move: scale * (prior if move == first else other) / (1 + expected[move]))
        best_value = scale * (prior if best == first else other) / (1 + expected[best])
        # All values are even, so utilities are 0 but for the reduction of what was never tried.
        if done and best_value < scale * other - 0.1 * math.sqrt(tried):
            expected[-len(expected)] = 1
        else:
            expected[best] += 1
    assert sorted(move.edge_visits for move in report.moves) == sorted(expected.values())


def test_virtual_losses_spread_a_batch_and_vanish() -> None:
    tree, batch = new_tree(), LeafBatch(4)
    search(tree, request(position(), 100))
    tree.begin(request(position(), 200))
    assert tree.select(batch, 200) == 4
    assert tree.virtual_losses >= 4 and tree.in_flight == 4
    assert len({plane.tobytes() for plane in batch.spatial}) == 4, "four different positions"
    tree.deliver(batch, UNIFORM.evaluate(batch.spatial, batch.global_))
    assert tree.virtual_losses == 0 and tree.in_flight == 0 and tree.visits == 104


def test_a_batch_is_filled_as_the_search_comes_to_know_more() -> None:
    """However long the search may go on: one that is ended by the clock does not know how few its visits will be."""
    tree, batch = new_tree(), LeafBatch(4)
    tree.begin(request(position(), 10_000))
    taken: dict[int, int] = {}
    while tree.visits < 120:
        visits = tree.visits
        if (count := tree.select(batch, 10_000)) != MADE_PROGRESS:
            taken[visits] = count
            tree.deliver(batch, UNIFORM.evaluate(batch.spatial, batch.global_))
    assert all(count <= max(1, visits // 16) for visits, count in taken.items())
    assert max(taken.values()) == 4 and {count for visits, count in taken.items() if visits < 16} == {1}


def test_a_thread_never_waits_for_anothers_leaf() -> None:
    tree, one, other = new_tree(), LeafBatch(4), LeafBatch(4)
    tree.begin(request(position(), 10_000))
    assert tree.select(one, 10_000) == 1, "the root comes alone"
    tree.deliver(one, UNIFORM.evaluate(one.spatial, one.global_))
    assert (tree.select(one, 10_000), tree.select(other, 10_000)) == (1, 1)


def test_few_visits_are_not_spread_over_many_leaves() -> None:
    tree, batch = new_tree(), LeafBatch(4)
    tree.begin(request(position(), 10))
    tree.select(batch, 10)
    tree.deliver(batch, UNIFORM.evaluate(batch.spatial, batch.global_))
    assert tree.select(batch, 10) == 1
    assert tree.select(LeafBatch(4), 10) == 0


def test_a_colliding_walk_gives_nothing_and_leaves_no_trace() -> None:
    tree, batch = new_tree(), LeafBatch(1)
    tree.begin(request(position(), 100))
    assert tree.select(batch, 100) == 1
    assert tree.select(LeafBatch(1), 100) == 0, "the root is out"
    assert tree.virtual_losses == 0
    tree.abandon(batch)
    assert tree.select(batch, 100) == 1, "an abandoned leaf is to be had again"


def test_abandoned_leaves_leave_the_tree_as_it_was() -> None:
    tree, batch = new_tree(), LeafBatch(3)
    wanted = request(position(), 200)
    search(tree, request(position(), 20))
    tree.begin(wanted)
    visits = tree.visits
    assert tree.select(batch, 200) > 0
    tree.abandon(batch)
    assert (tree.visits, tree.virtual_losses, tree.in_flight) == (visits, 0, 0)
    assert search(tree, wanted).root is not None


def test_a_batch_that_was_delivered_has_nothing_left_to_abandon() -> None:
    """A caller that gives a batch up after any error must not undo what is done, or what others took since."""
    tree, batch, other = new_tree(), LeafBatch(3), LeafBatch(1)
    search(tree, request(position(), 60))
    tree.begin(request(position(), 200))
    assert tree.select(batch, 200) == 3
    tree.deliver(batch, UNIFORM.evaluate(batch.spatial, batch.global_))
    assert tree.select(other, 200) == 1
    tree.abandon(batch)
    assert tree.in_flight == 1 and tree.virtual_losses > 0
    tree.abandon(other)
    assert (tree.in_flight, tree.virtual_losses) == (0, 0)


def test_outputs_that_are_not_finite_are_refused_and_undone() -> None:
    tree, batch = new_tree(), LeafBatch(1)
    tree.begin(request(position(), 5))
    tree.select(batch, 5)
    broken = UNIFORM.evaluate(batch.spatial, batch.global_)
    broken.value[0, 0] = np.nan
    assert not tree.deliver(batch, broken)
    assert tree.visits == 0 and tree.in_flight == 0
    assert tree.select(batch, 5) == 1


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize(("size", "visits", "batch"), [(9, 300, 1), (9, 300, 8), (5, 700, 3), (2, 900, 1), (1, 50, 2)])
def test_visits_add_up(size: int, visits: int, batch: int) -> None:
    tree = new_tree()
    report = search(tree, request(position(size), visits), batch_size=batch)
    assert report.root is not None and report.stats is not None
    assert report.root.visits == visits == tree.visits
    assert edge_sum(report.moves) == visits - 1
    assert report.stats.visits == visits
    assert tree.virtual_losses == 0
    for move in report.moves:
        assert move.pv[0] == move.move and len(move.pv) == len(move.pv_visits) == len(move.pv_edge_visits)
    assert [move.order for move in report.moves] == list(range(len(report.moves)))


def test_cache_hits_are_counted_apart_from_evaluations() -> None:
    cache = EvalCache(10_000)
    wanted = request(position(), 100)
    first = search(new_tree(cache=cache), wanted).stats
    second = search(new_tree(cache=cache), wanted).stats
    assert first is not None and second is not None
    assert first.evaluations >= 100 - first.cache_hits - first.terminal
    assert second.evaluations == 0 and second.cache_hits + second.terminal >= 100


def test_the_cache_is_bounded_and_can_be_cleared() -> None:
    cache = EvalCache(16)
    search(new_tree(cache=cache), request(position(), 100))
    assert len(cache) == 16
    cache.clear()
    assert len(cache) == 0
    again = search(new_tree(cache=EvalCache(0)), request(position(), 100)).stats
    assert again is not None and again.evaluations > 0


def test_one_seed_gives_one_search() -> None:
    wanted = request(position(), 150, overrides={"wideRootNoise": 0.5})
    reports = [search(new_tree(seed), wanted, favouring(40)) for seed in (3, 3, 4)]
    assert reports[0] == reports[1]
    assert [(m.move, m.visits) for m in reports[0].moves] != [(m.move, m.visits) for m in reports[2].moves]


def test_huge_visits_on_a_tiny_board() -> None:
    tree = new_tree()
    report = search(tree, request(position(2), 200_000))
    assert report.root is not None and report.root.visits == 200_000
    assert tree.nodes < 20_000


# ---------------------------------------------------------------- ends of games


def test_a_won_game_is_passed_out_and_scored_exactly() -> None:
    """After Black's pass White may end the game at once; with komi on an empty board that wins."""
    report = search(new_tree(), request(position(3, "pass", komi=7.0), 200, overrides={"conservativePass": False}))
    assert report.root is not None and report.stats is not None
    assert report.stats.terminal > 0
    ending = next(move for move in report.moves if move.move == 9)
    assert ending.winrate == 1.0 and ending.score_lead == 7.0 and ending.score_stdev == pytest.approx(0.5, abs=0.01)
    assert report.moves[0].move == 9 and report.chosen == 9


def test_a_lost_game_is_not_passed_out() -> None:
    report = search(new_tree(), request(position(5, "pass", komi=-7.0), 200, overrides={"conservativePass": False}))
    ending = next((move for move in report.moves if move.move == 25), None)
    assert ending is not None and ending.winrate == 0.0, "the pass was looked at all the same"
    assert report.moves[0].move != 25


def test_a_pass_from_the_root_ends_nothing_when_passing_is_conservative() -> None:
    report = search(new_tree(), request(position(3, "pass", komi=7.0), 200))
    passing = next(move for move in report.moves if move.move == 9)
    assert passing.winrate < 1.0 and len(passing.pv) > 1


@pytest.mark.parametrize("visits", [1, 30])
def test_a_game_that_is_over_is_played_on(visits: int) -> None:
    """Players who disagree about dead stones resume after two passes."""
    over = position(5, "A1 pass pass")
    assert Game.from_position(over).finished
    report = search(new_tree(), request(over, visits, overrides=WITHOUT_CHANCE), favouring(12))
    assert report.root is not None and report.root.visits == visits
    assert report.chosen == 12


def test_a_void_game_is_played_on() -> None:
    """Programs that know no such end go on in the ko; each of its moves makes the game void again."""
    moves = tuple((BLACK if i % 2 == 0 else WHITE, point) for i, point in enumerate((1, 3, 0, 2) * 2 + (1,)))
    void = Position(4, 1, Rules(ko="SIMPLE", suicide=False), 0.5, moves=moves)
    assert Game.from_position(void).no_result
    report = search(new_tree(), request(void, 20, overrides=WITHOUT_CHANCE), favouring(2, 6.0))
    assert report.chosen == 2


# ---------------------------------------------------------------- chance in the choice of moves


@pytest.mark.parametrize(
    ("moves", "turns_before", "temperature"), [("", 0, 1.0), ("", 9, 0.5), ("A1 A9", 7, 0.5), ("", 900, 0.0)]
)
def test_chance_is_for_how_old_the_game_is(moves: str, turns_before: int, temperature: float) -> None:
    """On 9×9 it halves in nine turns, whether they were played or a position that old was set up."""
    overrides: dict[str, float | int | bool] = {
        "chosenMoveTemperature": 0.0,
        "chosenMoveTemperatureEarly": 1.0,
        "rootSymmetryPruning": False,
        "useLcbForSelection": False,
    }
    wanted = request(position(9, moves), 60, overrides=overrides, turns_before=turns_before)
    tree = new_tree()
    values = {move.move: move.play_selection_value for move in search(tree, wanted, favouring(40, 1.0)).moves}
    draws = Counter(tree.report(wanted, final=True, duration_s=0.0).chosen for _ in range(500))
    assert max(values, key=values.__getitem__) == 40 and len([value for value in values.values() if value > 0]) == 5
    chances = {move: value ** (1 / max(temperature, 1e-2)) for move, value in values.items()}
    assert draws[40] / 500 == pytest.approx(chances[40] / sum(chances.values()), abs=0.07)


@pytest.mark.parametrize(("prune", "poor"), [(1.0, False), (0.01, False), (0.001, True), (0.0, True)])
def test_a_move_straight_from_the_policy_is_none_of_the_poor_ones(prune: float, poor: bool) -> None:
    """One below `chosenMovePrune` or a 64th of the best, whatever is less, has no chance at any temperature."""

    def answer(spatial: Array, global_: Array) -> Outputs:
        outputs = UNIFORM.evaluate(spatial, global_)
        outputs.policy[:] = -40.0
        outputs.policy[:, :, [40, 41, 42]] = np.log([0.9, 0.095, 0.005])
        return outputs

    overrides: dict[str, float | int | bool] = {"chosenMoveTemperature": 1.0, "chosenMoveTemperatureEarly": 1.0}
    overrides |= {"chosenMovePrune": prune, "nnRandomize": False, "rootSymmetryPruning": False}
    wanted, tree = request(position(), 1, overrides=overrides), new_tree()
    search(tree, wanted, answer)
    draws = Counter(tree.report(wanted, final=True, duration_s=0.0).chosen for _ in range(2000))
    assert set(draws) == ({40, 41, 42} if poor else {40, 41})
    assert draws[41] / 2000 == pytest.approx(0.095, abs=0.03)


def test_a_mirror_image_is_played_where_all_else_has_no_policy() -> None:
    """The network likes one corner more than the others; that one is not the one which is searched of the four."""

    def answer(spatial: Array, global_: Array) -> Outputs:
        outputs = UNIFORM.evaluate(spatial, global_)
        outputs.policy[:, :, 60] = 3.0
        return outputs

    overrides: dict[str, float | int | bool] = {"nnPolicyTemperature": 0.02, "nnRandomize": False}
    assert search(new_tree(), request(position(), 1, overrides=overrides), answer).chosen == 60


def test_the_roots_policy_is_as_flat_as_the_game_is_young() -> None:
    flat: dict[str, float | int | bool] = {"rootPolicyTemperatureEarly": 100.0, "chosenMoveTemperatureHalflife": 0.1}
    visits = []
    for overrides, turns in (({}, 0), (flat, 90), (flat, 0)):
        report = search(new_tree(), request(position(), 60, overrides=overrides, turns_before=turns), favouring(40))
        visits.append([(move.move, move.visits) for move in report.moves])
    assert visits[0] == visits[1] != visits[2]


# ---------------------------------------------------------------- limits on moves


def test_avoided_moves_are_not_searched() -> None:
    limits = (MoveLimit(player=BLACK, points=(40, 81), until_depth=1),)
    report = search(new_tree(), request(position(), 100, limits=limits), favouring(40))
    assert all(move.move not in (40, 81) for move in report.moves) and report.moves
    assert any(40 in move.pv[1:] for move in report.moves), "below the first ply it is allowed"


def test_only_allowed_moves_are_searched_up_to_the_depth() -> None:
    limits = (
        MoveLimit(player=BLACK, points=(3, 4), until_depth=3, allow=True),
        MoveLimit(player=WHITE, points=(70,), until_depth=3, allow=True),
    )
    report = search(new_tree(), request(position(), 100, limits=limits))
    assert {move.move for move in report.moves} == {3, 4}
    for move in report.moves:
        assert move.pv[1] == 70 and move.pv[2] in (3, 4)


def test_the_same_limits_go_on_with_the_tree_but_not_after_a_move() -> None:
    """They count from the root: what was forbidden two plies down is forbidden one ply down then."""
    limits = (MoveLimit(player=WHITE, points=(41,), until_depth=2),)
    other = (MoveLimit(player=WHITE, points=(41,), until_depth=4),)
    for later, known in (
        (request(position(), 90, limits=limits), 60),
        (request(position(), 90, limits=other), 0),
        (request(position(), 90), 0),
        (request(position(9, "E5"), 90, limits=limits), 0),
        (request(position(9, "E5"), 90), 0),
    ):
        tree = new_tree()
        search(tree, request(position(), 60, limits=limits), favouring(40))
        assert tree.begin(later) == known
        report = search(tree, later, favouring(40))
        assert report.root is not None and report.root.visits == 90 and tree.virtual_losses == 0
        if known:
            assert [move for info in report.moves for move in info.pv[1:2] if move == 41] == []


def test_a_position_where_all_is_forbidden_still_answers() -> None:
    limits = (MoveLimit(player=BLACK, points=(), until_depth=1, allow=True),)
    report = search(new_tree(), request(position(), 20, limits=limits))
    assert report.root is not None and report.root.visits == 20
    assert report.moves == () and report.chosen is None


# ---------------------------------------------------------------- reuse


def test_playing_on_keeps_the_visits_below_the_move() -> None:
    tree = new_tree()
    all_moves: dict[str, float | int | bool] = {"rootSymmetryPruning": False}
    report = search(tree, request(position(), 200, overrides=all_moves), favouring(40))
    below = next(move for move in report.moves if move.move == 40)
    after = request(position(9, "E5"), 400, overrides=all_moves)
    assert tree.begin(after) == below.visits > 1
    again = search(tree, after, favouring(40))
    assert again.root is not None and again.root.visits == 400 and edge_sum(again.moves) == 399
    assert again.stats is not None and again.stats.visits == 400 - below.visits
    assert tree.virtual_losses == 0


def test_the_same_position_goes_on_and_counts_what_is_there() -> None:
    tree = new_tree()
    search(tree, request(position(), 100))
    assert tree.begin(request(position(), 150)) == 100
    report = search(tree, request(position(), 150))
    assert report.stats is not None and report.stats.visits == 50


def test_a_tree_whose_move_is_played_is_dropped_where_the_next_pass_means_something_else() -> None:
    tree = new_tree()
    search(tree, request(position(), 40), favouring(81))
    report = search(tree, request(position(9, "pass"), 10))
    assert report.stats is not None and report.root is not None
    assert report.stats.visits == report.root.visits == 10


@pytest.mark.parametrize(
    "other",
    [
        position(9, "C3"),
        position(9, komi=6.0),
        position(7),
        position(9, prevent_encore=False),
    ],
    ids=["sibling", "komi", "size", "encore"],
)
def test_another_game_starts_anew(other: Position) -> None:
    tree = new_tree()
    search(tree, request(position(9, "E5"), 60))
    assert tree.begin(request(other, 60)) == 0


def test_other_parameters_start_anew_but_not_the_roots_own() -> None:
    tree = new_tree()
    search(tree, request(position(), 60))
    assert tree.begin(request(position(), 90, overrides={"wideRootNoise": 0.1})) == 60
    assert tree.begin(request(position(), 90, overrides={"cpuctExploration": 2.0})) == 0


def stronger_wins(spatial: Array, global_: Array) -> Outputs:
    """A network that believes in the advantage it is told alone, on the side of whom it is asked for."""
    outputs = favouring(40)(spatial, global_)
    outputs.value[:, 0] = 4.0 * global_[:, ADVANTAGE_INPUT]
    return outputs


def test_an_advantage_stays_with_its_side_and_so_do_the_visits() -> None:
    """The number is the root player's. Equal numbers of two players in turn are two advantages: KataGo starts anew."""
    tree = new_tree()
    black: dict[str, float | int | bool] = {"rootSymmetryPruning": False, "playoutDoublingAdvantage": 1.5}
    of_the_other = {**black, "playoutDoublingAdvantage": -1.5}
    report = search(tree, request(position(), 200, overrides=black), stronger_wins)
    below = next(move for move in report.moves if move.move == 40)
    assert below.visits > 50 and report.root is not None and report.root.winrate < 0.1
    after = position(9, "E5")
    # Pondering: White is asked, and Black is still the one who has it.
    assert tree.begin(request(after, 300, overrides=of_the_other)) == below.visits
    white = request(after, 60, overrides=black)
    assert tree.begin(white) == 0
    again, fresh = search(tree, white, stronger_wins), search(new_tree(), white, stronger_wins)
    assert again.root == fresh.root and again.moves == fresh.moves
    assert again.root is not None and again.root.winrate > 0.9
    # After a move of each side the number means what it meant.
    answer = next(move for move in again.moves if move.visits > 1)
    further = msgspec.structs.replace(after, moves=(*after.moves, (WHITE, answer.move)))
    assert tree.begin(request(further, 300, overrides=of_the_other)) == answer.visits


def test_no_advantage_is_the_same_for_both_sides() -> None:
    tree = new_tree()
    search(tree, request(position(9, "E5"), 60, overrides={"playoutDoublingAdvantage": 0.0}))
    assert tree.begin(request(position(9, "E5"), 90, overrides={"playoutDoublingAdvantage": -0.0})) == 60
    assert tree.begin(request(position(9, "E5"), 90)) == 60
    assert tree.begin(request(position(9, "E5"), 90, overrides={"playoutDoublingAdvantage": 0.125})) == 0


def test_the_player_out_of_turn_is_searched_for() -> None:
    tree = new_tree()
    where = position(9, "E5")
    wanted = SearchRequest(id=1, position=where, player=BLACK, max_visits=20)
    report = search(tree, wanted)
    assert report.root is not None and report.root.player == BLACK
    assert tree.begin(request(where, 20)) == 0, "that tree was another game's"


def test_a_position_that_cannot_be_is_refused() -> None:
    with pytest.raises(IllegalMove, match="Illegal move 1: E5"):
        new_tree().begin(request(Position(9, 9, Rules(), 7.0, moves=((BLACK, 40), (WHITE, 40))), 10))


# ---------------------------------------------------------------- reports


def test_ownership_of_root_and_moves() -> None:
    def answer(spatial: Array, global_: Array) -> Outputs:
        outputs = UNIFORM.evaluate(spatial, global_)
        # Seen from the side to move: what is mine is plus. global_[5] is komi from that side, positive for White.
        outputs.ownership[:] = np.where(global_[:, 5:6] > 0, 1.0, -1.0)
        return outputs

    wanted = request(
        position(), 60, ownership=True, ownership_stdev=True, moves_ownership=True, moves_ownership_stdev=True
    )
    report = search(new_tree(), wanted, answer)
    assert report.ownership is not None and report.ownership_stdev is not None
    assert report.ownership == pytest.approx([math.tanh(1.0)] * 81, abs=1e-3)
    assert report.ownership_stdev == pytest.approx([0.0] * 81, abs=1e-2)
    for move in report.moves:
        assert move.ownership is not None and len(move.ownership) == 81
        assert move.ownership_stdev is not None and len(move.ownership_stdev) == 81


def test_symmetric_moves_are_searched_once_and_reported_all() -> None:
    report = search(new_tree(), request(position(5), 100))
    searched = {move.move: move for move in report.moves if move.symmetry_of is None}
    copies = [move for move in report.moves if move.symmetry_of is not None]
    assert len(searched) <= 7 and len(copies) + len(searched) == len({move.move for move in report.moves})
    for copy in copies:
        assert copy.symmetry_of is not None
        assert copy.visits == searched[copy.symmetry_of].visits and copy.pv[0] == copy.move
    assert report.root is not None and report.root.this_hash != "0" * 32


def test_a_network_without_short_term_heads_says_so_as_katago_does() -> None:
    root = search(new_tree(), request(position(5), 2)).root
    assert root is not None
    assert (root.raw_st_wr_error, root.raw_st_score_error, root.raw_var_time_left) == (-1.0, -1.0, -1.0)


def test_hashes_know_symmetry() -> None:
    hashes = []
    for corner in ("C3", "C7", "G3", "G7"):
        root = search(new_tree(), request(position(9, corner), 2)).root
        assert root is not None
        hashes.append((root.this_hash, root.sym_hash))
    assert len({this for this, _ in hashes}) == 4 and len({sym for _, sym in hashes}) == 1


def test_a_line_of_play_has_the_length_asked_for() -> None:
    report = search(new_tree(), request(position(3), 500, pv_len=2))
    assert max(len(move.pv) for move in report.moves) == 3


def test_several_symmetries_of_the_root_are_averaged() -> None:
    report = search(new_tree(), request(position(), 10, overrides={"rootNumSymmetriesToSample": 8}))
    assert report.stats is not None and report.root is not None
    assert report.stats.evaluations == 8 + 9 - report.stats.cache_hits and report.root.visits == 10
    oblong = request(Position(9, 5, Rules(), 7.0), 10, overrides={"rootNumSymmetriesToSample": 8})
    stats = search(new_tree(), oblong).stats
    assert stats is not None and stats.evaluations == 4 + 9 - stats.cache_hits
