"""How long a move may take. What KataGo plans for many clocks is in tests/golden (test_gtp_transcripts.py); here is
what follows from it, and what no clock may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.service.clock import (
    UNLIMITED,
    TimeControl,
    absolute,
    fischer,
    move_time_s,
    overtime,
    plan,
    round_up,
    with_lag,
)

AREA = 361
LAG_S = 1.0


def move_time(control: TimeControl, stones: int = 0, factor: float = 1.0) -> float:
    found = move_time_s(control, AREA, stones, LAG_S, factor)
    assert found is not None
    return found


def test_no_control_is_no_limit_until_somebody_tells_a_time() -> None:
    assert move_time_s(UNLIMITED, AREA, 0, LAG_S) is None
    assert move_time(UNLIMITED.with_time_left(100.0, 0)) < 100.0


def test_absolute_time_lasts_for_the_game() -> None:
    left = 600.0
    for move in range(130):
        spent = move_time(absolute(600.0).with_time_left(left, 0), 2 * move)
        assert 0 <= spent < left
        left -= spent
    assert left > 0


@pytest.mark.parametrize(
    ("control", "stones", "seconds"),
    [
        # The last Japanese period is used up but for twice the lag: losing it is losing the game.
        (overtime(600.0, 30.0, 3, 1).with_time_left(30.0, 1), 100, 28.0),
        (overtime(600.0, 30.0, 3, 1).with_time_left(30.0, 2), 100, 29.0),
        # Canadian overtime is divided by its stones; the last stone gets the rest.
        (overtime(0.0, 300.0, 1, 25).with_time_left(100.0, 10), 100, 9.0),
        (overtime(0.0, 300.0, 1, 25).with_time_left(100.0, 1), 100, 98.0),
        # A rest of main time is used together with the period that follows.
        (overtime(60.0, 30.0, 3, 1).with_time_left(5.0, 0), 100, 34.0),
        # Fischer's increment is spent, and a longest move is kept.
        (fischer(600.0, 10.0, None, 4.0), 0, 3.0),
    ],
)
def test_what_is_lost_otherwise_is_spent(control: TimeControl, stones: int, seconds: float) -> None:
    assert move_time(control, stones) == pytest.approx(seconds, abs=0.2)


def test_a_factor_shortens_a_move_even_below_what_is_lost() -> None:
    control = overtime(600.0, 30.0, 3, 1).with_time_left(30.0, 2)
    assert move_time(control, 100, 0.5) == pytest.approx(14.5)


def test_lag_never_takes_more_than_half() -> None:
    assert (with_lag(10.0, 1.0), with_lag(1.0, 1.0), with_lag(-3.0, 1.0)) == (9.0, 0.5, -3.0)


seconds = st.floats(0, 5000)
controls = st.one_of(
    st.builds(absolute, seconds),
    st.builds(fischer, seconds, seconds, st.none() | seconds.map(lambda s: s + 5000), st.none() | seconds),
    st.builds(overtime, seconds, seconds, st.integers(1, 30), st.just(1)),
    st.builds(overtime, seconds, seconds, st.just(1), st.integers(1, 50)),
)


@given(controls, st.floats(-10, 5000), st.integers(0, 60), st.integers(0, AREA), st.floats(0, 5))
def test_no_clock_gives_a_negative_time_or_more_than_there_is(
    control: TimeControl, left: float, stones: int, on_board: int, lag: float
) -> None:
    told = control.with_time_left(left, stones if control.periods else 0)
    times = plan(told, AREA, on_board, lag)
    assert 0 <= times.least_s <= times.most_s and 0 <= times.planned_s <= times.most_s
    found = move_time_s(told, AREA, on_board, lag)
    assert found is not None and 0 <= found <= times.most_s
    everything = max(0.0, left) + told.period_s * max(told.periods_left, 1) + told.increment_s
    assert times.most_s <= everything
    for used in (0.0, found / 2, found):
        assert round_up(told, used, times.planned_s, lag) >= times.planned_s
