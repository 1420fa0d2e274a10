"""Settings of the two protocols, and `--override-config k=v,k=v` in KataGo's spelling. Pure.

A key is either one of `ServiceOptions`' own (listed in `_OWN_KEYS`) or a search parameter of
`engine/search_params.py`. Anything else is reported as unknown, once, by whoever read it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agent.engine.points import parse_color
from agent.engine.rules import Rules, parse_rules
from agent.engine.search_params import SEARCH_PARAMS, read_search_param
from agent.errors import RulesError, SettingRefused
from agent.service.numbers import parse_bool, parse_float

# KataGo's analysisWideRootNoise: what kata-analyze adds over genmove, so that it shows more moves.
ANALYSIS_WIDE_ROOT_NOISE = 0.04

# KataGo's bound for a setting, and no bound at all under kata-analyze: the worker ends a search whose tree is full.
MAX_VISITS = 1 << 50


class ServiceOptions(msgspec.Struct, frozen=True):
    """Defaults are those of KataGo's gtp_example.cfg and analysis_example.cfg but for `max_visits`, which the profile
    gives. `perspective` is BLACK, WHITE or None for the side to move. `search` holds search parameters by KataGo's
    names, as `SearchRequest.overrides` takes them."""

    max_visits: int = 500
    max_time_s: float | None = None
    perspective: int | None = None
    prevent_encore: bool = True
    rules: Rules = Rules()
    pv_len: int | None = None
    analysis_wide_root_noise: float = ANALYSIS_WIDE_ROOT_NOISE
    analysis_ignore_pre_root_history: bool = True
    allow_resignation: bool = True
    resign_threshold: float = -0.90
    resign_consec_turns: int = 3
    resign_min_score_difference: float = -1e10
    resign_min_moves_per_board_area: float = 0.0
    warn_unused_fields: bool = True
    search: dict[str, float | int | bool] = {}


def split_overrides(text: str) -> dict[str, str]:
    """The settings of `--override-config k=v,k=v`. No value may hold a comma, as in KataGo.

    Raises SettingRefused for a piece without `=` or with no name.
    """
    found: dict[str, str] = {}
    for piece in text.split(","):
        if not piece.strip():
            continue
        name, equals, value = piece.partition("=")
        if not equals or not name.strip():
            raise SettingRefused(f"Could not parse key value pair: {piece.strip()}")
        found[name.strip()] = value.strip()
    return found


def read_settings(options: ServiceOptions, given: Mapping[str, str]) -> tuple[ServiceOptions, list[str]]:
    """`options` with the settings of `given` in force, and the names in it that nobody knows, sorted.

    Raises SettingRefused, with KataGo's text, for the first value that cannot be taken.
    """
    changes: dict[str, Any] = {}
    search = dict(options.search)
    unknown = []
    for name in sorted(given):
        if name in _OWN_KEYS:
            field, read = _OWN_KEYS[name]
            changes[field] = read(name, given[name])
        elif name in SEARCH_PARAMS:
            search[name] = read_search_param(name, given[name])
        else:
            unknown.append(name)
    return msgspec.structs.replace(options, search=search, **changes), unknown


def _bad_value(name: str, text: str, kind: str) -> SettingRefused:
    return SettingRefused(f"Could not parse '{text}' as {kind} for key '{name}' in config file or overrides")


def _real(low: float, high: float) -> Callable[[str, str], float]:
    def read(name: str, text: str) -> float:
        value = parse_float(text)
        if value is None:
            raise _bad_value(name, text, "double")
        if not low <= value <= high:
            raise _out_of_range(name, low, high)
        return value

    return read


def _whole(low: int, high: int) -> Callable[[str, str], int]:
    def read(name: str, text: str) -> int:
        if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()):
            raise _bad_value(name, text, "int64_t")
        # A longer number is out of any range, and Python refuses to read very long ones.
        value = int(text) if len(text) < _LONGEST_INT else high + 1
        if not low <= value <= high:
            raise _out_of_range(name, low, high)
        return value

    return read


def _out_of_range(name: str, low: float, high: float) -> SettingRefused:
    return SettingRefused(f"Key '{name}' must be in the range {low:g} to {high:g} in config file or overrides")


def _flag(name: str, text: str) -> bool:
    value = parse_bool(text)
    if value is None:
        raise _bad_value(name, text, "bool")
    return value


def _perspective(name: str, text: str) -> int | None:
    if text.lower() == "sidetomove":
        return None
    side = parse_color(text)
    if side is None:
        raise SettingRefused(f"Could not parse config value for {name}: {text}")
    return side


def _rules(name: str, text: str) -> Rules:
    try:
        return parse_rules(text)
    except RulesError as error:
        raise SettingRefused(f"{name}: {error}") from error


_LONGEST_INT = 20

# KataGo's name → our field and how its value is read.
_OWN_KEYS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "maxVisits": ("max_visits", _whole(1, MAX_VISITS)),
    "maxTime": ("max_time_s", _real(0.0, 1e20)),
    "reportAnalysisWinratesAs": ("perspective", _perspective),
    "preventCleanupPhase": ("prevent_encore", _flag),
    "rules": ("rules", _rules),
    "analysisPVLen": ("pv_len", _whole(1, 1000)),
    "analysisWideRootNoise": ("analysis_wide_root_noise", _real(0.0, 5.0)),
    "analysisIgnorePreRootHistory": ("analysis_ignore_pre_root_history", _flag),
    "allowResignation": ("allow_resignation", _flag),
    "resignThreshold": ("resign_threshold", _real(-1.0, 0.0)),
    "resignConsecTurns": ("resign_consec_turns", _whole(1, 100)),
    "resignMinScoreDifference": ("resign_min_score_difference", _real(0.0, 1000.0)),
    "resignMinMovesPerBoardArea": ("resign_min_moves_per_board_area", _real(0.0, 1.0)),
    "warnUnusedFields": ("warn_unused_fields", _flag),
}
