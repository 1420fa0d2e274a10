"""What one client has at the engine: no more than the front can hold of its reports should the client not read them.

The protocols bound the number of requests (`analysis.SUBMIT_LIMIT`); here it is their size. A report with the ownership
of every move is four hundred times one without, and the front of a small board has 40 MB in all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from agent.engine.messages import Engine, RawReport, RawRequest, ReportSink, SearchReport, SearchRequest

# Two reports with every move's ownership on 19×19, the most that KaTrain asks for; some dozens of ordinary ones.
MAX_REPORT_BYTES: Final = 8 << 20
# A float in a tuple: its object and the pointer to it.
_FLOAT_BYTES: Final = 32
# Of one move without ownership: its struct, its numbers and a principal variation.
_MOVE_BYTES: Final = 2000


class Share:
    """Passes requests on as `client`'s; those for which there is no room wait here, in order."""

    def __init__(self, engine: Engine, client: str, deliver: ReportSink, call_soon: Callable[..., object]) -> None:
        self._engine = engine
        self._client = client
        self._deliver = deliver
        self._call_soon = call_soon
        self._sizes: dict[int, int] = {}
        self._waiting: dict[int, SearchRequest | RawRequest] = {}
        self._bytes = 0

    def submit(self, request: SearchRequest | RawRequest) -> None:
        """Give the request to the engine, now or when there is room; one alone always has room."""
        self._waiting[request.id] = msgspec.structs.replace(request, client=self._client)
        self._pass_on()

    def stop(self, request_id: int) -> None:
        """As the engine's; a request that waits here has no results."""
        waiting = self._waiting.pop(request_id, None)
        if waiting is None:
            self._engine.stop(request_id)
            return
        is_raw = isinstance(waiting, RawRequest)
        nothing = RawReport(id=request_id, error="stopped") if is_raw else SearchReport(id=request_id, final=True)
        # Not at once: the connection that asks is still at work.
        self._call_soon(self._deliver, nothing)

    def taken(self, request_id: int) -> None:
        """The client's connection has made of the final report what it sends."""
        self._bytes -= self._sizes.pop(request_id, 0)
        self._pass_on()

    def end(self) -> None:
        """Nobody waits for any report any more."""
        self._waiting.clear()
        for request_id in list(self._sizes):
            self._engine.stop(request_id)

    def _pass_on(self) -> None:
        while self._waiting:
            request = next(iter(self._waiting.values()))
            size = report_bytes(request)
            if self._sizes and self._bytes + size > MAX_REPORT_BYTES:
                return
            del self._waiting[request.id]
            self._sizes[request.id] = size
            self._bytes += size
            self._engine.submit(request, self._deliver)


def report_bytes(request: SearchRequest | RawRequest) -> int:
    """What a report of this request takes in memory at the most."""
    area = request.position.x_size * request.position.y_size
    if isinstance(request, RawRequest):
        return 2 * area * _FLOAT_BYTES
    moves = min(request.max_visits, area + 1)
    planes = request.ownership + request.ownership_stdev + request.policy
    planes += moves * (request.moves_ownership + request.moves_ownership_stdev)
    return moves * _MOVE_BYTES + planes * area * _FLOAT_BYTES
