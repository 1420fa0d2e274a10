"""What a native `katago analysis` answers, as the structs of `messages.py`. Pure.

katago is asked from the side to move, as KataGo's clients do: it prints nine digits, and turning a win rate of 0.99 to
the other side would lose two of them. Turned to White's side here and back by the protocols, every digit is kept.
Source: KataGo docs/Analysis_Engine.md and cpp/search/searchresults.cpp (getAnalysisJson).
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from agent.engine.messages import (
    MoveInfo,
    RawReport,
    RawRequest,
    RootInfo,
    SearchReport,
    SearchRequest,
    SearchStats,
)
from agent.engine.points import WHITE, parse_vertex
from agent.errors import NativeGarbage

# C++ prints what is no number as null.
Number = float | None


class NativeMove(msgspec.Struct, frozen=True, rename="camel"):
    """An entry of moveInfos."""

    move: str
    visits: int
    order: int
    winrate: Number
    score_lead: Number
    score_stdev: Number
    utility: Number
    lcb: Number
    utility_lcb: Number
    prior: Number
    weight: Number = None
    edge_visits: int | None = None
    edge_weight: Number = None
    score_selfplay: Number = None
    play_selection_value: Number = None
    no_result_value: Number = 0.0
    is_symmetry_of: str | None = None
    pv: tuple[str, ...] = ()
    pv_visits: tuple[int, ...] = ()
    pv_edge_visits: tuple[int, ...] = ()
    ownership: tuple[Number, ...] | None = None
    ownership_stdev: tuple[Number, ...] | None = None


class NativeRoot(msgspec.Struct, frozen=True, rename="camel"):
    """rootInfo. KataGo before 1.12 tells fewer of the network's own values; they stay what says "unknown"."""

    visits: int
    winrate: Number
    score_lead: Number
    score_stdev: Number
    utility: Number
    score_selfplay: Number = None
    weight: Number = None
    this_hash: str = ""
    sym_hash: str = ""
    raw_winrate: Number = None
    raw_lead: Number = None
    raw_score_selfplay: Number = None
    raw_score_selfplay_stdev: Number = None
    raw_no_result_prob: Number = 0.0
    raw_st_wr_error: Number = -0.5
    raw_st_score_error: Number = -1.0
    raw_var_time_left: Number = -1.0


class NativeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """Any line of katago's: an analysis, the echo of an action, an error or a warning."""

    id: str = ""
    action: str = ""
    error: str | None = None
    warning: str | None = None
    field: str = ""
    is_during_search: bool = False
    no_results: bool = False
    move_infos: tuple[NativeMove, ...] = ()
    root_info: NativeRoot | None = None
    policy: tuple[Number, ...] | None = None
    ownership: tuple[Number, ...] | None = None
    ownership_stdev: tuple[Number, ...] | None = None
    version: str = ""
    models: tuple[dict[str, Any], ...] = ()


_decoder = msgspec.json.Decoder(NativeAnswer)


def read_answer(line: bytes) -> NativeAnswer | None:
    """The answer in a line; None for a line that is no JSON object, such as what a wrapper prints.

    Raises NativeGarbage for an object that is no answer of KataGo's.
    """
    if not line.lstrip().startswith(b"{"):
        return None
    try:
        return _decoder.decode(line)
    except msgspec.ValidationError as error:
        raise NativeGarbage(f"katago answered with something else than KataGo's JSON: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def search_report(answer: NativeAnswer, request: SearchRequest, duration_s: float) -> SearchReport:
    """The report for an analysis of `request`; without a move to play, which `native_choice.py` draws.

    Raises NativeGarbage for a move that is none of the board's.
    """
    root = answer.root_info
    final = not answer.is_during_search
    if root is None:
        return SearchReport(id=request.id, final=final)
    turn = _Turn(request.player, (request.position.x_size, request.position.y_size))
    # katago does not tell how many of its visits ran the network.
    stats = SearchStats(visits=root.visits, evaluations=0, cache_hits=0, terminal=0, duration_s=duration_s)
    return SearchReport(
        id=request.id,
        final=final,
        root=turn.root(root),
        moves=tuple(turn.move(move) for move in answer.move_infos),
        ownership=turn.owners(answer.ownership) if request.ownership else None,
        ownership_stdev=_numbers(answer.ownership_stdev) if request.ownership_stdev else None,
        policy=_numbers(answer.policy) if request.policy else None,
        stats=stats,
    )


def raw_report(answer: NativeAnswer, request: RawRequest) -> RawReport:
    """The network's own values out of the answer to `native_query.raw_query`."""
    root = answer.root_info
    if root is None or answer.policy is None or answer.ownership is None:
        return RawReport(id=request.id, error="katago told nothing of the network")
    turn = _Turn(request.player, (request.position.x_size, request.position.y_size))
    values = turn.root(root)
    win_loss = 2 * values.raw_winrate - 1
    return RawReport(
        id=request.id,
        symmetry=request.symmetry,
        white_win=(1 - values.raw_no_result + win_loss) / 2,
        white_loss=(1 - values.raw_no_result - win_loss) / 2,
        no_result=values.raw_no_result,
        white_lead=values.raw_lead,
        white_score_selfplay=values.raw_score_selfplay,
        white_score_selfplay_sq=values.raw_score_selfplay_stdev**2 + values.raw_score_selfplay**2,
        var_time_left=values.raw_var_time_left,
        shortterm_winloss_error=values.raw_st_wr_error,
        shortterm_score_error=values.raw_st_score_error,
        policy=_numbers(answer.policy) or (),
        ownership=turn.owners(answer.ownership) or (),
    )


class _Turn:
    """From the side of `player` to White's."""

    def __init__(self, player: int, sizes: tuple[int, int]) -> None:
        self._player = player
        self._sizes = sizes
        self._sign = 1.0 if player == WHITE else -1.0

    def root(self, root: NativeRoot) -> RootInfo:
        return RootInfo(
            player=self._player,
            visits=root.visits,
            winrate=self._chance(root.winrate),
            score_lead=self._signed(root.score_lead),
            score_selfplay=self._signed(root.score_selfplay),
            score_stdev=_number(root.score_stdev),
            utility=self._signed(root.utility),
            weight=_number(root.weight, float(root.visits)),
            this_hash=root.this_hash,
            sym_hash=root.sym_hash,
            no_result=_number(root.raw_no_result_prob),
            raw_winrate=self._chance(root.raw_winrate),
            raw_lead=self._signed(root.raw_lead),
            raw_score_selfplay=self._signed(root.raw_score_selfplay),
            raw_score_selfplay_stdev=_number(root.raw_score_selfplay_stdev),
            raw_no_result=_number(root.raw_no_result_prob),
            # JSON holds half of what GTP prints, and `RootInfo` what GTP prints.
            raw_st_wr_error=2 * _number(root.raw_st_wr_error),
            raw_st_score_error=_number(root.raw_st_score_error),
            raw_var_time_left=_number(root.raw_var_time_left),
        )

    def move(self, move: NativeMove) -> MoveInfo:
        edge_visits = move.visits if move.edge_visits is None else move.edge_visits
        return MoveInfo(
            move=self._point(move.move),
            visits=move.visits,
            edge_visits=edge_visits,
            winrate=self._chance(move.winrate),
            score_lead=self._signed(move.score_lead),
            score_selfplay=self._signed(move.score_lead if move.score_selfplay is None else move.score_selfplay),
            score_stdev=_number(move.score_stdev),
            utility=self._signed(move.utility),
            lcb=self._chance(move.lcb),
            utility_lcb=self._signed(move.utility_lcb),
            prior=_number(move.prior),
            weight=_number(move.weight, float(move.visits)),
            play_selection_value=_number(move.play_selection_value, float(edge_visits)),
            order=move.order,
            no_result=_number(move.no_result_value),
            pv=tuple(map(self._point, move.pv)),
            pv_visits=move.pv_visits,
            pv_edge_visits=move.pv_edge_visits,
            ownership=self.owners(move.ownership),
            ownership_stdev=_numbers(move.ownership_stdev),
            symmetry_of=None if move.is_symmetry_of is None else self._point(move.is_symmetry_of),
            edge_weight=move.edge_weight,
        )

    def owners(self, values: tuple[Number, ...] | None) -> tuple[float, ...] | None:
        return None if values is None else tuple(self._sign * _number(value) for value in values)

    def _point(self, text: str) -> int:
        point = parse_vertex(text, *self._sizes)
        if point is None:
            raise NativeGarbage(f"katago named {text!r}, which is no point of {self._sizes[0]}x{self._sizes[1]}")
        return point

    def _chance(self, value: Number) -> float:
        chance = _number(value)
        return chance if self._player == WHITE else 1 - chance

    def _signed(self, value: Number) -> float:
        return self._sign * _number(value)


def _number(value: Number, default: float = math.nan) -> float:
    return default if value is None else value


def _numbers(values: tuple[Number, ...] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(map(_number, values))
