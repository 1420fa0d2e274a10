"""Moves that a search has not looked at, by their policy: what `minmoves` adds to an analysis under GTP. Pure.

Source: KataGo cpp/search/searchresults.cpp (getAnalysisData, getAnalysisDataOfSingleChild) and
cpp/search/searchexplorehelpers.cpp (getFpuValueForChildrenAssumeVisited). Two things differ. What such a move is worth
is a guess there, made of the search's value of the position and the network's; the part of it that is the score's is
here the search's alone, as a report holds no utility of the network's. And on a symmetric board each of them stands for
itself, with a policy of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from agent.engine.messages import MoveInfo, RootInfo, SearchReport
from agent.engine.points import WHITE
from agent.engine.search_params import SEARCH_PARAMS, core_values


def with_unvisited(report: SearchReport, least: int, search: Mapping[str, float | int | bool]) -> SearchReport:
    """The report with moves of no visits after the others, best policy first, so that at least `least` are told as far
    as there are legal ones. `search` holds the parameters that were set. Nothing is added where nothing was searched
    or the report has no policy."""
    policy = report.policy
    if report.root is None or policy is None or not report.moves:
        return report
    searched = {move.move: move for move in report.moves if move.symmetry_of is None}
    rest = [point for point, chance in enumerate(policy) if chance >= 0 and point not in searched]
    rest.sort(key=lambda point: (policy[point], point), reverse=True)
    told = {move.move for move in report.moves}
    added = [point for point in rest[: max(0, least - len(searched))] if point not in told]
    pattern = _guess(report, report.root, sum(max(0.0, move.prior) for move in searched.values()), search)
    moves = [
        msgspec.structs.replace(pattern, move=point, prior=policy[point], order=order, pv=(point,))
        for order, point in enumerate(added, start=len(report.moves))
    ]
    return msgspec.structs.replace(report, moves=(*report.moves, *moves))


def _guess(
    report: SearchReport, root: RootInfo, visited_policy: float, search: Mapping[str, float | int | bool]
) -> MoveInfo:
    """What the search expects of a move before its first visit, where moves of `visited_policy` were looked at."""
    values = {name: float(param.default) for name, param in SEARCH_PARAMS.items()} | core_values(search)
    sign = 1.0 if root.player == WHITE else -1.0
    visited = min(1.0, visited_policy)
    of_network = values["fpuParentWeight"]
    if values["fpuParentWeightByVisitedPolicy"]:
        of_network = 1.0 - math.pow(visited, values["fpuParentWeightByVisitedPolicyPow"])
    win_weight = values["winLossUtilityFactor"]
    utility = root.utility + of_network * win_weight * 2.0 * (root.raw_winrate - root.winrate)
    utility -= sign * values["rootFpuReductionMax"] * math.sqrt(visited)
    radius = win_weight + values["staticScoreUtilityFactor"] + values["dynamicScoreUtilityFactor"]
    utility += (-sign * radius - utility) * values["rootFpuLossProp"]
    winrate = min(1.0, max(0.0, root.winrate + 0.5 * (utility - root.utility))) if win_weight == 1.0 else 0.5
    return MoveInfo(
        move=0,
        visits=0,
        edge_visits=0,
        winrate=winrate,
        score_lead=root.score_lead,
        score_selfplay=root.score_selfplay,
        score_stdev=root.score_stdev,
        utility=utility,
        lcb=winrate,
        utility_lcb=0.0,
        prior=0.0,
        weight=0.0,
        play_selection_value=0.0,
        order=0,
        no_result=0.0,
        pv=(),
        pv_visits=(0,),
        pv_edge_visits=(0,),
        ownership=report.ownership,
        ownership_stdev=report.ownership_stdev,
    )
