"""Runs a fresh artifact through the runtime that a device will use. What it answers is judged by `agent verify`; here
it must answer at all."""

from __future__ import annotations

import re

import numpy as np

from agent.engine.backends import BACKENDS, open_backend
from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS
from agent.errors import BackendUnavailable, ConversionFailed
from agent.export.artifact import Artifact
from agent.export.job import ANY_BOARD

# Where any board is taken: one that is not square, then the largest.
_TRIAL_BOARDS = ((9, 7), (19, 19))
_BOARD = re.compile(r"(\d+)x(\d+)")


def prove(artifact: Artifact) -> None:
    """Run two positions on each of the artifact's boards. An artifact that none of our runtimes takes is left alone.

    Raises:
        ConversionFailed: the runtime does not take it, or answers with numbers that are not finite.
        BackendUnavailable: the runtime is not there.
    """
    facts = artifact.format.facts
    if facts.backend not in BACKENDS:
        return
    backend = open_backend(facts.backend, artifact.path, threads=1)
    try:
        for x_size, y_size in boards(artifact.manifest.board_sizes):
            spatial = np.zeros((2, SPATIAL_CHANNELS, y_size, x_size), np.float32)
            spatial[:, 0] = 1.0
            outputs = backend.evaluate(spatial, np.zeros((2, GLOBAL_CHANNELS), np.float32))
            if not all(np.isfinite(output).all() for output in outputs):
                raise ConversionFailed(
                    f"{artifact.path.name}: the outputs on {x_size}x{y_size} are not finite",
                    fix="Use another format or network.",
                )
    except BackendUnavailable as error:
        raise ConversionFailed(f"{artifact.path.name} does not run: {error}") from error
    finally:
        backend.close()


def boards(sizes: str) -> tuple[tuple[int, int], ...]:
    """Columns and rows of boards to try, from a manifest's `board_sizes`."""
    if sizes == ANY_BOARD:
        return _TRIAL_BOARDS
    return tuple((int(x_size), int(y_size)) for x_size, y_size in _BOARD.findall(sizes))
