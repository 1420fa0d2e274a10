"""What an artifact must reach before a device may run it. Start at `judge`, which is pure.

The bounds of `top1` and `win_mae` are the product's promise (the issue's Show 3), those of fp32 are its parity with
native KataGo. The others are sanity: they lie below the noise that a network shows against its own mirrored input
(docs/workshop.md has both), and a network that breaks them is broken in a head that the promise does not look at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

from agent.export.artifact import Accuracy
from agent.workshop.accuracy import WORST_WIN

# Fewer say too little: so many positions of so many games are the product's promise.
MIN_POSITIONS, MIN_GAMES = 500, 100
# A slice's mean may be worse than the bound for all positions by this, for slices differ in difficulty (policies of
# endgames on small boards are flat, so near-ties are common there).
SLICE_FACTOR = 2.5
# Slices of fewer positions are shown, not judged. Above it the share of agreeing moves gets two standard deviations.
MIN_SLICE_POSITIONS = 30
_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Bounds:
    """The smallest `top1` and the largest errors, as fields of `Accuracy`; infinite where nothing is promised."""

    top1: float
    win_mae: float
    policy_kl: float
    score_mae: float
    lead_mae: float
    ownership_mae: float
    win_max: float = math.inf
    policy_max: float = math.inf
    score_max: float = math.inf
    lead_max: float = math.inf
    ownership_max: float = math.inf


BOUNDS = {
    "fp32": Bounds(
        top1=0.995,
        win_mae=1e-4,
        policy_kl=1e-5,
        score_mae=0.01,
        lead_mae=0.01,
        ownership_mae=1e-3,
        win_max=1e-4,
        policy_max=1e-4,
        score_max=0.01,
        lead_max=0.01,
        ownership_max=1e-3,
    ),
    "fp16": Bounds(top1=0.995, win_mae=0.001, policy_kl=0.001, score_mae=0.05, lead_mae=0.05, ownership_mae=0.002),
    "int8-weights": Bounds(
        top1=0.98, win_mae=0.005, policy_kl=0.005, score_mae=0.25, lead_mae=0.25, ownership_mae=0.01
    ),
    "int8": Bounds(top1=0.97, win_mae=0.01, policy_kl=0.02, score_mae=0.75, lead_mae=0.75, ownership_mae=0.015),
}

_WORDS = {
    "top1": "moves that agree",
    "win_mae": "mean win error",
    "policy_kl": "policy KL",
    "score_mae": "mean score error",
    "lead_mae": "mean lead error",
    "ownership_mae": "mean ownership error",
    "win_max": "largest win error",
    "policy_max": "largest policy error",
    "score_max": "largest score error",
    "lead_max": "largest lead error",
    "ownership_max": "largest ownership error",
}


@dataclass(frozen=True)
class Judgement:
    """`reasons` say what is out of bounds, one line each; none when `passed`."""

    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.reasons


def judge(precision: str, accuracies: Sequence[Accuracy]) -> Judgement:
    """Whether an artifact of `precision` may be offered, by its distances from its network in fp32: "all" first, then
    the slices. Raises KeyError for a precision without a gate."""
    bounds, whole = BOUNDS[precision], accuracies[0]
    reasons = []
    if whole.positions < MIN_POSITIONS or whole.games < MIN_GAMES:
        reasons.append(
            f"{whole.positions} positions of {whole.games} games are too few; {MIN_POSITIONS} of {MIN_GAMES} are needed"
        )
    if any(each.win_max >= WORST_WIN for each in accuracies):
        reasons.append("an answer is not a number")
    reasons += _out_of_bounds(whole, bounds)
    for each in accuracies[1:]:
        if each.positions >= MIN_SLICE_POSITIONS:
            reasons += _out_of_bounds(each, slice_bounds(bounds, each.positions))
    return Judgement(tuple(reasons))


def slice_bounds(bounds: Bounds, positions: int) -> Bounds:
    """What a slice of so many positions must reach: means by SLICE_FACTOR looser, maxima as they are."""
    disagree = min(SLICE_FACTOR * (1 - bounds.top1), 0.5)
    slack = _DEVIATIONS * math.sqrt(disagree * (1 - disagree) / positions)
    return Bounds(
        top1=1 - disagree - slack,
        win_mae=SLICE_FACTOR * bounds.win_mae,
        policy_kl=SLICE_FACTOR * bounds.policy_kl,
        score_mae=SLICE_FACTOR * bounds.score_mae,
        lead_mae=SLICE_FACTOR * bounds.lead_mae,
        ownership_mae=SLICE_FACTOR * bounds.ownership_mae,
        win_max=bounds.win_max,
        policy_max=bounds.policy_max,
        score_max=bounds.score_max,
        lead_max=bounds.lead_max,
        ownership_max=bounds.ownership_max,
    )


def _out_of_bounds(found: Accuracy, bounds: Bounds) -> list[str]:
    lines = []
    for field in fields(Bounds):
        value, bound = getattr(found, field.name), getattr(bounds, field.name)
        is_within = value >= bound if field.name == "top1" else value <= bound
        if not is_within:  # also when it is no number
            lines.append(f"{found.slice}: {_WORDS[field.name]} {value:.5g}, bound {bound:.5g}")
    return lines
