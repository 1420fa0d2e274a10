"""KataGo's GTP engine for one client, without I/O.

Start reading at `GtpConnection.receive_line`. A command is either answered at once (`_ANSWERS`) or by a job of
`gtp_jobs.py` that asks the engine (`_JOBS`); while a job runs, further commands wait in order, but analysis is ended by
the next line, whatever it is.
Sources: GTP 2 draft, KataGo docs/GTP_Extensions.md and cpp/command/gtp.cpp.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from agent.engine.messages import EngineReady, RawReport, SearchReport
from agent.errors import CommandRefused
from agent.service import gtp_jobs, gtp_settings, gtp_setup
from agent.service.gtp_jobs import Job
from agent.service.gtp_reply import Reply
from agent.service.gtp_state import GtpState
from agent.service.identity import NAME, VERSION
from agent.service.options import ServiceOptions
from agent.service.outputs import ClearCache, Close, Output, Stop, Submit

# Commands that may wait for a running one before reading stops; controllers send one at a time, scripts whole games.
MAX_WAITING_COMMANDS = 1000
# KataGo's bound: more digits are no id.
_MAX_ID_DIGITS = 9

_DROPPED = bytes(byte for byte in range(256) if not (32 <= byte < 127 or byte == ord("\t")))


class GtpConnection:
    """`next_id` gives request ids, `ready` what serves now (None: nothing yet)."""

    def __init__(
        self,
        options: ServiceOptions,
        next_id: Callable[[], int],
        ready: Callable[[], EngineReady | None],
    ) -> None:
        self._state = GtpState(options, next_id, ready)
        self._job: Job | None = None
        self._is_analyzing = False
        self._request_id: int | None = None
        # Stopped analyses whose last report has not come; a new search of the same client waits for it, as its tree
        # is still in use.
        self._stopping: set[int] = set()
        self._held: Submit | None = None
        self._waiting: deque[bytes] = deque()
        self._has_ended = False

    @property
    def is_backlogged(self) -> bool:
        return len(self._waiting) >= MAX_WAITING_COMMANDS

    def receive_line(self, line: bytes) -> list[Output]:
        if self._job is not None and not self._is_analyzing:
            self._waiting.append(line)
            return []
        return [*self._end_analysis(), *self._run(_clean(line))]

    def receive_oversized(self, start: bytes) -> list[Output]:
        # Something that short in its place takes its turn and is refused when that comes.
        del start
        return self.receive_line(_TOO_LONG)

    def receive_report(self, report: SearchReport | RawReport) -> list[Output]:
        is_final = isinstance(report, RawReport) or report.final
        if report.id in self._stopping:
            if not is_final:
                return []
            self._stopping.discard(report.id)
            return self._release_held()
        if self._job is None or report.id != self._request_id:
            return []
        if is_final:
            self._request_id = None
        try:
            return self._track(self._job.send(report))
        except StopIteration as done:
            self._job = None
            return [*done.value, *self._run_waiting()]

    def receive_end(self) -> list[Output]:
        self._has_ended = True
        if self._job is not None and not self._is_analyzing:
            return []
        return [*self._end_analysis(), Close()]

    # ------------------------------------------------------------ commands

    def _run(self, line: str) -> list[Output]:
        digits = len(line) - len(line.lstrip("0123456789"))
        if digits > _MAX_ID_DIGITS:
            return [Reply().fail(f"GTP id '{line[:digits]}' could not be parsed")]
        reply = Reply(int(line[:digits]) if digits else None)
        words = line[digits:].split()
        if not words:
            return [Reply().fail("empty command")] if digits else []
        command, args = words[0], words[1:]
        try:
            return self._answer(command, args, reply)
        except CommandRefused as error:
            return [reply.fail(str(error))]

    def _answer(self, command: str, args: list[str], reply: Reply) -> list[Output]:
        if command in _ANSWERS:
            return [reply.ok(_ANSWERS[command](self._state, args))]
        if command in _JOBS:
            return self._start(_JOBS[command](self._state, args, reply, command), is_analysis=command in _ANALYSES)
        if command == "clear_cache":
            return [ClearCache(), reply.ok("")]
        if command == "quit":
            return [reply.ok(""), Close()]
        raise CommandRefused("line is too long" if command == _TOO_LONG.decode() else "unknown command")

    def _start(self, job: Job, *, is_analysis: bool) -> list[Output]:
        try:
            outputs = next(job)
        except StopIteration as done:
            return list(done.value)
        self._job = job
        self._is_analyzing = is_analysis
        return self._track(outputs)

    def _track(self, outputs: list[Output]) -> list[Output]:
        """Remember whose reports the job waits for; hold a search back while a stopped one still ends."""
        passed: list[Output] = []
        for output in outputs:
            if isinstance(output, Submit):
                self._request_id = output.request.id
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

    def _end_analysis(self) -> list[Output]:
        """The next line is there: stop, and end the reply with its empty line."""
        if self._job is None:
            return []
        outputs: list[Output] = [Reply.end()]
        if self._held is not None:
            self._held = None
        elif self._request_id is not None:
            self._stopping.add(self._request_id)
            outputs.insert(0, Stop(self._request_id))
        self._job = None
        self._is_analyzing = False
        self._request_id = None
        return outputs

    def _run_waiting(self) -> list[Output]:
        outputs: list[Output] = []
        while self._waiting and (self._job is None or self._is_analyzing):
            outputs += [*self._end_analysis(), *self._run(_clean(self._waiting.popleft()))]
        if self._has_ended and not self._waiting and (self._job is None or self._is_analyzing):
            outputs += [*self._end_analysis(), Close()]
        return outputs


def _clean(line: bytes) -> str:
    """GTP's preprocessing: control and non-ASCII characters out, tabs to spaces, comments off."""
    return line.translate(None, _DROPPED).decode("ascii").partition("#")[0].replace("\t", " ").strip()


# ---------------------------------------------------------------- what there is


def _protocol_version(state: GtpState, args: list[str]) -> str:
    del state, args
    return "2"


def _name(state: GtpState, args: list[str]) -> str:
    del state, args
    return NAME


def _version(state: GtpState, args: list[str]) -> str:
    del args
    ready = state.ready()
    return f"{VERSION}+{ready.network}" if ready is not None else VERSION


def _known_command(state: GtpState, args: list[str]) -> str:
    del state
    if len(args) != 1:
        raise CommandRefused(f"Expected single argument for known_command but got '{' '.join(args)}'")
    return "true" if args[0] in COMMANDS else "false"


def _list_commands(state: GtpState, args: list[str]) -> str:
    del state, args
    return "\n".join(COMMANDS)


def _stop(state: GtpState, args: list[str]) -> str:
    """Any line ends analysis; this one does nothing else."""
    del state, args
    return ""


_ANSWERS: dict[str, Callable[[GtpState, list[str]], str]] = {
    "protocol_version": _protocol_version,
    "name": _name,
    "version": _version,
    "known_command": _known_command,
    "list_commands": _list_commands,
    "boardsize": gtp_setup.boardsize,
    "rectangular_boardsize": gtp_setup.boardsize,
    "clear_board": gtp_setup.clear_board,
    "set_position": gtp_setup.set_position,
    "komi": gtp_setup.komi,
    "get_komi": gtp_setup.get_komi,
    "play": gtp_setup.play,
    "undo": gtp_setup.undo,
    "kata-get-rules": gtp_setup.kata_get_rules,
    "kata-set-rule": gtp_setup.kata_set_rule,
    "kata-set-rules": gtp_setup.kata_set_rules,
    "kgs-rules": gtp_setup.kgs_rules,
    "kata-get-models": gtp_settings.kata_get_models,
    "kata-get-param": gtp_settings.kata_get_param,
    "kata-set-param": gtp_settings.kata_set_param,
    "kata-list-params": gtp_settings.kata_list_params,
    "showboard": gtp_setup.showboard,
    "fixed_handicap": gtp_setup.fixed_handicap,
    "set_free_handicap": gtp_setup.set_free_handicap,
    "time_settings": gtp_settings.time_settings,
    "kgs-time_settings": gtp_settings.kgs_time_settings,
    "time_left": gtp_settings.time_left,
    "kata-list_time_settings": gtp_settings.kata_list_time_settings,
    "kata-time_settings": gtp_settings.kata_time_settings,
    "kata-debug-print-tc": gtp_settings.kata_debug_print_tc,
    "cputime": gtp_settings.cputime,
    "gomill-cpu_time": gtp_settings.cputime,
    "stop": _stop,
}

_JOBS: dict[str, Callable[[GtpState, list[str], Reply, str], Job]] = {
    "genmove": gtp_jobs.genmove,
    "kata-search": gtp_jobs.genmove,
    "place_free_handicap": gtp_jobs.place_free_handicap,
    "final_score": gtp_jobs.final_score,
    "final_status_list": gtp_jobs.final_status_list,
    # Neither "analyze" nor "genmove_analyze": Sabaki prefers them and then misreads the win rate.
    "lz-genmove_analyze": gtp_jobs.genmove_analyze,
    "kata-genmove_analyze": gtp_jobs.genmove_analyze,
    "kata-search_analyze": gtp_jobs.genmove_analyze,
    "lz-analyze": gtp_jobs.analyze,
    "kata-analyze": gtp_jobs.analyze,
    "kata-raw-nn": gtp_jobs.kata_raw_nn,
}
_ANALYSES = ("lz-analyze", "kata-analyze")
# No command that a client can send looks like this: spaces and comments are cut off before.
_TOO_LONG = b"(line-too-long)"

COMMANDS = (*_ANSWERS, *_JOBS, "clear_cache", "quit")
