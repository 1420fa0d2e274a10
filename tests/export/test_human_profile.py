"""The numbers that name a kind of player, where they can be told by hand. Native KataGo's answers to whole rows are in
`tests/engine/test_raw_parity.py`."""

from __future__ import annotations

import datetime
import math

import numpy as np
import pytest

from agent.errors import ConversionFailed
from agent.export.human_profile import KINDS, metadata_row


def test_an_amateur_of_today() -> None:
    row = metadata_row("rank_5k")
    assert row.shape == (192,)
    assert row[:6].tolist() == [1, 1, 0, 0, 0, 0]
    # Nine dan ranks and five kyu ranks down from the top, for either player.
    assert row[6:40].tolist() == row[40:74].tolist() == [1.0] * 14 + [0.0] * 20
    assert row[74] == 0.5
    assert np.flatnonzero(row[75:82]).tolist() == [4]
    clock = [0.4 * (math.log(1260) - 6.5), 0.3 * (math.log(31) - 3), 0.5 * (math.log(7) - 1.5)]
    np.testing.assert_allclose(row[82:85], clock, rtol=1e-6)
    assert row[86] == 0
    assert np.flatnonzero(row[151:]).tolist() == [2]


def test_the_date_turns_fastest_with_the_week() -> None:
    row = metadata_row("preaz_1d")
    days = (datetime.date(2016, 9, 1) - datetime.date(1970, 1, 1)).days
    angle = 2 * math.pi * days / 7
    np.testing.assert_allclose(row[87:89], [math.cos(angle), math.sin(angle)], atol=1e-6)
    slowest = 2 * math.pi * days / (7 * 80000)
    np.testing.assert_allclose(row[149:151], [math.cos(slowest), math.sin(slowest)], atol=1e-6)


@pytest.mark.parametrize(("year", "place"), [(1800, 5), (2020, 5), (2021, 6), (2023, 6)])
def test_professionals_of_a_year(year: int, place: int) -> None:
    row = metadata_row(f"proyear_{year}")
    assert row[6:9].tolist() == [1, 0, 0]
    assert row[74] == 0
    assert row[75] == 1
    assert np.flatnonzero(row[151:]).tolist() == [place]


@pytest.mark.parametrize(
    "profile", ["rank_0k", "rank_21k", "rank_10d", "rank_5", "rank_5k_9d", "proyear_1799", "proyear_2024", "pro", ""]
)
def test_what_is_no_profile(profile: str) -> None:
    with pytest.raises(ConversionFailed, match="no human profile") as error:
        metadata_row(profile)
    assert KINDS in error.value.fix
