"""KataGo's JSON analysis engine for one client, without I/O.

Start reading at `AnalysisConnection.receive_line`. A query becomes one task per turn; tasks wait here, best priority
first, and only `SUBMIT_WINDOW` of them are given to the engine at a time, so that no client can fill the engine's queue
or make us build thousands of positions. Ids belong to the connection: two clients may use the same ones, and so may one
client, as KataGo allows.
Source: KataGo docs/Analysis_Engine.md and cpp/command/analysis.cpp.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from agent.engine.game import Game
from agent.engine.messages import EngineReady, Position, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.points import BLACK
from agent.engine.rules import Rules
from agent.errors import IllegalMove, QueryRefused
from agent.service import analysis_format as reply
from agent.service.analysis_fields import compact, integers, is_too_deep
from agent.service.analysis_query import Query, QueryWarning, parse_query
from agent.service.analysis_settings import names_profile
from agent.service.identity import GIT_HASH, VERSION, models
from agent.service.options import ServiceOptions
from agent.service.outputs import ClearCache, Close, Output, Send, Stop, Submit

# More than any engine searches at once on a board; a final report with the ownership of every move is a few MB.
SUBMIT_WINDOW = 8
# Tasks of a higher priority than those in the engine may go there at once, up to this many in all.
SUBMIT_LIMIT = 16
# Reading stops until fewer turns wait. KaTrain asks for whole games, some hundred turns each.
MAX_WAITING_TURNS = 10_000
# And until their queries are so long together, as objects seven times as much; a whole game of KaTrain's, one query for
# each turn, is 1 MB.
MAX_WAITING_BYTES = 4 << 20

# Lines that wait for a network: a client asks for the models once, and for a human profile rarely before it knows them.
MAX_HELD = 16
_SMALLEST = Position(x_size=2, y_size=2, rules=Rules(), komi=7.5)

_ACTIONS = "'action' field must be 'query_version' or 'query_models' or 'clear_cache' or 'terminate' or 'terminate_all'"
_TURN_NUMBERS = "If provided, must be an array of integers indicating turns to terminate"
_TERMINATE_ID = 'Requests for a terminate action must have a string "terminateId" field'


class Task(msgspec.Struct, eq=False):
    """One turn of a query, whose share of the line is `size_bytes`. `request_id` is None while it waits here."""

    query: Query
    turn: int
    priority: int
    size_bytes: int
    request_id: int | None = None
    is_terminated: bool = False


class AnalysisConnection:
    """`next_id` gives request ids, `ready` what serves now (None: nothing yet). Without `warns` no warning is sent:
    KaTrain's remote engine takes one for the answer and drops the query."""

    def __init__(
        self,
        options: ServiceOptions,
        next_id: Callable[[], int],
        ready: Callable[[], EngineReady | None],
        *,
        quit_without_waiting: bool = False,
        warns: bool = True,
    ) -> None:
        self._options = options
        self._next_id = next_id
        self._ready = ready
        self._quit_without_waiting = quit_without_waiting
        self._warns = warns
        # A heap: highest priority first, then first come.
        self._waiting: list[tuple[int, int, Task]] = []
        self._waiting_bytes = 0
        self._arrivals = 0
        self._submitted: dict[int, Task] = {}
        # Lines that wait for a network to be there, with their length, by the request that tells us.
        self._held: dict[int, tuple[dict[str, Any], int]] = {}
        self._has_ended = False

    @property
    def is_backlogged(self) -> bool:
        size_bytes = self._waiting_bytes + sum(size for _, size in self._held.values())
        return len(self._waiting) >= MAX_WAITING_TURNS or size_bytes >= MAX_WAITING_BYTES

    def receive_line(self, line: bytes) -> list[Output]:
        trimmed = line.strip()
        if not trimmed:
            return []
        try:
            given = msgspec.json.decode(trimmed)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return [Send(reply.general_error(_parse_error(str(error), trimmed)))]
        if is_too_deep(given):
            return [Send(reply.general_error(_parse_error("nested too deeply", trimmed)))]
        if not isinstance(given, dict):
            text = "Request line was valid json but was not an object, ignoring: "
            return [Send(reply.general_error(text + compact(given)))]
        if not isinstance(given.get("id"), str):
            return [Send(reply.general_error('Request must have a string "id" field'))]
        if isinstance(given.get("action"), str):
            return self._act(given, len(line))
        must_wait = names_profile(given) and self._must_wait()
        return self._hold(given, len(line)) if must_wait else self._analyze(given, len(line))

    def receive_oversized(self, start: bytes) -> list[Output]:
        return [Send(reply.general_error(_parse_error("line is too long", start)))]

    def receive_report(self, report: SearchReport | RawReport) -> list[Output]:
        if report.id in self._held:
            return [*self._release(*self._held.pop(report.id)), *self._close_when_done()]
        task = self._submitted.get(report.id)
        if task is None or isinstance(report, RawReport):
            return []
        if not report.final:
            # A client that asked for the end is not told of the way there any more.
            return [] if task.is_terminated or report.root is None else [Send(_result(task, report))]
        del self._submitted[report.id]
        return [Send(_result(task, report)), *self._submit_more(), *self._close_when_done()]

    def receive_end(self) -> list[Output]:
        self._has_ended = True
        if not self._quit_without_waiting:
            return self._close_when_done()
        stops: list[Output] = [Stop(request_id) for request_id in (*self._submitted, *self._held)]
        self._submitted.clear()
        self._held.clear()
        return [*stops, Close()]

    # ------------------------------------------------------------ actions

    def _act(self, given: dict[str, Any], size_bytes: int) -> list[Output]:
        action = given["action"]
        if action == "query_version":
            return [_echo({**given, "version": VERSION, "git_hash": GIT_HASH})]
        if action == "query_models":
            return self._hold(given, size_bytes) if self._must_wait() else self._release(given, size_bytes)
        if action == "clear_cache":
            return [ClearCache(), _echo(given)]
        if action in ("terminate", "terminate_all"):
            return self._terminate(given)
        return [Send(reply.general_error(_ACTIONS))]

    def _must_wait(self) -> bool:
        """KataGo reads its first line when its network is loaded; so what depends on the network waits for one here."""
        return self._ready() is None and len(self._held) < MAX_HELD

    def _hold(self, given: dict[str, Any], size_bytes: int) -> list[Output]:
        """The least evaluation there is tells when there is a network, or that there will be none."""
        request_id = self._next_id()
        self._held[request_id] = given, size_bytes
        return [Submit(RawRequest(id=request_id, position=_SMALLEST, player=BLACK))]

    def _release(self, given: dict[str, Any], size_bytes: int) -> list[Output]:
        if given.get("action") == "query_models":
            return [_echo({**given, "models": models(self._ready())})]
        return self._analyze(given, size_bytes)

    def _analyze_held(self, is_named: Callable[[str], bool]) -> list[Output]:
        """Queries that wait for a network wait no longer: they are to be terminated."""
        outputs: list[Output] = []
        for request_id, (given, size_bytes) in list(self._held.items()):
            if given.get("action") != "query_models" and is_named(given["id"]):
                del self._held[request_id]
                outputs += [Stop(request_id), *self._analyze(given, size_bytes)]
        return outputs

    def _terminate(self, given: dict[str, Any]) -> list[Output]:
        target = given.get("terminateId")
        if given["action"] == "terminate" and not isinstance(target, str):
            return [Send(reply.field_error(given["id"], "terminateId", _TERMINATE_ID))]
        try:
            turns = integers(given, "turnNumbers", _TURN_NUMBERS) if "turnNumbers" in given else None
        except QueryRefused as error:
            return [Send(reply.field_error(given["id"], error.field, str(error)))]

        def is_named(query_id: str) -> bool:
            return given["action"] == "terminate_all" or query_id == target

        def is_meant(task: Task) -> bool:
            return is_named(task.query.id) and (turns is None or task.turn in turns) and not task.is_terminated

        outputs = self._analyze_held(is_named)
        for task in [task for *_, task in self._waiting] + list(self._submitted.values()):
            if not is_meant(task):
                continue
            task.is_terminated = True
            if task.request_id is None:
                outputs.append(Send(reply.no_results(task.query.id, task.turn)))
            else:
                outputs.append(Stop(task.request_id))
        self._waiting = [entry for entry in self._waiting if not entry[2].is_terminated]
        heapq.heapify(self._waiting)
        self._waiting_bytes = sum(task.size_bytes for *_, task in self._waiting)
        return [*outputs, _echo(given)]

    # ------------------------------------------------------------ queries

    def _analyze(self, given: dict[str, Any], size_bytes: int) -> list[Output]:
        warnings: list[QueryWarning] = []
        refused: list[Output] = []
        try:
            query = parse_query(given, self._options, warnings, self._ready())
            _try_moves(query)
        except QueryRefused as error:
            refused = [Send(reply.field_error(given["id"], error.field, str(error)))]
        outputs: list[Output] = [
            Send(reply.field_warning(given["id"], warning.field, warning.text)) for warning in warnings if self._warns
        ]
        if refused:
            return outputs + refused
        for turn in query.turns:
            task = Task(query, turn, query.priorities.get(turn, query.priority), size_bytes // len(query.turns))
            heapq.heappush(self._waiting, (-task.priority, self._arrivals, task))
            self._arrivals += 1
            self._waiting_bytes += task.size_bytes
        return outputs + self._submit_more()

    def _submit_more(self) -> list[Output]:
        outputs: list[Output] = []
        window, limit = SUBMIT_WINDOW, SUBMIT_LIMIT
        if self._options.positions_at_once is not None:
            # As many as the owner said, and nothing of a higher priority beside them, as in KataGo.
            window = limit = min(self._options.positions_at_once, SUBMIT_LIMIT)
        while self._waiting:
            task = self._waiting[0][2]
            ahead = sum(other.priority >= task.priority for other in self._submitted.values())
            if ahead >= window or len(self._submitted) >= limit:
                break
            heapq.heappop(self._waiting)
            task.request_id = self._next_id()
            self._waiting_bytes -= task.size_bytes
            self._submitted[task.request_id] = task
            outputs.append(Submit(_request(task, task.request_id)))
        return outputs

    def _close_when_done(self) -> list[Output]:
        is_open = self._submitted or self._waiting or self._held
        return [] if is_open or not self._has_ended else [Close()]


def _try_moves(query: Query) -> None:
    """Play the whole game once. Raises QueryRefused for the first move that KataGo would not take."""
    try:
        Game.from_position(query.position)
    except IllegalMove as error:
        raise QueryRefused("moves", str(error)) from error


def _request(task: Task, request_id: int) -> SearchRequest:
    query, options = task.query, task.query.options
    search: dict[str, float | int | bool] = {
        "conservativePass": True,
        "wideRootNoise": options.analysis_wide_root_noise,
        "ignorePreRootHistory": options.analysis_ignore_pre_root_history,
        **options.search,
    }
    player = query.player_at(task.turn)
    if options.advantage_player not in (None, player) and "playoutDoublingAdvantage" in search:
        search["playoutDoublingAdvantage"] = -search["playoutDoublingAdvantage"]
    return SearchRequest(
        id=request_id,
        position=query.position_at(task.turn),
        player=player,
        max_visits=options.max_visits,
        max_playouts=options.max_playouts,
        max_time_s=options.max_time_s,
        priority=float(task.priority),
        report_every_s=query.report_every_s,
        first_report_after_s=query.first_report_after_s,
        limits=query.limits,
        pv_len=query.pv_len,
        ownership=query.ownership,
        ownership_stdev=query.ownership_stdev,
        moves_ownership=query.moves_ownership,
        moves_ownership_stdev=query.moves_ownership_stdev,
        policy=query.policy,
        overrides=search,
        human_profile=options.human_profile,
    )


def _result(task: Task, report: SearchReport) -> bytes:
    if report.error is not None:
        return reply.engine_error(task.query.id, task.turn, report.error)
    if report.root is None:
        return reply.no_results(task.query.id, task.turn)
    return reply.analysis(task.query, task.turn, report)


def _echo(given: dict[str, Any]) -> Send:
    return Send(reply.line(given))


def _parse_error(what: str, line: bytes) -> str:
    shown = line.decode("utf-8", "replace")
    return f"[json.exception.parse_error.101] parse error: {what} - could not parse input line as json request: {shown}"
