"""Processes that calibrate and export static INT8, and die. `calibrate_and_die` is for a process of its own."""

from __future__ import annotations

from pathlib import Path

from fakes.export_child import die_in

from agent.events import SilentReporter
from agent.export.artifact import Format
from agent.export.exporters import Outcome, export
from agent.workshop.formats import FORMATS
from agent.workshop.proof import prove


def export_int8(source: Path, positions: Path, folder: Path) -> Outcome:
    """What `agent export --to onnx-int8 --calibration POSITIONS` does with a network that is there."""
    work = export(source, (Format.ONNX_INT8,), folder, prove, SilentReporter(), calibration=positions, table=FORMATS)
    (outcome,) = work
    return outcome


def calibrate_and_die(
    source: Path, positions: Path, folder: Path, operation: int | None, size_bytes: int | None, count: Path | None
) -> None:
    """Export; die as `die_in` says; write to `count` how many file operations there were."""
    done = die_in(folder, operation, size_bytes)
    outcome = export_int8(source, positions, folder)
    assert outcome.error is None, outcome.error
    if count is not None:
        count.write_text(str(done()))
