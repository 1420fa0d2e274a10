"""KataGo's analysis protocol from the client's side, without I/O: lines in, what they mean out.

Start reading at `Conversation.receive`. What is outstanding lives here, so that a new connection can go on where the
old one broke off: the same ids, and of each query only the turns that have no final answer yet. What is to be sent is
fetched by `next_line`, so that a service never has more than it takes (`window.py`).
Source: KataGo docs/Analysis_Engine.md.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from agent.client.query import Query, wire_fields
from agent.client.results import Analysis, EngineWarning
from agent.client.window import Limits, Window
from agent.errors import AnalysisFailed, AnalysisRefused, AnswerUnreadable, ClientError

# An answer or error is shown up to here; a service may put our whole line into its error.
SHOWN_CHARACTERS = 300
# What msgspec raises for bytes that are no JSON, or not of the type; fields that are skipped are not looked at closely.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Report(msgspec.Struct, frozen=True):
    """An answer to the query `id`; `is_last` where no turn of it waits any more."""

    id: str
    analysis: Analysis
    is_last: bool


class Unanswered(msgspec.Struct, frozen=True):
    """The query was terminated before `turn` was looked at."""

    id: str
    turn: int
    is_last: bool


class Failed(msgspec.Struct, frozen=True):
    """The query or action `id` will get no more answers."""

    id: str
    error: ClientError


class Done(msgspec.Struct, frozen=True):
    """The action `id` was carried out; `reply` is the engine's echo with what it added."""

    id: str
    reply: dict[str, Any]


Heard = Report | Unanswered | Failed | Done | EngineWarning


class _Reply(msgspec.Struct, rename="camel"):
    """The fields that tell what a line is."""

    id: str = ""
    error: str | None = None
    warning: str | None = None
    field: str = ""
    action: str | None = None
    no_results: bool = False
    turn_number: int = -1


class _Asked:
    """One query or action that waits. `turns` are those without a final answer; an action has none."""

    def __init__(self, fields: dict[str, Any], turns: tuple[int, ...] = (), priority: int = 0) -> None:
        self.fields = fields
        self.turns = set(turns)
        self.priority = priority
        self.is_terminated = False
        # Who asked has been told of an error, but the engine may still work on other turns, until this is forgotten.
        self.has_failed = False

    def line(self, name: str) -> bytes:
        """First the id: an engine that cannot read the line quotes its beginning."""
        return msgspec.json.encode({"id": name, **self.fields})


class Conversation:
    """Ids are this object's own, so nothing that another client asked is ever taken for ours."""

    def __init__(self, prefix: str = "q", limits: Limits | None = None) -> None:
        self._prefix = prefix
        self._limits = limits
        self._count = 0
        self._asked: dict[str, _Asked] = {}
        self._window = Window(limits)
        self._outgoing: deque[bytes] = deque()
        self._analysis = msgspec.json.Decoder(Analysis)
        self._reply = msgspec.json.Decoder(_Reply)

    # ------------------------------------------------------------ to the engine

    def ask(self, query: Query) -> str:
        """The id under which `query` now waits for its answers.

        Raises TypeError or ValueError where it holds what JSON cannot; it does not wait then.
        """
        priority = max(query.priorities or (query.priority or 0,))
        return self._wait_for(_Asked(wire_fields(query), query.turns, priority))

    def act(self, action: str) -> tuple[str, list[Heard]]:
        """As `ask`, for query_version, query_models, clear_cache or terminate_all; and what is over at once, because it
        has not gone to the engine so far."""
        over: list[Heard] = []
        if action == "terminate_all":
            for name, asked in list(self._asked.items()):
                if self._window.is_held(name):
                    over += self._give_up(name, asked)
                else:
                    asked.is_terminated = bool(asked.turns)
        return self._wait_for(_Asked({"action": action})), over

    def terminate(self, name: str) -> list[Heard]:
        """Have the engine end the query `name` and answer it with what it has, if it is waiting; and what is over at
        once, as from `act`. What was terminated is not asked again on another connection."""
        asked = self._asked.get(name)
        if asked is None or asked.is_terminated or not asked.turns:
            return []
        if self._window.is_held(name):
            return self._give_up(name, asked)
        asked.is_terminated = True
        # Its echo is for nobody, and an engine that knows the query no more only echoes.
        self._count += 1
        fields = {"id": f"{self._prefix}{self._count}", "action": "terminate", "terminateId": name}
        self._outgoing.append(msgspec.json.encode(fields))
        return []

    def forget(self, name: str) -> None:
        """As `terminate`, but nobody waits for the answers any more, and also for an action, which runs on."""
        self.terminate(name)
        self._remove(name)

    def restart(self) -> list[Heard]:
        """A new connection: all that waits is to be sent again. Returns what is over because it was terminated on the
        old one."""
        heard: list[Heard] = []
        for name, asked in list(self._asked.items()):
            if asked.has_failed:
                self._remove(name)
            elif asked.is_terminated:
                heard += self._give_up(name, asked)
        self._outgoing.clear()
        self._window = Window(self._limits)
        for name, asked in self._asked.items():
            if asked.turns:
                asked.fields["analyzeTurns"] = _only(asked.fields, asked.turns)
            self._send(name, asked, asked.line(name))
        return heard

    def next_line(self) -> bytes | None:
        """What is to be sent now, once; None where there is nothing until more is asked, terminated or answered."""
        if self._outgoing:
            return self._outgoing.popleft()
        name = self._window.take()
        return None if name is None else self._asked[name].line(name)

    def is_waiting(self, name: str) -> bool:
        return name in self._asked

    @property
    def waiting(self) -> tuple[str, ...]:
        """Ids of all that has no last answer yet, oldest first."""
        return tuple(self._asked)

    # ------------------------------------------------------------ from the engine

    def receive(self, line: bytes) -> list[Heard]:
        """What a line of the engine means; nothing for what nobody waits for.

        Raises AnswerUnreadable where the line is no JSON object: this is another protocol, or a broken stream.
        """
        if not line.strip():
            return []
        try:
            reply = self._reply.decode(line)
        except _UNREADABLE as error:
            raise AnswerUnreadable(f"this is no answer of an analysis engine: {_shown(line)}") from error
        if reply.warning is not None:
            return [EngineWarning(reply.warning, reply.field, reply.id)]
        if reply.error is not None:
            return self._refusal(reply)
        asked = self._asked.get(reply.id)
        if asked is None:
            return []
        if not asked.turns:
            self._remove(reply.id)
            return [_done(reply.id, line)]
        if reply.turn_number not in asked.turns:
            # A turn that the connection before this one had answered.
            return []
        is_for_nobody = asked.has_failed
        if reply.no_results:
            heard = self._unanswered(reply.id, asked, reply.turn_number)
        else:
            heard = self._report(reply.id, asked, line)
        return [] if is_for_nobody else [heard]

    # ------------------------------------------------------------ inside

    def _wait_for(self, asked: _Asked) -> str:
        self._count += 1
        name = f"{self._prefix}{self._count}"
        # First: what cannot be written must not be asked again on the next connection either.
        line = asked.line(name)
        self._asked[name] = asked
        self._send(name, asked, line)
        return name

    def _send(self, name: str, asked: _Asked, line: bytes) -> None:
        """At once, in the order of asking, where there is room; an action in any case."""
        if not asked.turns:
            self._outgoing.append(line)
            return
        self._window.put(name, priority=asked.priority, turns=len(asked.turns), size_bytes=len(line))
        while (free := self._window.take()) is not None:
            self._outgoing.append(self._asked[free].line(free))

    def _remove(self, name: str) -> _Asked | None:
        self._window.drop(name)
        return self._asked.pop(name, None)

    def _give_up(self, name: str, asked: _Asked) -> list[Heard]:
        return [self._unanswered(name, asked, turn) for turn in sorted(asked.turns)]

    def _report(self, name: str, asked: _Asked, line: bytes) -> Heard:
        try:
            analysis = self._analysis.decode(line)
        except _UNREADABLE as error:
            asked.has_failed = True
            return Failed(name, AnswerUnreadable(f"an answer that is no analysis ({error}): {_shown(line)}"))
        if not analysis.is_during_search:
            self._answered(name, asked, analysis.turn_number)
        return Report(name, analysis, not asked.turns)

    def _unanswered(self, name: str, asked: _Asked, turn: int) -> Heard:
        self._answered(name, asked, turn)
        return Unanswered(name, turn, not asked.turns)

    def _answered(self, name: str, asked: _Asked, turn: int) -> None:
        asked.turns.discard(turn)
        self._window.answered(name)
        if not asked.turns:
            self._remove(name)

    def _refusal(self, reply: _Reply) -> list[Heard]:
        text = reply.error or ""
        shown = _shown(text.encode())
        if reply.id:
            asked = self._asked.get(reply.id)
            if asked is None:
                return []
            is_for_nobody, asked.has_failed = asked.has_failed, True
            # An engine that gives up on one turn names it; KataGo refuses queries as a whole.
            if reply.turn_number in asked.turns:
                self._answered(reply.id, asked, reply.turn_number)
            else:
                self._remove(reply.id)
            failed = AnalysisFailed(shown) if reply.turn_number >= 0 else AnalysisRefused(reply.field, shown)
            return [] if is_for_nobody else [Failed(reply.id, failed)]
        # Of a line that the engine could not read it knows no id, but it quotes the line.
        meant = [name for name in self._asked if f'"{name}"' in text]
        for name in meant:
            self._remove(name)
        return [Failed(name, AnalysisRefused("", shown)) for name in meant] or [EngineWarning(shown)]


def _done(name: str, line: bytes) -> Heard:
    try:
        return Done(name, msgspec.json.decode(line))
    except _UNREADABLE as error:
        return Failed(name, AnswerUnreadable(f"an answer that cannot be read ({error}): {_shown(line)}"))


def _only(fields: dict[str, Any], turns: set[int]) -> list[int]:
    """The turns to ask again; the priorities that went with them are cut to match."""
    before = fields.get("analyzeTurns")
    kept = sorted(turns)
    if before is not None and "priorities" in fields:
        given = dict(zip(before, fields["priorities"], strict=False))
        fields["priorities"] = [given[turn] for turn in kept]
    return kept


def _shown(line: bytes) -> str:
    text = line[: 4 * SHOWN_CHARACTERS].decode("utf-8", "replace").strip()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
