"""Runs a fresh artifact through the runtime that a device will use. What it answers is judged by `agent verify`; here
it must answer at all."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from agent.engine.backends import BACKENDS, Backend, open_backend
from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS
from agent.errors import BackendUnavailable, ConversionFailed
from agent.export.artifact import Artifact
from agent.export.job import ANY_BOARD
from agent.workshop.probe import Probe

# The runtime that the agent itself cannot do without. Others may take the process with them, so they get their own.
_TRUSTED = "onnxruntime"
# Where any board is taken: one that is not square, then the largest.
_TRIAL_BOARDS = ((9, 7), (19, 19))
_BOARD = re.compile(r"(\d+)x(\d+)")


def prove(artifact: Artifact) -> None:
    """Run two positions on each of the artifact's boards. An artifact that none of our runtimes takes is left alone.

    Raises:
        ConversionFailed: the runtime is not there or does not take it, crashes, hangs, or answers with numbers that are
            not finite.
    """
    backend, sizes = artifact.format.facts.backend, boards(artifact.manifest.board_sizes)
    if backend not in BACKENDS:
        return
    if not sizes:
        raise ConversionFailed(
            f"{artifact.path.name} takes no board: {artifact.manifest.board_sizes!r}", fix="Export it again."
        )
    try:
        if backend != _TRUSTED:
            with Probe() as probe:
                probe.open(backend, str(artifact.path), 1)
                probe.prove(sizes)
            return
        opened = open_backend(backend, artifact.path, threads=1)
        try:
            run_on(opened, sizes)
        finally:
            opened.close()
    except BackendUnavailable as error:
        raise ConversionFailed(
            f"{artifact.path.name} does not run: {error}", fix="Use another format, or another network."
        ) from error


def run_on(backend: Backend, sizes: Sequence[tuple[int, int]]) -> None:
    """Run two empty boards of each of `sizes` (columns, rows).

    Raises:
        BackendUnavailable: the runtime failed, or an output is not a finite number.
    """
    for x_size, y_size in sizes:
        spatial = np.zeros((2, SPATIAL_CHANNELS, y_size, x_size), np.float32)
        spatial[:, 0] = 1.0
        outputs = backend.evaluate(spatial, np.zeros((2, GLOBAL_CHANNELS), np.float32))
        if not all(np.isfinite(output).all() for output in outputs):
            raise BackendUnavailable(f"the outputs on {x_size}x{y_size} are not finite")


def boards(sizes: str) -> tuple[tuple[int, int], ...]:
    """Columns and rows of boards to try, from a manifest's `board_sizes`."""
    if sizes == ANY_BOARD:
        return _TRIAL_BOARDS
    return tuple((int(x_size), int(y_size)) for x_size, y_size in _BOARD.findall(sizes))
