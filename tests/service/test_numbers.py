"""KataGo's rounding, printing and reading of numbers."""

from __future__ import annotations

import math

import pytest

from agent.service.numbers import general, parse_bool, parse_float, parse_int, round_dynamic, round_half_away


@pytest.mark.parametrize(
    ("x", "rounded"),
    [
        (0.0, 0.0),
        (1.0, 1.0),
        (0.1, 0.1),
        (-1.0, -1.0),
        (19.409614612345, 19.4096146),
        (2.071696152345e-9, 2.07169615e-9),
        (1234567890.4, 1234567890.0),
        (-0.123456789987, -0.12345679),
        (1e-70, 1e-70),
    ],
)
def test_round_dynamic(x: float, rounded: float) -> None:
    assert round_dynamic(x) == rounded


@pytest.mark.parametrize("x", [math.nan, math.inf, -math.inf])
def test_round_dynamic_of_no_number(x: float) -> None:
    assert round_dynamic(x) is None


@pytest.mark.parametrize(("x", "rounded"), [(0.5, 1), (-0.5, -1), (2.5, 3), (2.4, 2), (-2.6, -3)])
def test_halves_go_away_from_zero(x: float, rounded: float) -> None:
    assert round_half_away(x) == rounded


@pytest.mark.parametrize(("x", "text"), [(0.4339451, "0.433945"), (-1.0, "-1"), (1e-5, "1e-05"), (1e20, "1e+20")])
def test_general(x: float, text: str) -> None:
    assert general(x) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("+7", 7), ("-7", -7), ("7.0", None), ("", None), ("0x10", None), ("2147483648", None), ("٣", None)],
)
def test_parse_int(text: str, value: int | None) -> None:
    assert parse_int(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7.0),
        ("-.5", -0.5),
        ("1e3", 1000.0),
        ("7.", 7.0),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("", None),
    ],
)
def test_parse_float(text: str, value: float | None) -> None:
    assert parse_float(text) == value


def test_parse_bool() -> None:
    assert [parse_bool(text) for text in ("true", "FALSE", "1", "")] == [True, False, None, None]
