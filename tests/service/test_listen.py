"""Who gets in over TCP and Unix sockets, with what, and what is left of the sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fakes.engine import FakeEngine

from agent.engine.messages import Engine
from agent.service.access import Guard, read_guard
from agent.service.analysis import AnalysisConnection
from agent.service.gtp import GtpConnection
from agent.service.listen import MAX_STRANGERS, Reception, listening_unix, serve_tcp
from agent.service.options import ServiceOptions
from agent.service.outputs import Connection
from agent.settings import Access, ServerTls

PATIENCE_S = 30.0
PROBE_S = 0.02
CERTIFICATE = Path(__file__).parents[1] / "fakes" / "loopback.pem"
SECRET = b"0123456789abcdef"
REFUSAL = b"? no\n\n"
QUERY = {"id": "q", "boardXSize": 5, "boardYSize": 5, "rules": "chinese", "moves": []}

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


def make_gtp(engine: Engine) -> Connection:
    return GtpConnection(ServiceOptions(), engine.next_id, lambda: engine.ready)


def make_analysis(engine: Engine) -> Connection:
    return AnalysisConnection(ServiceOptions(), engine.next_id, lambda: engine.ready)


# ---------------------------------------------------------------- the token


async def guarded(test: Callable[[Callable[[], Awaitable[Ends]], Reception], Awaitable[None]]) -> None:
    """Runs the test with a way to connect to a GTP service that asks for the token."""
    guard = Guard(token=SECRET)
    reception = Reception(make_gtp, FakeEngine(), guard=guard, refusal=REFUSAL)
    (server,) = await serve_tcp(reception, "127.0.0.1", 0, guard=guard)
    ends: list[Ends] = []

    async def connect() -> Ends:
        ends.append(await asyncio.open_connection(*server.sockets[0].getsockname()))
        return ends[-1]

    try:
        await test(connect, reception)
    finally:
        for _, writer in ends:
            writer.close()
        server.close()


@pytest.mark.parametrize(
    "packets",
    [
        [b"token " + SECRET + b"\nname\nquit\n"],
        [b"token " + SECRET + b"\r\nname\r\nquit\r\n"],
        [b"tok", b"en " + SECRET, b"\nna", b"me\nquit\n"],
    ],
    ids=["at once", "CRLF", "in pieces"],
)
def test_the_token_has_no_answer_and_what_follows_has(packets: list[bytes]) -> None:
    async def test(connect: Callable[[], Awaitable[Ends]], reception: Reception) -> None:
        reader, writer = await connect()
        for packet in packets:
            writer.write(packet)
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.read() == b"= KataGo\n\n= \n\n"

    run(lambda: guarded(test))


@pytest.mark.parametrize(
    "line",
    [
        b"name",
        b"token",
        b"token " + SECRET[:-1],
        b"token  " + SECRET,
        b"TOKEN " + SECRET,
        SECRET,
        b" token " + SECRET,
        b"token " + SECRET + b" ",
        b"\xff\x00",
        b"",
        b"x" * 5000,
    ],
)
def test_without_the_token_nothing_is_answered(line: bytes) -> None:
    async def test(connect: Callable[[], Awaitable[Ends]], reception: Reception) -> None:
        reader, writer = await connect()
        writer.write(line + b"\n")
        assert await reader.read() == REFUSAL

    run(lambda: guarded(test))


def test_one_who_leaves_without_a_word_is_no_trouble() -> None:
    async def test(connect: Callable[[], Awaitable[Ends]], reception: Reception) -> None:
        reader, writer = await connect()
        writer.write_eof()
        assert await reader.read() in (REFUSAL, b"")
        reader, writer = await connect()
        writer.write(b"token " + SECRET + b"\nquit\n")
        assert await reader.read() == b"= \n\n"

    run(lambda: guarded(test))


def test_strangers_keep_nobody_out_who_has_the_token() -> None:
    async def test(connect: Callable[[], Awaitable[Ends]], reception: Reception) -> None:
        known = await connect()
        known[1].write(b"token " + SECRET + b"\nname\n")
        assert await known[0].readuntil(b"\n\n") == b"= KataGo\n\n"
        strangers = [await connect() for _ in range(MAX_STRANGERS)]
        for _, writer in strangers:
            writer.write(b"toke")
        late = await connect()
        late[1].write(b"token " + SECRET + b"\nname\n")
        assert await late[0].readuntil(b"\n\n") == b"= KataGo\n\n"
        assert reception.seats.taken == 2
        # The one who waited longest made room, and nobody else.
        with contextlib.suppress(ConnectionResetError):
            assert await strangers[0][0].read() == b""
        strangers[1][1].write(b"n " + SECRET + b"\nname\n")
        assert await strangers[1][0].readuntil(b"\n\n") == b"= KataGo\n\n"

    run(lambda: guarded(test))


# ---------------------------------------------------------------- certificates


def client_context(*, shows_certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=CERTIFICATE)
    if shows_certificate:
        context.load_cert_chain(CERTIFICATE)
    return context


@pytest.mark.parametrize("shows_certificate", [True, False])
def test_a_certificate_lets_in(shows_certificate: bool) -> None:
    async def test() -> None:
        guard = read_guard(Access(tls=ServerTls(cert=CERTIFICATE, key=CERTIFICATE, client_ca=CERTIFICATE)))
        (server,) = await serve_tcp(Reception(make_gtp, FakeEngine(), guard=guard), "127.0.0.1", 0, guard=guard)
        address = server.sockets[0].getsockname()
        try:
            reader, writer = await asyncio.open_connection(
                *address, ssl=client_context(shows_certificate=shows_certificate)
            )
            writer.write(b"name\nquit\n")
            answer = await reader.read()
            writer.close()
        except OSError:
            # In TLS 1.3 the client may have sent already when it hears that it is not wanted.
            answer = b""
        assert answer == (b"= KataGo\n\n= \n\n" if shows_certificate else b"")
        server.close()

    run(test)


def test_who_closes_in_tls_has_its_queries_stopped() -> None:
    async def test() -> None:
        guard = read_guard(Access(tls=ServerTls(cert=CERTIFICATE, key=CERTIFICATE)))
        engine = FakeEngine()
        engine.ignores_stops = True
        (server,) = await serve_tcp(Reception(make_analysis, engine, guard=guard), "127.0.0.1", 0, guard=guard)
        _, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=client_context(shows_certificate=False)
        )
        writer.write(json.dumps(QUERY).encode() + b"\n")
        await engine.until(lambda: len(engine.submitted) == 1)
        writer.close()
        await engine.until(lambda: len(engine.stopped) == 1)
        server.close()

    run(test)


def test_who_does_not_say_goodbye_in_tls_is_cut_off() -> None:
    def be_refused(address: tuple[str, int]) -> None:
        """Takes what comes below TLS, which here answers nothing, until the end. Raises TimeoutError without one."""
        context = client_context(shows_certificate=False)
        with (
            socket.create_connection(address, timeout=PATIENCE_S / 2) as bare,
            bare.dup() as lower,
            context.wrap_socket(bare, server_hostname=address[0]) as client,
        ):
            client.sendall(b"name\n")
            while lower.recv(4096):
                pass

    async def test() -> None:
        tls = read_guard(Access(tls=ServerTls(cert=CERTIFICATE, key=CERTIFICATE))).tls
        guard = Guard(token=SECRET, tls=tls)
        reception = Reception(make_gtp, FakeEngine(), guard=guard, refusal=REFUSAL)
        (server,) = await serve_tcp(reception, "127.0.0.1", 0, guard=guard)
        address = server.sockets[0].getsockname()
        await asyncio.get_running_loop().run_in_executor(None, be_refused, address)
        server.close()

    run(test)


# ---------------------------------------------------------------- Unix sockets


def test_a_unix_socket_is_for_everybody_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "gtp.sock"

    async def test() -> None:
        async with listening_unix(Reception(make_gtp, FakeEngine()), path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"name\nquit\n")
            assert await reader.read() == b"= KataGo\n\n= \n\n"
            writer.close()

    run(test)
    assert not path.exists()


@pytest.mark.parametrize("closes_all", [False, True], ids=["half", "all"])
def test_a_client_that_closes_its_half_gets_answers_and_one_that_closes_all_is_stopped(
    tmp_path: Path, closes_all: bool
) -> None:
    async def test() -> None:
        engine = FakeEngine()
        engine.ignores_stops = True
        path = tmp_path / "analysis.sock"
        async with listening_unix(Reception(make_analysis, engine, probe_s=PROBE_S), path):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(json.dumps(QUERY).encode() + b"\n")
            writer.write_eof()
            await engine.until(lambda: len(engine.submitted) == 1)
            if closes_all:
                writer.close()
                await engine.until(lambda: len(engine.stopped) == 1)
            else:
                await asyncio.sleep(3 * PROBE_S)
                engine.release()
                assert json.loads(await reader.read())["id"] == "q"
                writer.close()

    run(test)


def test_a_socket_that_nobody_listens_at_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "gtp.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))

    async def test() -> None:
        async with listening_unix(Reception(make_gtp, FakeEngine()), path):
            _, writer = await asyncio.open_unix_connection(path)
            writer.close()

    run(test)
    assert not path.exists()


def test_a_path_that_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "gtp.sock"
    (tmp_path / "file").write_text("mine")

    async def refused(path: Path) -> None:
        with pytest.raises(OSError):
            async with listening_unix(Reception(make_gtp, FakeEngine()), path):
                raise AssertionError("it listens")

    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(theirs))
        other.listen()
        run(lambda: refused(theirs))
    run(lambda: refused(tmp_path / "file"))
    run(lambda: refused(tmp_path / "absent" / "gtp.sock"))
    assert theirs.is_socket()
    assert (tmp_path / "file").read_text() == "mine"
