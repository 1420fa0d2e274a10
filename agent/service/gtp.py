"""KataGo's GTP engine for one client, without I/O.

Start reading at `GtpConnection.receive_line`. The commands are in `gtp_commands.py`: one is either answered at once or
by a job that asks the engine; while a job runs, further commands wait in order, but analysis is ended by the next line,
whatever it is. Between commands the engine may ponder, until one changes the game or needs a search.
Sources: GTP 2 draft, KataGo docs/GTP_Extensions.md and cpp/command/gtp.cpp.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agent.engine.messages import EngineReady, RawReport, SearchReport, SearchRequest
from agent.errors import CommandRefused
from agent.service.gtp_commands import ANSWERS, INTERRUPTED, JOBS, UNLISTED
from agent.service.gtp_reply import Reply
from agent.service.gtp_searches import Job, ponder_request
from agent.service.gtp_state import GtpState
from agent.service.options import ServiceOptions
from agent.service.outputs import ClearCache, Close, Output, Send, Stop, Submit

# Commands that may wait for a running one before reading stops; controllers send one at a time, scripts whole games.
MAX_WAITING_COMMANDS = 1000
# And until they are so long together; a game as one `set_position` is some kB.
MAX_WAITING_BYTES = 4 << 20
# KataGo's bound: more digits are no id.
_MAX_ID_DIGITS = 9

_DROPPED = bytes(byte for byte in range(256) if not (32 <= byte < 127 or byte == ord("\t")))
# No command that a client can send looks like this: spaces and comments are cut off before.
_TOO_LONG = b"(line-too-long)"


class GtpConnection:
    """`next_id` gives request ids, `ready` what serves now (None: nothing yet). `seed` decides random choices, such as
    where free handicap stones go; None: chance."""

    def __init__(
        self,
        options: ServiceOptions,
        next_id: Callable[[], int],
        ready: Callable[[], EngineReady | None],
        seed: int | None = None,
    ) -> None:
        self._state = GtpState(options, next_id, ready, seed)
        self._job: Job | None = None
        self._reply = Reply()
        # What ends the reply of a job that the next line interrupts; None for a job that lines wait for.
        self._interruption: Send | None = None
        self._request_id: int | None = None
        self._pondering: SearchRequest | None = None
        # Stopped searches whose last report has not come; a new search of the same client waits for it, as its tree is
        # still in use.
        self._stopping: set[int] = set()
        self._held: Submit | None = None
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._has_ended = False
        self._is_closed = False

    @property
    def is_backlogged(self) -> bool:
        return len(self._waiting) >= MAX_WAITING_COMMANDS or self._waiting_bytes >= MAX_WAITING_BYTES

    def receive_line(self, line: bytes) -> list[Output]:
        if self._is_closed:
            return []
        if self._is_busy:
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            return []
        return [*self._interrupt(), *self._run(_clean(line))]

    def receive_oversized(self, start: bytes) -> list[Output]:
        # Something that short in its place takes its turn and is refused when that comes.
        del start
        return self.receive_line(_TOO_LONG)

    def receive_report(self, report: SearchReport | RawReport) -> list[Output]:
        if self._is_closed:
            return []
        is_final = isinstance(report, RawReport) or report.final
        if report.id in self._stopping:
            if not is_final:
                return []
            self._stopping.discard(report.id)
            return self._release_held()
        if self._pondering is not None and report.id == self._pondering.id:
            self._pondering = None if is_final else self._pondering
            return []
        if self._job is None or report.id != self._request_id:
            return []
        if is_final:
            self._request_id = None
        try:
            return self._track(self._job.send(report))
        except StopIteration as done:
            outputs = list(done.value)
        except CommandRefused as error:
            outputs = [self._reply.fail(str(error))]
        self._job = self._interruption = None
        return [*outputs, *self._keep_pondering(), *self._run_waiting()]

    def receive_end(self) -> list[Output]:
        self._has_ended = True
        return [] if self._is_busy else [*self._interrupt(), *self._close()]

    @property
    def _is_busy(self) -> bool:
        """Whether lines have to wait."""
        return self._job is not None and self._interruption is None

    # ------------------------------------------------------------ commands

    def _run(self, line: str) -> list[Output]:
        digits = len(line) - len(line.lstrip("0123456789"))
        if digits > _MAX_ID_DIGITS:
            return [Reply().fail(f"GTP id '{line[:digits]}' could not be parsed")]
        self._reply = Reply(int(line[:digits]) if digits else None)
        words = line[digits:].split()
        if not words:
            return [Reply().fail("empty command")] if digits else []
        command, args = words[0], words[1:]
        try:
            outputs = self._answer(command, args, self._reply)
        except CommandRefused as error:
            outputs = [self._reply.fail(str(error))]
        return [*outputs, *self._keep_pondering()]

    def _answer(self, command: str, args: list[str], reply: Reply) -> list[Output]:
        if command in JOBS:
            return self._start(JOBS[command](self._state, args, reply, command), INTERRUPTED.get(command))
        answer = ANSWERS.get(command) or UNLISTED.get(command)
        if answer is None:
            raise CommandRefused("line is too long" if command == _TOO_LONG.decode() else "unknown command")
        options = self._state.options
        outputs: list[Output] = [reply.ok(answer(self._state, args))]
        if self._state.options is not options:
            outputs = [*self._stop_pondering(), *outputs]
        elif command == "clear_cache":
            outputs = [*self._stop_pondering(), ClearCache(), *outputs]
        elif command == "stop":
            outputs = [*self._stop_pondering(), *outputs]
        elif command == "quit":
            self._waiting.clear()
            outputs += self._close()
        return outputs

    def _start(self, job: Job, interrupted: Callable[[Reply], Send] | None) -> list[Output]:
        try:
            outputs = next(job)
        except StopIteration as done:
            return list(done.value)
        self._job = job
        self._interruption = interrupted(self._reply) if interrupted else None
        return self._track(outputs)

    def _track(self, outputs: list[Output]) -> list[Output]:
        """Remember whose reports the job waits for; end pondering where it searches, and hold its search back while a
        stopped one still ends."""
        passed: list[Output] = []
        for output in outputs:
            if isinstance(output, Submit):
                self._request_id = output.request.id
                if isinstance(output.request, SearchRequest):
                    passed += self._stop_pondering()
                    if self._stopping:
                        self._held = output
                        continue
            passed.append(output)
        return passed

    def _release_held(self) -> list[Output]:
        if self._stopping or self._held is None:
            return []
        held, self._held = self._held, None
        return [held]

    def _interrupt(self) -> list[Output]:
        """The next line is there: stop an analysis, and end its reply."""
        if self._job is None or self._interruption is None:
            return []
        outputs: list[Output] = [self._interruption]
        if self._request_id is not None:
            outputs = [*self._stop(self._request_id), *outputs]
        self._job = self._interruption = self._request_id = None
        return outputs

    def _stop(self, request_id: int) -> list[Output]:
        if self._held is not None and self._held.request.id == request_id:
            self._held = None
            return []
        self._stopping.add(request_id)
        return [Stop(request_id)]

    def _run_waiting(self) -> list[Output]:
        outputs: list[Output] = []
        while self._waiting and not self._is_busy:
            line = self._waiting.popleft()
            self._waiting_bytes -= len(line)
            outputs += [*self._interrupt(), *self._run(_clean(line))]
        if self._has_ended and not self._waiting and not self._is_busy:
            outputs += [*self._interrupt(), *self._close()]
        return outputs

    def _close(self) -> list[Output]:
        was_closed, self._is_closed = self._is_closed, True
        return [] if was_closed else [Close()]

    # ------------------------------------------------------------ pondering

    def _keep_pondering(self) -> list[Output]:
        """After a command: end pondering about what is not the game any more, and begin where it is wanted."""
        state = self._state
        outputs: list[Output] = []
        if self._pondering is not None and self._pondering.position != state.position:
            outputs = self._stop_pondering()
        wanted, state.wants_to_ponder = state.wants_to_ponder, False
        is_idle = self._job is None and not self._waiting and self._pondering is None and not self._is_closed
        if not wanted or not is_idle or not state.options.pondering_enabled or state.game.finished:
            return outputs
        self._pondering = ponder_request(state)
        if self._stopping:
            self._held = Submit(self._pondering)
            return outputs
        return [*outputs, Submit(self._pondering)]

    def _stop_pondering(self) -> list[Output]:
        pondering, self._pondering = self._pondering, None
        return self._stop(pondering.id) if pondering is not None else []


def _clean(line: bytes) -> str:
    """GTP's preprocessing: control and non-ASCII characters out, tabs to spaces, comments off."""
    return line.translate(None, _DROPPED).decode("ascii").partition("#")[0].replace("\t", " ").strip()
