"""Exports that are killed at any moment, and disks that are full: what counts is whole, and a rerun completes it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from fakes.export_child import FORMATS, ROOMS, export_all, run_and_die
from fakes.network_writer import NetworkWriter
from fakes.pull_child import start_forkserver
from fakes.small_disks import on_disk
from fakes.small_networks import tree

from agent.export.artifact import artifacts_in, digest, manifest_path


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """So that a death costs no import."""
    return start_forkserver()


def die(
    context: ForkServerContext,
    source: Path,
    folder: Path,
    *,
    operation: int | None = None,
    size_bytes: int | None = None,
    count: Path | None = None,
) -> int | None:
    """How the export ended: 0, or minus the signal's number."""
    process = context.Process(target=run_and_die, args=(source, folder, operation, size_bytes, count))
    process.start()
    process.join(60)
    return process.exitcode


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    writer = NetworkWriter(14, ["ordinary", ["gpool"]], channels=8, seed=5)
    return writer.write(tmp_path_factory.mktemp("network") / "n.bin.gz")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The folder as an export leaves it that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "artifacts"
    assert all(outcome.made for outcome in export_all(source, folder))
    return tree(folder)


def assert_recovers(source: Path, folder: Path, whole: dict[str, str]) -> None:
    """What counts is what it says, and the next run makes what is missing, nothing else, and sweeps."""
    found = artifacts_in(folder)
    assert all(digest(artifact.path) == artifact.manifest.sha256 for artifact in found)
    outcomes = export_all(source, folder)
    assert [outcome.error for outcome in outcomes] == [None] * len(FORMATS)
    kept = [outcome.artifact.path for outcome in outcomes if outcome.artifact and not outcome.made]
    assert sorted(kept) == sorted(artifact.path for artifact in found)
    assert tree(folder) == whole


def test_killed_at_any_file_operation(
    context: ForkServerContext, source: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    counted = tmp_path / "count"
    assert die(context, source, tmp_path / "counted", count=counted) == 0
    operations = int(counted.read_text())
    assert operations > 40
    for operation in sorted(random.Random(1).sample(range(operations), 16)):
        folder = tmp_path / f"at-{operation}"
        assert die(context, source, folder, operation=operation) == -signal.SIGKILL
        assert_recovers(source, folder, whole)


def test_killed_while_an_older_export_is_replaced(
    context: ForkServerContext, source: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    """The older one is what it was, or gone, never half of each."""
    older = tmp_path / "older"
    export_all(source, older)
    for artifact in artifacts_in(older):
        text = manifest_path(artifact.path).read_text()
        manifest_path(artifact.path).write_text(text.replace('"writer": "', '"writer": "0.'))
        assert manifest_path(artifact.path).read_text() != text
    counted = tmp_path / "count"
    shutil.copytree(older, tmp_path / "counted")
    assert die(context, source, tmp_path / "counted", count=counted) == 0
    for operation in sorted(random.Random(2).sample(range(int(counted.read_text())), 8)):
        folder = tmp_path / f"at-{operation}"
        shutil.copytree(older, folder)
        assert die(context, source, folder, operation=operation) == -signal.SIGKILL
        assert all(digest(artifact.path) == artifact.manifest.sha256 for artifact in artifacts_in(folder))
        export_all(source, folder)
        assert tree(folder) == whole


def test_killed_in_the_middle_of_a_write(
    context: ForkServerContext, source: Path, whole: dict[str, str], tmp_path: Path
) -> None:
    largest = max(path.stat().st_size for path in source.parent.iterdir())
    for number, size_bytes in enumerate(random.Random(3).sample(range(100, largest), 6)):
        folder = tmp_path / str(number)
        assert die(context, source, folder, size_bytes=size_bytes) == -signal.SIGXFSZ
        assert_recovers(source, folder, whole)


def test_a_tool_that_fails_on_a_full_disk_is_told_as_that(source: Path, tmp_path: Path) -> None:
    """Others say it in words of their own: MNN's converter "wrote no file", coremltools "Input/output error"."""
    script = (
        "import sys; from pathlib import Path; from agent.errors import ConversionFailed\n"
        "from agent.events import SilentReporter; from agent.export.artifact import Format\n"
        "from agent.export.exporters import Exporter, export; from fakes.full_disk_child import fill\n"
        "def write(job):\n"
        "    fill(job.out)\n"
        "    raise ConversionFailed('the tool broke')\n"
        "table = {Format.MNN_FP32: Exporter(lambda: write, '1')}\n"
        "source, folder = map(Path, sys.argv[1:])\n"
        "(found,) = export(source, [Format.MNN_FP32], folder, print, SilentReporter(), table=table)\n"
        "print(type(found.error).__name__, found.error.explain(), folder.exists())\n"
    )
    done = printed_on(tmp_path / "disk", "-c", script, str(source), str(tmp_path / "disk" / "out"))
    assert "StorageFull" in done and "the tool broke" in done and "larger disk with --out" in done
    assert done.strip().endswith("False"), "and nothing is left"


def test_a_full_disk_stays_as_it_was(source: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    *full, roomy = json.loads(printed_on(disk, "-m", "fakes.export_child", str(source), str(disk)))
    assert len(full) == len(ROOMS)
    for found in full:
        assert found["errors"] == ["StorageFull"]
        assert len(found["after"]) == len(found["before"]) + 2 * len(found["made"])
        assert found["before"].items() <= found["after"].items()
    assert roomy["errors"] == []
    assert len(roomy["after"]) == 2 * len(FORMATS)


def printed_on(disk: Path, *arguments: str) -> str:
    """What Python prints with a disk of 4 MB at `disk`."""
    disk.mkdir()
    command = on_disk("4m", disk, [sys.executable, *arguments])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
