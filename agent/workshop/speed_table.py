"""The speed table as people read it. Prints nothing itself."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from agent.workshop.speed import BoardSpeeds, SpeedTable
from agent.workshop.tuned import MIB

_GIGA = 1e9


def tables(found: SpeedTable) -> list[Table]:
    """One of the machine and what bounds it, one for each board."""
    return [_machine(found), *(_board(found, board) for board in found.boards)]


def _machine(found: SpeedTable) -> Table:
    peaks = found.peaks
    shown = Table(title=f"{found.network} on {found.hardware}")
    shown.add_column("What the arithmetic allows")
    for board in found.boards:
        shown.add_column(f"{board.board}, evals/s", justify="right")
    all_limits = [board.limits for board in found.boards]
    rows = (
        (f"fp32, {peaks.fp32 / _GIGA:.0f} G multiply-adds/s, direct", [each.fp32_direct for each in all_limits]),
        ("fp32, F(4×4, 3×3)", [each.fp32_winograd for each in all_limits]),
        ("fp32, F(5×5, 3×3)", [each.fp32_winograd_5 for each in all_limits]),
        (f"int8 without dot products, {peaks.int8 / _GIGA:.0f} G/s", [each.int8_direct for each in all_limits]),
        (f"int8 with dot products, {peaks.int8_dot / _GIGA:.0f} G/s", [each.int8_dot_direct for each in all_limits]),
    )
    for label, limits in rows:
        shown.add_row(label, *(f"{limit:.1f}" if limit else "this processor has none" for limit in limits))
    busy = max(found.load)
    if busy > peaks.cores:
        shown.caption = f"The machine was busy (load {busy:.1f}): these figures are worth little."
    return shown


def _board(found: SpeedTable, board: BoardSpeeds) -> Table:
    shown = Table(title=f"{found.network}, {board.board}")
    for name in ("Runs", "Threads", "Sessions", "Batch", "evals/s", "÷ native", "share of", "limit", "memory"):
        shown.add_column(name)
    for path in board.paths:
        shown.add_row(
            str(path.contender),
            str(path.threads),
            str(path.sessions),
            str(path.batch),
            f"{path.evals_per_s:.2f}",
            "" if path.ratio is None else f"{path.ratio:.2f}",
            "" if path.share is None else f"{path.share:.0%}",
            path.limit,
            f"{path.peak_rss_bytes // MIB} MiB",
        )
    if board.native is not None:
        native = board.native
        share = native.evals_per_s / board.limits.fp32_winograd if board.limits.fp32_winograd else 0.0
        way = Text(f"native katago, {native.setting}")
        shown.add_row(way, "", "", "", f"{native.evals_per_s:.2f}", "1.00", f"{share:.0%}", "fp32, F(4×4, 3×3)", "")
    for lost in board.set_aside:
        shown.add_row(Text(str(lost.contender)), *[""] * 6, Text(f"set aside: {lost.reason}"), "")
    return shown
