"""Where the workshop's files lie below the state folder."""

from __future__ import annotations

from pathlib import Path


def artifact_folder(state: Path, network_sha256: str) -> Path:
    """Where `agent export` puts the artifacts of a network, named by its SHA-256, and whoever runs them looks."""
    return state / "artifacts" / network_sha256
