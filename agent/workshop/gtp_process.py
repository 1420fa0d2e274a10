"""One GTP engine as a child process: a command goes in, its reply comes out. Knows nothing of Go. Start at
`GtpProcess.ask`.

Each command is an object of its own (`_Asked`) that takes lines until its reply is whole, as in python-chess, so that
what arrives unasked is seen as such. Everything that an engine can do wrong becomes a `PlayerFault`; after one the
process is of no more use and is ended, with all that it started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from typing import Final, Literal, cast

from agent.errors import PlayerFailed
from agent.waiting import within
from agent.workshop.gtp_log import GtpLog

# showboard on 19×19 takes 2 kB, all of KataGo's parameters 4 kB.
MAX_REPLY_BYTES: Final = 1 << 20
# Lines before a reply that belong to none: some engines greet, or log some with each move to their standard output.
MAX_CHATTER_LINES: Final = 10_000
# KataGo ends within a second after `quit`, our own engine within two.
QUIT_S: Final = 10.0
# Between the end of an engine's output and the end of its process.
_REAP_S: Final = 2.0
_LAST_WORDS_BYTES: Final = 2000
_STDIN, _STDOUT = 0, 1

FaultKind = Literal["crash", "timeout", "garbage", "refused", "illegal"]


class PlayerFault(PlayerFailed):
    """What an engine did wrong. `kind`: it ended (crash), did not answer in time (timeout), said what is no GTP
    (garbage), answered "?" (refused), or played where no one may (illegal)."""

    def __init__(self, kind: FaultKind, message: str) -> None:
        super().__init__(message)
        self.kind: FaultKind = kind


class _Asked:
    """One command that waits for its reply; None instead of one when the engine's output has ended."""

    def __init__(self, command: str, answer: asyncio.Future[str | None]) -> None:
        self.command, self.answer = command, answer
        self._lines: list[str] = []
        self._size = 0

    def take(self, line: str) -> bool:
        """Whether the line belongs to the reply. The empty line ends it.

        Raises:
            PlayerFault: the reply is longer than any should be.
        """
        if self.answer.done() or (not self._lines and not line.startswith(("=", "?"))):
            return False
        self._size += len(line)
        if self._size > MAX_REPLY_BYTES:
            raise PlayerFault("garbage", f"gave no end to its answer to {self.command!r}")
        if line:
            self._lines.append(line)
        else:
            # The id, which we did not give, is dropped with the mark.
            text = "\n".join([self._lines[0][1:].lstrip("0123456789").strip(), *self._lines[1:]])
            if self._lines[0].startswith("?"):
                self.end(PlayerFault("refused", f"answered {self.command!r} with {text[:200] or 'a refusal'!r}"))
            else:
                self.answer.set_result(text)
        return True

    def end(self, fault: PlayerFault | None) -> None:
        """There will be no reply, for `fault` or because the output has ended."""
        if self.answer.done():
            return
        if fault is None:
            self.answer.set_result(None)
        else:
            self.answer.set_exception(fault)


class GtpProcess(asyncio.SubprocessProtocol):
    """Made by `start`. One command at a time."""

    def __init__(self, log: GtpLog | None = None) -> None:
        self._log = log
        self._transport: asyncio.SubprocessTransport | None = None
        self._asked: _Asked | None = None
        self._half = b""
        self._chatter = 0
        self._last_words = b""
        self._broken: PlayerFault | None = None
        self._has_ended = False
        self._exited = asyncio.Event()

    @classmethod
    async def start(cls, command: Sequence[str], log: GtpLog | None = None) -> GtpProcess:
        """The process of `command`, in the current folder. All that is said goes to `log`, which ends with it.

        Raises:
            PlayerFault: there is no such program.
        """
        loop = asyncio.get_running_loop()
        try:
            # A session of its own: `command` may be a script that starts the engine, and all of it must end with it;
            # and Ctrl-C is for us alone.
            transport, process = await loop.subprocess_exec(lambda: cls(log), *command, start_new_session=True)
        except (OSError, ValueError) as error:
            raise PlayerFault("crash", f"does not start: {getattr(error, 'strerror', None) or error}") from error
        assert isinstance(process, GtpProcess) and isinstance(transport, asyncio.SubprocessTransport)
        return process

    @property
    def is_usable(self) -> bool:
        return self._broken is None and not self._has_ended

    async def ask(self, command: str, patience_s: float) -> str:
        """The engine's answer to `command`, without its mark.

        Raises:
            PlayerFault: there was none within `patience_s`, or not the kind that is wanted. After "refused" the engine
                serves on; after anything else it is ended.
        """
        assert self._asked is None and self._transport is not None
        if self._broken is not None:
            raise self._broken
        asked = self._asked = _Asked(command, asyncio.get_running_loop().create_future())
        try:
            if self._has_ended:
                raise await self._ended()
            self._note(">", command)
            cast(asyncio.WriteTransport, self._transport.get_pipe_transport(_STDIN)).write(f"{command}\n".encode())
            answer = await within(asked.answer, patience_s)
            if answer is None:
                raise await self._ended()
            return answer
        except asyncio.TimeoutError as error:
            fault = PlayerFault("timeout", f"did not answer {command!r} within {patience_s:g} s{self._words()}")
            self._break(fault)
            raise fault from error
        except asyncio.CancelledError:
            # Its answer will come when nobody waits for it any more.
            self._break(PlayerFault("crash", f"was ended while it answered {command!r}"))
            raise
        except PlayerFault as fault:
            if fault.kind != "refused":
                self._break(fault)
            raise
        finally:
            self._asked = None

    async def close(self) -> None:
        """Ask the engine to quit, and end it if it does not."""
        if self.is_usable:
            with contextlib.suppress(PlayerFault):
                await self.ask("quit", QUIT_S)
            with contextlib.suppress(asyncio.TimeoutError):
                await within(self._exited.wait(), QUIT_S)
        self.kill()
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._exited.wait(), _REAP_S)
        self.abandon()

    def abandon(self) -> None:
        """As `close` for who cannot wait: end the process at once."""
        self.kill()
        if self._transport is not None:
            self._transport.close()
        if self._log is not None:
            self._log.close()

    def kill(self) -> None:
        """End the process and what it started, at once. Again is nothing."""
        # Once all of them are gone the number may be somebody else's.
        if self._transport is not None and not (self._exited.is_set() and self._has_ended):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._transport.get_pid(), signal.SIGKILL)

    # ------------------------------------------------------------ what asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != _STDOUT:
            self._last_words = (self._last_words + data)[-_LAST_WORDS_BYTES:]
            self._note("!", data.decode(errors="replace"))
            return
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            self._take(line.decode(errors="replace").rstrip("\r"))
        if len(self._half) > MAX_REPLY_BYTES:
            self._break(PlayerFault("garbage", "said a line without an end"))

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        del exc
        if fd == _STDOUT:
            self._has_ended = True
            if self._asked is not None:
                self._asked.end(None)

    def process_exited(self) -> None:
        self._exited.set()

    # ------------------------------------------------------------ inside

    def _take(self, line: str) -> None:
        if self._broken is not None:
            return
        self._note("<", line or " ")
        try:
            if self._asked is not None and self._asked.take(line):
                if self._asked.answer.done():
                    # A process plays all games of its table; who logs five lines a move is no babbler after 2000 moves.
                    self._chatter = 0
                return
        except PlayerFault as fault:
            self._break(fault)
        if line.startswith(("=", "?")):
            self._break(PlayerFault("garbage", f"answered {line[:200]!r} to nothing"))
        self._chatter += bool(line)
        if self._chatter > MAX_CHATTER_LINES:
            self._break(PlayerFault("garbage", f"says what is no GTP, such as {line[:200]!r}"))

    def _break(self, fault: PlayerFault) -> None:
        if self._broken is None:
            self._broken = fault
            if self._asked is not None:
                self._asked.end(fault)
            self.kill()

    def _note(self, mark: str, text: str) -> None:
        if self._log is not None:
            self._log.add(mark, text)

    async def _ended(self) -> PlayerFault:
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._exited.wait(), _REAP_S)
        assert self._transport is not None
        status = self._transport.get_returncode()
        how = "closed its output" if status is None else f"ended with status {status}"
        if status is not None and status < 0:
            how = f"was ended by {_signal_name(-status)}"
        return PlayerFault("crash", how + self._words())

    def _words(self) -> str:
        said = self._last_words.decode(errors="replace").strip()
        return f"; its last words: {said[-400:]}" if said else ""


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
