"""Which positions an artifact was made with, so that no game of them judges it. Start at `require_apart`.

A recipe names the set, not its games; whoever verifies must have it at hand. An artifact of which nobody can tell what
it has seen is not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import CalibrationError
from agent.export.artifact import Artifact, digest
from agent.workshop.position_set import PositionSet, load_position_set

# What recipes call it: the hash of a set's positions, or that and more words, or the hash of its file.
_SETS = ("calibration set", "qat positions")
_FILE = "calibration"


@dataclass(frozen=True)
class SeenSet:
    """A set that an artifact may have been made with; `file_sha256` is its file's."""

    file_sha256: str
    positions: PositionSet


def load_seen(path: Path) -> SeenSet:
    """Raises CalibrationError: not there, or no position set."""
    positions = load_position_set(path)
    return SeenSet(digest(path), positions)


def was_made_with_positions(artifact: Artifact) -> bool:
    return bool(_wanted(artifact))


def require_apart(artifact: Artifact, positions: PositionSet, known: Sequence[SeenSet]) -> None:
    """That `artifact` was made with no game of `positions`.

    Raises:
        CalibrationError: it was, or the set it was made with is none of the `known`.
    """
    name = artifact.path.name
    for wanted in _wanted(artifact):
        if wanted == positions.sha256():
            raise _shared(f"{name} was calibrated on the very positions that it would be verified on")
        seen = next((each for each in known if wanted in (each.positions.sha256(), each.file_sha256)), None)
        if seen is None:
            raise CalibrationError(
                f"what {name} was calibrated or trained on is not here, so nobody knows whether the same games would "
                "judge it",
                fix=f"Name the position set (hash {wanted[:16]}…) with --calibration.",
            )
        shared = positions.game_ids() & seen.positions.game_ids()
        if shared:
            raise _shared(f"{name} was calibrated on {len(shared)} of the games that it would be verified on")


def _wanted(artifact: Artifact) -> list[str]:
    """The hash of each set that it was made with."""
    recipe = artifact.manifest.recipe
    found = [recipe[key].split()[0] for key in _SETS if recipe.get(key)]
    return found or ([recipe[_FILE]] if recipe.get(_FILE) else [])


def _shared(reason: str) -> CalibrationError:
    return CalibrationError(reason, fix="Verify on positions of other games: `agent positions` with another --seed.")
