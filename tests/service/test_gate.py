"""How many get in at once, whatever they say or do not say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from pathlib import Path

import pytest
from fakes.engine import FakeEngine

from agent.engine.messages import Engine
from agent.service.access import Guard, read_guard
from agent.service.gate import Gate, gates_at, open_gates
from agent.service.gtp import GtpConnection
from agent.service.listen import MAX_OPEN, Reception, serve_tcp
from agent.service.options import ServiceOptions
from agent.service.outputs import Connection
from agent.settings import Access, ServerTls
from agent.waiting import within

PATIENCE_S = 60.0
CERTIFICATE = Path(__file__).parents[1] / "fakes" / "loopback.pem"


def make_gtp(engine: Engine) -> Connection:
    return GtpConnection(ServiceOptions(), engine.next_id, lambda: engine.ready)


def visit(gate: Gate) -> socket.socket:
    return socket.create_connection(gate.getsockname()[:2], timeout=PATIENCE_S)


def is_cut_off(visitor: socket.socket) -> bool:
    try:
        return visitor.recv(1) == b""
    except ConnectionResetError:
        return True


def test_beyond_the_limit_connections_are_cut_off_until_one_leaves(caplog: pytest.LogCaptureFixture) -> None:
    (gate,) = asyncio.run(open_gates("127.0.0.1", 0, 2))
    gate.setblocking(True)
    with gate, caplog.at_level(logging.WARNING):
        outside = [visit(gate) for _ in range(2)]
        inside = [gate.accept()[0] for _ in outside]
        for _ in range(3):
            with visit(gate) as refused:
                with pytest.raises(ConnectionAbortedError):
                    gate.accept()
                assert is_cut_off(refused)
        assert [record.message.partition(":")[0] for record in caplog.records] == ["cut off a connection"]
        inside.pop().close()
        outside.append(visit(gate))
        inside.append(gate.accept()[0])
        # The crowd is another one now.
        with visit(gate), pytest.raises(ConnectionAbortedError):
            gate.accept()
        assert len(caplog.records) == 2
        for each in [*inside, *outside]:
            each.close()


def test_whoever_let_go_of_a_connection_need_not_close_it() -> None:
    (gate,) = asyncio.run(open_gates("127.0.0.1", 0, 1))
    gate.setblocking(True)
    with gate:
        for _ in range(3):
            with visit(gate):
                gate.accept()[0].detach()


def can_listen(family: int, place: tuple[str, int]) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.bind(place)
    except OSError:
        return False
    return True


def test_every_address_of_a_name_is_listened_at() -> None:
    async def test() -> None:
        found = await asyncio.get_running_loop().getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
        gates = await open_gates("localhost", 0, 1)
        # The machine may know an address twice, and one of a kind that it does not speak.
        spoken = [(family, place[0]) for family, *_, place in found if can_listen(family, place)]
        assert [(gate.family, gate.getsockname()[0]) for gate in gates] == list(dict.fromkeys(spoken))
        for gate in gates:
            gate.close()

    asyncio.run(test())


def test_an_address_of_a_kind_that_this_machine_does_not_speak() -> None:
    # These are for documentation and nobody's own (RFC 5737, RFC 3849).
    foreign = (socket.AF_INET, ("192.0.2.1", 0))
    with pytest.raises(OSError, match="assign requested address"):
        gates_at([foreign], 1)
    addresses = [(socket.AF_INET6, ("2001:db8::1", 0)), foreign, (socket.AF_INET, ("127.0.0.1", 0))]
    (gate,) = gates_at(addresses, 1)
    assert gate.getsockname()[0] == "127.0.0.1"
    gate.close()


def test_an_address_that_is_taken_or_nobodys_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        asyncio.run(open_gates(*taken.getsockname(), 1))
    with pytest.raises(socket.gaierror):
        asyncio.run(open_gates("nobody.invalid", 0, 1))


def test_silence_before_the_handshake_is_no_way_to_fill_the_memory() -> None:
    """Each handshake takes 256 KiB."""

    async def test() -> None:
        tls = read_guard(Access(tls=ServerTls(cert=CERTIFICATE, key=CERTIFICATE))).tls
        guard = Guard(tls=tls)
        (server,) = await serve_tcp(Reception(make_gtp, FakeEngine(), guard=guard), "127.0.0.1", 0, guard=guard)
        address = server.sockets[0].getsockname()
        context = ssl.create_default_context(cafile=CERTIFICATE)
        known, known_in = await asyncio.open_connection(*address, ssl=context)
        silent = [await asyncio.open_connection(*address) for _ in range(MAX_OPEN)]
        with contextlib.suppress(ConnectionResetError):
            # One too many, with the client that is known.
            assert await silent[-1][0].read() == b""
        known_in.write(b"name\n")
        assert await known.readuntil(b"\n\n") == b"= KataGo\n\n"
        for _, writer in silent:
            writer.transport.abort()
        while True:
            try:
                late, late_in = await asyncio.open_connection(*address, ssl=context)
                break
            except ConnectionError:
                # The server has not seen yet that they are gone.
                await asyncio.sleep(0)
        late_in.write(b"name\n")
        assert await late.readuntil(b"\n\n") == b"= KataGo\n\n"
        for writer in (known_in, late_in):
            writer.close()
        server.close()

    asyncio.run(within(test(), PATIENCE_S))
