"""Standard input and output, and the relay between them and a running service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fakes.engine import FakeEngine

from agent.errors import ServiceDown
from agent.service.gtp import GtpConnection
from agent.service.listen import Reception, serve_tcp
from agent.service.options import ServiceOptions
from agent.service.relay import relay, serve_relay
from agent.service.serve import Session
from agent.service.streams import STALLED_CLIENT_S, StdioStream, TcpStream

PATIENCE_S = 30.0


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


def connection(engine: FakeEngine) -> GtpConnection:
    return GtpConnection(ServiceOptions(), engine.next_id, lambda: engine.ready)


def read_all(fd: int) -> bytes:
    data = b""
    while chunk := os.read(fd, 65536):
        data += chunk
    os.close(fd)
    return data


def test_a_session_over_pipes() -> None:
    async def test() -> None:
        engine = FakeEngine()
        input_read, input_write = os.pipe()
        output_read, output_write = os.pipe()
        session = asyncio.create_task(Session(connection(engine), engine, StdioStream(input_read, output_write)).run())
        os.write(input_write, b"name\ngenmove b\nprotocol_version\n")
        os.close(input_write)
        await engine.until(lambda: bool(engine.waiting))
        engine.release()
        await session
        os.close(output_write)
        assert read_all(output_read) == b"= KataGo\n\n= A19\n\n= 2\n\n"
        os.close(input_read)

    run(test)


def test_a_session_over_files(tmp_path: Path) -> None:
    """`agent gtp < commands > replies`: asyncio's own pipes refuse regular files."""
    (tmp_path / "in").write_bytes(b"name\nboardsize x\nquit\nname\n")

    async def test() -> None:
        engine = FakeEngine()
        with (tmp_path / "in").open("rb") as given, (tmp_path / "out").open("wb") as replies:
            await Session(connection(engine), engine, StdioStream(given.fileno(), replies.fileno())).run()

    run(test)
    assert (tmp_path / "out").read_bytes() == (
        b"= KataGo\n\n? Expected int argument for boardsize or pair of ints but got 'x'\n\n= \n\n"
    )


class Relayed(NamedTuple):
    """The client's ends of a relay to a service, which `go` runs until it ends."""

    input: int
    output: int
    go: Callable[[], Coroutine[Any, Any, None]]


@contextlib.asynccontextmanager
async def relayed(engine: FakeEngine) -> AsyncIterator[Relayed]:
    (server,) = await serve_tcp(Reception(connection, engine), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    input_read, input_write = os.pipe()
    output_read, output_write = os.pipe()

    async def go() -> None:
        await relay(StdioStream(input_read, output_write), TcpStream(reader, writer), writer.write_eof)
        os.close(output_write)

    yield Relayed(input_write, output_read, go)
    os.close(input_read)
    server.close()


def test_the_relay_passes_both_directions_and_the_end_of_input() -> None:
    async def test() -> None:
        engine = FakeEngine()
        async with relayed(engine) as client:
            passing = asyncio.create_task(client.go())
            os.write(client.input, b"1 genmove b\n2 name\n")
            os.close(client.input)
            await engine.until(lambda: bool(engine.waiting))
            engine.release()
            await passing
            assert read_all(client.output) == b"=1 A19\n\n=2 KataGo\n\n"

    run(test)


def test_the_relay_ends_when_the_service_does() -> None:
    async def test() -> None:
        async with relayed(FakeEngine()) as client:
            passing = asyncio.create_task(client.go())
            os.write(client.input, b"quit\n")
            await passing
            assert read_all(client.output) == b"= \n\n"
            os.close(client.input)

    run(test)


def test_the_relay_ends_when_nobody_reads_it() -> None:
    async def test() -> None:
        async with relayed(FakeEngine()) as client:
            os.close(client.output)
            os.write(client.input, b"name\n")
            await client.go()
            os.close(client.input)

    run(test)


def test_a_service_that_breaks_off_is_told_with_its_fix() -> None:
    async def test() -> None:
        async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # No time to linger: what is left is thrown away, and the other end told (socket(7)).
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()

        server = await asyncio.start_server(reset, "127.0.0.1", 0)
        with pytest.raises(ServiceDown, match="broke off") as caught:
            await serve_relay(server.sockets[0].getsockname(), on_connected=lambda: None)
        assert "agent run" in caught.value.fix
        server.close()

    run(test)


def test_the_kernel_looks_for_clients_that_say_nothing() -> None:
    async def test() -> None:
        streams: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        server = await asyncio.start_server(lambda _, w: streams.put_nowait(w), "127.0.0.1", 0)
        _, client = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer = await streams.get()
        stream = TcpStream(asyncio.StreamReader(), writer)
        connection = writer.get_extra_info("socket")
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == STALLED_CLIENT_S * 1000
        await stream.close()
        client.close()
        server.close()

    run(test)


def test_a_probe_is_not_seen_and_finds_a_closed_socket() -> None:
    async def test() -> None:
        streams: asyncio.Queue[TcpStream] = asyncio.Queue()
        server = await asyncio.start_server(lambda r, w: streams.put_nowait(TcpStream(r, w)), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        stream = await streams.get()
        writer.write_eof()
        assert await stream.read() == b""
        for _ in range(3):
            stream.probe()
        await stream.write(b"reply")
        assert await reader.readexactly(5) == b"reply"
        writer.close()
        await writer.wait_closed()
        with pytest.raises(OSError):
            while True:
                stream.probe()
                await asyncio.sleep(0)
        await stream.close()
        server.close()

    run(test)
