"""JSON analysis over WebSocket, as KaTrain's remote engine speaks it: one query per frame, one reply per frame.

The library (websockets) does the handshake, the frames, pings and closing; what is left here is who may come in, and
frames as lines. No compression: it costs a small board more than its network does, and KaTrain does not ask for it.
Precedent: KaTrain 1.20, katrain/core/remote_engine.py.
"""

from __future__ import annotations

import ipaddress
import logging
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from agent.engine.messages import Engine
from agent.service.access import TOKEN_S, Guard
from agent.service.gate import Gate, open_gates
from agent.service.lines import MAX_LINE_BYTES
from agent.service.listen import MAX_OPEN, Seats
from agent.service.serve import MakeConnection, Session
from agent.service.streams import CLOSE_S, WRITE_HIGH_BYTES, notice_absence
from agent.waiting import holds_unsent

log = logging.getLogger(__name__)

# Keeps a silent connection alive through the routers of a home network; most forget one after minutes.
PING_S: Final = 20.0
# RFC 6455's registry of close codes: try again later.
TRY_AGAIN_LATER: Final = 1013
# A query may be printed over several lines; within JSON a line's end is nothing but space.
_ONE_LINE: Final = bytes.maketrans(b"\r\n", b"  ")


class WebSocketStream:
    """Frames as lines, both ways. There is no half of a connection: who closes reads no more."""

    can_vanish = True

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def read(self) -> bytes:
        message = bytearray()
        try:
            # Part by part: the library would keep an object for each of a million parts of one byte.
            async for part in self._connection.recv_streaming(decode=False):
                message += part
        except ConnectionClosed as error:
            raise ConnectionResetError(str(error)) from error
        return bytes(message.translate(_ONE_LINE)) + b"\n"

    async def write(self, data: bytes) -> None:
        try:
            for line in data.split(b"\n"):
                if line:
                    await self._connection.send(line, text=True)
        except ConnectionClosed as error:
            raise ConnectionResetError(str(error)) from error

    def probe(self) -> None:
        """Reading tells of the end."""

    async def close(self) -> None:
        if holds_unsent(self._connection.transport):
            self._connection.transport.abort()
        await self._connection.close()


async def serve_websocket(
    make_connection: MakeConnection, engine: Engine, host: str, port: int, *, guard: Guard, seats: Seats
) -> list[Server]:
    """Listen at every address of `host`; each client gets a connection object of its own. Closing the servers says
    goodbye to all.

    Raises OSError where an address cannot be had.
    """

    def check(connection: ServerConnection, request: Request) -> Response | None:
        refused = refusal(request, guard)
        if refused is None:
            return None
        status, text = refused
        log.warning("sent a WebSocket client away: %s", text)
        return connection.respond(status, text + "\n")

    async def serve_client(connection: ServerConnection) -> None:
        with seats.one() as has_seat:
            if not has_seat:
                await connection.close(TRY_AGAIN_LATER, "too many clients")
                return
            notice_absence(connection.transport.get_extra_info("socket"))
            try:
                await Session(make_connection(engine), engine, WebSocketStream(connection)).run()
            except Exception:
                # The edge to one client; the library's own logger is silent.
                log.exception("a connection failed")

    # Without TLS asyncio takes no time for its handshake; the library's begins afterwards.
    tls: dict[str, Any] = {} if guard.tls is None else {"ssl": guard.tls, "ssl_handshake_timeout": TOKEN_S}

    async def serve_at(gate: Gate) -> Server:
        return await serve(
            serve_client,
            sock=gate,
            process_request=check,
            **tls,
            compression=None,
            max_size=MAX_LINE_BYTES,
            # No frame is read ahead of the one at hand: what a client sends before we take it waits in its own machine.
            max_queue=1,
            write_limit=WRITE_HIGH_BYTES,
            open_timeout=TOKEN_S,
            close_timeout=CLOSE_S,
            ping_interval=PING_S,
            # A pong that does not come means nothing where we do not read; the kernel finds out who is gone.
            ping_timeout=None,
            server_header=None,
            logger=_silent_logger(),
        )

    return [await serve_at(gate) for gate in await open_gates(host, port, MAX_OPEN)]


def refusal(request: Request, guard: Guard) -> tuple[HTTPStatus, str] | None:
    """Why this handshake is refused; None where it is welcome."""
    if guard.token is not None:
        if any(guard.accepts(given) for given in _tokens(request)):
            return None
        return HTTPStatus.UNAUTHORIZED, "show the token: ws://HOST:PORT/?token=SECRET or Authorization: Bearer SECRET"
    # A browser lets any page connect anywhere and says whose page it is (RFC 6455, 10.2). A page of another host has no
    # business here; nor has one whose own name was made to lead to this machine (DNS rebinding), which TLS would tell.
    host = _only(request, "Host")
    origins = request.headers.get_all("Origin")
    is_own = not origins or origins[0].partition("://")[2].lower() == host.lower()
    if not is_own or (origins and guard.tls is None and not _is_plain(host)):
        return HTTPStatus.FORBIDDEN, "pages of other hosts are not served"
    return None


def _tokens(request: Request) -> list[bytes]:
    query = request.path.partition("?")[2]
    given = [piece.partition("=")[2] for piece in query.split("&") if piece.startswith("token=")]
    kind, _, secret = _only(request, "Authorization").partition(" ")
    # The library decodes headers so that any byte passes; a token has no such bytes.
    found = [unquote_to_bytes(text.encode("utf-8", "replace")) for text in given[:1]]
    return [*found, secret.strip().encode("utf-8", "replace")] if kind.lower() == "bearer" else found


def _only(request: Request, name: str) -> str:
    """The header's value where it stands once."""
    values = request.headers.get_all(name)
    return values[0] if len(values) == 1 else ""


def _is_plain(host: str) -> bool:
    """Whether "host:port" is localhost or a number, which no name server can lead elsewhere."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False


def _silent_logger() -> logging.Logger:
    """It would print a traceback for every port scan, and in debugging the address with the token."""
    logger = logging.getLogger(f"{__name__}.library")
    logger.setLevel(logging.CRITICAL)
    return logger
