"""Which move is played of those that katago lists."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest
from fakes.engine import move_info

from agent.engine.messages import MoveLimit, Position, SearchRequest
from agent.engine.native_choice import choose, draw, temperature
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules

BOARD = Position(19, 19, Rules(), 7.5)
NO_CHANCE = {"chosenMoveTemperature": 0.0, "chosenMoveTemperatureEarly": 0.0}


def search(**changes: Any) -> SearchRequest:
    fields = {"id": 1, "position": BOARD, "player": BLACK, "max_visits": 9, "overrides": NO_CHANCE, **changes}
    return SearchRequest(**fields)


def test_the_highest_value_is_played_and_a_mirrored_move_is_none() -> None:
    moves = [
        move_info(3, play_selection_value=2.0),
        move_info(5, play_selection_value=9.0, symmetry_of=4),
        move_info(4, play_selection_value=7.0),
    ]
    assert choose(moves, None, search(), random.Random(1)) == 4


def test_without_a_search_the_policy_decides_among_what_may_be_played() -> None:
    policy = [0.0] * 362
    policy[:4] = [0.2, -1.0, 0.5, 0.3]
    assert choose([], policy, search(), random.Random(1)) == 2
    limits = (MoveLimit(BLACK, (2,), 1), MoveLimit(WHITE, (3,), 1))
    assert choose([], policy, search(limits=limits), random.Random(1)) == 3
    only = (MoveLimit(BLACK, (0,), 1, allow=True),)
    assert choose([], policy, search(limits=only), random.Random(1)) == 0
    assert choose([], None, search(), random.Random(1)) is None


def test_chance_goes_down_with_the_moves_and_sooner_on_small_boards() -> None:
    played = msgspec.structs.replace(BOARD, moves=((BLACK, 0), (WHITE, 1)) * 19)
    usual = search(overrides={})
    assert temperature(usual) == 0.5
    assert temperature(search(overrides={}, position=played)) == pytest.approx(0.1 + 0.4 / 4)
    small = msgspec.structs.replace(played, x_size=9, y_size=9, moves=played.moves[:18])
    assert temperature(search(overrides={}, position=small)) == pytest.approx(0.1 + 0.4 / 4)
    # Two stones that were set up are two turns.
    later = msgspec.structs.replace(played, moves=played.moves[:36])
    assert temperature(search(overrides={}, position=later, turns_before=2)) == pytest.approx(0.1 + 0.4 / 4)
    # Out of turn the history starts anew.
    assert temperature(search(overrides={}, position=played, player=WHITE)) == 0.5


def test_a_draw_follows_the_temperature() -> None:
    chance = random.Random(3)
    hot = Counter(draw([8.0, 4.0, 0.0], 1.0, 1.0, chance) for _ in range(3000))
    assert hot[0] / 3000 == pytest.approx(2 / 3, abs=0.04) and hot[2] == 0
    cold = Counter(draw([8.0, 4.0], 0.25, 1.0, chance) for _ in range(3000))
    assert cold[0] / 3000 == pytest.approx(16 / 17, abs=0.02)
    assert {draw([8.0, 4.0], 0.0, 1.0, chance) for _ in range(50)} == {0}
    # Values above the bound keep their share even when it is cold.
    kept = Counter(draw([8.0, 4.0, 0.01], 0.01, 0.2, chance) for _ in range(3000))
    assert kept[1] / 3000 == pytest.approx(1 / 3, abs=0.04) and kept[2] == 0
