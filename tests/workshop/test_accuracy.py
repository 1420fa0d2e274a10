"""Errors between two networks' answers, against figures worked out by hand."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from fakes.backends import MisshapenBackend
from fakes.opinions import INFO, OpinionsBackend
from fakes.position_sets import made_up

from agent.engine.backends.interface import Array, Outputs
from agent.errors import GateRefused
from agent.workshop.accuracy import WORST_KL, WORST_WIN, answers, compare, evaluate
from agent.workshop.position_set import Group, PositionSet

POSITIONS = made_up()


def one_group(count: int = 1, *, territory: bool = False, simple_ko: bool = False) -> Group:
    """Positions on 2×1 whose moves are all legal."""
    global_ = np.zeros((count, 19), np.float32)
    global_[:, 6] = 0.0 if simple_ko else 1.0
    global_[:, 9] = 1.0 if territory else 0.0
    spatial = np.zeros((count, 22, 1, 2), bool)
    return Group(
        1, 2, spatial, global_, np.ones((count, 3), bool), np.zeros(count, np.int32), np.zeros(count, np.int32)
    )


def said(policy: list[float], value: list[float], lead: float = 0.0, ownership: float = 0.0) -> Outputs:
    return Outputs(
        np.array([[policy]], np.float32),
        np.array([value], np.float32),
        np.array([[lead, 0, lead, 0]], np.float32),
        np.full((1, 2), ownership, np.float32),
    )


def test_a_network_agrees_with_itself() -> None:
    outputs = evaluate(OpinionsBackend(), POSITIONS)
    for each in compare(outputs, outputs, POSITIONS, INFO):
        assert each.top1 == 1.0
        assert max(each.policy_kl, each.win_max, each.score_max, each.lead_max, each.ownership_max) == 0.0


def test_batches_give_the_same_as_single_positions() -> None:
    backend = OpinionsBackend()
    whole, single = evaluate(backend, POSITIONS, batch=64), evaluate(backend, POSITIONS, batch=1)
    for left, right in zip(whole, single, strict=True):
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(left, right, strict=True))
    assert max(backend.batches) == 64 and backend.batches.count(1) >= len(POSITIONS)


def test_errors_by_hand() -> None:
    reference = said([math.log(0.5), math.log(0.3), math.log(0.2)], [0.0, 0.0, -50.0])
    candidate = said([math.log(0.3), math.log(0.5), math.log(0.2)], [math.log(3), 0.0, -50.0], 0.1, 20.0)
    (found, *_) = compare([reference], [candidate], PositionSet((one_group(),), ""), INFO)
    assert found.top1 == 0.0
    assert found.policy_kl == pytest.approx(0.5 * math.log(0.5 / 0.3) + 0.3 * math.log(0.3 / 0.5))
    assert found.policy_max == pytest.approx(0.2)
    assert found.win_mae == found.win_max == pytest.approx(0.25)
    assert found.score_mae == found.lead_mae == pytest.approx(0.1 * 20)
    assert found.ownership_mae == pytest.approx(1.0)


@pytest.mark.parametrize(("territory", "simple_ko"), [(False, False), (True, False), (False, True)])
def test_no_result_counts_half_where_the_rules_know_it(territory: bool, simple_ko: bool) -> None:
    outputs = said([0.0, 0.0, 0.0], [0.0, math.log(3), 0.0], lead=1.0)
    found = answers(outputs, one_group(territory=territory, simple_ko=simple_ko), INFO)
    void = territory or simple_ko
    assert found.win[0] == pytest.approx(0.2 + 0.1 if void else 0.25)
    assert found.lead[0] == pytest.approx(20 * (0.8 if void else 1.0))


def test_illegal_moves_have_no_say() -> None:
    group = one_group()
    group.legal[0, 0] = False
    loud, quiet = said([50.0, 1.0, 0.0], [0, 0, 0]), said([-50.0, 1.0, 0.0], [0, 0, 0])
    (found, *_) = compare([loud], [quiet], PositionSet((group,), ""), INFO)
    assert found.top1 == 1.0 and found.policy_kl == pytest.approx(0.0, abs=1e-12)


def test_the_optimistic_policy_is_mixed_in_where_there_is_one() -> None:
    outputs = Outputs(np.array([[[0.0, 1.0, 0.0], [5.0, 1.0, 0.0]]], np.float32), *said([0.0] * 3, [0.0, 0.0, 0.0])[1:])
    two = msgspec.structs.replace(INFO, policy_channels=2)
    assert answers(outputs, one_group(), two).log_policy[0].argmax() == 1
    assert answers(outputs, one_group(), two, optimism=0.5).log_policy[0].argmax() == 0


@pytest.mark.parametrize("part", ["policy", "value", "score", "ownership"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_counts_as_the_worst(part: str, number: float) -> None:
    def spoil(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
        getattr(outputs, part)[0, ..., 0] = number
        return outputs

    good, bad = evaluate(OpinionsBackend(), POSITIONS), evaluate(OpinionsBackend(change=spoil), POSITIONS, batch=300)
    for left, right in ((good, bad), (bad, good), (bad, bad)):
        (found, *_) = compare(left, right, POSITIONS, INFO)
        assert found.win_max == WORST_WIN and found.kl_quantiles[-1] == WORST_KL and found.top1 < 1.0
        assert all(math.isfinite(value) for value in (found.policy_kl, found.score_mae, found.ownership_mae))


def test_slices_part_the_positions() -> None:
    outputs = evaluate(OpinionsBackend(), POSITIONS)
    whole, *slices = compare(outputs, evaluate(OpinionsBackend(2), POSITIONS), POSITIONS, INFO)
    assert whole.slice == "all" and (whole.positions, whole.games) == (600, 120)
    for kind, count in (("phase", 3), ("board", 2), ("policy entropy", 3)):
        parts = [each for each in slices if each.slice.startswith(kind)]
        assert len(parts) == count and sum(each.positions for each in parts) == whole.positions
        for name in ("top1", "policy_kl", "win_mae", "score_mae", "lead_mae", "ownership_mae"):
            mean = sum(getattr(each, name) * each.positions for each in parts) / whole.positions
            assert mean == pytest.approx(getattr(whole, name))
    assert [each.slice for each in slices if each.slice.startswith("board")] == ["board 9x9", "board 7x5"]


def test_boards_of_one_width_always_come_in_the_same_order() -> None:
    def group(y_size: int) -> Group:
        zeros = np.zeros(1, np.int32)
        spatial, legal = np.zeros((1, 22, y_size, 9), bool), np.ones((1, 9 * y_size + 1), bool)
        return Group(y_size, 9, spatial, np.zeros((1, 19), np.float32), legal, zeros, zeros)

    positions = PositionSet(tuple(group(y_size) for y_size in range(1, 10)), "")
    outputs = evaluate(OpinionsBackend(), positions)
    slices = compare(outputs, outputs, positions, INFO)
    boards = [each.slice for each in slices if each.slice.startswith("board")]
    assert boards == [f"board 9x{y_size}" for y_size in range(9, 0, -1)]


def test_one_bad_board_shows_in_its_own_slice_alone() -> None:
    def spoil(outputs: Outputs, spatial: Array, global_: Array) -> Outputs:
        return outputs if spatial.shape[3] == 9 else outputs._replace(value=outputs.value * 3)

    found = compare(
        evaluate(OpinionsBackend(), POSITIONS), evaluate(OpinionsBackend(change=spoil), POSITIONS), POSITIONS, INFO
    )
    errors = {each.slice: each.win_mae for each in found}
    assert errors["board 9x9"] == 0.0 < errors["all"] < errors["board 7x5"]


def test_outputs_of_other_shapes_are_refused() -> None:
    with pytest.raises(GateRefused, match="outputs of shapes"):
        evaluate(MisshapenBackend(), POSITIONS)
