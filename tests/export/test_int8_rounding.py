"""Rounding that keeps sums: each weight moves by less than a step, and the errors of a kernel cancel."""

from __future__ import annotations

import numpy as np
import pytest

from agent.export.int8_rounding import most_in_float, rounded


@pytest.mark.parametrize("points", [1, 9, 25])
def test_sums_stay_and_no_weight_moves_far(points: int) -> None:
    steps = np.random.default_rng(points).normal(0, 30, (6, 32, points)).astype(np.float32)
    whole = rounded(steps, -127, 127)
    assert np.array_equal(whole, np.rint(whole))
    assert np.abs(whole - steps).max() < 2
    assert np.abs((whole - steps).reshape(6, -1).sum(axis=1)).max() <= 0.51
    nearest = np.abs((np.rint(steps) - steps).sum(axis=2))
    assert points == 1 or np.abs((whole - steps).sum(axis=2)).mean() < 0.6 * nearest.mean()


def test_whole_numbers_are_left_alone() -> None:
    steps = np.arange(-18, 18, dtype=np.float32).reshape(1, 4, 9)
    np.testing.assert_array_equal(rounded(steps, -127, 127), steps)


def test_the_range_is_kept() -> None:
    steps = np.array([[[-300.0, 0.4, 0.4, 255.4, 400.0]]], np.float32)
    whole = rounded(steps, 0, 255)
    assert whole.min() >= 0
    assert whole.max() <= 255


def test_half_steps_up_and_down_are_shared_out() -> None:
    np.testing.assert_array_equal(rounded(np.full((1, 1, 4), 0.25, np.float32), -127, 127).sum(), 1)
    np.testing.assert_array_equal(rounded(np.full((1, 1, 4), -0.25, np.float32), -127, 127).sum(), -1)


def test_layers_of_one_size_stay_in_fp32_together_or_not_at_all() -> None:
    assert most_in_float([1000] * 50 + [300] * 3 + [10]) == 300
    assert most_in_float([1000] * 50 + [300] * 4 + [10]) == 10
    assert most_in_float([1000]) == 0
