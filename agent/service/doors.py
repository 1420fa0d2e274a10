"""The daemon's sockets, opened as the settings say: GTP and analysis over TCP and Unix sockets, analysis over
WebSocket.

Each socket has seats of its own (`listen.Seats`), so that a crowd at one of them, which may be open to a network, keeps
nobody out of the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path
from typing import Final

import msgspec

from agent.engine.messages import Engine
from agent.errors import AddressTaken
from agent.events import ChainStep, Reporter
from agent.service.access import Guard
from agent.service.listen import Reception, Seats, listening_unix, serve_tcp, server_address
from agent.service.serve import MakeConnection
from agent.service.websocket import serve_websocket
from agent.settings import Settings, parse_address
from agent.waiting import within

# What a client over TCP is told that does not begin with the token, in its protocol's form.
REFUSALS: Final = {
    "gtp": b"? the first line must be: token SECRET\n\n",
    "analysis": b'{"error":"the first line must be: token SECRET"}\n',
}
# For WebSocket clients to take their leave at the daemon's end.
_FAREWELL_S: Final = 1.0


class Opened(msgspec.Struct, frozen=True):
    """Where each socket is, by its key in the settings; None for those that are closed."""

    gtp_address: str | None
    analysis_address: str | None
    websocket_address: str | None
    gtp_socket: str | None
    analysis_socket: str | None


class Doors:
    """What `stack` holds is open until it ends."""

    def __init__(self, engine: Engine, guard: Guard, stack: contextlib.AsyncExitStack, reporter: Reporter) -> None:
        self._engine = engine
        self._guard = guard
        self._stack = stack
        self._reporter = reporter
        self._seats: list[Seats] = []

    @property
    def clients(self) -> int:
        """How many are connected now."""
        return sum(seats.taken for seats in self._seats)

    async def open(
        self, settings: Settings, *, gtp: MakeConnection, analysis: MakeConnection, websocket: MakeConnection
    ) -> Opened:
        """Open all sockets.

        Raises AddressTaken.
        """
        opened = Opened(
            gtp_address=await self._open_tcp("gtp", gtp, settings.gtp_address),
            analysis_address=await self._open_tcp("analysis", analysis, settings.analysis_address),
            websocket_address=await self._open_websocket(websocket, settings.websocket_address),
            gtp_socket=await self._open_unix("gtp", gtp, settings.gtp_socket),
            analysis_socket=await self._open_unix("analysis", analysis, settings.analysis_socket),
        )
        self._tell("gtp", opened.gtp_address, opened.gtp_socket)
        self._tell("analysis", opened.analysis_address, opened.analysis_socket)
        self._tell("websocket", opened.websocket_address)
        return opened

    def _tell(self, name: str, *places: str | None) -> None:
        found = " and ".join(place for place in places if place)
        if found:
            self._reporter.report(ChainStep(name, f"listens on {found}"))

    async def _open_tcp(self, name: str, make_connection: MakeConnection, address: str | None) -> str | None:
        if address is None:
            return None
        reception = Reception(make_connection, self._engine, guard=self._guard, refusal=REFUSALS[name])
        try:
            servers = await serve_tcp(reception, *parse_address(address), guard=self._guard)
        except OSError as error:
            raise _taken(f"{name}_address", address, error) from error
        for server in servers:
            self._stack.callback(server.close)
        self._seats.append(reception.seats)
        return server_address(servers[0])

    async def _open_websocket(self, make_connection: MakeConnection, address: str | None) -> str | None:
        if address is None:
            return None
        seats = Seats()
        host, port = parse_address(address)
        try:
            servers = await serve_websocket(make_connection, self._engine, host, port, guard=self._guard, seats=seats)
        except OSError as error:
            raise _taken("websocket_address", address, error) from error

        async def farewell() -> None:
            for server in servers:
                server.close()
            with contextlib.suppress(asyncio.TimeoutError):
                await within(asyncio.gather(*(server.wait_closed() for server in servers)), _FAREWELL_S)

        self._stack.push_async_callback(farewell)
        self._seats.append(seats)
        return server_address(servers[0])

    async def _open_unix(self, name: str, make_connection: MakeConnection, path: Path | None) -> str | None:
        if path is None:
            return None
        reception = Reception(make_connection, self._engine)
        try:
            await self._stack.enter_async_context(listening_unix(reception, path))
        except OSError as error:
            raise _taken(f"{name}_socket", str(path), error) from error
        self._seats.append(reception.seats)
        return str(path)


def _taken(key: str, where: str, error: OSError) -> AddressTaken:
    # What asyncio says of an address that is taken is long; a name that leads nowhere has no number of the system's.
    why = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
    what = f"cannot listen on {where}: {why}"
    return AddressTaken(what, fix=f"Stop what listens there, or set another {key} in agent.yaml.")
