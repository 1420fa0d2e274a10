"""Processes that export a network and die, or find no room. `run_and_die` is for a process of its own;
`python -m fakes.export_child SOURCE FOLDER` exports again and again onto a disk that is fuller or less full.

Death comes at a numbered file operation (Python's audit events), or in the middle of a write (the kernel's limit on
the size of files, with its signal left deadly): the same moments on every machine.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from fakes.full_disk_child import fill
from fakes.small_networks import tree

from agent.errors import AgentError
from agent.events import SilentReporter
from agent.export.artifact import Format
from agent.export.exporters import Outcome, export
from agent.workshop.proof import prove

FORMATS = (Format.ONNX_FP32, Format.ONNX_FP16, Format.ONNX_INT8_WEIGHTS)
FILE_OPERATIONS = frozenset(
    {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir", "tempfile.mkdtemp"}
)
# Room left on the disk, in bytes: nothing, less than one artifact, less than all of them.
ROOMS = (0, 1 << 12, 1 << 14, 1 << 15, 5 << 13)


def export_all(source: Path, folder: Path) -> list[Outcome]:
    return list(export(source, FORMATS, folder, prove, SilentReporter()))


def run_and_die(source: Path, folder: Path, operation: int | None, size_bytes: int | None, count: Path | None) -> None:
    """Export; die as `die_in` says; write to `count` how many file operations there were."""
    done = die_in(folder, operation, size_bytes)
    export_all(source, folder)
    if count is not None:
        count.write_text(str(done()))


def die_in(folder: Path, operation: int | None, size_bytes: int | None) -> Callable[[], int]:
    """From now on this process dies before file operation `operation` in `folder`, or in a write beyond `size_bytes`;
    returns what tells how many operations there have been."""
    done = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal done
        if event in FILE_OPERATIONS and any(str(folder) in str(argument) for argument in arguments):
            if done == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(watch)
    if size_bytes is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))
    return lambda: done


def on_full_disks(source: Path, folder: Path) -> list[dict[str, object]]:
    """What came of each of ROOMS, and at last of a disk with room enough, in the same folder."""
    found = []
    filler = folder / "filler"
    target = folder / "artifacts"
    for room in (*ROOMS, None):
        if room is not None:
            fill(filler)
            os.truncate(filler, max(0, filler.stat().st_size - room))
        before = tree(target)
        error = ""
        try:
            outcomes = export_all(source, target)
        except AgentError as raised:
            outcomes, error = [], type(raised).__name__
        made = [outcome.format.value for outcome in outcomes if outcome.made]
        errors = sorted({type(outcome.error).__name__ for outcome in outcomes if outcome.error} | {error} - {""})
        found.append({"made": made, "errors": errors, "before": before, "after": tree(target)})
        filler.unlink(missing_ok=True)
    return found


if __name__ == "__main__":
    print(json.dumps(on_full_disks(Path(sys.argv[1]), Path(sys.argv[2]))))
