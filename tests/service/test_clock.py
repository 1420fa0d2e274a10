"""How long a move may take."""

from __future__ import annotations

import pytest

from agent.service.clock import LAG_S, absolute, fischer, move_time_s, overtime

AREA = 361


def test_no_control_is_no_limit() -> None:
    assert move_time_s(None, AREA, 0) is None


def test_absolute_time_lasts_for_the_game() -> None:
    left = 600.0
    for move in range(130):
        spent = move_time_s(absolute(left).with_time_left(left, 0), AREA, 2 * move)
        assert spent is not None and 0 <= spent < left
        left -= spent
    assert left > 0


def test_canadian_overtime_divides_the_period() -> None:
    control = overtime(0.0, 300.0, 1, 25).with_time_left(100.0, 10)
    assert move_time_s(control, AREA, 100) == pytest.approx(10.0 - LAG_S)


def test_japanese_overtime_spends_a_period_a_move_and_reads_stones_as_periods() -> None:
    control = overtime(600.0, 30.0, 3, 1).with_time_left(30.0, 2)
    assert control.periods_left == 2
    assert move_time_s(control, AREA, 100) == pytest.approx(30.0 - LAG_S)


def test_main_time_before_overtime_gives_at_least_a_period() -> None:
    assert move_time_s(overtime(60.0, 30.0, 3, 1), AREA, 0) == pytest.approx(30.0 - LAG_S)


def test_fischer_spends_its_increment() -> None:
    spent = move_time_s(fischer(600.0, 10.0), AREA, 0)
    assert spent is not None and 9.0 < spent < 15.0
    assert move_time_s(fischer(600.0, 10.0, 4.0), AREA, 0) == pytest.approx(3.0)


@pytest.mark.parametrize("left", [0.0, -5.0, 0.01, 1.0])
def test_time_that_ran_out_is_never_negative(left: float) -> None:
    for control in (absolute(60.0), overtime(60.0, 30.0, 1, 1), fischer(60.0, 5.0)):
        spent = move_time_s(control.with_time_left(left, 0), AREA, 50)
        assert spent is not None and spent >= 0
