"""Opens an endpoint and passes lines, nothing more: what they mean is `conversation.py`'s.

Start at `open_channel`. The one owner of `websockets` on the client's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from agent.client.endpoints import Endpoint, Stdio, Tcp, Unix, WebSocket
from agent.errors import EngineUnreachable
from agent.waiting import holds_unsent, within

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

# A final report with the ownership of each of 361 moves and its deviation is 3 MB.
MAX_ANSWER_BYTES = 1 << 24
# A process whose output has ended ends at once, or it never will.
ENDED_S = 1.0
# A peer that takes no input any more is let go.
CLOSE_S = 5.0
# The end of what a dead engine said on standard error: KataGo's reason is its last line, a traceback's some lines more.
LAST_LINES = 8
LAST_CHARACTERS = 500
# A cable that was pulled out is noticed after a minute: 30 s of silence and three probes, or 60 s in which nothing that
# was sent is acknowledged (in milliseconds). By name, because not every system has all of them.
KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000))


class Channel(Protocol):
    @property
    def may_chatter(self) -> bool:
        """Whether lines may come that are not the engine's, as from a shell script around it."""

    async def send(self, line: bytes) -> None:
        """Returns when the line is on its way. Raises EngineUnreachable where the other side is gone."""

    async def receive(self) -> bytes:
        """The next line. Raises EngineUnreachable, with the reason, at the end."""

    async def close(self) -> None:
        """Let go, and end what was started. Never raises; again is nothing."""


async def open_channel(endpoint: Endpoint) -> Channel:
    """Connect, or start the engine.

    Raises EngineUnreachable.
    """
    try:
        if isinstance(endpoint, Stdio):
            return await _start(endpoint)
        if isinstance(endpoint, WebSocket):
            return await _connect_websocket(endpoint)
        return await _connect(endpoint)
    except (OSError, asyncio.TimeoutError, ValueError) as error:
        raise EngineUnreachable(f"{endpoint} cannot be reached: {_reason(error)}") from error


# ---------------------------------------------------------------- sockets


class _SocketChannel:
    may_chatter = False

    def __init__(self, endpoint: Endpoint, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._name = str(endpoint)
        self._reader = reader
        self._writer = writer

    async def send(self, line: bytes) -> None:
        try:
            self._writer.write(line + b"\n")
            await self._writer.drain()
        except OSError as error:
            raise EngineUnreachable(f"the connection to {self._name} broke: {_reason(error)}") from error

    async def receive(self) -> bytes:
        return await _line(self._reader, f"{self._name} closed the connection")

    async def close(self) -> None:
        await _end(self._writer.transport, self._close())

    async def _close(self) -> None:
        if not self._writer.is_closing():
            self._writer.close()
        await self._writer.wait_closed()


async def _connect(endpoint: Tcp | Unix) -> Channel:
    if isinstance(endpoint, Unix):
        reader, writer = await asyncio.open_unix_connection(endpoint.path, limit=MAX_ANSWER_BYTES)
        return _SocketChannel(endpoint, reader, writer)
    reader, writer = await asyncio.open_connection(
        endpoint.host, endpoint.port, limit=MAX_ANSWER_BYTES, ssl=endpoint.tls
    )
    _notice_absence(writer.get_extra_info("socket"))
    channel = _SocketChannel(endpoint, reader, writer)
    if endpoint.token is not None:
        await channel.send(f"token {endpoint.token}".encode())
    return channel


async def _end(transport: asyncio.WriteTransport, closing: Awaitable[None]) -> None:
    """Close in order where the other side plays its part. It has `CLOSE_S` for that, and no time where it does not even
    take what was sent: asyncio and the library would wait for it for ever."""
    if holds_unsent(transport):
        transport.abort()
    try:
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await within(closing, CLOSE_S)
    finally:
        # Also where who closes is cancelled. For what is closed, nothing.
        transport.abort()


def _notice_absence(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class _WebSocketChannel:
    may_chatter = False

    def __init__(self, endpoint: WebSocket, connection: ClientConnection) -> None:
        self._name = str(endpoint)
        self._connection = connection

    async def send(self, line: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(line.decode())
        except ConnectionClosed as error:
            raise EngineUnreachable(f"the connection to {self._name} broke: {error}") from error

    async def receive(self) -> bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            return await self._connection.recv(decode=False)
        except ConnectionClosed as error:
            raise EngineUnreachable(f"{self._name} closed the connection: {error}") from error

    async def close(self) -> None:
        await _end(self._connection.transport, self._connection.close())


async def _connect_websocket(endpoint: WebSocket) -> Channel:
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token is not None else None
    tls = endpoint.tls
    if tls is None and endpoint.url.startswith("wss:"):
        tls = ssl.create_default_context()
    try:
        connection = await connect(
            endpoint.url,
            additional_headers=headers,
            max_size=MAX_ANSWER_BYTES,
            # How long this may take is the caller's affair.
            open_timeout=None,
            # A service that does not read for a while, because of all that it has to do, does not answer pings either;
            # the kernel notices a cable that was pulled out.
            ping_timeout=None,
            ssl=tls,
            # Engines are at home or in the house next door. The library would take a proxy of the environment that is
            # for the web, for ws:// the one of https:// too, also to loopback, and show it the token.
            proxy=None,
        )
    except WebSocketException as error:
        raise EngineUnreachable(f"{endpoint} cannot be reached: {_reason(error)}") from error
    _notice_absence(connection.transport.get_extra_info("socket"))
    return _WebSocketChannel(endpoint, connection)


# ---------------------------------------------------------------- processes


class _ProcessChannel:
    may_chatter = True

    def __init__(self, endpoint: Stdio, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self._name, self._quit_s = str(endpoint), endpoint.quit_s
        self._process = process
        self._input, self._output = process.stdin, process.stdout
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._errors = asyncio.ensure_future(self._read_errors(process.stderr, endpoint.on_log))

    async def send(self, line: bytes) -> None:
        try:
            self._input.write(line + b"\n")
            await self._input.drain()
        except OSError as error:
            raise EngineUnreachable(await self._how_it_ended()) from error

    async def receive(self) -> bytes:
        try:
            return await _line(self._output, "it closed its output")
        except EngineUnreachable as error:
            raise EngineUnreachable(await self._how_it_ended()) from error

    async def close(self) -> None:
        self._input.close()
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    await within(self._process.wait(), self._quit_s)
                    break
                except asyncio.TimeoutError:
                    self._signal(number)
        finally:
            # What it started in turn, such as the engine behind a script, ends with it; at once where who waits for the
            # end is cancelled.
            self._signal(signal.SIGKILL)
            # What left its group, such as the connection that ssh shares, may hold its output for hours.
            ending = [self._errors, asyncio.ensure_future(self._process.wait())]
            await asyncio.wait(ending, timeout=ENDED_S)
            for each in ending:
                each.cancel()
            await asyncio.gather(*ending, return_exceptions=True)
            # The pipes; asyncio closes them by itself only when nobody holds the other ends any more, and has no other
            # name for it. They must be closed before the loop is.
            self._process._transport.close()  # type: ignore[attr-defined]

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    async def _how_it_ended(self) -> str:
        with contextlib.suppress(asyncio.TimeoutError):
            await within(asyncio.shield(self._errors), ENDED_S)
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._process.wait(), ENDED_S)
        status = self._process.returncode
        how = (
            "closed its output"
            if status is None
            else f"was ended by signal {-status}"
            if status < 0
            else f"ended with status {status}"
        )
        said = "\n".join(self._last)[-LAST_CHARACTERS:].strip()
        return f"{self._name} {how}: {said or 'it said nothing'}"

    async def _read_errors(self, errors: asyncio.StreamReader, on_log: Callable[[str], None] | None) -> None:
        rest = b""
        while data := await errors.read(1 << 13):
            *lines, rest = (rest + data).split(b"\n")
            # A line without an end is none; it must not grow for ever either.
            rest = rest[-MAX_ANSWER_BYTES:]
            for line in lines:
                self._last.append(text := line.decode(errors="replace").rstrip())
                if on_log is not None:
                    on_log(text)
        if rest:
            self._last.append(rest.decode(errors="replace"))


async def _start(endpoint: Stdio) -> Channel:
    if not endpoint.command:
        raise EngineUnreachable("there is no command that would start an engine")
    program, *arguments = endpoint.command
    if shutil.which(program) is None:
        raise EngineUnreachable(f"{program} is no program that can be started")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=MAX_ANSWER_BYTES,
        env=dict(endpoint.environment) if endpoint.environment is not None else None,
        # Ctrl-C in a terminal goes to us, and all that the command started can be ended together.
        start_new_session=True,
    )
    return _ProcessChannel(endpoint, process)


# ---------------------------------------------------------------- shared


async def _line(reader: asyncio.StreamReader, at_end: str) -> bytes:
    try:
        line = await reader.readline()
    except OSError as error:
        raise EngineUnreachable(f"{at_end}: {_reason(error)}") from error
    except ValueError as error:
        raise EngineUnreachable(f"{at_end}: a line of more than {MAX_ANSWER_BYTES >> 20} MiB came") from error
    if not line.endswith(b"\n"):
        raise EngineUnreachable(at_end)
    return line


def _reason(error: BaseException) -> str:
    # asyncio's own text names the address, but not what was wrong. TLS and the name service (with its negative ones)
    # have numbers of their own.
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and (number := error.errno or 0) > 0:
        return os.strerror(number)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
