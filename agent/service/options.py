"""Settings of the two protocols, and `--override-config k=v,k=v` in KataGo's spelling. Pure.

A key is either one of `ServiceOptions`' own (listed in `OWN_KEYS`) or a search parameter of
`engine/search_params.py`. Anything else is reported as unknown, once, by whoever read it. Readers of values raise
SettingRefused with KataGo's text; `where` in them names the configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from agent.engine.points import parse_color
from agent.engine.rules import Rules, parse_rules
from agent.engine.search_params import NO_FILE, SEARCH_PARAMS, read_search_param
from agent.errors import RulesError, SettingRefused
from agent.service.clock import UNLIMITED, TimeControl
from agent.service.numbers import parse_bool, parse_float, parse_int

# KataGo's analysisWideRootNoise: what kata-analyze adds over genmove, so that it shows more moves.
ANALYSIS_WIDE_ROOT_NOISE = 0.04

# KataGo's bound for a setting, and no bound at all under kata-analyze: the worker ends a search whose tree is full.
MAX_VISITS = 1 << 50
# Ten times the longest games. To try a game takes time by the square of its length: a line of 76,000 passes stopped
# everybody for three seconds, this many moves take 40 ms.
MAX_MOVES = 10_000


class ServiceOptions(msgspec.Struct, frozen=True):
    """Defaults are those of KataGo's gtp_example.cfg and analysis_example.cfg but for `max_visits`, which the profile
    gives; what KataGo does where a file is silent, `config_keys.py` knows. `perspective` is BLACK, WHITE or None for
    the side to move. `search` holds search parameters by KataGo's names, as `SearchRequest.overrides` takes them.
    `friendly_pass` and `cleanup_before_pass` are None where the rules decide. `search_factor_*` multiply visits and
    time of a move; the example file's would play weaker unasked, so they are off. `clock` is each player's until the
    controller sets another. `may_use_files` is no setting: whoever starts a service for its own user may let it read
    and write paths. Nor is `version`: what GTP's command of that name says, empty for who we are. `advantage_player` is
    who has the search's playoutDoublingAdvantage, None for the side to move. `positions_at_once` bounds how many of one
    client's positions are searched at a time. `human_profile` is whom the client wants imitated by a human-style
    network; empty for whom the owner wants. `config_name` is what errors call the configuration, `configured` the names
    that stand in it or were set since, and `unset` what holds for all others: None for these options themselves."""

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
    friendly_pass: bool | None = None
    cleanup_before_pass: bool | None = None
    pondering_enabled: bool = False
    max_visits_pondering: int = MAX_VISITS
    max_time_pondering_s: float = 60.0
    lag_buffer_s: float = 1.0
    search_factor_after_one_pass: float = 1.0
    search_factor_after_two_pass: float = 1.0
    search_factor_when_winning: float = 1.0
    search_factor_when_winning_threshold: float = 1.0
    dynamic_advantage_per_point: float = 0.045
    may_use_files: bool = False
    version: str = ""
    max_playouts: int | None = None
    advantage_player: int | None = None
    positions_at_once: int | None = None
    human_profile: str = ""
    config_name: str = NO_FILE
    configured: frozenset[str] = frozenset()
    clock: TimeControl = UNLIMITED
    unset: ServiceOptions | None = None
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
            raise SettingRefused(f"Could not parse kv pair, could not find '=' in:{piece.strip()}")
        found[name.strip()] = value.strip()
    return found


def read_settings(
    options: ServiceOptions, given: Mapping[str, str], where: Mapping[str, str] = {}
) -> tuple[ServiceOptions, list[str]]:
    """`options` with the settings of `given` in force, and the names in it that nobody knows, sorted. A setting without
    a value is unset, as in KataGo.

    Raises SettingRefused, with KataGo's text, for the first value that cannot be taken; `where` names the file
    and line that a setting stands in, by its name.
    """
    unset = options.unset or options
    changes: dict[str, Any] = {}
    search = dict(options.search)
    for name, key in OWN_KEYS.items():
        if given.get(name):
            changes[key.field] = key.read(name, given[name], where.get(name, options.config_name))
        elif name in given:
            changes[key.field] = getattr(unset, key.field)
    for name in SEARCH_PARAMS:
        if given.get(name):
            search[name] = read_search_param(name, given[name], where.get(name, options.config_name))
        elif name in given:
            search.pop(name, None)
    configured = frozenset(name for name in options.configured.union(given) if given.get(name, name))
    if not given.keys().isdisjoint(LIMITS):
        changes |= _limits_unset(configured, unset)
    unknown = sorted(name for name in given if name not in OWN_KEYS and name not in SEARCH_PARAMS)
    return msgspec.structs.replace(options, search=search, configured=configured, unset=unset, **changes), unknown


def _limits_unset(configured: frozenset[str], unset: ServiceOptions) -> dict[str, Any]:
    """The limits of a search that nobody set. Who limits visits or playouts gets them, however long it takes; who
    limits playouts alone does not mean fewer visits."""
    limits: dict[str, Any] = {}
    if "maxVisits" not in configured:
        limits["max_visits"] = MAX_VISITS if "maxPlayouts" in configured else unset.max_visits
    if "maxTime" not in configured:
        is_limited = not configured.isdisjoint(("maxVisits", "maxPlayouts"))
        limits["max_time_s"] = None if is_limited else unset.max_time_s
    return limits


# ---------------------------------------------------------------- kinds of values


def real(low: float, high: float) -> Callable[[str, str, str], float]:
    def read(name: str, text: str, where: str) -> float:
        value = parse_float(text.strip())
        if value is None:
            raise _bad_value(name, text, "double", where)
        if not low <= value <= high:
            raise SettingRefused(f"Key '{name}' must be in the range {low:g} to {high:g} in config file {where}")
        return value

    return read


def whole(low: int, high: int) -> Callable[[str, str, str], int]:
    """KataGo's int; int64_t where the bound says so."""
    is_long = high > 2**31

    def read(name: str, text: str, where: str) -> int:
        value = _parse_long(text.strip()) if is_long else parse_int(text.strip())
        if value is None:
            raise _bad_value(name, text, "int64_t" if is_long else "int", where)
        if not low <= value <= high:
            raise SettingRefused(f"Key '{name}' must be in the range {low} to {high} in config file {where}")
        return value

    return read


def flag(name: str, text: str, where: str) -> bool:
    value = parse_bool(text.strip())
    if value is None:
        raise _bad_value(name, text, "bool", where)
    return value


def _parse_long(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()) or len(digits) > _LONGEST_INT:
        return None
    return int(text) if -(2**63) <= int(text) < 2**63 else None


def _bad_value(name: str, text: str, kind: str, where: str) -> SettingRefused:
    return SettingRefused(f"Could not parse '{text}' as {kind} for key '{name}' in config file {where}")


# KataGo reads this kind more generously than other flags.
_ENABLED: dict[str, bool | None] = {
    **dict.fromkeys(("1", "t", "true", "enabled", "y", "yes"), True),
    **dict.fromkeys(("0", "f", "false", "disabled", "n", "no"), False),
    "auto": None,
}


def _flag_or_auto(name: str, text: str, where: str) -> bool | None:
    word = text.strip().lower()
    if word not in _ENABLED:
        raise _bad_value(name, word, "bool or auto", where)
    return _ENABLED[word]


def _perspective(name: str, text: str, where: str) -> int | None:
    del where
    if text.lower() == "sidetomove":
        return None
    side = parse_color(text)
    if side is None:
        raise SettingRefused(f"Could not parse config value for {name}: {text}")
    return side


def _player(name: str, text: str, where: str) -> int:
    del where
    side = parse_color(text)
    if side is None:
        raise SettingRefused(f"Could not parse player in field {name}, should be BLACK or WHITE")
    return side


def _rules(name: str, text: str, where: str) -> Rules:
    del where
    try:
        return parse_rules(text)
    except RulesError as error:
        raise SettingRefused(f"{name}: {error}") from error


# What ends a search, one with the other.
LIMITS = ("maxVisits", "maxPlayouts", "maxTime")

# 2^63 has 19 digits; Python refuses to read very long numbers.
_LONGEST_INT = 19


class OwnKey(msgspec.Struct, frozen=True):
    """The field of `ServiceOptions` that a key of KataGo's sets, and how its value is read: `read(name, text, where)`.
    `is_of_searches`: KataGo reads it anew for each analysis query, so `overrideSettings` may hold it."""

    field: str
    read: Callable[[str, str, str], Any]
    is_of_searches: bool = False


# In KataGo's order, which decides what is told of several wrong values.
OWN_KEYS: dict[str, OwnKey] = {
    "maxPlayouts": OwnKey("max_playouts", whole(1, MAX_VISITS), is_of_searches=True),
    "maxVisits": OwnKey("max_visits", whole(1, MAX_VISITS), is_of_searches=True),
    "maxTime": OwnKey("max_time_s", real(0.0, 1e20), is_of_searches=True),
    "playoutDoublingAdvantagePla": OwnKey("advantage_player", _player, is_of_searches=True),
    "reportAnalysisWinratesAs": OwnKey("perspective", _perspective, is_of_searches=True),
    "preventCleanupPhase": OwnKey("prevent_encore", flag),
    "rules": OwnKey("rules", _rules),
    "analysisPVLen": OwnKey("pv_len", whole(1, 1000)),
    "analysisWideRootNoise": OwnKey("analysis_wide_root_noise", real(0.0, 5.0)),
    "analysisIgnorePreRootHistory": OwnKey("analysis_ignore_pre_root_history", flag),
    "allowResignation": OwnKey("allow_resignation", flag),
    "resignThreshold": OwnKey("resign_threshold", real(-1.0, 0.0)),
    "resignConsecTurns": OwnKey("resign_consec_turns", whole(1, 100)),
    "resignMinScoreDifference": OwnKey("resign_min_score_difference", real(0.0, 1000.0)),
    "resignMinMovesPerBoardArea": OwnKey("resign_min_moves_per_board_area", real(0.0, 1.0)),
    "warnUnusedFields": OwnKey("warn_unused_fields", flag),
    "ponderingEnabled": OwnKey("pondering_enabled", flag),
    "cleanupBeforePass": OwnKey("cleanup_before_pass", _flag_or_auto),
    "friendlyPass": OwnKey("friendly_pass", _flag_or_auto),
    "maxVisitsPondering": OwnKey("max_visits_pondering", whole(1, MAX_VISITS), is_of_searches=True),
    "maxTimePondering": OwnKey("max_time_pondering_s", real(0.0, 1e20), is_of_searches=True),
    "lagBuffer": OwnKey("lag_buffer_s", real(0.0, 3600.0), is_of_searches=True),
    "searchFactorAfterOnePass": OwnKey("search_factor_after_one_pass", real(0.0, 1.0), is_of_searches=True),
    "searchFactorAfterTwoPass": OwnKey("search_factor_after_two_pass", real(0.0, 1.0), is_of_searches=True),
    "dynamicPlayoutDoublingAdvantageCapPerOppLead": OwnKey("dynamic_advantage_per_point", real(0.0, 0.5)),
    "searchFactorWhenWinning": OwnKey("search_factor_when_winning", real(0.01, 1.0)),
    "searchFactorWhenWinningThreshold": OwnKey("search_factor_when_winning_threshold", real(0.0, 1.0)),
}
