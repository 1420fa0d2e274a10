"""Parameters of a search by KataGo's names: defaults, ranges, and how their text is read.

The protocols check overrides here before they send them; the core holds the same names and defaults
(`core/search_params.h`, a test compares the two). No numpy: the front imports this module.
Source of names, ranges and defaults: KataGo cpp/program/setup.cpp, as its GTP engine sets them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from agent.errors import SettingRefused


class SearchParam(msgspec.Struct, frozen=True):
    """One parameter. `kind` is "real", "whole" or "flag"; `low` and `high` are inclusive and of no use for a flag."""

    name: str
    kind: str
    default: float | int | bool
    low: float = 0.0
    high: float = 1.0

    @property
    def type_name(self) -> str:
        """How KataGo's messages call the kind."""
        if self.name in _SINGLE_PRECISION:
            return "float"
        return {"real": "double", "whole": "int", "flag": "bool"}[self.kind]


def _real(name: str, default: float, low: float, high: float) -> SearchParam:
    return SearchParam(name, "real", default, low, high)


def _whole(name: str, default: int, low: int, high: int) -> SearchParam:
    return SearchParam(name, "whole", default, low, high)


def _flag(name: str, default: bool) -> SearchParam:
    return SearchParam(name, "flag", default)


_ALL: Final = (
    _real("winLossUtilityFactor", 1.0, 0.0, 1.0),
    _real("staticScoreUtilityFactor", 0.1, 0.0, 1.0),
    _real("dynamicScoreUtilityFactor", 0.3, 0.0, 1.0),
    _real("dynamicScoreCenterZeroWeight", 0.2, 0.0, 1.0),
    _real("dynamicScoreCenterScale", 0.75, 0.2, 5.0),
    _real("noResultUtilityForWhite", 0.0, -1.0, 1.0),
    _real("drawEquivalentWinsForWhite", 0.5, 0.0, 1.0),
    _real("cpuctExploration", 1.0, 0.0, 10.0),
    _real("cpuctExplorationLog", 0.45, 0.0, 10.0),
    _real("cpuctExplorationBase", 500.0, 10.0, 1e5),
    _real("cpuctUtilityStdevPrior", 0.40, 1e-8, 10.0),
    _real("cpuctUtilityStdevPriorWeight", 2.0, 0.0, 100.0),
    _real("cpuctUtilityStdevScale", 0.85, 0.0, 1.0),
    _real("fpuReductionMax", 0.2, 0.0, 2.0),
    _real("fpuLossProp", 0.0, 0.0, 1.0),
    _flag("fpuParentWeightByVisitedPolicy", True),
    _real("fpuParentWeightByVisitedPolicyPow", 2.0, 0.0, 5.0),
    _real("fpuParentWeight", 0.0, 0.0, 1.0),
    _real("policyOptimism", 1.0, 0.0, 1.0),
    _real("nnPolicyTemperature", 1.0, 0.01, 5.0),
    _flag("useGraphSearch", True),
    _whole("graphSearchRepBound", 11, 3, 50),
    _flag("nnRandomize", True),
    _real("numVirtualLossesPerThread", 1.0, 0.01, 1000.0),
    _real("minPlayoutsPerThread", 8.0, 0.0, 1e20),
    _real("valueWeightExponent", 0.25, 0.0, 1.0),
    _flag("useNoisePruning", True),
    _real("noisePruneUtilityScale", 0.15, 0.001, 10.0),
    _real("noisePruningCap", 1e50, 0.0, 1e50),
    _flag("useUncertainty", True),
    _real("uncertaintyCoeff", 0.25, 0.0001, 1.0),
    _real("uncertaintyExponent", 1.0, 0.0, 2.0),
    _real("uncertaintyMaxWeight", 8.0, 1.0, 100.0),
    _real("subtreeValueBiasFactor", 0.45, 0.0, 1.0),
    _real("subtreeValueBiasFreeProp", 0.8, 0.0, 1.0),
    _real("subtreeValueBiasWeightExponent", 0.85, 0.0, 1.0),
    _real("rootPolicyTemperature", 1.0, 0.01, 100.0),
    _real("rootPolicyTemperatureEarly", 1.0, 0.01, 100.0),
    _real("rootFpuReductionMax", 0.1, 0.0, 2.0),
    _real("rootFpuLossProp", 0.0, 0.0, 1.0),
    _whole("rootNumSymmetriesToSample", 1, 1, 8),
    _flag("rootSymmetryPruning", True),
    _real("rootDesiredPerChildVisitsCoeff", 0.0, 0.0, 100.0),
    _real("rootPolicyOptimism", 0.2, 0.0, 1.0),
    _real("wideRootNoise", 0.0, 0.0, 5.0),
    _real("rootEndingBonusPoints", 0.5, -1.0, 1.0),
    _flag("rootPruneUselessMoves", True),
    _real("chosenMoveTemperature", 0.1, 0.0, 5.0),
    _real("chosenMoveTemperatureEarly", 0.5, 0.0, 5.0),
    _real("chosenMoveTemperatureHalflife", 19.0, 0.1, 1e5),
    _real("chosenMoveTemperatureOnlyBelowProb", 1.0, 0.0, 1.0),
    _real("chosenMoveSubtract", 0.0, 0.0, 1e10),
    _real("chosenMovePrune", 1.0, 0.0, 1e10),
    _flag("useLcbForSelection", True),
    _real("lcbStdevs", 5.0, 1.0, 12.0),
    _real("minVisitPropForLCB", 0.15, 0.0, 1.0),
    _flag("conservativePass", True),
    _flag("fillDameBeforePass", False),
    _flag("enablePassingHacks", True),
    _flag("enableMorePassingHacks", True),
    _flag("ignorePreRootHistory", False),
    _flag("ignoreAllHistory", False),
    _real("playoutDoublingAdvantage", 0.0, -3.0, 3.0),
)

SEARCH_PARAMS: Final[Mapping[str, SearchParam]] = {param.name: param for param in _ALL}

# A parameter whose default is the value of another one, where that is given.
_FOLLOWS: Final = {
    "rootPolicyTemperatureEarly": "rootPolicyTemperature",
    "rootFpuLossProp": "fpuLossProp",
}

# What errors call the configuration where none of KataGo's files was given: settings then come over the command line or
# with a query, on top of our own file.
NO_FILE: Final = "agent.yaml and/or command-line and query overrides"

_SINGLE_PRECISION: Final = ("nnPolicyTemperature",)

_REAL: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,10}")
_WHOLE_LIMIT: Final = 2**31


def read_search_param(name: str, text: str, where: str = NO_FILE) -> float | int | bool:
    """The value of parameter `name` (a key of `SEARCH_PARAMS`) that `text` spells; `where` names the configuration in
    errors.

    Raises SettingRefused, with KataGo's text, when it is of another kind or out of range.
    """
    param = SEARCH_PARAMS[name]
    value = _parse(param, text.strip())
    if value is None:
        raise SettingRefused(f"Could not parse '{text}' as {param.type_name} for key '{name}' in config file {where}")
    if not in_range(param, value):
        raise SettingRefused(
            f"Key '{name}' must be in the range {param.low:g} to {param.high:g} in config file {where}"
        )
    return value


def in_range(param: SearchParam, value: float | int | bool) -> bool:
    """Whether the core may be given this value."""
    return param.kind == "flag" or (math.isfinite(value) and param.low <= value <= param.high)


def core_values(overrides: Mapping[str, float | int | bool]) -> dict[str, float]:
    """What the core is told for `overrides`: flags as 0 and 1, defaults that follow another parameter filled in.

    Raises SettingRefused for a name that is none or a value out of range.
    """
    values: dict[str, float] = {}
    for name, value in overrides.items():
        param = SEARCH_PARAMS.get(name)
        if param is None or not in_range(param, value):
            raise SettingRefused(f"search parameter {name} cannot be {value}")
        values[name] = float(value)
    for name, leader in _FOLLOWS.items():
        if leader in values and name not in values:
            values[name] = values[leader]
    if "policyOptimism" in values and "rootPolicyOptimism" not in values:
        values["rootPolicyOptimism"] = min(values["policyOptimism"], float(SEARCH_PARAMS["rootPolicyOptimism"].default))
    return values


def _parse(param: SearchParam, text: str) -> float | int | bool | None:
    """What KataGo takes: no "yes", no "nan", no "1_000"."""
    if param.kind == "flag":
        return {"true": True, "false": False}.get(text.lower())
    if param.kind == "real":
        value = float(text) if _REAL.fullmatch(text) else math.inf
        return value if math.isfinite(value) else None
    return int(text) if _WHOLE.fullmatch(text) and -_WHOLE_LIMIT <= int(text) < _WHOLE_LIMIT else None
