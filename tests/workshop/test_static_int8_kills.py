"""An export to static INT8, killed at any moment, goes on and ends with the same bytes; it offers nothing half-made."""

from __future__ import annotations

import random
import shutil
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from fakes.calibration_child import calibrate_and_die, export_int8
from fakes.network_writer import NetworkWriter
from fakes.position_sets import made_up
from fakes.pull_child import start_forkserver
from fakes.small_networks import tree

from agent.export.artifact import artifacts_in, digest
from agent.workshop.static_int8 import CACHE


class Case:
    """A network and what to calibrate it on, and the folder as an export leaves it that nothing disturbs."""

    def __init__(self, folder: Path, context: ForkServerContext) -> None:
        self._context = context
        blocks = ["ordinary", ["gpool"]]
        self.source = NetworkWriter(14, blocks, channels=8, seed=5).write(folder / "n.bin.gz")
        self.positions = folder / "positions.npz"
        made_up().sample(12, 0).save(self.positions)
        counted = folder / "count"
        assert self.die(folder / "whole", count=counted) == 0
        self.operations = int(counted.read_text())
        self.whole = tree(folder / "whole")
        (artifact,) = artifacts_in(folder / "whole")
        self.largest_bytes = artifact.path.stat().st_size

    def die(
        self, folder: Path, *, operation: int | None = None, size_bytes: int | None = None, count: Path | None = None
    ) -> int | None:
        """How the export ended: 0, or minus the signal's number."""
        arguments = (self.source, self.positions, folder, operation, size_bytes, count)
        process = self._context.Process(target=calibrate_and_die, args=arguments)
        process.start()
        process.join(60)
        return process.exitcode

    def finish(self, folder: Path) -> None:
        """What counts meanwhile is what it says it is; the next run ends as one that nothing disturbed."""
        found = artifacts_in(folder)
        assert all(digest(artifact.path) == artifact.manifest.sha256 for artifact in found)
        outcome = export_int8(self.source, self.positions, folder)
        assert outcome.error is None and outcome.made is not bool(found)
        assert tree(folder) == self.whole


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"), start_forkserver())


def test_the_undisturbed_export_keeps_its_layers(case: Case) -> None:
    assert sum(name.startswith(CACHE) for name in case.whole) >= 4
    assert case.operations > 40


def test_killed_at_any_file_operation(case: Case, tmp_path: Path) -> None:
    for operation in sorted(random.Random(1).sample(range(case.operations), 5)):
        folder = tmp_path / f"at-{operation}"
        assert case.die(folder, operation=operation) == -signal.SIGKILL
        case.finish(folder)


def test_killed_in_the_middle_of_a_write(case: Case, tmp_path: Path) -> None:
    for size_bytes in random.Random(2).sample(range(100, case.largest_bytes), 2):
        folder = tmp_path / str(size_bytes)
        assert case.die(folder, size_bytes=size_bytes) == -signal.SIGXFSZ
        case.finish(folder)


def test_killed_again_and_again_it_gets_further_each_time(case: Case, tmp_path: Path) -> None:
    """Each run reads what the ones before have finished, and lives a little longer."""
    folder, finished = tmp_path / "again", []
    for operation in range(14, 23, 2):
        assert case.die(folder, operation=operation) == -signal.SIGKILL
        assert artifacts_in(folder) == []
        finished.append(len(list((folder / CACHE).rglob("*.npz"))))
    assert finished == sorted(finished) and finished[-1] > finished[0] + 1
    case.finish(folder)


def test_a_layer_that_is_damaged_is_made_again(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    assert case.die(folder, operation=case.operations - 8) == -signal.SIGKILL
    layers = sorted((folder / CACHE).rglob("*.npz"))
    layers[0].write_bytes(layers[0].read_bytes()[:-40])
    layers[1].write_bytes(b"")
    shutil.copyfile(layers[2], layers[3])
    case.finish(folder)
