"""A scripted analysis engine on a socket: each connection runs the next script. For what no real service does.

Over WebSocket it speaks as KaTrain's remote engine expects: one query a text frame, without compression.
`query_version`, with which our client begins, is answered before the script starts.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from fakes.analysis_answers import Fields, report
from websockets.asyncio.server import ServerConnection, serve

# For 127.0.0.1, signed by itself.
CERTIFICATE = Path(__file__).with_name("loopback.pem")

# As our service takes and the WebSocket library.
LINE_BYTES = 1 << 20


class Talk(Protocol):
    """One connection, from the engine's side."""

    async def hear(self) -> Fields:
        """The next query or action."""

    async def say(self, *lines: Fields | str) -> None: ...

    async def drop(self) -> None:
        """Break the connection as a pulled plug does: without a goodbye where the transport has one."""


Script = Callable[[Talk], Awaitable[None]]


async def answer_all(talk: Talk) -> None:
    """The well-behaved engine."""
    while True:
        query = await talk.hear()
        if "action" in query:
            await talk.say(query)
        else:
            for turn in query.get("analyzeTurns", [len(query["moves"])]):
                await talk.say(report(query, turn))


class Peer:
    """Use it as an async context manager. `kind` is tcp, unix or ws, with TLS tls or wss; `heard` has all queries of
    each connection."""

    def __init__(self, kind: str, *scripts: Script, folder: Path | None = None, greet: bool = True) -> None:
        self.heard: list[list[Fields]] = []
        self.headers: list[dict[str, str]] = []
        self.first_lines: list[bytes] = []
        self._kind = kind
        self._scripts = list(scripts)
        self._folder = folder
        self._greet = greet
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Peer:
        tls = None
        if self._kind in ("tls", "wss"):
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            tls.load_cert_chain(CERTIFICATE)
        if self._kind in ("ws", "wss"):
            self._server: Any = await serve(self._serve_websocket, "127.0.0.1", 0, ssl=tls, compression=None)
            self.address = f"{self._kind}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        elif self._kind == "unix":
            assert self._folder is not None
            self.address = f"unix://{self._folder / 'peer.sock'}"
            self._server = await asyncio.start_unix_server(
                self._serve_lines, self._folder / "peer.sock", limit=LINE_BYTES
            )
        else:
            self._server = await asyncio.start_server(self._serve_lines, "127.0.0.1", 0, ssl=tls, limit=LINE_BYTES)
            self.address = f"{self._kind}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve_lines(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._converse(_Lines(reader, writer, self._hears()))
        writer.close()

    async def _serve_websocket(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.headers.append(dict(connection.request.headers.raw_items()))
        await self._converse(_Frames(connection, self._hears()))

    def _hears(self) -> list[Fields]:
        self.heard.append([])
        return self.heard[-1]

    async def _converse(self, talk: _Lines | _Frames) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
            if self._greet:
                first = await talk.raw()
                if first.startswith(b"token"):
                    self.first_lines.append(first)
                    first = await talk.raw()
                await talk.say({**json.loads(first), "version": "9.99", "git_hash": "peer"})
            await script(talk)
        except (EOFError, OSError, asyncio.CancelledError):
            # The client is gone, or the test is over.
            return
        finally:
            self._tasks.discard(task)


class _Lines:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: list[Fields]) -> None:
        self._reader, self._writer, self._heard = reader, writer, heard

    async def raw(self) -> bytes:
        line = await self._reader.readline()
        if not line:
            raise EOFError
        return line

    async def hear(self) -> Fields:
        self._heard.append(json.loads(await self.raw()))
        return self._heard[-1]

    async def say(self, *lines: Fields | str) -> None:
        for line in lines:
            self._writer.write((line if isinstance(line, str) else json.dumps(line)).encode() + b"\n")
        await self._writer.drain()

    async def drop(self) -> None:
        self._writer.transport.abort()


class _Frames:
    def __init__(self, connection: ServerConnection, heard: list[Fields]) -> None:
        self._connection, self._heard = connection, heard

    async def raw(self) -> bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            data = await self._connection.recv()
        except ConnectionClosed as error:
            raise EOFError from error
        assert isinstance(data, str), "KaTrain sends text frames"
        return data.encode()

    async def hear(self) -> Fields:
        self._heard.append(json.loads(await self.raw()))
        return self._heard[-1]

    async def say(self, *lines: Fields | str) -> None:
        for line in lines:
            await self._connection.send(line if isinstance(line, str) else json.dumps(line))

    async def drop(self) -> None:
        self._connection.transport.abort()
