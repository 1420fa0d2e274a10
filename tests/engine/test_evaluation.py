"""Raw outputs turned into probabilities and points, with KataGo's formulas worked out here by hand."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from fakes.diagrams import game_of

from agent.engine.backends.interface import Array, NetworkInfo, Outputs
from agent.engine.game import Game
from agent.engine.library import CEvaluation
from agent.engine.points import BLACK, WHITE
from agent.engine.raw import OutputNotFinite, post_process
from agent.engine.rules import Rules, parse_rules

POSITIONAL = Rules()
SIMPLE_KO = parse_rules("chinese")


class Processed(NamedTuple):
    values: CEvaluation
    policy: Array
    ownership: Array


def process(
    game: Game,
    player: int,
    *,
    version: int = 8,
    policy: Array | None = None,
    value: tuple[float, float, float] = (1.0, 0.0, 0.5),
    score: tuple[float, ...] = (0.5, -1.0, 0.25, 0.0),
    ownership: Array | None = None,
    optimism: float = 0.0,
    symmetry: int = 0,
) -> Processed:
    policy = np.zeros((1, game.area + 1)) if policy is None else policy
    ownership = np.zeros(game.area) if ownership is None else ownership
    outputs = Outputs(*(np.asarray(part, np.float32)[np.newaxis] for part in (policy, value, score, ownership)))
    network = NetworkInfo("test", version, policy_channels=len(policy), score_channels=len(score))
    return Processed(*post_process(game, player, network, outputs, optimism, symmetry))


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


def test_value_is_turned_to_white() -> None:
    game = Game(5, 5, POSITIONAL)
    win = math.exp(1) / (math.exp(1) + math.exp(0))
    black = process(game, BLACK).values
    assert (black.white_win, black.white_loss, black.no_result) == pytest.approx((1 - win, win, 0))
    game.restart(WHITE)
    white = process(game, WHITE).values
    assert (white.white_win, white.white_loss) == pytest.approx((win, 1 - win))
    assert (white.white_lead, white.white_score_mean) == pytest.approx((0.25 * 20, 0.5 * 20))
    assert (black.white_lead, black.white_score_mean) == pytest.approx((-0.25 * 20, -0.5 * 20))
    stdev = softplus(-1.0) * 20
    assert black.white_score_mean_sq == pytest.approx(10**2 + stdev**2, rel=1e-5)


def test_no_result_counts_where_the_rules_allow_cycles() -> None:
    total = math.exp(1) + 1 + math.exp(0.5)
    values = process(Game(5, 5, SIMPLE_KO), BLACK).values
    assert values.no_result == pytest.approx(math.exp(0.5) / total)
    assert values.white_loss == pytest.approx(math.exp(1) / total)
    assert values.white_lead == pytest.approx(-5 * (1 - math.exp(0.5) / total))
    territory = process(Game(5, 5, Rules(scoring="TERRITORY", tax="SEKI")), BLACK).values
    assert territory.no_result > 0


@pytest.mark.parametrize(
    ("version", "winloss", "score"),
    [
        (9, softplus(0.3), softplus(0.6) * 10),
        (10, math.sqrt(softplus(0.3) * 0.25), math.sqrt(softplus(0.6) * 30)),
        (13, math.sqrt(softplus(0.3) * 0.25), math.sqrt(softplus(0.6) * 30)),
        (14, math.sqrt(softplus(0.15) ** 2 * 0.25), math.sqrt(softplus(0.3) ** 2 * 30)),
        (17, math.sqrt(softplus(0.15) ** 2 * 0.25), math.sqrt(softplus(0.3) ** 2 * 30)),
    ],
)
def test_shortterm_errors_by_file_version(version: int, winloss: float, score: float) -> None:
    values = process(Game(5, 5), BLACK, version=version, score=(0.5, -1.0, 0.25, 0.1, 0.3, 0.6)).values
    assert values.shortterm_winloss_error == pytest.approx(winloss, rel=1e-5)
    assert values.shortterm_score_error == pytest.approx(score, rel=1e-5)
    assert values.var_time_left == pytest.approx(softplus(0.1) * 40, rel=1e-5)


def test_old_networks_have_no_shortterm_errors() -> None:
    values = process(Game(5, 5), BLACK).values
    assert (values.shortterm_winloss_error, values.shortterm_score_error, values.var_time_left) == (-1, -1, -1)


def test_policy_is_a_distribution_over_legal_moves() -> None:
    game = game_of("X . O\n. . .\n. . .")
    logits = np.arange(10, dtype=np.float32)[np.newaxis] / 3
    policy = process(game, BLACK, policy=logits).policy
    assert policy[0] == policy[2] == -1
    legal = policy[policy >= 0]
    assert legal.sum() == pytest.approx(1)
    assert policy[9] / policy[8] == pytest.approx(math.exp(1 / 3))


@pytest.mark.parametrize("channels", [2, 4])
def test_optimism_mixes_the_second_channel_in(channels: int) -> None:
    policy = np.zeros((channels, 10))
    policy[1, 4] = 5.0
    game = Game(3, 3)
    plain = process(game, BLACK, version=16, policy=policy).policy
    assert plain[4] == pytest.approx(0.1)
    mixed = process(game, BLACK, version=16, policy=policy, optimism=0.2).policy
    assert mixed[4] / mixed[0] == pytest.approx(math.exp(5.0 * 0.2))


@pytest.mark.parametrize("symmetry", range(8))
def test_policy_and_ownership_are_turned_back(symmetry: int) -> None:
    """Outputs that mark one corner of the turned board come back in the corner it was."""
    x_size, y_size = 3, 2
    game = Game(x_size, y_size)
    board = np.zeros((y_size, x_size))
    board[0, 2] = 3.0
    turned = board[::-1] if symmetry & 1 else board
    turned = turned[:, ::-1] if symmetry & 2 else turned
    turned = turned.T if symmetry & 4 else turned
    flat = turned.ravel()
    result = process(game, BLACK, policy=np.append(flat, 0.0)[np.newaxis], ownership=flat, symmetry=symmetry)
    assert int(np.argmax(result.policy)) == 2
    assert result.ownership[2] == pytest.approx(-math.tanh(3.0))
    assert np.count_nonzero(result.ownership) == 1


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_outputs_that_are_not_finite_are_an_error(broken: float) -> None:
    game = Game(3, 3)
    with pytest.raises(OutputNotFinite):
        process(game, BLACK, value=(broken, 0.0, 0.0))
    with pytest.raises(OutputNotFinite):
        process(game, BLACK, score=(0.0, 0.0, broken, 0.0))
    with pytest.raises(OutputNotFinite):
        process(game, BLACK, policy=np.full((1, 10), math.nan))
    with pytest.raises(OutputNotFinite):
        process(game, BLACK, ownership=np.full(9, math.nan))


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5])
def test_outputs_beyond_what_a_float_holds_are_an_error(at: int) -> None:
    """Each is finite itself, and so is what is made of it in double precision."""
    score = [0.5, -1.0, 0.25, 0.1, 0.3, 0.6]
    score[at] = 3e38
    with pytest.raises(OutputNotFinite):
        process(Game(3, 3), BLACK, version=9, score=tuple(score))


def test_a_policy_that_is_far_from_every_legal_move_is_still_a_distribution() -> None:
    logits = np.full((1, 10), -1000.0)
    logits[0, 0] = 1000.0
    game = game_of("X . .\n. . .\n. . .")
    policy = process(game, BLACK, policy=logits).policy
    assert policy[policy >= 0].sum() == pytest.approx(1)
