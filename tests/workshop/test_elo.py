"""Elo of paired games."""

from __future__ import annotations

import numpy as np
import pytest

from agent.workshop.elo import elo_of_pairs, to_elo


def test_elo_of_known_scores() -> None:
    assert to_elo(0.5) == pytest.approx(0.0)
    assert to_elo(10 / 11) == pytest.approx(400.0)
    assert to_elo(0.36) == pytest.approx(-to_elo(0.64))


def test_counts_and_score() -> None:
    found = elo_of_pairs([(1.0, 0.0), (0.5, 1.0), (0.0, 0.0), (1.0,)])
    assert (found.games, found.pairs, found.wins, found.draws, found.losses) == (7, 3, 3, 1, 3)
    assert found.score == pytest.approx(0.5) and found.elo == pytest.approx(0.0)
    assert found.low < found.elo < found.high
    assert to_elo(found.score_low) == pytest.approx(found.low) and to_elo(found.score_high) == pytest.approx(found.high)


def test_exchanging_the_players_turns_the_signs() -> None:
    pairs = [(1.0, 1.0), (0.5, 0.0), (1.0, 0.5)] * 7
    one, other = elo_of_pairs(pairs), elo_of_pairs([[1 - score for score in pair] for pair in pairs])
    assert (one.elo, one.low, one.high) == pytest.approx((-other.elo, -other.high, -other.low))


def test_pairs_that_exchange_wins_say_more_than_single_games() -> None:
    # Whoever has Black wins: every game is decided, no pair is.
    settled = elo_of_pairs([(1.0, 0.0)] * 100)
    random = elo_of_pairs([(1.0, 1.0), (0.0, 0.0)] * 50)
    assert settled.score == random.score == 0.5
    assert settled.high - settled.low < 0.5 * (random.high - random.low)


def test_few_or_equal_pairs_have_wide_and_finite_intervals() -> None:
    swept = elo_of_pairs([(1.0, 1.0)] * 3)
    assert np.isfinite([swept.elo, swept.low, swept.high]).all() and swept.low < 0 < swept.elo
    assert 0 <= swept.score_low < swept.score_high == 1.0
    single = elo_of_pairs([(1.0,)])
    assert single.low < -300 and single.high > 300
    with pytest.raises(ValueError, match="no game"):
        elo_of_pairs([])


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    truth, held = 0.55, 0
    for _ in range(300):
        pairs = (random.random((100, 2)) < truth).astype(float)
        found = elo_of_pairs(pairs.tolist())
        held += found.low <= to_elo(truth) <= found.high
    assert 0.92 <= held / 300 <= 0.98
