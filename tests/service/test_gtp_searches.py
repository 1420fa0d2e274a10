"""What a GTP client's game is told to the engine with each search."""

from __future__ import annotations

import pytest
from fakes.driving import gtp

from agent.engine.messages import SearchRequest

SET_UP = "set_position b C3 w G7 b C7 w G3"


@pytest.mark.parametrize(
    ("lines", "turns"),
    [
        # Native KataGo's choices with a temperature that lasts for one turn told which of these are old to it.
        ([SET_UP, "genmove b"], 4),
        ([SET_UP, "kata-analyze 10"], 4),
        ([SET_UP, "play b E5", "genmove w"], 4),
        ([SET_UP, "play b E5", "undo", "kata-set-rules japanese", "genmove b"], 4),
        (["fixed_handicap 2", "genmove w"], 2),
        (["set_free_handicap C3 G7", "genmove w"], 2),
        (["play b C3", "play w G7", "genmove b"], 0),
        # A move out of turn begins the history anew, with the stones as they are.
        ([SET_UP, "genmove w"], 0),
        ([SET_UP, "play w E5", "genmove b"], 0),
        ([SET_UP, "play b E5", "play b E7", "genmove w"], 0),
        (["fixed_handicap 2", "genmove b"], 0),
    ],
)
def test_a_position_that_is_set_up_is_as_many_turns_old_as_it_has_stones(lines: list[str], turns: int) -> None:
    client = gtp()
    client.line("boardsize 9")
    for line in lines:
        client.line(line)
    request = client.engine.submitted[-1]
    assert isinstance(request, SearchRequest) and request.turns_before == turns
