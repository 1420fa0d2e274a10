"""GTP commands for parameters and models. Each takes the state and the arguments and returns the reply's text.

Raises CommandRefused with KataGo's text for what cannot be done (cpp/command/gtp.cpp). Told and taken is what we
honour; what KataGo has beyond that is refused like an unknown name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from agent.engine.search_params import SEARCH_PARAMS
from agent.errors import CommandRefused, SettingRefused
from agent.service.analysis_fields import compact
from agent.service.analysis_settings import HUMAN_PROFILE, check_human_profile, read_human_profile
from agent.service.gtp_state import GtpState
from agent.service.identity import models
from agent.service.numbers import general
from agent.service.options import MAX_VISITS, OWN_KEYS, read_settings, whole

# What kata-get-param says where no time limit is set.
_NO_TIME_LIMIT = 1e20

# Told first, in KataGo's order, and as text.
_TEXTS: dict[str, Callable[[GtpState], str]] = {
    "analysisWideRootNoise": lambda state: general(state.options.analysis_wide_root_noise),
    "analysisIgnorePreRootHistory": lambda state: compact(state.options.analysis_ignore_pre_root_history),
    HUMAN_PROFILE: lambda state: (
        state.options.human_profile or (ready.human_profile if (ready := state.ready()) else "")
    ),
    "allowResignation": lambda state: compact(state.options.allow_resignation),
    "ponderingEnabled": lambda state: compact(state.options.pondering_enabled),
}
# Told among the search parameters, as numbers.
_NUMBERS: dict[str, Callable[[GtpState], float | int]] = {
    "maxPlayouts": lambda state: state.options.max_playouts or MAX_VISITS,
    "maxVisits": lambda state: state.options.max_visits,
    "maxTime": lambda state: _NO_TIME_LIMIT if state.options.max_time_s is None else state.options.max_time_s,
    "maxVisitsPondering": lambda state: state.options.max_visits_pondering,
    "maxTimePondering": lambda state: state.options.max_time_pondering_s,
    "lagBuffer": lambda state: state.options.lag_buffer_s,
    "searchFactorAfterOnePass": lambda state: state.options.search_factor_after_one_pass,
    "searchFactorAfterTwoPass": lambda state: state.options.search_factor_after_two_pass,
    "numSearchThreads": lambda state: ready.threads if (ready := state.ready()) else 1,
}
# KataGo reads the new values of a search first by themselves, as a configuration without a name.
_NO_NAME = " and/or command-line and query overrides"
# These stay as they are where a command gives no value.
_KEPT = ("allowResignation", "ponderingEnabled")
# Taken and without effect: LizzieYzy sends it, but the threads are the worker's, and other clients' too.
_THREADS, _read_threads = "numSearchThreads", whole(1, 4096)
# What a search is told may be changed; whose win rate is shown may not, in KataGo.
_NAMES = {
    *_TEXTS,
    *_NUMBERS,
    *(name for name, key in OWN_KEYS.items() if key.is_of_searches and name != "reportAnalysisWinratesAs"),
    *SEARCH_PARAMS,
}


def kata_list_params(state: GtpState, args: list[str]) -> str:
    del state, args
    return " ".join([*_TEXTS, *sorted({*_NUMBERS, *SEARCH_PARAMS})])


def kata_get_param(state: GtpState, args: list[str]) -> str:
    if len(args) != 1:
        raise CommandRefused(f"Expected one arguments for kata-get-param but got '{' '.join(args)}'")
    name = args[0]
    if name in _TEXTS:
        return _TEXTS[name](state)
    if name not in (*_NUMBERS, *SEARCH_PARAMS):
        raise CommandRefused(f"Invalid parameter: {name}")
    return compact(_number(state, name))


def kata_get_params(state: GtpState, args: list[str]) -> str:
    del args
    numbers = {name: _number(state, name) for name in (*_NUMBERS, *SEARCH_PARAMS)}
    return compact({**numbers, **{name: tell(state) for name, tell in _TEXTS.items()}})


def _number(state: GtpState, name: str) -> float | int | bool:
    if name in _NUMBERS:
        return _NUMBERS[name](state)
    return state.options.search.get(name, SEARCH_PARAMS[name].default)


def kata_set_param(state: GtpState, args: list[str]) -> str:
    if len(args) not in (1, 2):
        raise CommandRefused(f"Expected one or two arguments for kata-set-param but got '{' '.join(args)}'")
    return _set(state, {args[0]: args[1] if len(args) == 2 else ""})


def kata_set_params(state: GtpState, args: list[str]) -> str:
    """Several at once, as a JSON object."""
    text = " ".join(args)
    if not args:
        raise CommandRefused(f"Expected argument for kata-set-param but got '{text}'")
    try:
        given = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise CommandRefused(f"Could not set params: {error}") from error
    if not isinstance(given, dict):
        raise CommandRefused("Could not set params: Argument to kata-set-params must be a json object")
    return _set(state, {name: value if isinstance(value, str) else compact(value) for name, value in given.items()})


def _set(state: GtpState, given: Mapping[str, str]) -> str:
    """All or none."""
    where = {name: _NO_NAME for name in given if name not in _TEXTS or name.startswith("analysis")}
    try:
        known = {name: text for name, text in given.items() if name in _NAMES and (text or name not in _KEPT)}
        options = read_human_profile(read_settings(state.options, known, where)[0], known)
        check_human_profile(known, state.ready())
        if given.get(_THREADS):
            _read_threads(_THREADS, given[_THREADS], _NO_NAME)
    except SettingRefused as error:
        raise CommandRefused(f"Could not set params: {error}".rstrip()) from error
    for name in sorted(given):
        if name not in _NAMES:
            raise CommandRefused(
                f"Could not set params: Unrecognized or non-overridable parameter in kata-set-params: {name}"
            )
    state.options = options
    return ""


def kata_get_models(state: GtpState, args: list[str]) -> str:
    del args
    return compact(models(state.ready()))
