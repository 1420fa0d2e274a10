"""Replies of the analysis engine as JSON lines, byte for byte in KataGo's form. Pure.

Reports come from White's side (`engine/messages.py`); here they are turned to the side that the query wants.
Source: KataGo docs/Analysis_Engine.md and cpp/search/searchresults.cpp (getAnalysisJson).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from agent.engine.messages import MoveInfo, RootInfo, SearchReport
from agent.engine.points import color_letter, vertex
from agent.service.analysis_fields import compact
from agent.service.analysis_query import Query
from agent.service.numbers import OWNERSHIP_SCALE, round_dynamic, round_scaled
from agent.service.perspective import Side


def line(reply: dict[str, Any]) -> bytes:
    """One reply with its newline. A character that UTF-8 cannot hold (half of a surrogate pair) becomes `?`."""
    return compact(reply).encode("utf-8", "replace") + b"\n"


def general_error(text: str) -> bytes:
    return line({"error": text})


def field_error(query_id: str, field: str, text: str) -> bytes:
    return line({"error": text, "field": field, "id": query_id})


def field_warning(query_id: str, field: str, text: str) -> bytes:
    return line({"field": field, "id": query_id, "warning": text})


def engine_error(query_id: str, turn: int, text: str) -> bytes:
    """The engine could not answer this turn. KataGo has no such reply; its fields are those that clients read."""
    return line({"error": text, "id": query_id, "turnNumber": turn})


def no_results(query_id: str, turn: int) -> bytes:
    return line({"id": query_id, "isDuringSearch": False, "noResults": True, "turnNumber": turn})


def analysis(query: Query, turn: int, report: SearchReport) -> bytes:
    """The reply for one turn; `report.root` must be there."""
    assert report.root is not None
    side = Side(report.root.player, query.options.perspective)
    sizes = query.position.x_size, query.position.y_size
    reply: dict[str, Any] = {
        "id": query.id,
        "turnNumber": turn,
        "isDuringSearch": not report.final,
        "moveInfos": [_move(query, side, sizes, move) for move in report.moves],
        "rootInfo": _root(side, report.root),
    }
    if query.policy and report.policy is not None:
        reply["policy"] = [round_dynamic(p) for p in report.policy]
    if query.ownership and report.ownership is not None:
        reply["ownership"] = _millionths(side.all_signed(report.ownership))
    if query.ownership_stdev and report.ownership_stdev is not None:
        reply["ownershipStdev"] = _millionths(report.ownership_stdev)
    return line(reply)


def _millionths(values: Iterable[float]) -> list[float]:
    return [round_scaled(value, OWNERSHIP_SCALE) if math.isfinite(value) else 0.0 for value in values]


def _move(query: Query, side: Side, sizes: tuple[int, int], move: MoveInfo) -> dict[str, Any]:
    lead = round_dynamic(side.signed(move.score_lead))
    info: dict[str, Any] = {
        "move": vertex(move.move, *sizes),
        "visits": move.visits,
        "edgeVisits": move.edge_visits,
        "weight": round_dynamic(move.weight),
        "edgeWeight": round_dynamic(_edge_weight(move)),
        "utility": round_dynamic(side.signed(move.utility)),
        "winrate": round_dynamic(side.chance(move.winrate)),
        # An old name, kept by KataGo for clients that show the lead under it.
        "scoreMean": lead,
        "scoreLead": lead,
        "scoreSelfplay": round_dynamic(side.signed(move.score_selfplay)),
        "scoreStdev": round_dynamic(move.score_stdev),
        "prior": round_dynamic(move.prior),
        "lcb": round_dynamic(side.chance(move.lcb)),
        "utilityLcb": round_dynamic(side.signed(move.utility_lcb)),
        "order": move.order,
        "playSelectionValue": round_dynamic(move.play_selection_value),
        "pv": [vertex(point, *sizes) for point in move.pv],
    }
    if move.symmetry_of is not None:
        info["isSymmetryOf"] = vertex(move.symmetry_of, *sizes)
    if query.no_result:
        info["noResultValue"] = round_dynamic(move.no_result)
    if query.pv_visits:
        info["pvVisits"] = list(move.pv_visits)
        info["pvEdgeVisits"] = list(move.pv_edge_visits)
    if query.moves_ownership and move.ownership is not None:
        info["ownership"] = _millionths(side.all_signed(move.ownership))
    if query.moves_ownership_stdev and move.ownership_stdev is not None:
        info["ownershipStdev"] = _millionths(move.ownership_stdev)
    return info


def _edge_weight(move: MoveInfo) -> float:
    """The part of the position's weight that came by this move: other moves may lead there, too."""
    if move.edge_weight is not None:
        return move.edge_weight
    return move.weight * move.edge_visits / max(move.visits, 1)


def _root(side: Side, root: RootInfo) -> dict[str, Any]:
    return {
        "currentPlayer": color_letter(root.player),
        "visits": root.visits,
        "weight": root.weight,
        "winrate": round_dynamic(side.chance(root.winrate)),
        "scoreSelfplay": round_dynamic(side.signed(root.score_selfplay)),
        "scoreLead": round_dynamic(side.signed(root.score_lead)),
        "scoreStdev": round_dynamic(root.score_stdev),
        "utility": round_dynamic(side.signed(root.utility)),
        "thisHash": root.this_hash.upper(),
        "symHash": root.sym_hash.upper(),
        "rawWinrate": round_dynamic(side.chance(root.raw_winrate)),
        "rawLead": round_dynamic(side.signed(root.raw_lead)),
        "rawScoreSelfplay": round_dynamic(side.signed(root.raw_score_selfplay)),
        "rawScoreSelfplayStdev": round_dynamic(root.raw_score_selfplay_stdev),
        "rawNoResultProb": round_dynamic(root.raw_no_result),
        # The network's error is of the difference of winning and losing; a win rate moves half as far.
        "rawStWrError": round_dynamic(root.raw_st_wr_error * 0.5),
        "rawStScoreError": round_dynamic(root.raw_st_score_error),
        "rawVarTimeLeft": round_dynamic(root.raw_var_time_left),
    }
