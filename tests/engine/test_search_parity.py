"""Whole searches against native KataGo: the same playouts, move for move (tests/golden/record_search.py recorded them).

What is compared is everything of a search at once: selection, first-play urgency, weights, bias of subtrees, ends of
games, transpositions, choice of moves, lines of play, ownership.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.engine.backends import open_backend
from agent.engine.messages import Position, RawReport, SearchReport, SearchRequest
from agent.engine.player import Player
from agent.engine.points import parse_color, parse_vertex, vertex
from agent.engine.rules import parse_rules

GOLDEN = Path(__file__).parent.parent / "golden" / "search.jsonl"
WAIT_S = 120.0
# Another runtime's rounding may turn a tie between two moves; then a visit or two goes another way.
VISITS_OFF = 2


def golden() -> list[dict[str, Any]]:
    return [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def player(converted_network: Callable[[str], Path]) -> Iterator[Player]:
    backend = open_backend("onnxruntime", converted_network("b15c192"), threads=1)
    engine = Player(backend, threads=1, batch=1, cache_positions=20_000, seed=1)
    yield engine
    engine.close()
    backend.close()


@pytest.mark.network
@pytest.mark.parametrize("row", golden(), ids=lambda row: row["query"]["id"])
def test_a_search_goes_as_native_katagos(row: dict[str, Any], player: Player) -> None:
    query = row["query"]
    x_size, y_size = query["boardXSize"], query["boardYSize"]
    report = search(player, query, prevent_encore=row["preventEncore"])
    root = report.root
    assert root is not None
    found = {vertex(move.move, x_size, y_size): move for move in report.moves}
    for order, theirs in enumerate(row["moves"]):
        ours = found[theirs["move"]]
        assert abs(ours.visits - theirs["visits"]) <= VISITS_OFF
        assert ours.prior == pytest.approx(theirs["prior"], abs=2e-4)
        if ours.visits == theirs["visits"] and root.weight == pytest.approx(row["root"]["weight"], abs=0.01):
            assert ours.winrate == pytest.approx(theirs["winrate"], abs=2e-3)
            assert ours.score_lead == pytest.approx(theirs["scoreLead"], abs=0.05)
            assert ours.lcb == pytest.approx(theirs["lcb"], abs=5e-3)
        if order == 0:
            assert ours.order == 0
            assert [vertex(point, x_size, y_size) for point in ours.pv][:3] == theirs["pv"][:3]
    assert root.winrate == pytest.approx(row["root"]["winrate"], abs=5e-3)
    assert root.score_lead == pytest.approx(row["root"]["scoreLead"], abs=0.2)
    assert root.score_stdev == pytest.approx(row["root"]["scoreStdev"], abs=0.3)
    assert root.utility == pytest.approx(row["root"]["utility"], abs=0.01)
    assert report.ownership == pytest.approx(row["ownership"], abs=0.02)


def search(player: Player, query: dict[str, Any], *, prevent_encore: bool) -> SearchReport:
    x_size, y_size = query["boardXSize"], query["boardYSize"]
    moves = [(parse_color(color), parse_vertex(name, x_size, y_size)) for color, name in query["moves"]]
    played = tuple((color, point) for color, point in moves if color is not None and point is not None)
    rules = parse_rules(query["rules"])
    position = Position(x_size, y_size, rules, query["komi"], moves=played, prevent_encore=prevent_encore)
    request = SearchRequest(
        id=1,
        position=position,
        player=position.to_play,
        max_visits=query["maxVisits"],
        ownership=True,
        overrides={"nnRandomize": False} | query.get("overrideSettings", {}),
    )
    reports: queue.Queue[SearchReport | RawReport] = queue.Queue()
    player.submit(request, reports.put)
    report = reports.get(timeout=WAIT_S)
    assert isinstance(report, SearchReport) and report.error is None
    return report
