"""What the keys of a KataGo configuration mean here: which take effect where, and which nobody reads. Pure.

Start reading at `configure`: files and command line become one `Configuration`, of which `options` is what a protocol
object takes, `wishes` what the engine's process takes and `leftovers` what nobody takes. Search parameters are those of
`engine/search_params.py`, the protocols' own keys those of `options.py`.
Source of keys and ranges: KataGo cpp/program/setup.cpp, cpp/command/gtp.cpp, cpp/command/analysis.cpp.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from agent.engine.search_params import NO_FILE, SEARCH_PARAMS
from agent.errors import SettingRefused
from agent.service.clock import overtime
from agent.service.config_file import Setting
from agent.service.options import (
    LIMITS,
    MAX_VISITS,
    OWN_KEYS,
    ServiceOptions,
    flag,
    read_settings,
    split_overrides,
    whole,
)

# Its rules and these are set one way or the other, never both.
_RULE_KEYS: Final = {
    "koRule": "ko",
    "scoringRule": "scoring",
    "taxRule": "tax",
    "multiStoneSuicideLegal": "suicide",
    "hasButton": "hasButton",
    "whiteHandicapBonus": "whiteHandicapBonus",
    "friendlyPassOk": "friendlyPassOk",
}
_RULE_FLAGS: Final = ("multiStoneSuicideLegal", "hasButton", "friendlyPassOk")

_ALIAS: Final = "numSearchThreadsPerAnalysisThread"
_THREADS: Final = whole(1, 4096)
_ENGINE_KEYS: Final = {
    "numSearchThreads": _THREADS,
    "numAnalysisThreads": whole(1, 16384),
    "nnMaxBatchSize": whole(1, 65536),
    "nnCacheSizePowerOfTwo": whole(-1, 48),
}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LOG_KEYS: Final = _names(
    "logDir logDirDated logFile logToStderr logToStdout logTimeStamp logAllGTPCommunication logAllRequests"
    " logAllResponses logErrorsAndWarnings"
)
# Keys of one protocol alone; KataGo tells of them as unused in the other one's file.
_GTP_ONLY: Final = frozenset(_RULE_KEYS) | _names(
    "rules analysisWideRootNoise analysisIgnorePreRootHistory allowResignation resignThreshold resignConsecTurns"
    " resignMinScoreDifference resignMinMovesPerBoardArea logAllGTPCommunication ponderingEnabled friendlyPass"
    " cleanupBeforePass searchFactorWhenWinning searchFactorWhenWinningThreshold"
)
_ANALYSIS_ONLY: Final = _names(
    "warnUnusedFields numAnalysisThreads logAllRequests logAllResponses logErrorsAndWarnings"
)

# Native KataGo reads them for every search, so a query may hold them; here they change nothing.
SEARCH_KEYS_WITHOUT_EFFECT: Final = _names(
    """alwaysComputePassAliveUnderSuicideRules antiMirror avoidRepeatedPatternUtility endgameTurnTimeDecay
    evalCacheMinVisits futileVisitsThreshold graphSearchCatchUpLeakProb maxPlayoutsPondering midgameTimeFactor
    midgameTurnPeakTime nodeTableShardsPowerOfTwo numBots numSearchThreads obviousMovesPolicyEntropyTolerance
    obviousMovesPolicySurpriseTolerance obviousMovesTimeFactor overallocateTimeFactor
    rootDirichletNoiseTotalConcentration rootDirichletNoiseWeight rootNoiseEnabled treeReuseCarryOverTimeFactor
    useEvalCache useNonBuggyLcb"""
)
_KEYS_WITHOUT_EFFECT: Final = SEARCH_KEYS_WITHOUT_EFFECT | _names(
    """assumeMultipleStartingBlackMovesAreHandicap avoidMYTDaggerHack debugSkipNeuralNet defaultBoardSize
    defaultBoardXSize defaultBoardYSize delayMoveMax delayMoveScale dynamicPlayoutDoublingAdvantageCapPerOppLead
    forDeterministicTesting gtpForceMaxNNSize homeDataDir ignoreGTPAndForceKomi inputsUseNHWC logConfigContents
    logSearchInfo logSearchInfoForChosenMove maxBoardSizeForNNBuffer maxBoardXSizeForNNBuffer
    maxBoardYSizeForNNBuffer nnForcedSymmetry nnMutexPoolSizePowerOfTwo nnRandSeed numNNServerThreadsPerModel
    ogsChatToStderr requireMaxBoardSize searchRandSeed startupPrintMessageToStderr whiteBonusPerHandicapStone"""
)
# KataGo's backends have keys of their own, one for each model and thread where wanted.
_PREFIXES_WITHOUT_EFFECT: Final = (
    *("autoAvoidRepeat", "avoidSgf", "cuda", "deviceToUse", "dummybackend", "eigen", "gpuToUse", "humanSL"),
    *("metal", "numEigenThreadsPerModel", "opencl", "trt", "useFP16"),
)

# What KataGo does of itself where it differs from its example's, which are the defaults of `ServiceOptions`.
_SILENT: Final = {"allow_resignation": False, "lag_buffer_s": 0.0, "max_time_pondering_s": 1e20}
# And its clock where nothing at all limits a move: one second, then five periods of five.
_SILENT_CLOCK: Final = overtime(1.0, 5.0, 5, 1)

_OVERRIDES: Final = " and/or command-line and query overrides"

# A cached evaluation on 19×19 and its share of the table (`engine/forest.py`), and how much of the free memory a
# configuration may give to them: native KataGo's example asks for 12 to 25 GB.
_CACHED_BYTES: Final = 2000
_CACHE_SHARE: Final = 0.25


class EngineWishes(msgspec.Struct, frozen=True):
    """What a configuration asks of the engine's process; None where it says nothing. `in_flight` positions are with the
    network at the same time, over all searches; `positions` are searched at the same time."""

    in_flight: int | None = None
    positions: int | None = None
    max_batch: int | None = None
    cache_positions: int | None = None

    def threads(self, cores: int) -> int | None:
        """Search threads. KataGo's wait for each other's batches; ours compute, so more than cores are of no use."""
        return None if self.in_flight is None else min(self.in_flight, cores)

    def batch(self, threads: int, planned: int) -> int:
        """Positions that each of `threads` evaluates at once, so that as many are in flight as was asked for."""
        wanted = planned if self.in_flight is None else max(1, self.in_flight // threads)
        return wanted if self.max_batch is None else min(wanted, self.max_batch)

    def cache(self, planned: int, free_bytes: int) -> int:
        """Evaluations kept. More than planned as far as memory is free."""
        if self.cache_positions is None:
            return planned
        return min(self.cache_positions, max(planned, int(free_bytes * _CACHE_SHARE) // _CACHED_BYTES))


class Leftovers(msgspec.Struct, frozen=True):
    """Keys that change nothing: `unknown` to KataGo too, or known to it and `without_effect` here. Sorted."""

    unknown: tuple[str, ...]
    without_effect: tuple[str, ...]


class Configuration(msgspec.Struct, frozen=True):
    """Settings for `protocol`, "gtp" or "analysis", by name; `name` is what messages call them."""

    protocol: str = "gtp"
    settings: dict[str, Setting] = {}
    name: str = NO_FILE

    def options(self, defaults: ServiceOptions) -> ServiceOptions:
        """`defaults` with these settings in force. Without a file `defaults` hold for what they do not name; with one,
        what KataGo does where its file is silent.

        Raises SettingRefused.
        """
        own = {name: setting.text for name, setting in self.settings.items() if self._is_read(name)}
        if self.name != NO_FILE:
            defaults = self._silent(defaults)
            if "allowResignation" not in own:
                # KataGo reads it only beside the other.
                own.pop("resignThreshold", None)
        options, _ = read_settings(defaults, own, {name: self._where(name) for name in own})
        wishes = self.wishes()
        return msgspec.structs.replace(
            options,
            positions_at_once=wishes.positions,
            config_name=NO_FILE if self.name == NO_FILE else self.name + _OVERRIDES,
            configured=frozenset(self.settings),
        )

    def _silent(self, defaults: ServiceOptions) -> ServiceOptions:
        """`defaults` with what KataGo does where its file says nothing. An analysis without any limit would go on until
        it is stopped, there; here the profile's hold then."""
        is_limited = not self.settings.keys().isdisjoint(LIMITS)
        silent: dict[str, Any] = dict(_SILENT)
        if "allowResignation" not in self.settings:
            silent["resign_threshold"] = -1.0
        if is_limited or self.protocol == "gtp":
            silent |= {"max_visits": MAX_VISITS, "max_time_s": None}
        if not is_limited and self.protocol == "gtp":
            silent["clock"] = _SILENT_CLOCK
        return msgspec.structs.replace(defaults, **silent)

    def wishes(self) -> EngineWishes:
        """Raises SettingRefused."""
        number = {name: self._whole(name) for name in _ENGINE_KEYS if name in self.settings}
        positions = number.get("numAnalysisThreads") if self.protocol == "analysis" else None
        threads = number.get("numSearchThreads")
        power = number.get("nnCacheSizePowerOfTwo")
        return EngineWishes(
            in_flight=None if threads is None else threads * (positions or 1),
            positions=positions,
            max_batch=number.get("nnMaxBatchSize"),
            cache_positions=None if power is None else 2**power if power >= 0 else 0,
        )

    def leftovers(self) -> Leftovers:
        unread = [name for name in sorted(self.settings) if not self._takes_effect(name)]
        known = [name for name in unread if name in _KEYS_WITHOUT_EFFECT or name.startswith(_PREFIXES_WITHOUT_EFFECT)]
        return Leftovers(tuple(name for name in unread if name not in known), tuple(known))

    def flag(self, name: str, default: bool) -> bool:
        """Raises SettingRefused."""
        return flag(name, self.settings[name].text, self._where(name)) if name in self.settings else default

    def text(self, name: str) -> str:
        """Empty where it is not set."""
        return self.settings[name].text if name in self.settings else ""

    def _whole(self, name: str) -> int:
        return _ENGINE_KEYS[name](name, self.settings[name].text, self._where(name))

    def _where(self, name: str) -> str:
        setting = self.settings[name]
        return f"{setting.file}, line {setting.line}" if setting.file else self.name

    def _is_read(self, name: str) -> bool:
        return self._is_of_protocol(name) and (name in OWN_KEYS or name in SEARCH_PARAMS)

    def _takes_effect(self, name: str) -> bool:
        return self._is_read(name) or (self._is_of_protocol(name) and (name in _ENGINE_KEYS or name in LOG_KEYS))

    def _is_of_protocol(self, name: str) -> bool:
        return name not in (_ANALYSIS_ONLY if self.protocol == "gtp" else _GTP_ONLY)


def configure(
    protocol: str, files: Sequence[Mapping[str, Setting]] = (), overrides: Sequence[str] = (), name: str = ""
) -> Configuration:
    """The settings of `files`, each over those before it, and over them what `--override-config` gave; `name` is the
    first file's.

    Raises SettingRefused for pairs that cannot be read and for settings that exclude each other.
    """
    settings: dict[str, Setting] = {}
    for file in files:
        settings.update(file)
    for text in overrides:
        given = split_overrides(text)
        # Rules by name end rules one by one, and the other way round.
        if "rules" in given:
            _drop(settings, _RULE_KEYS)
        elif given.keys() & _RULE_KEYS.keys():
            _drop(settings, ("rules",))
        for key, value in given.items():
            settings.pop(key, None)
            if value:
                settings[key] = Setting(value)
    # KataGo adds this once for all of the command line's and again for a query's.
    config_name = NO_FILE if not name else name + _OVERRIDES if any(overrides) else name
    if _ALIAS in settings and "numSearchThreads" in settings:
        raise SettingRefused(f"Cannot specify both {_ALIAS} and numSearchThreads in the same config")
    if _ALIAS in settings:
        settings["numSearchThreads"] = settings.pop(_ALIAS)
    return _with_named_rules(Configuration(protocol, settings, config_name))


def _drop(settings: dict[str, Setting], keys: Sequence[str] | Mapping[str, Any]) -> None:
    for key in keys:
        settings.pop(key, None)


def _with_named_rules(configuration: Configuration) -> Configuration:
    """Rules that stand one by one, as `rules`."""
    settings = configuration.settings
    single = [key for key in _RULE_KEYS if key in settings]
    if not single or configuration.protocol != "gtp":
        return configuration
    if "rules" in settings:
        raise SettingRefused(f"Cannot both specify 'rules' and individual rules like {single[0]}")
    rules = {
        _RULE_KEYS[key]: configuration.flag(key, False) if key in _RULE_FLAGS else settings[key].text for key in single
    }
    named = msgspec.structs.replace(settings[single[0]], text=json.dumps(rules))
    rest = {key: setting for key, setting in settings.items() if key not in single}
    return msgspec.structs.replace(configuration, settings=rest | {"rules": named})
