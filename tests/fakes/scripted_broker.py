"""The part of an MQTT 3.1.1 broker that meets a client: TLS, user and password, acknowledgements; and a wire that can
be cut without either end being told. For what a real broker needs configuration and certificates for."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import NamedTuple

from agent.settings import Mqtt

# A key and its own certificate for localhost and 127.0.0.1.
CERTIFICATE = Path(__file__).with_name("loopback.pem")
_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK, _PINGREQ, _PINGRESP = 1, 2, 3, 4, 8, 9, 12, 13
# CONNACK's return codes, section 3.2.2.3.
ACCEPTED, BAD_USER, NOT_AUTHORISED = 0, 4, 5


class Published(NamedTuple):
    topic: str
    payload: bytes


class ScriptedBroker:
    """Use as an async context manager. `logins` are the users and passwords that were shown, `published` what came."""

    def __init__(self, *, accept: tuple[str, str] | None = None, tls: bool = False, client_tls: bool = False) -> None:
        self._accept = accept
        self._context = _server_context(client_tls) if tls else None
        self.logins: list[tuple[str | None, str | None]] = []
        self.published: list[Published] = []
        self.more = asyncio.Event()
        self._clients: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ScriptedBroker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.mqtt = Mqtt(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def until(self, count: int) -> list[Published]:
        """Wait for so many publications."""
        while len(self.published) < count:
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), 20)
        return self.published

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(asyncio.ensure_future(self._converse(reader, writer)))

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                kind, flags, body = await _read_packet(reader)
                answer = self._answer(kind, flags, body)
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
        writer.close()

    def _answer(self, kind: int, flags: int, body: bytes) -> bytes | None:
        """The reply to one packet; None ends the connection."""
        if kind == _CONNECT:
            login = _login(body)
            self.logins.append(login)
            refused = self._accept is not None and login != self._accept
            return bytes([_CONNACK << 4, 2, 0, NOT_AUTHORISED if refused else ACCEPTED])
        if kind == _PUBLISH:
            size = int.from_bytes(body[:2], "big")
            rest = body[2 + size :]
            has_id = bool(flags & 0b110)
            self.published.append(Published(body[2 : 2 + size].decode(), rest[2:] if has_id else rest))
            self.more.set()
            return bytes([_PUBACK << 4, 2]) + rest[:2] if has_id else b""
        if kind == _SUBSCRIBE:
            return bytes([_SUBACK << 4, 3]) + body[:2] + b"\0"
        return bytes([_PINGRESP << 4, 0]) if kind == _PINGREQ else None


async def _read_packet(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Kind, flags and body; the length has seven bits a byte, lowest first (section 2.2.3)."""
    first = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return first >> 4, first & 0x0F, await reader.readexactly(length)


def _login(body: bytes) -> tuple[str | None, str | None]:
    """User and password of a CONNECT (section 3.1): after protocol, level, flags and keep-alive come id and will."""
    name = int.from_bytes(body[:2], "big")
    flags = body[3 + name]
    fields: list[str] = []
    rest = body[6 + name :]
    while rest:
        size = int.from_bytes(rest[:2], "big")
        fields.append(rest[2 : 2 + size].decode(errors="replace"))
        rest = rest[2 + size :]
    given = fields[3:] if flags & 0b100 else fields[1:]
    user = given.pop(0) if flags & 0x80 else None
    return user, given.pop(0) if flags & 0x40 else None


def _server_context(client_tls: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    if client_tls:
        context.load_verify_locations(CERTIFICATE)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Wire:
    """A TCP relay to a broker. After `cut` it takes every byte and passes none on, as a network does whose cable is
    out: no end is told. `mend` lets new connections through; old ones stay dead."""

    def __init__(self, broker: Mqtt) -> None:
        self._broker = broker
        self._is_cut = False
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Wire:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.mqtt = Mqtt(host="127.0.0.1", port=self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        self._is_cut = True
        self._generation += 1

    def mend(self) -> None:
        self._is_cut = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = self._broker.host, self._broker.port
        other_reader, other_writer = await asyncio.open_connection(host, port)
        for source, sink in ((reader, other_writer), (other_reader, writer)):
            self._tasks.add(asyncio.ensure_future(self._pass(source, sink, self._generation)))

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, generation: int) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if not self._is_cut and generation == self._generation:
                    sink.write(data)
                    await sink.drain()
        if generation == self._generation:
            sink.close()
