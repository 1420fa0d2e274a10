"""When to give up."""

from __future__ import annotations

import msgspec

from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules
from agent.service.options import ServiceOptions
from agent.service.resignation import black_advantage, should_resign

EVEN = Position(19, 19, Rules(), 7.5, moves=((BLACK, 0), (WHITE, 1)) * 60)
HANDICAP = Position(
    19, 19, Rules(), 0.5, initial_stones=tuple((BLACK, p) for p in (60, 72, 288, 300)), initial_player=WHITE
)
LOST = (-0.95, -0.95, -0.95)


def test_three_lost_turns() -> None:
    assert should_resign(ServiceOptions(), EVEN, WHITE, LOST, -20.0)
    assert should_resign(ServiceOptions(), EVEN, BLACK, [-x for x in LOST], 20.0)


def test_not_the_other_side() -> None:
    assert not should_resign(ServiceOptions(), EVEN, BLACK, LOST, -20.0)


def test_not_yet() -> None:
    assert not should_resign(ServiceOptions(), EVEN, WHITE, LOST[:2], -20.0)
    assert not should_resign(ServiceOptions(), EVEN, WHITE, (-0.95, -0.85, -0.95), -20.0)


def test_not_when_configured_off() -> None:
    assert not should_resign(ServiceOptions(allow_resignation=False), EVEN, WHITE, LOST, -20.0)


def test_not_a_close_game() -> None:
    options = ServiceOptions(resign_min_score_difference=10.0)
    assert not should_resign(options, EVEN, WHITE, LOST, -9.0)
    assert should_resign(options, EVEN, WHITE, LOST, -11.0)


def test_not_early() -> None:
    options = ServiceOptions(resign_min_moves_per_board_area=0.5)
    assert not should_resign(options, EVEN, WHITE, LOST, -20.0)


def test_white_waits_for_a_handicap_to_melt() -> None:
    assert black_advantage(HANDICAP, 4) == 15 * 3 + 7.0 - 0.5
    assert not should_resign(ServiceOptions(), HANDICAP, WHITE, LOST, -51.5)
    late = msgspec.structs.replace(HANDICAP, moves=((WHITE, 1), (BLACK, 0)) * 90)
    assert not should_resign(ServiceOptions(), late, WHITE, LOST, -20.0)
    assert should_resign(ServiceOptions(), late, WHITE, LOST, -51.5)
