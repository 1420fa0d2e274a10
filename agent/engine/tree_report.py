"""Reads a report out of the core: numbers and arrays of `core/report.h` into the structs of `messages.py`."""

from __future__ import annotations

import ctypes

import numpy as np

from agent.engine.messages import MoveInfo, RootInfo, SearchReport, SearchRequest, SearchStats

_ROOT_NUMBERS = 17
_MOVE_NUMBERS = 15


def declare_report(core: ctypes.CDLL) -> None:
    """Give the report functions of the core their types."""
    pointer, int32 = ctypes.c_void_p, ctypes.c_int32
    numbers = ctypes.POINTER(ctypes.c_double)
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "ka_report_new": (pointer, (pointer, ctypes.POINTER(int32))),
        "ka_report_free": (None, (pointer,)),
        "ka_report_has_root": (int32, (pointer,)),
        "ka_report_move_count": (int32, (pointer,)),
        "ka_report_chosen": (int32, (pointer,)),
        "ka_report_root": (None, (pointer, numbers, ctypes.POINTER(ctypes.c_uint64))),
        "ka_report_move": (int32, (pointer, int32, numbers)),
        "ka_report_pv": (None, (pointer, int32, ctypes.POINTER(ctypes.c_int64))),
        "ka_report_ownership": (int32, (pointer, int32, pointer, pointer)),
        "ka_report_policy": (None, (pointer, pointer)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(core, name)
        function.restype = result
        function.argtypes = arguments


def read_report(
    core: ctypes.CDLL, search: int, request: SearchRequest, *, final: bool, stats: SearchStats
) -> SearchReport:
    """The report of the core's `search` with what `request` asks for. Without a root where nothing is evaluated yet.

    Raises MemoryError where the core could not make it.
    """
    options = (ctypes.c_int32 * 6)(
        max(request.pv_len, 0),
        request.position.prevent_encore,
        request.ownership,
        request.ownership_stdev,
        request.moves_ownership,
        request.moves_ownership_stdev,
    )
    handle = core.ka_report_new(search, options)
    if not handle:
        raise MemoryError("the core could not make a report")
    try:
        if not core.ka_report_has_root(handle):
            return SearchReport(id=request.id, final=final, stats=stats)
        area = request.position.x_size * request.position.y_size
        reader = _Reader(core, handle, area)
        ownership, ownership_stdev = reader.ownership(-1)
        chosen = core.ka_report_chosen(handle)
        return SearchReport(
            id=request.id,
            final=final,
            root=reader.root(),
            moves=tuple(reader.move(index) for index in range(core.ka_report_move_count(handle))),
            chosen=chosen if chosen >= 0 else None,
            ownership=ownership if request.ownership else None,
            ownership_stdev=ownership_stdev if request.ownership_stdev else None,
            policy=reader.policy() if request.policy else None,
            stats=stats,
        )
    finally:
        core.ka_report_free(handle)


class _Reader:
    def __init__(self, core: ctypes.CDLL, handle: int, area: int) -> None:
        self._core = core
        self._handle = handle
        self._area = area

    def root(self) -> RootInfo:
        numbers = (ctypes.c_double * _ROOT_NUMBERS)()
        hashes = (ctypes.c_uint64 * 4)()
        self._core.ka_report_root(self._handle, numbers, hashes)
        player, visits, win_loss, no_result, score, stdev, lead, utility, weight, *raw = numbers
        raw_win_loss, raw_no_result, raw_score, raw_score_sq, raw_lead, raw_time, raw_wl_error, raw_score_error = raw
        return RootInfo(
            player=int(player),
            visits=int(visits),
            winrate=_winrate(win_loss),
            score_lead=lead,
            score_selfplay=score,
            score_stdev=stdev,
            utility=utility,
            weight=weight,
            this_hash=f"{hashes[1]:016X}{hashes[0]:016X}",
            sym_hash=f"{hashes[3]:016X}{hashes[2]:016X}",
            no_result=no_result,
            raw_winrate=_winrate(raw_win_loss),
            raw_lead=raw_lead,
            raw_score_selfplay=raw_score,
            raw_score_selfplay_stdev=max(0.0, raw_score_sq - raw_score * raw_score) ** 0.5,
            raw_no_result=raw_no_result,
            # Of win minus loss, −1 where the network has none: GTP prints it as it is, JSON the half of it.
            raw_st_wr_error=raw_wl_error,
            raw_st_score_error=raw_score_error,
            raw_var_time_left=raw_time,
        )

    def move(self, index: int) -> MoveInfo:
        numbers = (ctypes.c_double * _MOVE_NUMBERS)()
        length = self._core.ka_report_move(self._handle, index, numbers)
        move, symmetry_of, visits, edge_visits, win_loss, no_result, score, stdev, lead, utility, *rest = numbers
        lcb, utility_lcb, prior, weight, play_selection_value = rest
        line = (ctypes.c_int64 * (3 * length))()
        self._core.ka_report_pv(self._handle, index, line)
        ownership, ownership_stdev = self.ownership(index)
        return MoveInfo(
            move=int(move),
            visits=int(visits),
            edge_visits=int(edge_visits),
            winrate=_winrate(win_loss),
            score_lead=lead,
            score_selfplay=score,
            score_stdev=stdev,
            utility=utility,
            lcb=lcb,
            utility_lcb=utility_lcb,
            prior=prior,
            weight=weight,
            play_selection_value=play_selection_value,
            order=index,
            no_result=no_result,
            pv=tuple(line[:length]),
            pv_visits=tuple(line[length : 2 * length]),
            pv_edge_visits=tuple(line[2 * length :]),
            ownership=ownership,
            ownership_stdev=ownership_stdev,
            symmetry_of=int(symmetry_of) if symmetry_of >= 0 else None,
        )

    def ownership(self, index: int) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """Mean and standard deviation over the subtree of a move, or of the root (−1); None where not asked for."""
        mean = np.zeros(self._area, np.float32)
        stdev = np.zeros(self._area, np.float32)
        there = self._core.ka_report_ownership(self._handle, index, mean.ctypes.data, stdev.ctypes.data)
        return tuple(mean.tolist()) if there & 1 else None, tuple(stdev.tolist()) if there & 2 else None

    def policy(self) -> tuple[float, ...]:
        values = np.zeros(self._area + 1, np.float32)
        self._core.ka_report_policy(self._handle, values.ctypes.data)
        return tuple(values.tolist())


def _winrate(win_loss: float) -> float:
    return 0.5 + 0.5 * win_loss
