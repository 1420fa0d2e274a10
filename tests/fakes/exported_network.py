"""Artifacts of small random networks, made as `agent export` makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from agent.engine.backends.interface import Array
from agent.events import SilentReporter
from agent.export.artifact import Artifact, Format
from agent.export.exporters import export
from agent.workshop.proof import prove


def exported(source: Path, format: Format, folder: Path, *, human_profile: str = "") -> Artifact:
    """`source` as an artifact in `folder`, proved by a run.

    Raises AgentError where the export fails."""
    (outcome,) = export(source, [format], folder, prove, SilentReporter(), human_profile=human_profile)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.artifact is not None
    return outcome.artifact


def random_inputs(count: int, y_size: int, x_size: int, seed: int = 0) -> tuple[Array, Array]:
    """Planes and globals that no position has, but every network takes."""
    random = np.random.default_rng(seed)
    spatial = (random.random((count, 22, y_size, x_size)) < 0.3).astype(np.float32)
    spatial[:, 0] = 1
    return spatial, random.standard_normal((count, 19)).astype(np.float32) * np.float32(0.3)
