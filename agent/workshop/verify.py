"""Judges artifacts by their network in fp32 on positions that they were not made with. Start at `Verifier.verify`.

Beside the artifact's errors stand two yardsticks: what the fp32 network itself changes when the board is mirrored, and
how far native KataGo's fp32 is from ours. Neither is judged. The reference's own file is judged by a second runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.engine.backends.interface import Backend, NetworkInfo, Outputs
from agent.errors import CalibrationError, GateRefused
from agent.events import Reporter
from agent.export.artifact import (
    NATIVE_SLICE,
    NOISE_SLICE,
    Accuracy,
    Artifact,
    ArtifactManifest,
    Verification,
    read_artifact,
)
from agent.export.job import ANY_BOARD
from agent.workshop.accuracy import Differences, accuracy, answers, compare, differences, evaluate
from agent.workshop.amend import amend, require_intact
from agent.workshop.gates import BOUNDS, Judgement, judge
from agent.workshop.golden import GoldenRow, NativeAnswer, golden_set, native_answers, packaged_rows
from agent.workshop.opening import OpenedNetwork
from agent.workshop.position_set import Group, PositionSet
from agent.workshop.proof import boards
from agent.workshop.seen import SeenSet, require_apart

GOLDEN_SLICE = "golden"
# The reference runs twice on these; so many settle the two figures that the noise is read for.
NOISE_POSITIONS = 200
# KataGo's rootPolicyOptimism in GTP, with which recorded answers were made and native KataGo is asked.
NATIVE_OPTIMISM = 0.2
# What formats of one network differ in, and what says nothing of numbers.
_MAY_DIFFER = frozenset({"name", "precision", "form", "exporter"})


@dataclass(frozen=True)
class Verified:
    """`judgement` is None where there is nothing to judge, and `unjudged` then says why."""

    label: str
    accuracies: tuple[Accuracy, ...]
    yardsticks: tuple[Accuracy, ...]
    judgement: Judgement | None
    verification: Verification
    unjudged: str = ""


class Verifier:
    """Compares networks with one reference, which runs once on each position however many are compared."""

    def __init__(
        self,
        reference: OpenedNetwork,
        positions: PositionSet,
        reporter: Reporter,
        *,
        batch: int = 8,
        rows: Sequence[GoldenRow] = (),
        native: Sequence[NativeAnswer] = (),
        second: Callable[[], Backend | None] = lambda: None,
    ) -> None:
        """`rows` are the golden positions (default: the packaged ones), `native` native KataGo's answers to them.
        `second` opens what judges the reference's own file, which would pass against itself whatever it answers.

        Raises:
            BackendUnavailable, GateRefused: as `evaluate`; or the reference is not the file that its manifest names.
            CalibrationError: a golden position or an answer to one is none, or `positions` are none at all.
        """
        if not len(positions):
            raise CalibrationError("there is no position to verify on", fix="Make some with `agent positions`.")
        if reference.artifact is not None:
            require_intact(reference.artifact)
        self._reference, self._reporter, self._batch = reference, reporter, batch
        self._network: NetworkInfo = reference.backend.network
        alive = self._network.prefer_pass_alive
        self._positions = positions
        self._second = second
        self._rows = tuple(rows) or packaged_rows()
        self._golden, self._order = golden_set(self._rows, prefer_pass_alive=alive)
        self._outputs = self._evaluate(reference.backend, positions, f"{reference.label}")
        self._golden_outputs = self._evaluate(reference.backend, self._golden, f"{reference.label}, golden")
        self._yardsticks = (self._noise(), *self._native(native))

    def verify(self, candidate: OpenedNetwork, seen: Sequence[SeenSet] = ()) -> Verified:
        """How far `candidate` is from the reference, and whether its gate lets it through. Writes nothing.
        `seen` are the sets that an artifact may have been calibrated on.

        Raises:
            GateRefused: the file is not the one that its manifest names, or is of another network than that says, or
                the outputs have other shapes.
            CalibrationError: one game served both to calibrate and to verify, or nobody knows; or it takes none of
                the boards.
            BackendUnavailable: see `Backend.evaluate`.
        """
        artifact = candidate.artifact
        if artifact is not None:
            _check(artifact)
        is_judged = artifact is not None and is_reference(self._network, artifact.manifest.network)
        if artifact is not None and is_judged:
            _require_same_network(self._network, candidate)
            require_apart(artifact, self._positions, seen)
        second = self._second_outputs() if is_judged and self._is_own(artifact) else None
        by_second = second is not None
        outputs, golden_outputs = second or (self._outputs, self._golden_outputs)
        positions, outputs = _on_boards(artifact, self._positions, outputs)
        if not len(positions):
            raise CalibrationError(f"{candidate.label} takes none of the positions' boards")
        golden, golden_outputs = _on_boards(artifact, self._golden, golden_outputs)
        found = compare(
            outputs, self._evaluate(candidate.backend, positions, candidate.label), positions, self._network
        )
        if len(golden):
            theirs = self._evaluate(candidate.backend, golden, f"{candidate.label}, golden")
            whole = compare(golden_outputs, theirs, golden, self._network)[0]
            found += (msgspec.structs.replace(whole, slice=GOLDEN_SLICE),)
        unjudged = "" if by_second else self._unjudged(artifact)
        judgement = judge(artifact.format.facts.precision, found) if artifact and not unjudged else None
        name = self._reference.artifact.manifest.format if self._reference.artifact else self._reference.path.name
        name = "core" if by_second else name
        verification = Verification(f"{self._network.sha256} {name}", positions.sha256(), (*found, *self._yardsticks))
        return Verified(candidate.label, found, self._yardsticks, judgement, verification, unjudged)

    def _is_own(self, artifact: Artifact | None) -> bool:
        reference = self._reference.artifact
        return artifact is not None and reference is not None and reference.manifest.sha256 == artifact.manifest.sha256

    def _unjudged(self, artifact: Artifact | None) -> str:
        """Why the reference judges no `artifact`; empty where it does."""
        if artifact is None:
            return "it is no artifact with a manifest"
        if not is_reference(self._network, artifact.manifest.network):
            return "the reference is not this network in fp32"
        if self._is_own(artifact):
            return "it is the reference itself, and nothing else here runs the network"
        reference = self._reference.artifact
        now = None if reference is None else read_artifact(reference.path)  # that may have been a moment ago
        if now is not None and now.manifest.gate == "failed":
            return f"its own gate refused the reference, {now.path.name}; verify that first"
        return ""

    def _second_outputs(self) -> tuple[list[Outputs], list[Outputs]] | None:
        """The second runtime's answers to the positions and to the golden ones, None where there is none."""
        backend = self._second()
        if backend is None:
            return None
        try:
            label = f"{self._network.name} on {backend.name}"
            mine = self._evaluate(backend, self._positions, label)
            return mine, self._evaluate(backend, self._golden, f"{label}, golden")
        finally:
            backend.close()

    def _evaluate(self, backend: Backend, positions: PositionSet, what: str) -> list[Outputs]:
        return evaluate(backend, positions, self._batch, self._reporter, what)

    def _noise(self) -> Accuracy:
        """The reference against itself with left and right exchanged."""
        chosen = self._positions.sample(NOISE_POSITIONS, seed=0)
        upright = self._evaluate(self._reference.backend, chosen, "symmetry noise")
        mirrored = PositionSet(tuple(_mirror(group) for group in chosen.groups), chosen.source)
        turned = self._evaluate(self._reference.backend, mirrored, "symmetry noise, mirrored")
        back = [_mirror_back(outputs, group) for outputs, group in zip(turned, chosen.groups, strict=True)]
        whole = compare(upright, back, chosen, self._network)[0]
        return msgspec.structs.replace(whole, slice=NOISE_SLICE)

    def _native(self, native: Sequence[NativeAnswer]) -> tuple[Accuracy, ...]:
        """Native KataGo against the reference, both with native's policy optimism."""
        if not native:
            return ()
        pieces: list[Differences] = []
        done = 0
        for group, outputs in zip(self._golden.groups, self._golden_outputs, strict=True):
            numbers = self._order[done : done + len(group)]
            done += len(group)
            theirs = native_answers(
                [native[number] for number in numbers],
                [self._rows[number].position().to_play for number in numbers],
                group.y_size * group.x_size,
            )
            pieces.append(differences(answers(outputs, group, self._network, NATIVE_OPTIMISM), theirs))
        games = np.concatenate([group.game for group in self._golden.groups])
        return (accuracy(NATIVE_SLICE, Differences.join(pieces), games),)


def is_reference(reference: NetworkInfo, network: NetworkInfo) -> bool:
    """Whether a gate may be judged against `reference`: the same network, imitating the same player if any, in fp32."""
    same = reference.sha256 == network.sha256 != "" and reference.human_profile == network.human_profile
    return same and reference.precision == "fp32"


def record(artifact: Artifact, verified: Verified) -> Artifact:
    """Write what came of the verification into the artifact's manifest, in the place of an older one on the same
    positions. What others wrote there meanwhile stays.

    Raises:
        GateRefused: the artifact is gone, or another one by now.
        ConversionFailed: the manifest cannot be written.
    """
    judgement = verified.judgement
    assert judgement is not None

    def change(now: ArtifactManifest) -> ArtifactManifest:
        others = [each for each in now.verifications if each.position_set != verified.verification.position_set]
        return msgspec.structs.replace(
            now,
            gate="passed" if judgement.passed else "failed",
            gate_reasons=judgement.reasons,
            verifications=(*others, verified.verification),
        )

    return amend(artifact.path, artifact.manifest.sha256, change)


def _check(artifact: Artifact) -> None:
    if artifact.format.facts.precision not in BOUNDS:
        raise GateRefused(f"{artifact.manifest.format} has no gate")
    require_intact(artifact)


def _require_same_network(reference: NetworkInfo, candidate: OpenedNetwork) -> None:
    """That the file itself, not only its manifest, is of the reference's network and reads its outputs alike: the
    engine goes by what the file says, and the comparison by what the reference says."""
    found = candidate.backend.network
    apart = [
        name
        for name in NetworkInfo.__struct_fields__
        if name not in _MAY_DIFFER and getattr(found, name) != getattr(reference, name)
    ]
    if apart:
        raise GateRefused(
            f"{candidate.path} says something else of the network than the reference: {', '.join(apart)}",
            fix="Export it again.",
        )


def _on_boards(
    artifact: Artifact | None, positions: PositionSet, outputs: Sequence[Outputs]
) -> tuple[PositionSet, list[Outputs]]:
    """Those groups whose board the artifact takes."""
    if artifact is None or artifact.manifest.board_sizes == ANY_BOARD:
        return positions, list(outputs)
    sizes = set(boards(artifact.manifest.board_sizes))
    kept = [index for index, group in enumerate(positions.groups) if (group.x_size, group.y_size) in sizes]
    groups = tuple(positions.groups[index] for index in kept)
    return PositionSet(groups, positions.source), [outputs[index] for index in kept]


def _mirror(group: Group) -> Group:
    return replace(group, spatial=np.ascontiguousarray(group.spatial[..., ::-1]))


def _mirror_back(outputs: Outputs, group: Group) -> Outputs:
    """Answers to `_mirror(group)` as answers to `group`."""
    shape = (group.y_size, group.x_size)

    def back(points: NDArray[np.float32]) -> NDArray[np.float32]:
        return points.reshape(*points.shape[:-1], *shape)[..., ::-1].reshape(points.shape)

    policy = np.concatenate([back(outputs.policy[..., :-1]), outputs.policy[..., -1:]], axis=-1)
    return Outputs(policy, outputs.value, outputs.score, back(outputs.ownership))
