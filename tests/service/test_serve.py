"""Both protocols over real sockets on loopback, with the scripted engine: garbage, interleaved clients, slow readers,
clients that leave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import msgspec
import pytest
from fakes.engine import FakeEngine, answer

from agent.engine.messages import Engine, RawReport, SearchReport
from agent.service.analysis import AnalysisConnection
from agent.service.gtp import GtpConnection
from agent.service.lines import MAX_LINE_BYTES
from agent.service.listen import MAX_CLIENTS, Reception, serve_tcp
from agent.service.options import ServiceOptions
from agent.service.outputs import Close, Connection, Output, Send
from agent.service.serve import OUTPUT_HIGH_BYTES

# Long enough for a loaded board; a test that gets there has failed.
PATIENCE_S = 30.0
# Short enough that a few probes pass within a test.
PROBE_S = 0.02
QUERY = {"id": "q", "boardXSize": 5, "boardYSize": 5, "rules": "chinese", "moves": []}


def make_gtp(engine: Engine) -> Connection:
    return GtpConnection(ServiceOptions(), engine.next_id, lambda: engine.ready)


def make_analysis(engine: Engine) -> Connection:
    return AnalysisConnection(ServiceOptions(), engine.next_id, lambda: engine.ready)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def line(self) -> bytes:
        return await self.reader.readline()

    async def reply(self) -> bytes:
        """One GTP reply, with the empty line that ends it."""
        return await self.reader.readuntil(b"\n\n")

    async def ask(self, data: bytes) -> bytes:
        await self.send(data)
        return await self.reply()

    def close(self) -> None:
        self.writer.close()


class Service:
    """A server with the scripted engine, and its clients."""

    def __init__(self, server: asyncio.Server, engine: FakeEngine) -> None:
        self.engine = engine
        self._address = server.sockets[0].getsockname()
        self._clients: list[Client] = []

    async def client(self, *, receive_buffer_bytes: int | None = None) -> Client:
        connection = socket.socket()
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, self._address)
        client = Client(*await asyncio.open_connection(sock=connection, limit=1 << 24))
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextlib.asynccontextmanager
async def serving(make: Callable[[Engine], Connection]) -> AsyncIterator[Service]:
    engine = FakeEngine()
    (server,) = await serve_tcp(Reception(make, engine, probe_s=PROBE_S), "127.0.0.1", 0)
    service = Service(server, engine)
    try:
        yield service
    finally:
        service.close()
        server.close()


def run(test: Callable[[Service], Awaitable[None]], make: Callable[[Engine], Connection]) -> None:
    async def bounded() -> None:
        async with serving(make) as service:
            await asyncio.wait_for(test(service), PATIENCE_S)

    asyncio.run(bounded())


# ---------------------------------------------------------------- garbage

GARBAGE = {
    "invalid UTF-8": b"\xff\xfe\xc3\x28\x00\n",
    "NUL bytes": b"\x00" * 1000 + b"\n",
    "numbers where strings belong": b'{"id":5,"moves":7,"rules":9}\n',
    "a bare number": b"17\n",
    "deep nesting": b"[" * 200_000 + b"\n",
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unclosed string": b'{"id":"\n',
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize(
    ("make", "question", "answered"),
    [
        (make_gtp, b"99 protocol_version\n", b"=99 2\n"),
        (make_analysis, b'{"action":"clear_cache","id":"ok"}\n', b'{"action":"clear_cache","id":"ok"}\n'),
    ],
    ids=["gtp", "analysis"],
)
def test_garbage_is_answered_and_the_connection_goes_on(
    make: Callable[[Engine], Connection], question: bytes, answered: bytes, data: bytes
) -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        await client.send(data + question)
        lines = [await client.line()]
        while lines[-1] != answered:
            lines.append(await client.line())
            assert lines[-1], "the connection was closed"
        for line in lines[:-1]:
            assert line == b"\n" or line.startswith(b"?") or "error" in json.loads(line)
        if make is make_analysis:
            assert len(lines) > 1

    run(test, make)


@pytest.mark.parametrize("make", [make_gtp, make_analysis], ids=["gtp", "analysis"])
def test_ten_megabytes_without_a_newline_are_refused_once(make: Callable[[Engine], Connection]) -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        for _ in range(10):
            await client.send(b"x" * (1 << 20))
        await client.send(b"\n")
        reply = await client.line()
        assert b"line is too long" in reply
        assert len(reply) < 1000
        await client.send(b'{"id":"a","action":"clear_cache"}\n' if make is make_analysis else b"name\n")
        following = await client.line()
        assert following in (b'{"action":"clear_cache","id":"a"}\n', b"\n")

    assert MAX_LINE_BYTES < 10 << 20
    run(test, make)


def test_half_lines_become_whole_ones() -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        for piece in (b"1 na", b"me", b"\n2 proto", b"col_version\r\n"):
            await client.send(piece)
            await asyncio.sleep(0)
        assert await client.reply() == b"=1 KataGo\n\n"
        assert await client.reply() == b"=2 2\n\n"

    run(test, make_gtp)


def test_a_last_line_without_newline_is_answered() -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        await client.send(b"1 name")
        client.writer.write_eof()
        assert await client.reader.read() == b"=1 KataGo\n\n"

    run(test, make_gtp)


# ---------------------------------------------------------------- many clients


def test_clients_have_games_of_their_own() -> None:
    async def test(service: Service) -> None:
        clients = [await service.client() for _ in range(4)]
        for size, client in enumerate(clients, start=5):
            assert await client.ask(f"boardsize {size}\n".encode()) == b"= \n\n"
        for client in clients:
            await client.send(b"genmove b\n")
        await service.engine.until(lambda: len(service.engine.waiting) == 4)
        for request_id in reversed(list(service.engine.waiting)):
            service.engine.release(request_id)
        for size, client in enumerate(clients, start=5):
            assert await client.reply() == f"= A{size}\n\n".encode()

    run(test, make_gtp)


def test_the_same_ids_on_two_connections() -> None:
    async def test(service: Service) -> None:
        first, second = await service.client(), await service.client()
        await first.send(json.dumps(QUERY).encode() + b"\n")
        await second.send(json.dumps({**QUERY, "initialPlayer": "w"}).encode() + b"\n")
        await service.engine.until(lambda: len(service.engine.waiting) == 2)
        service.engine.release()
        service.engine.release()
        players = [json.loads(await client.line())["rootInfo"]["currentPlayer"] for client in (first, second)]
        assert players == ["B", "W"]

    run(test, make_analysis)


def test_no_more_clients_than_the_limit() -> None:
    async def test(service: Service) -> None:
        for _ in range(MAX_CLIENTS):
            client = await service.client()
            assert await client.ask(b"name\n") == b"= KataGo\n\n"
        refused = await service.client()
        assert await refused.reader.read() == b""
        assert await client.ask(b"name\n") == b"= KataGo\n\n"

    run(test, make_gtp)


def test_quit_closes_the_connection_after_its_reply() -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        await client.send(b"name\nquit\nname\n")
        assert await client.reader.read() == b"= KataGo\n\n= \n\n"

    run(test, make_gtp)


class FaultyConnection:
    """A protocol object with a fault: it raises on one word, and on any report."""

    is_backlogged = False

    def receive_line(self, line: bytes) -> list[Output]:
        if line == b"fault":
            raise ZeroDivisionError
        return [Send(line + b"\n")]

    def receive_oversized(self, start: bytes) -> list[Output]:
        return self.receive_line(start)

    def receive_report(self, report: SearchReport | RawReport) -> list[Output]:
        raise ZeroDivisionError

    def receive_end(self) -> list[Output]:
        return [Close()]


def test_a_fault_in_one_conversation_ends_only_that(caplog: pytest.LogCaptureFixture) -> None:
    async def test(service: Service) -> None:
        faulty, other = await service.client(), await service.client()
        await faulty.send(b"hello\nfault\nhello\n")
        assert await faulty.reader.read() == b"hello\n"
        await other.send(b"hello\n")
        assert await other.line() == b"hello\n"

    run(test, lambda engine: FaultyConnection())
    assert "a connection failed and is closed" in caplog.text


# ---------------------------------------------------------------- clients that leave


def test_a_client_that_resets_has_its_searches_stopped() -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        await client.send(b"".join(json.dumps({**QUERY, "id": str(n)}).encode() + b"\n" for n in range(3)))
        await service.engine.until(lambda: len(service.engine.submitted) == 3)
        client.writer.transport.abort()
        await service.engine.until(lambda: len(service.engine.stopped) == 3)

    run(test, make_analysis)


def test_a_client_that_closes_has_its_analysis_stopped() -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        await client.send(b"kata-analyze 10\n")
        await service.engine.until(lambda: len(service.engine.submitted) == 1)
        client.close()
        await service.engine.until(lambda: len(service.engine.stopped) == 1)

    run(test, make_gtp)


def test_a_client_that_closes_has_its_queries_stopped() -> None:
    """Its end of the connection closed in order, as a GUI's does: only asking tells it from a half that was closed."""

    async def test(service: Service) -> None:
        service.engine.ignores_stops = True
        client = await service.client()
        await client.send(json.dumps(QUERY).encode() + b"\n")
        await service.engine.until(lambda: len(service.engine.submitted) == 1)
        client.close()
        await service.engine.until(lambda: len(service.engine.stopped) == 1)

    run(test, make_analysis)


def test_a_client_that_closed_its_half_gets_its_answers() -> None:
    async def test(service: Service) -> None:
        client = await service.client()
        await client.send(b"genmove b\nname\n")
        client.writer.write_eof()
        await service.engine.until(lambda: len(service.engine.submitted) == 1)
        service.engine.release()
        assert await client.reader.read() == b"= A19\n\n= KataGo\n\n"

    run(test, make_gtp)


# ---------------------------------------------------------------- clients that read slowly


def big_report(engine: FakeEngine, *, final: bool) -> SearchReport:
    """A report of the running request that prints as about as much as the high-water mark."""
    request, _ = next(iter(engine.waiting.values()))
    report = answer(request, final=final)
    assert isinstance(report, SearchReport)
    return msgspec.structs.replace(report, policy=(0.123456789,) * (OUTPUT_HIGH_BYTES // 11))


def test_a_client_that_does_not_read_holds_back_only_itself() -> None:
    """Partial reports to it are dropped, final ones wait and hold further searches back, and its lines are not read;
    then it reads, and gets every final report."""
    turns = 40

    async def test(service: Service) -> None:
        engine = service.engine
        slow, other = await service.client(receive_buffer_bytes=4096), await service.client()
        moves = [["bw"[turn % 2], "pass"] for turn in range(turns)]
        query = {**QUERY, "moves": moves, "analyzeTurns": list(range(turns)), "includePolicy": True}
        await slow.send(json.dumps({**query, "reportDuringSearchEvery": 0.1}).encode() + b"\n")
        await engine.until(lambda: bool(engine.waiting))
        for _ in range(1000):
            engine.report(big_report(engine, final=False))
        while engine.waiting:
            engine.report(big_report(engine, final=True))
        assert len(engine.submitted) < turns
        await other.send(b'{"id":"a","action":"clear_cache"}\n')
        assert await other.line() == b'{"action":"clear_cache","id":"a"}\n'
        partial, finals = 0, set()
        while len(finals) < turns:
            while engine.waiting:
                engine.report(big_report(engine, final=True))
            reply = json.loads(await slow.line())
            if reply["isDuringSearch"]:
                partial += 1
            else:
                finals.add(reply["turnNumber"])
        assert finals == set(range(turns))
        assert partial < 1000

    run(test, make_analysis)
