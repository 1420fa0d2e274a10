"""Artifacts that came from elsewhere with their folder: what is none is passed over, and nobody waits for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from agent.export.artifact import (
    ArtifactManifest,
    artifacts_in,
    digest,
    manifest_path,
    offered,
    read_artifact,
    write_manifest,
)
from agent.export.info import NetworkInfo

NESTED = b'{"more": ' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An artifact that passed, and that has no size: what a device tells of itself."""
    path = tmp_path / "n.onnx"
    path.touch()
    info = NetworkInfo(name="n", version=8)
    write_manifest(
        path, ArtifactManifest("n.onnx", "onnx-fp32", 0, digest(path), info, "1x1 to 19x19", {}, gate="passed")
    )
    return path


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def pipe_as_manifest(path: Path) -> None:
    pipe(manifest_path(path))


def nested_manifest(path: Path) -> None:
    manifest_path(path).write_bytes(NESTED)


def test_one_that_is_whole_is_offered(path: Path) -> None:
    (found,) = artifacts_in(path.parent)
    assert offered(found)


@pytest.mark.parametrize("replace", [device, pipe, pipe_as_manifest, nested_manifest])
def test_what_would_hold_up_or_end_who_reads_it_is_none(replace: Callable[[Path], None], path: Path) -> None:
    replace(path)
    assert read_artifact(path) is None and artifacts_in(path.parent) == []


def test_a_manifest_is_json_of_ours(path: Path) -> None:
    manifest_path(path).write_bytes(msgspec.json.encode({"file": 1}))
    assert read_artifact(path) is None
