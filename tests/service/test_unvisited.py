"""Moves without visits, which `minmoves` asks for."""

from __future__ import annotations

import msgspec
import pytest
from fakes.engine import move_info, root_info

from agent.engine.messages import MoveInfo, SearchReport
from agent.engine.points import BLACK, WHITE
from agent.service.unvisited import with_unvisited

# A board of 2×2 and the pass.
POLICY = (0.3, 0.1, 0.25, 0.25, 0.1)


def report(*moves: MoveInfo, player: int = BLACK, policy: tuple[float, ...] | None = POLICY) -> SearchReport:
    return SearchReport(id=1, final=False, root=root_info(player), moves=moves, policy=policy)


SEARCHED = move_info(0, prior=0.3)


@pytest.mark.parametrize(
    ("least", "points"),
    [(0, [0]), (1, [0]), (2, [0, 3]), (4, [0, 3, 2, 4]), (5, [0, 3, 2, 4, 1]), (10**9 - 1, [0, 3, 2, 4, 1])],
)
def test_the_best_policy_comes_first_and_the_later_of_equal_ones(least: int, points: list[int]) -> None:
    moves = with_unvisited(report(SEARCHED), least, {}).moves
    assert [move.move for move in moves] == points
    assert [move.order for move in moves] == list(range(len(points)))
    assert moves[0] == SEARCHED
    for move in moves[1:]:
        assert (move.visits, move.edge_visits, move.weight, move.pv) == (0, 0, 0.0, (move.move,))
        assert (move.pv_visits, move.pv_edge_visits) == ((0,), (0,))
        assert move.prior == POLICY[move.move]


def test_what_may_not_be_played_is_not_told() -> None:
    moves = with_unvisited(report(SEARCHED, policy=(0.3, -1.0, 0.4, -1.0, 0.3)), 5, {}).moves
    assert [move.move for move in moves] == [0, 2, 4]


def test_a_move_that_is_told_as_the_image_of_another_is_not_told_twice() -> None:
    image = msgspec.structs.replace(SEARCHED, move=3, order=1, symmetry_of=0)
    moves = with_unvisited(report(SEARCHED, image), 3, {}).moves
    # As in KataGo the image counts as not looked at, and has the best policy of those.
    assert [move.move for move in moves] == [0, 3, 2]


@pytest.mark.parametrize(
    "nothing",
    [report(), report(SEARCHED, policy=None), SearchReport(id=1, final=True, moves=(SEARCHED,), policy=POLICY)],
)
def test_nothing_is_added_where_nothing_was_searched(nothing: SearchReport) -> None:
    assert with_unvisited(nothing, 5, {}) == nothing


@pytest.mark.parametrize(
    ("player", "search", "utility", "winrate"),
    [
        # The search's utility is 0.25 and the network's, by the win rate, 0.15; policy 0.3 was looked at.
        (WHITE, {}, 0.25 - 0.1 * 0.91 - 0.1 * 0.3**0.5, 0.6 - 0.05 * 0.91 - 0.05 * 0.3**0.5),
        (BLACK, {}, 0.25 - 0.1 * 0.91 + 0.1 * 0.3**0.5, 0.6 - 0.05 * 0.91 + 0.05 * 0.3**0.5),
        (WHITE, {"fpuParentWeightByVisitedPolicy": False, "rootFpuReductionMax": 0.0}, 0.25, 0.6),
        (
            *(WHITE, {"fpuParentWeightByVisitedPolicy": False, "fpuParentWeight": 1.0, "rootFpuReductionMax": 0.0}),
            *(0.15, 0.55),
        ),
        # All is lost, as far as utility goes.
        (WHITE, {"fpuLossProp": 1.0}, -1.4, 0.0),
        (WHITE, {"winLossUtilityFactor": 0.0, "rootFpuReductionMax": 0.0}, 0.25, 0.5),
    ],
)
def test_it_is_worth_what_a_search_expects_before_the_first_visit(
    player: int, search: dict[str, float | bool], utility: float, winrate: float
) -> None:
    *_, move = with_unvisited(report(SEARCHED, player=player), 2, search).moves
    assert (move.utility, move.winrate, move.lcb) == pytest.approx((utility, winrate, winrate))
    assert (move.utility_lcb, move.score_lead, move.no_result) == (0.0, 1.5, 0.0)
