"""A client of a running daemon over any of its sockets: lines out, lines in."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from agent.service.health import Front
from agent.settings import parse_address

WAYS = ("tcp", "unix", "websocket")
# A final report with the ownership of every move.
_LONGEST_LINE_BYTES = 1 << 24


class Line(Protocol):
    async def send(self, text: str) -> None:
        """One command or query."""

    async def line(self) -> str:
        """The next line without its newline. Raises EOFError where the service closed."""

    async def close(self) -> None: ...


class StreamLine:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, text: str) -> None:
        self._writer.write(text.encode() + b"\n")
        await self._writer.drain()

    async def line(self) -> str:
        data = await self._reader.readline()
        if not data.endswith(b"\n"):
            raise EOFError("the service closed the connection")
        return data[:-1].decode()

    async def close(self) -> None:
        self._writer.close()


class WebSocketLine:
    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send(self, text: str) -> None:
        await self._connection.send(text)

    async def line(self) -> str:
        frame = await self._connection.recv()
        assert isinstance(frame, str)
        return frame

    async def close(self) -> None:
        await self._connection.close()


async def open_line(front: Front, protocol: str, way: str) -> Line:
    """A client of `protocol` (gtp or analysis) that comes in by `way`, one of `WAYS`; WebSocket has analysis only."""
    if way == "websocket":
        assert protocol == "analysis"
        address = f"ws://{front.websocket_address}/"
        return WebSocketLine(await connect(address, max_size=_LONGEST_LINE_BYTES, proxy=None))
    if way == "unix":
        path = getattr(front, f"{protocol}_socket")
        return StreamLine(*await asyncio.open_unix_connection(path, limit=_LONGEST_LINE_BYTES))
    address = parse_address(getattr(front, f"{protocol}_address"))
    return StreamLine(*await asyncio.open_connection(*address, limit=_LONGEST_LINE_BYTES))


class Gtp:
    """GTP over a `Line`, each command with an id that its reply must carry."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._id = 0

    async def ask(self, command: str) -> str:
        """The text of the reply, all its lines."""
        self.begin = await self.start(command)
        return await self.finish()

    async def start(self, command: str) -> str:
        """Send a command and do not wait; how a good reply begins."""
        self._id += 1
        await self._line.send(f"{self._id} {command}")
        self.begin = f"={self._id}"
        return self.begin

    async def finish(self) -> str:
        """The rest of the reply to what was started."""
        lines = []
        while text := await self._line.line():
            lines.append(text)
        assert lines and lines[0].split(" ")[0] == self.begin, f"expected {self.begin}, got {lines}"
        return "\n".join(lines)[len(self.begin) :].strip()

    async def line(self) -> str:
        return await self._line.line()

    async def close(self) -> None:
        await self._line.close()


class Analysis:
    """JSON analysis over a `Line`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def send(self, query: dict[str, Any]) -> None:
        await self._line.send(msgspec.json.encode(query).decode())

    async def answer(self) -> dict[str, Any]:
        """The next message that is no report during search."""
        while True:
            found = await self.message()
            if not found.get("isDuringSearch", False):
                return found

    async def message(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode(await self._line.line())
        return found

    async def close(self) -> None:
        await self._line.close()
