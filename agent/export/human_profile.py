"""What a human-style network is told about the players whose moves it should give. Start at `metadata_row`;
`encoded` is what the network makes of it before it looks at a board.

Such a network has a metadata encoder: 192 numbers about both players, the game's clock, date and place (KataGo's
`sgfmetadata.h`; the numbers here are its encoder version 1). A profile names the kinds that people ask for, as
`humanSLProfile` in native KataGo's configuration. Both players are of the same kind, so that the row does not depend on
whose move it is; of the board it holds nothing but the area.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConversionFailed
from agent.export.network import Activation, Array, MetadataEncoder, Network, PolicyHead

METADATA_CHANNELS = 192
# Half the logarithm of the board's area, in 19×19 boards.
AREA_CHANNEL = 86
FULL_AREA = 361.0

KINDS = "rank_20k to rank_9d, preaz_20k to preaz_9d, proyear_1800 to proyear_2023"

_HUMAN = (0, 1)
_RANKS = (6, 40)
_RATED_UNKNOWN = 74
_CLOCK_UNKNOWN, _CLOCK_BYO_YOMI = 75, 79
_CLOCK = 82
_DATE = 87
_PLACE = 151
_KGS, _GOGOD, _GO4GO = 2, 5, 6

# Waves of the date, from a week to 80000 weeks.
_WAVES = 32
_WEEK_DAYS, _SLOWEST = 7.0, 80000.0
_DAN_RANKS = 9
# GoGoD's games end and Go4Go's begin here.
_FIRST_MODERN_YEAR = 2021


@dataclass(frozen=True)
class _Players:
    """`rank` counts down from 9 dan, which is 1."""

    rank: int
    date: datetime.date
    place: int
    rated_unknown: bool
    clock: int
    main_time_s: float
    period_s: float
    periods: int


def profile_for(network: Network, named: str, usual: str = "") -> str:
    """Whom `network` is to imitate: `named`, or else the `usual` profile; empty for a network that imitates nobody, and
    where neither is given.

    Raises:
        ConversionFailed: there is no such profile, or it is `named` for a network that imitates nobody.
    """
    if network.trunk.metadata_encoder is None:
        if named:
            raise takes_no_profile(network.info.name)
        return ""
    profile = named or usual
    if profile:
        _players(profile)
    return profile


def needs_profile(name: str) -> ConversionFailed:
    """What is raised where nobody said whom the network called `name` is to imitate."""
    return ConversionFailed(
        f"{name} is a human-style network: it imitates players of a kind that it is told",
        fix=f"Set `human_profile` in agent.yaml, or name one with --human-profile; one of: {KINDS}.",
    )


def takes_no_profile(name: str) -> ConversionFailed:
    """What is raised where a profile is named for the network called `name`, which imitates nobody."""
    return ConversionFailed(f"{name} is no human-style network; it has no profiles", fix="Leave out the human profile.")


def metadata_row(profile: str) -> Array:
    """The 192 numbers for `profile`, without the board's area.

    Raises:
        ConversionFailed: there is no such profile.
    """
    players = _players(profile)
    row = np.zeros(METADATA_CHANNELS, np.float64)
    row[list(_HUMAN)] = 1
    for start in _RANKS:
        row[start : start + players.rank] = 1
    row[_RATED_UNKNOWN] = 0.5 * players.rated_unknown
    row[players.clock] = 1
    row[_CLOCK : _CLOCK + 4] = (
        0.4 * (math.log(players.main_time_s + 60) - 6.5),
        0.3 * (math.log(players.period_s + 1) - 3),
        0.5 * (math.log(players.periods + 2) - 1.5),
        0.25 * (math.log(2) - 1.5),  # no Canadian overtime
    )
    days = (players.date - datetime.date(1970, 1, 1)).days
    periods = _WEEK_DAYS * _SLOWEST ** (np.arange(_WAVES) / (_WAVES - 1))
    turns = 2 * math.pi * days / periods
    row[_DATE : _DATE + 2 * _WAVES : 2] = np.cos(turns)
    row[_DATE + 1 : _DATE + 2 * _WAVES : 2] = np.sin(turns)
    row[_PLACE + players.place] = 1
    return row.astype(np.float32)


def check_profile(name: str, profile: str, *, is_human: bool) -> None:
    """Whether the network called `name` can imitate `profile`; empty is nobody.

    Raises:
        ConversionFailed: it imitates nobody, somebody must be named, or there is no such profile.
    """
    if is_human and not profile:
        raise needs_profile(name)
    if profile and not is_human:
        raise takes_no_profile(name)
    if profile:
        _players(profile)


def encoded(encoder: MetadataEncoder, profile: str, area: int) -> Array:
    """What the encoder's last matrix is multiplied by, [channels]: of players of `profile` on a board of `area` points.

    Raises:
        ConversionFailed: there is no such profile.
    """
    row = metadata_row(profile).astype(np.float64)
    row[AREA_CHANNEL] = 0.5 * math.log(area / FULL_AREA)
    hidden = _ACTIVATIONS[encoder.act1](row @ encoder.matmul1.weights + encoder.bias1)
    return _ACTIVATIONS[encoder.act2](hidden @ encoder.matmul2.weights + encoder.bias2).astype(np.float32)


_ACTIVATIONS: dict[Activation, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: lambda x: np.maximum(x, 0),
    Activation.MISH: lambda x: x * np.tanh(np.logaddexp(0, x)),
    Activation.SILU: lambda x: x / (1 + np.exp(-x)),
}


def without_optimism(head: PolicyHead) -> PolicyHead:
    """`head` with its optimistic policy, channel 1, replaced by channel 0: native KataGo never mixes that of a
    human-style network in (`nneval.cpp`), whatever the search asks for."""
    channels = [0, 0, *range(2, head.p2_conv.out_channels)]
    last = head.pass_head
    if last is not None:
        logits = dataclasses.replace(last.matmul, weights=last.matmul.weights[:, channels])
        last = dataclasses.replace(last, matmul=logits)
    points = dataclasses.replace(head.p2_conv, weights=head.p2_conv.weights[channels])
    return dataclasses.replace(head, p2_conv=points, pass_head=last)


def _players(profile: str) -> _Players:
    if match := re.fullmatch(r"(rank|preaz)_(\d{1,2})([kd])", profile):
        number = int(match[2])
        rank = _DAN_RANKS + number if match[3] == "k" else _DAN_RANKS + 1 - number
        if (1 <= number <= 20) if match[3] == "k" else (1 <= number <= 9):
            date = datetime.date(2020, 3, 1) if match[1] == "rank" else datetime.date(2016, 9, 1)
            return _Players(rank, date, _KGS, True, _CLOCK_BYO_YOMI, 1200, 30, 5)
    if (match := re.fullmatch(r"proyear_(\d{4})", profile)) and 1800 <= int(match[1]) <= 2023:
        year = int(match[1])
        place = _GO4GO if year >= _FIRST_MODERN_YEAR else _GOGOD
        return _Players(1, datetime.date(year, 6, 1), place, False, _CLOCK_UNKNOWN, 0, 0, 0)
    raise ConversionFailed(f"there is no human profile {profile!r}", fix=f"Choose one of: {KINDS}.")
