"""What the report says of speed tables, those that `agent speed` leaves beside artifacts. Start at `timed`.

They also have what no manifest can tell: the converted network and our own kernels, which are no artifacts, and what
share of the machine's arithmetic each path uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from agent.engine.tuning import Contender, SetAside
from agent.workshop.limits import Limits, Peaks
from agent.workshop.place import lies_among_artifacts
from agent.workshop.speed import BoardSpeeds, NativeResult, PathSpeed, SpeedTable

FP32 = "fp32"
# The board that networks are compared on.
MAIN_BOARD = "19x19"

# What a path is: the network in fp32, in whichever form; an artifact with what its gate said; or a file that the table
# was made with and that is no longer here.
Standing = Literal["fp32-equal", "gate passed", "gate failed", "not verified", "no longer here"]


class TimedPath(msgspec.Struct, frozen=True):
    """`path.contender.path` is the file's name alone, as everywhere here."""

    path: PathSpeed
    standing: Standing


class TimedBoard(msgspec.Struct, frozen=True):
    """`paths` with the fastest first; `fp32_equal` is the fastest of those that answer as the network in fp32, and
    `verified` the fastest artifact that passed its own gate. `native_share` is of the limit of Winograd's method in
    fp32, which native KataGo uses. `set_aside`: who failed, and why."""

    board: str
    limits: Limits
    native: NativeResult | None
    native_share: float | None
    paths: tuple[TimedPath, ...]
    fp32_equal: PathSpeed | None
    verified: PathSpeed | None
    set_aside: tuple[SetAside, ...]


class TimedTable(msgspec.Struct, frozen=True):
    """`busy` is the machine's load average where somebody else was at work while it was made, and None otherwise."""

    hardware: str
    versions: dict[str, str]
    peaks: Peaks
    busy: float | None
    boards: tuple[TimedBoard, ...]


def timed(table: SpeedTable, standings: Mapping[str, Standing]) -> TimedTable:
    """`standings` of the network's artifacts, by their SHA-256."""
    boards = tuple(_board(board, table.network_sha256, standings) for board in table.boards)
    load = max(table.load)
    return TimedTable(table.hardware, table.versions, table.peaks, load if load > table.peaks.cores else None, boards)


def main_board(table: TimedTable) -> TimedBoard | None:
    """19×19, or the first where that was not measured."""
    return next((board for board in table.boards if board.board == MAIN_BOARD), next(iter(table.boards), None))


def _board(board: BoardSpeeds, network_sha256: str, standings: Mapping[str, Standing]) -> TimedBoard:
    ordered = sorted(board.paths, key=lambda path: -path.evals_per_s)
    paths = tuple(
        TimedPath(
            msgspec.structs.replace(path, contender=_by_name(path.contender)),
            _standing(path, network_sha256, standings),
        )
        for path in ordered
    )
    share = None
    if board.native is not None and board.limits.fp32_winograd:
        share = board.native.evals_per_s / board.limits.fp32_winograd
    passed = {sha256 for sha256, standing in standings.items() if standing == "gate passed"}
    return TimedBoard(
        board=board.board,
        limits=board.limits,
        native=board.native,
        native_share=share,
        paths=paths,
        fp32_equal=next((each.path for each in paths if each.standing == "fp32-equal"), None),
        verified=next((each.path for each in paths if each.path.contender.sha256 in passed), None),
        set_aside=tuple(SetAside(_by_name(lost.contender), lost.reason) for lost in board.set_aside),
    )


def _by_name(contender: Contender) -> Contender:
    """Without the folder: a report is for others, too."""
    return msgspec.structs.replace(contender, path=Path(contender.path).name)


def _standing(path: PathSpeed, network_sha256: str, standings: Mapping[str, Standing]) -> Standing:
    contender = path.contender
    if not lies_among_artifacts(Path(contender.path), network_sha256):
        # The converted network, in one form or the other, or the network's own file: no gate asks for these.
        return "fp32-equal"
    known = standings.get(contender.sha256, "no longer here")
    return "fp32-equal" if contender.precision == FP32 and known == "gate passed" else known
