"""The gates: what each precision must reach, as the product promises it."""

from __future__ import annotations

import math
from dataclasses import fields

import msgspec
import pytest

from agent.export.artifact import Accuracy, Format
from agent.workshop.gates import BOUNDS, MIN_SLICE_POSITIONS, SLICE_FACTOR, Bounds, judge, slice_bounds


def perfect(name: str = "all", positions: int = 640, games: int = 128) -> Accuracy:
    return Accuracy(name, positions, games, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def test_every_format_has_a_gate() -> None:
    assert {each.facts.precision for each in Format} == set(BOUNDS)


@pytest.mark.parametrize(
    ("precision", "top1", "win_mae"),
    [("fp16", 0.995, 0.001), ("int8-weights", 0.98, 0.005), ("int8", 0.97, 0.01), ("fp32", 0.995, 1e-4)],
)
def test_the_promised_bounds(precision: str, top1: float, win_mae: float) -> None:
    assert (BOUNDS[precision].top1, BOUNDS[precision].win_mae) == (top1, win_mae)


def test_fp32_keeps_the_parity_with_native_katago() -> None:
    bounds = BOUNDS["fp32"]
    assert (bounds.policy_max, bounds.win_max, bounds.lead_max, bounds.score_max) == (1e-4, 1e-4, 0.01, 0.01)
    assert bounds.ownership_max == 1e-3


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", [field.name for field in fields(Bounds)])
def test_a_figure_at_its_bound_passes_and_one_beyond_is_named(precision: str, name: str) -> None:
    bound = getattr(BOUNDS[precision], name)
    if math.isinf(bound):
        return
    at = msgspec.structs.replace(perfect(), **{name: bound})
    assert judge(precision, [at]).passed
    worse = bound - 1e-9 if name == "top1" else bound * 1.0001
    (reason,) = judge(precision, [msgspec.structs.replace(at, **{name: worse})]).reasons
    assert reason.startswith("all: ") and "bound" in reason


@pytest.mark.parametrize("name", ["policy_kl", "win_mae", "win_max", "top1", "ownership_mae"])
def test_a_figure_that_is_no_number_never_passes(name: str) -> None:
    spoilt = msgspec.structs.replace(perfect(), **{name: math.nan})
    bounded = name == "win_max"
    assert not judge("fp32" if bounded else "int8", [spoilt]).passed


def test_an_answer_that_was_no_number_never_passes() -> None:
    judged = judge("int8", [msgspec.structs.replace(perfect(), win_max=1.0)])
    assert judged.reasons == ("an answer is not a number",)


@pytest.mark.parametrize(("positions", "games"), [(499, 128), (640, 99)])
def test_too_few_positions_or_games_never_pass(positions: int, games: int) -> None:
    (reason,) = judge("fp16", [perfect(positions=positions, games=games)]).reasons
    assert "too few" in reason


def test_a_network_that_is_ruined_on_one_board_or_in_one_phase_is_refused() -> None:
    for name in ("board 9x9", "phase endgame", "policy entropy low", "golden"):
        ruined = msgspec.structs.replace(perfect(name, 120, 24), win_mae=0.06, top1=0.8, policy_kl=0.2)
        reasons = judge("int8", [perfect(), perfect("phase opening"), ruined]).reasons
        assert len(reasons) == 3 and all(reason.startswith(name) for reason in reasons)


def test_slices_are_judged_by_their_size() -> None:
    few = msgspec.structs.replace(perfect("board 13x9", MIN_SLICE_POSITIONS - 1, 4), win_mae=1e-1)
    assert judge("int8", [perfect(), few]).passed
    small, large = (slice_bounds(BOUNDS["int8"], positions) for positions in (40, 4000))
    assert small.top1 < large.top1 < BOUNDS["int8"].top1
    assert small.win_mae == large.win_mae == SLICE_FACTOR * BOUNDS["int8"].win_mae
