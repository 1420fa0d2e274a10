"""Clients that come in over TCP and Unix sockets: a seat, the token where one is asked for, then a `Session`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Protocol

from agent.engine.messages import Engine
from agent.service.access import NO_GUARD, TOKEN_S, Guard, shows_token
from agent.service.gate import open_gates
from agent.service.serve import PROBE_S, MakeConnection, Session
from agent.service.streams import TcpStream, UnixStream
from agent.settings import format_address
from agent.waiting import within

log = logging.getLogger(__name__)

# Each costs a game, a line buffer and up to SUBMIT_LIMIT reports; a GUI uses one or two.
MAX_CLIENTS: Final = 64
# Who has not shown a token yet sits elsewhere, and makes room for the next stranger: a token comes at once.
MAX_STRANGERS: Final = 64
# With all of both; who is still shaking hands in TLS, or on the way out, has neither seat.
MAX_OPEN: Final = MAX_CLIENTS + 2 * MAX_STRANGERS
# Whoever is on this machine, as over loopback; the folder may say otherwise.
_SOCKET_MODE: Final = 0o666


class _HasSockets(Protocol):
    """asyncio's server, and that of websockets."""

    @property
    def sockets(self) -> Iterable[socket.socket]: ...


class Seats:
    """So many at the same time and no more."""

    def __init__(self, count: int = MAX_CLIENTS) -> None:
        self._count = count
        self._is_told = False
        self.taken = 0

    @contextlib.contextmanager
    def one(self) -> Iterator[bool]:
        """Whether there is a seat; taken while the block runs."""
        if self.taken >= self._count:
            # Once for a crowd, which would fill the log.
            if not self._is_told:
                log.warning("refused a client: %d are connected", self.taken)
            self._is_told = True
            yield False
            return
        self.taken += 1
        try:
            yield True
        finally:
            self.taken -= 1
            self._is_told = False


class Reception:
    """Takes in the clients of one socket. `refusal` is what one is told that does not show the token."""

    def __init__(
        self,
        make_connection: MakeConnection,
        engine: Engine,
        *,
        guard: Guard = NO_GUARD,
        refusal: bytes = b"",
        probe_s: float = PROBE_S,
    ) -> None:
        self.seats = Seats()
        self._strangers: dict[TcpStream, None] = {}  # the one who waits longest first
        self._make_connection = make_connection
        self._engine = engine
        self._guard = guard
        self._refusal = refusal
        self._probe_s = probe_s

    async def take_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._take(TcpStream(reader, writer))

    async def take_unix(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._take(UnixStream(reader, writer))

    async def _take(self, stream: TcpStream) -> None:
        try:
            if not await self._is_known(stream):
                await stream.close()
                return
            with self.seats.one() as has_seat:
                if has_seat:
                    connection = self._make_connection(self._engine)
                    await Session(connection, self._engine, stream, probe_s=self._probe_s).run()
                else:
                    await stream.close()
        except asyncio.CancelledError:
            # The event loop ends; before Python 3.12 asyncio logs a cancelled client as an error.
            log.debug("client is cut off at the end")

    async def _is_known(self, stream: TcpStream) -> bool:
        if len(self._strangers) >= MAX_STRANGERS:
            longest = next(iter(self._strangers))
            del self._strangers[longest]
            longest.abort()
        self._strangers[stream] = None
        try:
            if await shows_token(stream, self._guard):
                return True
            if stream in self._strangers:
                log.warning("sent a client away: it did not show the token")
                await within(stream.write(self._refusal), TOKEN_S)
        except (OSError, asyncio.TimeoutError):
            log.debug("a client left before it showed the token")
        finally:
            self._strangers.pop(stream, None)
        return False


async def serve_tcp(reception: Reception, host: str, port: int, *, guard: Guard = NO_GUARD) -> list[asyncio.Server]:
    """Listen at every address of `host`; each client gets a connection object of its own. Clients outlast the servers'
    closing; they end with the event loop.

    Raises OSError where an address cannot be had.
    """
    # asyncio takes a time for the handshake only where there is one.
    tls: dict[str, Any] = {} if guard.tls is None else {"ssl": guard.tls, "ssl_handshake_timeout": TOKEN_S}
    gates = await open_gates(host, port, MAX_OPEN)
    return [await asyncio.start_server(reception.take_tcp, sock=gate, **tls) for gate in gates]


def server_address(server: _HasSockets) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return format_address(host, port)


@contextlib.asynccontextmanager
async def listening_unix(reception: Reception, path: Path) -> AsyncIterator[None]:
    """Listen at `path` while the block runs; the socket is gone afterwards.

    Raises OSError where the path cannot be had: it is no socket, or somebody listens there.
    """
    if path.is_socket() and _answers(path):
        raise OSError(errno.EADDRINUSE, "somebody listens there")
    # A socket that nobody listens at, left behind by a killed daemon, is replaced.
    server = await asyncio.start_unix_server(reception.take_unix, path)
    made = path.stat().st_ino
    try:
        path.chmod(_SOCKET_MODE)
        yield
    finally:
        server.close()
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == made:
                path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.setblocking(False)
        try:
            visitor.connect(str(path))
        except BlockingIOError:
            # Somebody listens and is busy.
            return True
        except OSError:
            return False
    return True
