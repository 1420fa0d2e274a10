"""`overrideSettings` of a query: KataGo's parameters of one search. Pure; texts are KataGo's.

What native KataGo reads for every search is taken without a word, also where it changes nothing here; any other name is
told to the client.
Source: KataGo cpp/command/analysis.cpp, cpp/program/setup.cpp (loadParams), cpp/neuralnet/sgfmetadata.cpp (getProfile).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.engine.messages import EngineReady
from agent.engine.search_params import SEARCH_PARAMS
from agent.errors import SettingRefused
from agent.service.config_keys import SEARCH_KEYS_WITHOUT_EFFECT
from agent.service.options import OWN_KEYS, ServiceOptions, read_settings

# What native KataGo refuses to change between searches, and how it is there when nothing was set.
_FIXED = {"nodeTableShardsPowerOfTwo": "16", "useEvalCache": "false", "evalCacheMinVisits": "100"}
HUMAN_PROFILE = "humanSLProfile"
# These weigh a second network, which there is not.
_SECOND_NETWORK = frozenset(
    f"humanSL{name}"
    for name in (
        *("CpuctExploration", "CpuctPermanent", "RootExploreProbWeightless", "RootExploreProbWeightful"),
        *("PlaExploreProbWeightless", "PlaExploreProbWeightful", "OppExploreProbWeightless"),
        *("OppExploreProbWeightful", "ChosenMoveProp", "ChosenMoveIgnorePass", "ChosenMovePiklLambda"),
    )
)
_RANK = "(?:[1-9][dk]|1[0-9]k|20k)"
_PROFILE = re.compile(rf"(?:rank|preaz)_{_RANK}(?:_{_RANK})?|proyear_(?:1[89][0-9]{{2}}|20(?:[01][0-9]|2[0-3]))")
_PAIR = re.compile(rf"(?:rank|preaz)_{_RANK}_{_RANK}")
_NO_PROFILE = ("", "_", '""')


def read_query_settings(options: ServiceOptions, given: Mapping[str, str]) -> tuple[ServiceOptions, list[str]]:
    """`options` with the settings of `given` in force, and the names that KataGo would call unknown, sorted.

    Raises SettingRefused.
    """
    if given.get("numBots", "1") != "1":
        raise SettingRefused("The config for this command cannot have numBots > 0")
    own = {name: text for name, text in given.items() if name in SEARCH_PARAMS or _is_own(name)}
    changed = read_human_profile(read_settings(options, own)[0], given)
    for name in sorted(_SECOND_NETWORK & given.keys()):
        if given[name]:
            raise SettingRefused(
                f"Provided parameter {name} but no human model was specified (e.g -human-model"
                " b18c384nbt-humanv0.bin.gz)"
            )
    for name, standing in _FIXED.items():
        if given.get(name) and given[name].strip().lower() != standing:
            raise SettingRefused(f"Cannot change {name} after initialization")
    unknown = [name for name in given if given[name] and not _is_known(name) and name not in options.configured]
    return changed, sorted(unknown)


def read_human_profile(options: ServiceOptions, given: Mapping[str, str]) -> ServiceOptions:
    """`options` with whom `given` wants imitated, if it says so.

    Raises SettingRefused: KataGo has no such profile.
    """
    profile = given.get(HUMAN_PROFILE)
    if profile is None:
        return options
    if profile in _NO_PROFILE:
        profile = ""
    elif not _PROFILE.fullmatch(profile):
        raise SettingRefused(f"Unknown human SL network profile: {profile}")
    return msgspec.structs.replace(options, human_profile=profile)


def names_profile(query: Mapping[str, Any]) -> bool:
    """Whether a query asks for a human profile, so that its answer depends on the network there is."""
    settings = query.get("overrideSettings")
    return isinstance(settings, dict) and settings.get(HUMAN_PROFILE, "") not in _NO_PROFILE


def check_human_profile(given: Mapping[str, str], ready: EngineReady | None) -> None:
    """Whether the network that serves imitates whom `given` asks for. Nothing is refused while none is loaded.

    Raises SettingRefused: the network imitates nobody, or was converted to imitate another player, or imitates none
    against another.
    """
    profile = given.get(HUMAN_PROFILE, "")
    if profile in _NO_PROFILE or ready is None:
        return
    if not ready.has_human_sl:
        raise SettingRefused(
            f"WARNING: humanSLProfile is specified as config param but model(s) don't use it: {ready.network}\n"
        )
    if not ready.imitates_anybody and profile != ready.human_profile:
        raise SettingRefused(
            f"humanSLProfile is '{ready.human_profile}' for everybody on backend {ready.backend}, for which the network"
            " was converted so; backend core imitates anybody"
        )
    if _PAIR.fullmatch(profile) and not ready.imitates_pairs:
        raise SettingRefused(
            f"humanSLProfile '{profile}' names a rank for each colour, which only a native katago knows; name one rank"
        )


def _is_own(name: str) -> bool:
    return name in OWN_KEYS and OWN_KEYS[name].is_of_searches


def _is_known(name: str) -> bool:
    return (
        name in SEARCH_PARAMS
        or name in SEARCH_KEYS_WITHOUT_EFFECT
        or name == HUMAN_PROFILE
        or name in _SECOND_NETWORK
        or _is_own(name)
    )
