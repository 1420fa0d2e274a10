"""Standard input and output, and the relay between them and a running service."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
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
from agent.service.streams import HALF_CLOSED_IDLE_S, STALLED_CLIENT_S, StdioStream, TcpStream

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


def test_a_service_that_has_no_seat_is_told_with_its_fix() -> None:
    async def test() -> None:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        input_read, input_write = os.pipe()
        output_read, output_write = os.pipe()
        with pytest.raises(ServiceDown, match="64 clients are connected") as caught:
            await relay(StdioStream(input_read, output_write), TcpStream(reader, writer), writer.write_eof)
        assert "agent status" in caught.value.fix
        for end in (input_write, input_read, output_write):
            os.close(end)
        assert read_all(output_read) == b""
        server.close()

    run(test)


def test_a_client_that_ends_without_a_question_is_no_trouble() -> None:
    async def test() -> None:
        async with relayed(FakeEngine()) as client:
            os.close(client.input)
            await client.go()
            assert read_all(client.output) == b""

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


class HalfClosed(NamedTuple):
    """Our stream to a client that has said that it sends no more, and the client's own ends."""

    stream: TcpStream
    ours: asyncio.trsock.TransportSocket
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def gone(self) -> None:
        """Wait until the kernel knows that nobody reads."""
        poll = select.poll()
        poll.register(self.ours.fileno(), 0)
        await asyncio.to_thread(poll.poll, PATIENCE_S * 1000)


@contextlib.asynccontextmanager
async def half_closed() -> AsyncIterator[HalfClosed]:
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=1 << 10)
    ends = await accepted.get()
    stream = TcpStream(*ends)
    writer.write_eof()
    assert await stream.read() == b""
    yield HalfClosed(stream, ends[1].get_extra_info("socket"), reader, writer)
    writer.close()
    await stream.close()
    server.close()


def test_a_probe_finds_a_closed_socket() -> None:
    async def test() -> None:
        async with half_closed() as client:
            client.writer.close()
            await client.writer.wait_closed()
            with pytest.raises(OSError):
                client.stream.probe()
                await client.gone()
                client.stream.probe()

    run(test)


def test_no_probe_is_seen_by_a_client_that_reads_late() -> None:
    async def test() -> None:
        async with half_closed() as client:
            for line in (b"first\n", b"second\n", b"third\n"):
                await client.stream.write(line)
                for _ in range(3):
                    client.stream.probe()
            await client.stream.close()
            assert await client.reader.read() == b"first\nsecond\nthird\n"

    run(test)


def test_a_probe_bears_with_a_client_whose_buffers_are_full() -> None:
    async def test() -> None:
        async with half_closed() as client:
            sent = 0
            with client.ours.dup() as connection, contextlib.suppress(BlockingIOError):
                while True:
                    sent += connection.send(b"\n" * 65536, socket.MSG_DONTWAIT)
            for _ in range(3):
                client.stream.probe()
            reading = asyncio.create_task(client.reader.read())
            await client.stream.write(b"the end")
            await client.stream.close()
            assert await reading == b"\n" * sent + b"the end"

    run(test)


def test_a_client_that_is_gone_after_a_probe_is_found_by_the_kernel() -> None:
    async def test() -> None:
        async with half_closed() as client:
            client.stream.probe()
            assert client.ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == HALF_CLOSED_IDLE_S
            client.ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            # Its kernel forgets a closed connection after a minute, and with this after a second.
            client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, 1)
            await client.stream.write(b"answer\n")
            assert await client.reader.readline() == b"answer\n"
            client.writer.close()
            await client.writer.wait_closed()
            await client.gone()
            with pytest.raises(OSError):
                client.stream.probe()

    run(test)
