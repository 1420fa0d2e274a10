"""Manifests that several change at once: nobody's change is lost, and none goes to another artifact."""

from __future__ import annotations

import threading
from pathlib import Path

import msgspec
import pytest

from agent.errors import GateRefused
from agent.export.artifact import (
    Artifact,
    ArtifactManifest,
    Speed,
    digest,
    manifest_path,
    read_artifact,
    write_manifest,
)
from agent.export.info import NetworkInfo
from agent.export.publish import publish, publishing
from agent.workshop.amend import amend, require_intact


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    path = tmp_path / "n.onnx"
    path.write_bytes(b"weights")
    info = NetworkInfo(name="n", version=8)
    return write_manifest(path, ArtifactManifest("n.onnx", "onnx-fp32", 7, digest(path), info, "1x1 to 19x19", {}))


def timed(number: int) -> Speed:
    return Speed(f"machine {number}", "onnxruntime", "19x19", 1, 1, 1.0, None)


def test_an_export_waits_for_who_is_writing_about_the_older_artifact(artifact: Artifact) -> None:
    """Or the older one's verdict would come to lie beside the new one."""
    path = artifact.path
    proved = threading.Event()

    def make(out: Path) -> ArtifactManifest:
        out.write_bytes(b"weights, again")
        return msgspec.structs.replace(artifact.manifest, size_bytes=14, sha256=digest(out))

    def export() -> None:
        with publishing(path.parent) as staging:
            publish(staging, path.name, make, lambda _: proved.set())

    exporting = threading.Thread(target=export)

    def change(now: ArtifactManifest) -> ArtifactManifest:
        exporting.start()
        assert proved.wait(30)
        exporting.join(0.3)
        return msgspec.structs.replace(now, gate="passed")

    assert amend(path, artifact.manifest.sha256, change).manifest.gate == "passed"
    exporting.join(30)
    found = read_artifact(path)
    assert found is not None and found.manifest.sha256 == digest(path) and found.manifest.gate == "not verified"


def test_what_others_write_meanwhile_stays(artifact: Artifact) -> None:
    """Reading, changing and writing back without a lock loses most of these."""
    together = threading.Barrier(4)

    def add(number: int) -> None:
        together.wait()
        for turn in range(5):
            new = timed(10 * number + turn)
            amend(
                artifact.path,
                artifact.manifest.sha256,
                lambda now, new=new: msgspec.structs.replace(now, speeds=(*now.speeds, new)),
            )

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = read_artifact(artifact.path)
    assert now is not None
    assert sorted(speed.hardware for speed in now.manifest.speeds) == sorted(
        timed(10 * number + turn).hardware for number in range(4) for turn in range(5)
    )


def test_nothing_is_written_to_an_artifact_that_took_its_place(artifact: Artifact) -> None:
    fresh = msgspec.structs.replace(artifact.manifest, sha256="7" * 64)
    write_manifest(artifact.path, fresh)
    with pytest.raises(GateRefused, match="replaced or removed"):
        amend(artifact.path, artifact.manifest.sha256, lambda now: msgspec.structs.replace(now, gate="passed"))
    now = read_artifact(artifact.path)
    assert now is not None and now.manifest == fresh


def test_an_artifact_that_is_gone_gets_no_manifest(artifact: Artifact) -> None:
    artifact.path.unlink()
    manifest_path(artifact.path).unlink()
    with pytest.raises(GateRefused, match="replaced or removed"):
        amend(artifact.path, artifact.manifest.sha256, lambda now: now)
    assert not list(artifact.path.parent.iterdir())


def test_an_artifact_is_what_its_manifest_names_or_refused(artifact: Artifact) -> None:
    require_intact(artifact)
    artifact.path.write_bytes(b"weighty")
    with pytest.raises(GateRefused, match="not the file that its manifest names"):
        require_intact(artifact)
