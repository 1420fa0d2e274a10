"""Rates over counters that start again, and percentiles over the last minute."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telemetry.rates import LATENCIES, LATENCY_WINDOW_S, Latencies, Rates, percentile


def test_rates_are_changes_per_second() -> None:
    rates = Rates()
    assert rates.update("w1", {"visits": 100.0}, 10.0) == {}
    assert rates.update("w1", {"visits": 150.0}, 20.0) == {"visits": 5.0}
    # A new worker counts from zero.
    assert rates.update("w2", {"visits": 30.0}, 30.0) == {"visits": 3.0}
    assert rates.update("w2", {"visits": 30.0}, 30.0) == {}


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 1e9), st.floats(0, 1e6)), max_size=20))
def test_rates_are_never_negative(updates: list[tuple[int, float, float]]) -> None:
    rates = Rates()
    for source, total, now_s in updates:
        assert all(rate >= 0 for rate in rates.update(source, {"x": total}, now_s).values())


@given(st.lists(st.floats(0, 100), min_size=1), st.integers(1, 100))
def test_a_percentile_is_a_value_that_so_many_do_not_exceed(values: list[float], percent: int) -> None:
    ranked = sorted(values)
    found = percentile(ranked, percent)
    assert found in ranked
    assert 100 * sum(value <= found for value in ranked) >= percent * len(ranked)
    assert 100 * sum(value < found for value in ranked) < percent * len(ranked)


def test_latencies_forget_what_is_older_than_the_window() -> None:
    latencies = Latencies()
    assert latencies.percentiles((50, 95), 0.0) == [None, None]
    latencies.add(1.0, 0.0)
    latencies.add(3.0, LATENCY_WINDOW_S)
    assert latencies.percentiles((50, 95), LATENCY_WINDOW_S) == [1.0, 3.0]
    assert latencies.percentiles((50,), LATENCY_WINDOW_S + 1) == [3.0]
    assert latencies.percentiles((50,), 3 * LATENCY_WINDOW_S) == [None]


@pytest.mark.parametrize("count", [LATENCIES, 3 * LATENCIES])
def test_latencies_are_bounded(count: int) -> None:
    latencies = Latencies()
    for number in range(count):
        latencies.add(float(number), 0.0)
    assert latencies.percentiles((100,), 0.0) == [count - 1.0]
    assert latencies.percentiles((1,), 0.0) == [count - LATENCIES + LATENCIES // 100 - 1.0]
