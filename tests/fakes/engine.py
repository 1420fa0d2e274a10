"""An engine that answers only when a test says so. It implements `messages.Engine` and searches nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from agent.engine.messages import (
    EngineReady,
    MoveInfo,
    RawReport,
    RawRequest,
    ReportSink,
    RootInfo,
    SearchReport,
    SearchRequest,
)

READY = EngineReady(
    pid=1,
    network="g170e-b15c192-s1672170752-d466197061",
    network_version=8,
    network_sha256="15" * 32,
    precision="fp32",
    backend="uniform",
    threads=2,
    batch=4,
)


def root_info(player: int, **changes: object) -> RootInfo:
    """A root that White wins with 60 % and leads by 1.5 points; everything from White's side."""
    root = RootInfo(
        player=player,
        visits=10,
        winrate=0.6,
        score_lead=1.5,
        score_selfplay=2.25,
        score_stdev=20.123456789123,
        utility=0.25,
        weight=10.0,
        this_hash="ab" * 16,
        sym_hash="cd" * 16,
        no_result=0.0,
        raw_winrate=0.55,
        raw_lead=1.25,
        raw_score_selfplay=1.75,
        raw_score_selfplay_stdev=21.5,
        raw_no_result=0.0,
        raw_st_wr_error=-1.0,
        raw_st_score_error=-1.0,
        raw_var_time_left=-1.0,
    )
    return msgspec.structs.replace(root, **changes)


def move_info(move: int, pv: Sequence[int] = (), **changes: object) -> MoveInfo:
    """A move with the values of `root_info`; `pv` is what follows it."""
    info = MoveInfo(
        move=move,
        visits=9,
        edge_visits=8,
        winrate=0.6,
        score_lead=1.5,
        score_selfplay=2.25,
        score_stdev=20.123456789123,
        utility=0.25,
        lcb=0.55,
        utility_lcb=0.125,
        prior=0.3,
        weight=9.0,
        play_selection_value=9.0,
        order=0,
        no_result=0.0,
        pv=(move, *pv),
        pv_visits=(9,) * (1 + len(pv)),
        pv_edge_visits=(8,) * (1 + len(pv)),
    )
    return msgspec.structs.replace(info, **changes)


class FakeEngine:
    """`submitted` are the requests in order, `waiting` those that have no final report yet.

    A test answers with `report` (any report) or `release` (a final one). A stopped search answers at once with what
    `release` would say, unless `ignores_stops`.
    """

    def __init__(self, ready: EngineReady | None = READY) -> None:
        self.ready = ready
        self.submitted: list[SearchRequest | RawRequest] = []
        self.stopped: list[int] = []
        self.cleared = 0
        self.ignores_stops = False
        self.waiting: dict[int, tuple[SearchRequest | RawRequest, ReportSink]] = {}
        self.has_news = asyncio.Event()
        self._last_id = 0

    def submit(self, request: SearchRequest | RawRequest, deliver: ReportSink) -> None:
        self.submitted.append(request)
        self.waiting[request.id] = (request, deliver)
        self.has_news.set()

    def stop(self, request_id: int) -> None:
        self.stopped.append(request_id)
        self.has_news.set()
        if request_id in self.waiting and not self.ignores_stops:
            self.release(request_id)

    def clear_cache(self) -> None:
        self.cleared += 1
        self.has_news.set()

    def next_id(self) -> int:
        self._last_id += 1
        return self._last_id

    # ------------------------------------------------------------ what tests do

    def report(self, report: SearchReport | RawReport) -> None:
        """Deliver a report; a final one ends its request."""
        _, deliver = self.waiting[report.id]
        if isinstance(report, RawReport) or report.final:
            del self.waiting[report.id]
        deliver(report)

    def release(self, request_id: int | None = None, *, final: bool = True) -> SearchReport | RawReport:
        """Answer a request, the oldest one unless named, as `answer` does."""
        request, _ = self.waiting[next(iter(self.waiting)) if request_id is None else request_id]
        report = answer(request, final=final)
        self.report(report)
        return report

    async def until(self, is_met: Callable[[], bool]) -> None:
        """Wait until a condition on this engine holds."""
        while not is_met():
            self.has_news.clear()
            await self.has_news.wait()


def answer(request: SearchRequest | RawRequest, *, final: bool = True) -> SearchReport | RawReport:
    """What the fake says: the first legal-looking point (the first empty one) is best, the pass comes second."""
    position = request.position
    area = position.x_size * position.y_size
    taken = {point for _, point in position.initial_stones} | {point for _, point in position.moves}
    best = next((point for point in range(area) if point not in taken), area)
    if isinstance(request, RawRequest):
        policy = tuple(-1.0 if point in taken else 1.0 / (area + 1) for point in range(area))
        return RawReport(
            id=request.id,
            symmetry=request.symmetry,
            white_win=0.25,
            white_loss=0.75,
            policy=(*policy, 1.0 / (area + 1)),
            ownership=(0.5,) * area,
        )
    root = root_info(request.player)
    best_move = move_info(
        best,
        (area,),
        ownership=(0.25,) * area if request.moves_ownership else None,
        ownership_stdev=(0.125,) * area if request.moves_ownership_stdev else None,
    )
    pass_move = move_info(area, order=1, visits=1, edge_visits=1, prior=0.1)
    # The first visit is the root's own.
    moves = (best_move, pass_move) if request.max_visits > 1 else ()
    return SearchReport(
        id=request.id,
        final=final,
        root=root,
        moves=moves,
        chosen=best if final else None,
        ownership=(0.5,) * area if request.ownership else None,
        ownership_stdev=(0.125,) * area if request.ownership_stdev else None,
        policy=(1.0 / (area + 1),) * (area + 1) if request.policy else None,
    )
