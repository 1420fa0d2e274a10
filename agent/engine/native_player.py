"""Requests of the front against a native `katago analysis`, without I/O: messages and lines in, messages and lines out.

Start at `NativePlayer`. katago searches one position in each of its analysis threads. Requests wait here and not there,
best priority first, so that we know when each search began, a search that is stopped while it waits costs nothing, and
the last thread is kept for short searches: long analyses never keep a move in a game waiting. Clients take turns.

What native katago cannot do: it keeps no tree from one search to the next. What the network said stays in its cache, so
a search that goes on from the last one's position runs through the known part without the network.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from agent.engine.game import Game
from agent.engine.messages import ClearCache, FrontMessage, Ping, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.messages import StopRequest as StopMessage
from agent.engine.native_choice import choose
from agent.engine.native_query import raw_query, search_query, watch_s
from agent.engine.native_report import NativeAnswer, raw_report, read_answer, search_report
from agent.errors import AgentError

# Analyses of four clients at once share the machine well; a fifth thread is for the network alone, a sixth for what
# is searched while nobody waits.
SLOTS: Final = 4
ANALYSIS_THREADS: Final = SLOTS + 2
# KataGo's gtp_example.cfg plays with 500 visits: a search that asks for no more is a move in a game.
SHORT_VISITS: Final = 500
# A visit with its evaluation takes 2.4 kB on 19×19 with ownership (b6c96, 3000 visits, measured), as much as a position
# in the cache: whoever sized the cache for the machine's memory sized the trees with it, as in `forest.py`.
MIN_TREE_VISITS: Final = 10_000

_PING: Final = "ping"
_MODELS: Final = "models"
_CLEAR: Final = "clear"
_STOP: Final = "stop"

Outgoing = bytes | SearchReport | RawReport


@dataclass
class Standing:
    """What katago has said of itself. `answered` counts answers of any kind: signs of life."""

    version: str = ""
    models: tuple[dict[str, Any], ...] = ()
    answered: int = 0

    @property
    def is_ready(self) -> bool:
        return bool(self.version and self.models)

    @property
    def has_human_sl(self) -> bool:
        """Whether the network imitates players; a katago imitates whom each query names."""
        return bool(self.models) and bool(self.models[0].get("usesHumanSLProfile"))


@dataclass
class _Search:
    request: SearchRequest | RawRequest
    arrival: int
    started_s: float | None = None
    due_s: float = 0.0
    visits: int = 0
    # A search in the background that makes room goes on later; `last` is what it had found.
    makes_room: bool = False
    last: SearchReport | None = None

    @property
    def name(self) -> str:
        return str(self.request.id)

    @property
    def is_running(self) -> bool:
        return self.started_s is not None

    @property
    def is_raw(self) -> bool:
        return isinstance(self.request, RawRequest)

    @property
    def is_background(self) -> bool:
        return isinstance(self.request, SearchRequest) and self.request.background

    @property
    def rank(self) -> int:
        """The network alone is one run and goes first; what is in the background goes last."""
        return 0 if self.is_raw else 1 + self.is_background

    @property
    def own_rank(self) -> tuple[float, int]:
        """Among the requests of one client: as KataGo orders them."""
        return -self.request.priority if isinstance(self.request, SearchRequest) else 0.0, self.arrival

    @property
    def is_long(self) -> bool:
        request = self.request
        return (
            isinstance(request, SearchRequest) and request.max_time_s is None and request.visits_from(0) > SHORT_VISITS
        )


class NativePlayer:
    """Everything returned is to be sent: bytes, which are lines, to katago, and reports to the front."""

    def __init__(self, *, cache_positions: int, seed: int, slots: int = SLOTS) -> None:
        self.standing = Standing()
        self.pings_unanswered = 0
        self._slots = slots
        self._max_visits = max(MIN_TREE_VISITS, cache_positions)
        self._chance = random.Random(seed)
        self._searches: dict[int, _Search] = {}
        self._arrivals = 0
        self._visits_done = 0

    @property
    def running(self) -> int:
        return sum(search.is_running for search in self._searches.values())

    @property
    def waiting(self) -> int:
        return len(self._searches) - self.running

    @property
    def visits_total(self) -> int:
        """Since the start, those of searches under way included."""
        return self._visits_done + sum(search.visits for search in self._searches.values())

    # ------------------------------------------------------------ from the front

    def hello(self) -> list[Outgoing]:
        """What to ask first: it is answered once the network is loaded."""
        return [*self.ping(), _line({"id": _MODELS, "action": "query_models"})]

    def ping(self) -> list[Outgoing]:
        """A question that a katago which is well answers at once, however much it searches."""
        self.pings_unanswered += 1
        return [_line({"id": _PING, "action": "query_version"})]

    def receive(self, message: FrontMessage, now_s: float) -> list[Outgoing]:
        match message:
            case SearchRequest() | RawRequest():
                self._searches[message.id] = _Search(message, self._arrivals)
                self._arrivals += 1
                return self._start_more(now_s)
            case StopMessage():
                return self._stop(message.id)
            case ClearCache():
                return [_line({"id": _CLEAR, "action": "clear_cache"})]
            case Ping():
                return []

    def _stop(self, request_id: int) -> list[Outgoing]:
        search = self._searches.get(request_id)
        if search is None:
            return []
        search.makes_room = False
        if search.is_running:
            return [_terminate(search)]
        del self._searches[request_id]
        return [msgspec.structs.replace(search.last, final=True) if search.last else _nothing(search.request)]

    # ------------------------------------------------------------ from katago

    def hear(self, line: bytes, now_s: float) -> list[Outgoing]:
        """Raises NativeGarbage for what is no answer of KataGo's; lines that are no JSON are passed over."""
        answer = read_answer(line)
        if answer is None:
            return []
        self.standing.answered += 1
        if answer.action:
            self._hear_echo(answer)
            return []
        search = self._searches.get(int(answer.id)) if answer.id.isdecimal() else None
        # A warning (rules that the network does not know) comes before the answer, under its name.
        if search is None or search.started_s is None or answer.warning is not None:
            return []
        if answer.error is not None:
            return self._end(search, _failure(search.request, _refusal(answer)), now_s)
        if isinstance(search.request, RawRequest):
            return [] if answer.is_during_search else self._end(search, raw_report(answer, search.request), now_s)
        return self._hear_search(search, search.request, answer, now_s)

    def _hear_echo(self, answer: NativeAnswer) -> None:
        if answer.id == _PING:
            self.pings_unanswered = max(0, self.pings_unanswered - 1)
            self.standing.version = answer.version or self.standing.version
        elif answer.id == _MODELS:
            self.standing.models = answer.models or self.standing.models

    def _hear_search(
        self, search: _Search, request: SearchRequest, answer: NativeAnswer, now_s: float
    ) -> list[Outgoing]:
        search.visits = answer.root_info.visits if answer.root_info else search.visits
        is_awaited = search.makes_room or not answer.is_during_search
        if not is_awaited and not self._is_due(search, request, now_s):
            return []
        assert search.started_s is not None
        report = search_report(answer, request, now_s - search.started_s)
        if report.root is not None:
            chosen = choose(report.moves, answer_policy(answer), request, self._chance)
            report = msgspec.structs.replace(report, chosen=chosen)
        if answer.is_during_search:
            return [] if search.makes_room else [report]
        if search.makes_room:
            search.last, search.started_s, search.makes_room = report if report.root else search.last, None, False
            self._visits_done, search.visits = self._visits_done + search.visits, 0
            return self._start_more(now_s)
        return self._end(search, report, now_s)

    def _is_due(self, search: _Search, request: SearchRequest, now_s: float) -> bool:
        """Whether this partial report is one that the client wants; others come so that we see progress."""
        if request.report_every_s is None:
            return False
        if now_s < search.due_s - watch_s(request) / 2:
            return False
        search.due_s = max(search.due_s + request.report_every_s, now_s)
        return True

    def _end(self, search: _Search, report: SearchReport | RawReport, now_s: float) -> list[Outgoing]:
        self._visits_done += search.visits
        del self._searches[search.request.id]
        return [report, *self._start_more(now_s)]

    # ------------------------------------------------------------ within

    def _start_more(self, now_s: float) -> list[Outgoing]:
        outgoing: list[Outgoing] = []
        while search := self._next():
            outgoing.append(self._start(search, now_s))
        return outgoing + self._make_room()

    def _next(self) -> _Search | None:
        """The best request that may start: by rank, then of the client that has the least under way."""
        under_way = Counter(search.request.client for search in self._searches.values() if search.is_running)
        startable = [each for each in self._searches.values() if not each.is_running and self._may_start(each)]
        return min(startable, key=lambda each: (each.rank, under_way[each.request.client], each.own_rank), default=None)

    def _may_start(self, search: _Search) -> bool:
        running = [each for each in self._searches.values() if each.is_running]
        waited_for = [each for each in running if not each.is_raw and not each.is_background]
        if search.is_raw:
            return not any(each.is_raw for each in running)
        if search.is_background:
            return not running
        if search.is_long and sum(each.is_long for each in waited_for) >= self._slots - 1:
            return False
        return len(waited_for) < self._slots

    def _make_room(self) -> list[Outgoing]:
        """What runs in the background ends for now when a client waits: katago would share its time with it."""
        running = [each for each in self._searches.values() if each.is_running]
        if all(each.is_background for each in running):
            return []
        ending = [each for each in running if each.is_background and not each.makes_room]
        for search in ending:
            search.makes_room = True
        return [_terminate(search) for search in ending]

    def _start(self, search: _Search, now_s: float) -> Outgoing:
        request = search.request
        if not self.standing.has_human_sl:
            # Of other networks a profile has no effect.
            request = msgspec.structs.replace(request, human_profile="")
        try:
            if isinstance(request, RawRequest):
                query = raw_query(request, search.name)
            else:
                Game.from_position(request.position)  # raises for moves that cannot be
                query = search_query(request, search.name, self._max_visits)
        except (AgentError, ValueError) as error:
            # A request that the front should not have sent ends itself, never the worker.
            del self._searches[request.id]
            return _failure(request, str(error) or type(error).__name__)
        search.started_s = now_s
        if isinstance(request, SearchRequest):
            first_s = request.first_report_after_s
            search.due_s = now_s + ((request.report_every_s or 0.0) if first_s is None else first_s)
        return _line(query)


def answer_policy(answer: NativeAnswer) -> tuple[float, ...] | None:
    """The policy of an answer, −1 where there is none."""
    return None if answer.policy is None else tuple(-1.0 if p is None else p for p in answer.policy)


def _line(query: dict[str, Any]) -> bytes:
    return msgspec.json.encode(query) + b"\n"


def _terminate(search: _Search) -> bytes:
    return _line({"id": _STOP, "action": "terminate", "terminateId": search.name})


def _nothing(request: SearchRequest | RawRequest) -> SearchReport | RawReport:
    if isinstance(request, RawRequest):
        return RawReport(id=request.id, error="stopped")
    return SearchReport(id=request.id, final=True)


def _failure(request: SearchRequest | RawRequest, reason: str) -> SearchReport | RawReport:
    if isinstance(request, RawRequest):
        return RawReport(id=request.id, error=reason)
    return SearchReport(id=request.id, final=True, error=reason)


def _refusal(answer: NativeAnswer) -> str:
    return f"katago refused the query: {answer.error}" + (f" ({answer.field})" if answer.field else "")
