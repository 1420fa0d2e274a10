"""What katago is asked: positions with a turn that is none, limits, times, and how often it is to report."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from agent.engine.messages import MoveLimit, Position, RawRequest, SearchRequest
from agent.engine.native_query import position_fields, raw_query, search_query, watch_s
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import parse_rules

PASS = 9
BOARD = Position(3, 3, parse_rules("japanese"), 6.5)
# White is captured in the corner: B2 and A1… as a Go player writes them, Black B3, White A3, Black A2.
CAPTURED = msgspec.structs.replace(BOARD, moves=((BLACK, 1), (WHITE, 0), (BLACK, 3)))


def search(**changes: Any) -> SearchRequest:
    return SearchRequest(**{"id": 1, "position": BOARD, "player": BLACK, "max_visits": 100, **changes})


def test_a_game_is_told_move_by_move() -> None:
    position = msgspec.structs.replace(
        BOARD, initial_stones=((BLACK, 4),), initial_player=WHITE, moves=((WHITE, 0), (BLACK, PASS))
    )
    fields = position_fields(position, WHITE)
    assert (fields["boardXSize"], fields["boardYSize"], fields["komi"]) == (3, 3, 6.5)
    assert (fields["initialStones"], fields["initialPlayer"]) == ([["B", "B2"]], "W")
    assert fields["moves"] == [["W", "A3"], ["B", "pass"]]
    assert fields["rules"]["scoring"] == "TERRITORY"


def test_the_other_side_to_move_is_a_new_beginning_that_keeps_its_prisoners() -> None:
    fields = position_fields(CAPTURED, BLACK)
    assert fields["moves"] == [] and fields["initialPlayer"] == "B"
    assert sorted(fields["initialStones"]) == [["B", "A2"], ["B", "B3"]]
    # One white stone is captured: a point for Black under territory scoring.
    assert fields["komi"] == 5.5
    area = msgspec.structs.replace(CAPTURED, rules=parse_rules("chinese"))
    assert position_fields(area, BLACK)["komi"] == 6.5


def test_visits_are_bounded_and_time_is_always_set() -> None:
    query = search_query(
        search(max_visits=1 << 50, overrides={"wideRootNoise": 0.04, "nnRandomize": True}), "1", 10_000
    )
    assert query["maxVisits"] == 10_000
    # The profile's .cfg has a time limit of its own.
    assert query["overrideSettings"] == {"maxTime": 1e20, "wideRootNoise": 0.04}
    assert search_query(search(max_time_s=2.5), "1", 10_000)["overrideSettings"]["maxTime"] == 2.5
    assert "includeOwnership" not in query and query["includePolicy"]
    wanted = search_query(search(ownership=True, moves_ownership_stdev=True, pv_len=0), "1", 10_000)
    assert wanted["includeOwnership"] and wanted["includeMovesOwnershipStdev"] and wanted["analysisPVLen"] == 1


def test_playouts_are_visits_where_every_search_grows_a_tree_anew() -> None:
    assert search_query(search(max_visits=1 << 50, max_playouts=300), "1", 10_000)["maxVisits"] == 300
    assert search_query(search(max_visits=200, max_playouts=300), "1", 10_000)["maxVisits"] == 200


def test_a_query_names_whom_its_client_wants_imitated() -> None:
    raw = RawRequest(1, BOARD, BLACK, human_profile="rank_5k_3d")
    for query in (search_query(search(human_profile="rank_5k_3d"), "1", 10), raw_query(raw, "1")):
        assert query["overrideSettings"]["humanSLProfile"] == "rank_5k_3d"
    assert "humanSLProfile" not in search_query(search(), "1", 10)["overrideSettings"]


@pytest.mark.parametrize(
    ("every_s", "first_s", "large", "expected"),
    [
        (None, None, False, (2.0, 2.0)),
        (None, None, True, (10.0, 10.0)),
        (0.1, 0.1, False, (0.1, 0.1)),
        (0.5, 0.02, False, (0.5, 0.02)),
        (5.0, 5.0, False, (5.0 / 3, 5.0 / 3)),
        (0.00001, 0.0, False, (0.001, 0.001)),
    ],
)
def test_reports_are_asked_for_often_enough_to_see_progress(
    every_s: float | None, first_s: float | None, large: bool, expected: tuple[float, float]
) -> None:
    request = search(report_every_s=every_s, first_report_after_s=first_s, moves_ownership=large)
    query = search_query(request, "1", 10_000)
    assert (query["reportDuringSearchEvery"], query["firstReportDuringSearchAfter"]) == pytest.approx(expected)
    assert watch_s(request) == query["reportDuringSearchEvery"]


def test_limits_are_avoided_or_allowed_but_never_both() -> None:
    avoid, allow = MoveLimit(BLACK, (0, PASS), 2), MoveLimit(WHITE, (4,), 1, allow=True)
    assert search_query(search(limits=(avoid,)), "1", 9)["avoidMoves"] == [
        {"player": "B", "moves": ["A3", "pass"], "untilDepth": 2}
    ]
    assert search_query(search(limits=(allow,)), "1", 9)["allowMoves"] == [
        {"player": "W", "moves": ["B2"], "untilDepth": 1}
    ]
    both = search_query(search(limits=(avoid, allow)), "1", 9)
    assert "allowMoves" not in both
    assert both["avoidMoves"][1]["moves"] == ["A3", "B3", "C3", "A2", "C2", "A1", "B1", "C1", "pass"]
    twice = search_query(search(limits=(allow, msgspec.structs.replace(allow, points=(5,)))), "1", 9)
    assert len(twice["avoidMoves"]) == 2


def test_the_network_alone_is_one_visit_over_all_symmetries() -> None:
    query = raw_query(RawRequest(id=1, position=BOARD, player=BLACK, symmetry=3, optimism=0.5, advantage=1.5), "1")
    assert query["overrideSettings"]["playoutDoublingAdvantage"] == 1.5
    assert query["maxVisits"] == 1 and query["includeOwnership"] and query["includePolicy"]
    assert query["overrideSettings"]["rootNumSymmetriesToSample"] == 8
    assert query["overrideSettings"]["rootPolicyOptimism"] == 0.5
