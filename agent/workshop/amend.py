"""Adds to an artifact's manifest what was found out about it: its verification, its speeds, its matches.

Several processes may do so at once, and each would write back what it has read: a gate that failed meanwhile would pass
again. So the artifact is locked while its manifest changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from agent.errors import GateRefused
from agent.export.artifact import Artifact, ArtifactManifest, held, is_intact, read_artifact, write_manifest


def amend(path: Path, sha256: str, change: Callable[[ArtifactManifest], ArtifactManifest]) -> Artifact:
    """Put `change` of its present manifest beside the artifact at `path`, which is the one with that hash.

    Raises:
        GateRefused: the artifact is gone, or another one by now.
        ConversionFailed: the manifest cannot be written; the older one is still there.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(path))
        except OSError as error:
            raise _replaced(path) from error
        now = read_artifact(path)
        if now is None or now.manifest.sha256 != sha256:
            raise _replaced(path)
        return write_manifest(path, change(now.manifest))


def require_intact(artifact: Artifact) -> None:
    """Before anything is found out about it.

    Raises:
        GateRefused: it is not the file that its manifest names.
    """
    if not is_intact(artifact):
        raise GateRefused(
            f"{artifact.path} is not the file that its manifest names, or cannot be read", fix="Export it again."
        )


def _replaced(path: Path) -> GateRefused:
    return GateRefused(f"{path} was replaced or removed meanwhile; nothing is recorded", fix="Measure the new one.")
