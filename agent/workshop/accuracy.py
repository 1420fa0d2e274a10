"""How far one network's answers are from another's on the same positions. Start at `compare`.

Answers are read as the engine reads them (`core/evaluation.cpp`): the policy over legal moves, the win rate with what
the rules allow of "no result", scores through the network's multipliers. All from the side to move. An answer that is
not a number counts as the worst there can be, so that no mean hides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.engine.backends.interface import Backend, NetworkInfo, Outputs
from agent.errors import GateRefused
from agent.events import Reporter, SilentReporter, WorkshopProgress
from agent.export.artifact import QUANTILES, Accuracy
from agent.workshop.position_set import PHASES, Group, PositionSet

ENTROPY_THIRDS = ("low", "middle", "high")
# What an answer that is not finite counts as: the largest error that a win rate and an ownership can have, and more
# than any network that still answers shows in nats and points.
WORST_WIN, WORST_KL, WORST_SCORE, WORST_OWNERSHIP = 1.0, 1000.0, 1000.0, 2.0

# Global features (KataGo's V7): 6 is 0 under simple ko, 9 is 1 under territory scoring.
_KO_NOT_SIMPLE, _TERRITORY = 6, 9
_SCORE_MEAN, _LEAD = 0, 2

Real = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """n positions on one board: `log_policy` [n, area + 1] with −inf where illegal, `win` [n] probability, `score` and
    `lead` [n] points, `ownership` [n, area] −1 to 1, `finite` [n] whether all of a position's numbers are."""

    log_policy: Real
    win: Real
    score: Real
    lead: Real
    ownership: Real
    finite: NDArray[np.bool_]


@dataclass(frozen=True)
class Differences:
    """One row for each position of a set, in the order of its groups. `entropy` is the reference's, in nats; errors are
    absolute; `policy` and `ownership_max` are the largest of a position's moves and points."""

    agree: NDArray[np.bool_]
    kl: Real
    policy: Real
    win: Real
    score: Real
    lead: Real
    ownership: Real
    ownership_max: Real
    entropy: Real

    def take(self, mask: NDArray[np.bool_]) -> Differences:
        return Differences(*(part[mask] for part in self._parts()))

    @staticmethod
    def join(pieces: Sequence[Differences]) -> Differences:
        columns = zip(*(piece._parts() for piece in pieces), strict=True)
        return Differences(*(np.concatenate(column) for column in columns))

    def _parts(self) -> tuple[NDArray[Any], ...]:
        return tuple(getattr(self, field.name) for field in fields(self))


def evaluate(
    backend: Backend,
    positions: PositionSet,
    batch: int = 8,
    reporter: Reporter | None = None,
    what: str = "",
) -> list[Outputs]:
    """What `backend` says of every group, raw. `what` names the work to `reporter`.

    Raises:
        BackendUnavailable: see `Backend.evaluate`.
        GateRefused: the outputs have other shapes than a network's.
    """
    reporter = reporter or SilentReporter()
    done, results = 0, []
    for group in positions.groups:
        pieces = []
        for start in range(0, len(group), batch):
            reporter.report(WorkshopProgress(what or backend.network.name, done, len(positions)))
            outputs = backend.evaluate(*group.inputs(start, start + batch))
            _check(outputs, group, min(batch, len(group) - start), backend)
            pieces.append(outputs)
            done += len(outputs.value)
        results.append(Outputs(*(np.concatenate(parts) for parts in zip(*pieces, strict=True))))
    reporter.report(WorkshopProgress(what or backend.network.name, done, len(positions)))
    return results


def answers(outputs: Outputs, group: Group, network: NetworkInfo, optimism: float = 0.0) -> Answers:
    """`outputs` of the group's positions, as the engine reads them; `optimism` 0 to 1 mixes the optimistic policy in
    where the network has one."""
    logits = outputs.policy[:, 0]
    if optimism and network.policy_channels > 1:
        logits = logits + (outputs.policy[:, 1] - logits) * np.float32(optimism)
    finite = np.ones(len(group), bool)
    for part in (logits, outputs.value, outputs.score[:, [_SCORE_MEAN, _LEAD]], outputs.ownership):
        finite &= np.isfinite(part.reshape(len(group), -1)).all(axis=1)
    policy, value, score, ownership = (
        np.where(np.isfinite(part), part, 0).astype(np.float64)
        for part in (logits, outputs.value, outputs.score, outputs.ownership)
    )
    void = (group.global_[:, _KO_NOT_SIMPLE] == 0) | (group.global_[:, _TERRITORY] != 0)
    value[:, 2] = np.where(void, value[:, 2], -np.inf)
    win, _, no_result = np.exp(_log_softmax(value)).T
    return Answers(
        log_policy=_log_softmax(np.where(group.legal, policy, -np.inf)),
        win=win + 0.5 * no_result,
        score=score[:, _SCORE_MEAN] * network.score_mean_multiplier * (1 - no_result),
        lead=score[:, _LEAD] * network.lead_multiplier * (1 - no_result),
        ownership=np.tanh(ownership),
        finite=finite,
    )


def differences(reference: Answers, candidate: Answers) -> Differences:
    """Position by position."""
    probability = np.exp(reference.log_policy)
    legal = probability > 0
    log_reference = np.where(legal, reference.log_policy, 0.0)
    log_candidate = np.where(legal, np.maximum(candidate.log_policy, -WORST_KL), 0.0)
    usable = reference.finite & candidate.finite

    def or_worst(error: Real, worst: float) -> Real:
        return np.where(usable, np.minimum(error, worst), worst)

    ownership = np.abs(reference.ownership - candidate.ownership)
    kl = np.maximum((probability * (log_reference - log_candidate)).sum(axis=1), 0.0)
    return Differences(
        agree=usable & (reference.log_policy.argmax(axis=1) == candidate.log_policy.argmax(axis=1)),
        kl=or_worst(kl, WORST_KL),
        policy=or_worst(np.abs(probability - np.exp(candidate.log_policy)).max(axis=1), WORST_WIN),
        win=or_worst(np.abs(reference.win - candidate.win), WORST_WIN),
        score=or_worst(np.abs(reference.score - candidate.score), WORST_SCORE),
        lead=or_worst(np.abs(reference.lead - candidate.lead), WORST_SCORE),
        ownership=or_worst(ownership.mean(axis=1), WORST_OWNERSHIP),
        ownership_max=or_worst(ownership.max(axis=1), WORST_OWNERSHIP),
        entropy=-(probability * log_reference).sum(axis=1),
    )


def compare(
    reference: Sequence[Outputs], candidate: Sequence[Outputs], positions: PositionSet, network: NetworkInfo
) -> tuple[Accuracy, ...]:
    """How far `candidate` is from `reference` (each as `evaluate` gives it): first "all", then by phase, by board, and
    by thirds of the reference's policy entropy. Slices without a position are left out. `network` tells the
    multipliers, which both share."""
    pieces = [
        differences(answers(left, group, network), answers(right, group, network))
        for left, right, group in zip(reference, candidate, positions.groups, strict=True)
    ]
    return summarize(Differences.join(pieces), positions)


def summarize(found: Differences, positions: PositionSet) -> tuple[Accuracy, ...]:
    """The slices of `compare`, of differences that are there already."""
    games = np.concatenate([group.game for group in positions.groups])
    everything = np.ones(len(games), bool)
    slices = {"all": everything} | _slices(found, positions)
    return tuple(accuracy(name, found.take(mask), games[mask]) for name, mask in slices.items() if mask.any())


def accuracy(name: str, found: Differences, games: NDArray[np.int32]) -> Accuracy:
    """`found`, which is not empty, as one row."""
    return Accuracy(
        slice=name,
        positions=len(found.agree),
        games=len(set(games.tolist())),
        top1=float(found.agree.mean()),
        policy_kl=float(found.kl.mean()),
        win_mae=float(found.win.mean()),
        win_max=float(found.win.max()),
        score_mae=float(found.score.mean()),
        lead_mae=float(found.lead.mean()),
        ownership_mae=float(found.ownership.mean()),
        win_quantiles=tuple(float(each) for each in np.quantile(found.win, QUANTILES)),
        kl_quantiles=tuple(float(each) for each in np.quantile(found.kl, QUANTILES)),
        policy_max=float(found.policy.max()),
        score_max=float(found.score.max()),
        lead_max=float(found.lead.max()),
        ownership_max=float(found.ownership_max.max()),
    )


def _slices(found: Differences, positions: PositionSet) -> dict[str, NDArray[np.bool_]]:
    phase = np.concatenate([group.phase() for group in positions.groups])
    board = np.concatenate([np.full(len(group), _board(group)) for group in positions.groups])
    third = np.empty(len(phase), int)
    third[np.argsort(found.entropy, kind="stable")] = np.arange(len(phase)) * len(ENTROPY_THIRDS) // len(phase)
    boards: list[str] = sorted(set(board.tolist()), key=lambda name: [-int(side) for side in name.split("x")])
    return (
        {f"phase {name}": phase == number for number, name in enumerate(PHASES)}
        | {f"board {name}": board == name for name in boards}
        | {f"policy entropy {name}": third == number for number, name in enumerate(ENTROPY_THIRDS)}
    )


def _board(group: Group) -> str:
    """One name for a board whichever way it lies."""
    return f"{max(group.x_size, group.y_size)}x{min(group.x_size, group.y_size)}"


def _log_softmax(logits: Real) -> Real:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), np.float64)


def _check(outputs: Outputs, group: Group, count: int, backend: Backend) -> None:
    area = group.y_size * group.x_size
    network = backend.network
    wanted = ((count, network.policy_channels, area + 1), (count, 3), (count, network.score_channels), (count, area))
    found = tuple(part.shape for part in outputs)
    if found != wanted:
        raise GateRefused(f"{network.name} on {backend.name} gives outputs of shapes {found}, not {wanted}")
