"""How the engine plays after a handicap. The numbers are those of KataGo's formula."""

from __future__ import annotations

import msgspec
import pytest
from fakes.driving import Driver, gtp
from fakes.engine import answer, root_info
from fakes.local_engine import LocalGtp, local_engine
from hypothesis import given
from hypothesis import strategies as st

from agent.engine.backends.uniform import UniformBackend
from agent.engine.messages import Position, RawRequest, SearchReport, SearchRequest
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules
from agent.service.config_file import Setting
from agent.service.config_keys import configure
from agent.service.handicap_play import MOST, STEP, white_advantage
from agent.service.options import ServiceOptions

PER_POINT = 0.045


def handicap(stones: int, size: int = 19, komi: float = 0.5) -> Position:
    placed = tuple((BLACK, 2 * point) for point in range(stones))
    return Position(size, size, Rules(), komi, initial_stones=placed, initial_player=WHITE)


@pytest.mark.parametrize(
    ("position", "advantage"),
    [
        (handicap(0, komi=7.5), 0.0),
        (handicap(0, komi=3.5), 0.0),  # half a stone is no handicap on 19×19
        (handicap(0, komi=0.5), 0.125),
        (handicap(2), 0.75),  # 0.045 · (15 + 6.5 − 4) = 0.7875
        (handicap(4), 2.125),
        (handicap(9), MOST),
        (handicap(2, size=9), MOST),  # a point counts three times as much there
        (handicap(2, size=7), 0.0),
        (handicap(0, komi=20.0), -0.375),  # Black is behind
    ],
)
def test_at_the_start_it_is_as_much_as_the_handicap_allows(position: Position, advantage: float) -> None:
    assert white_advantage(position, (), (), 0.0, PER_POINT) == advantage
    assert white_advantage(position, (), (), 0.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("value", "before", "after"),
    [(-0.95, 1.0, 1.125), (-0.95, 2.125, 2.125), (-0.7, 1.0, 1.0), (-0.3, 1.0, 0.875), (0.9, 0.0, 0.0)],
)
def test_later_it_follows_the_game(value: float, before: float, after: float) -> None:
    assert white_advantage(handicap(4), (BLACK, WHITE), (0.0, value), before, PER_POINT) == after


@given(
    st.integers(0, 9),
    st.sampled_from([7, 9, 13, 19]),
    st.integers(-80, 80),
    st.lists(st.floats(-1, 1)),
    st.floats(-3, 3),
)
def test_it_is_always_a_multiple_of_a_step_within_bounds(
    stones: int, size: int, halves: int, values: list[float], before: float
) -> None:
    at = round(before / STEP) * STEP
    found = white_advantage(handicap(stones, size, halves / 2), (BLACK, WHITE), values, at, PER_POINT)
    assert abs(found) <= MOST and found % STEP == 0


# ---------------------------------------------------------------- in the protocol


def last(client: Driver) -> SearchRequest:
    request = client.engine.submitted[-1]
    assert isinstance(request, SearchRequest)
    return request


def told(client: Driver) -> object:
    return told_to(last(client))


def told_to(request: SearchRequest | RawRequest) -> object:
    assert isinstance(request, SearchRequest)
    return request.overrides.get("playoutDoublingAdvantage")


def test_moves_and_pondering_are_told_and_analysis_is_not() -> None:
    client = gtp(ServiceOptions(pondering_enabled=True))
    client.line("komi 0.5")
    client.line("fixed_handicap 4")
    client.line("genmove w")
    assert told(client) == 2.125
    report = answer(last(client))
    assert isinstance(report, SearchReport)
    client.report(msgspec.structs.replace(report, root=root_info(WHITE, winrate=0.01)))
    assert last(client).background and told(client) == -2.125, "Black is asked, White is meant"
    client.line("kata-analyze w 10")
    assert told(client) is None
    client.line("genmove b")
    assert told(client) == -2.125


def test_what_was_searched_for_a_move_is_pondered_on() -> None:
    options = ServiceOptions(pondering_enabled=True, max_visits=60, max_visits_pondering=120)
    with local_engine(UniformBackend()) as engine:
        client = LocalGtp(engine, options)
        for line in ("boardsize 9", "komi 0.5", "set_free_handicap C3 G7"):
            client.line(line)
        client.ask("genmove w")
        ponder = client.next_report()
    assert isinstance(ponder, SearchReport) and ponder.final and client.submitted[-1].id == ponder.id
    assert told_to(client.submitted[-1]) != 0 and ponder.root is not None and ponder.stats is not None
    assert ponder.stats.visits < ponder.root.visits == 120


def test_an_even_game_knows_none() -> None:
    client = gtp()
    client.ask("genmove b")
    assert told(client) == 0.0


@pytest.mark.parametrize(
    ("settings", "advantage"),
    [
        ({}, 2.125),
        ({"dynamicPlayoutDoublingAdvantageCapPerOppLead": "0"}, 0.0),
        ({"playoutDoublingAdvantage": "0.5"}, 0.5),
        ({"playoutDoublingAdvantage": "0.5", "playoutDoublingAdvantagePla": "BLACK"}, -0.5),
        ({"playoutDoublingAdvantage": "0.5", "dynamicPlayoutDoublingAdvantageCapPerOppLead": "0.045"}, 2.125),
    ],
)
def test_a_configuration_decides(settings: dict[str, str], advantage: float) -> None:
    given = {name: Setting(text) for name, text in settings.items()}
    client = gtp(configure("gtp", [given], [], name="test.cfg").options(ServiceOptions()))
    client.line("komi 0.5")
    client.line("fixed_handicap 4")
    client.line("genmove w")
    assert told(client) == advantage
