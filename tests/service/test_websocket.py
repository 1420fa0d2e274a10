"""JSON analysis over WebSocket: frames, ids, lost connections, and who is let in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from fakes.engine import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Request

from agent.engine.messages import Engine
from agent.service.access import NO_GUARD, Guard, read_guard
from agent.service.analysis import AnalysisConnection
from agent.service.lines import MAX_LINE_BYTES
from agent.service.listen import MAX_CLIENTS, MAX_OPEN, Seats, server_address
from agent.service.options import ServiceOptions
from agent.service.outputs import Connection
from agent.service.websocket import TRY_AGAIN_LATER, refusal, serve_websocket
from agent.settings import Access, ServerTls

PATIENCE_S = 30.0
CERTIFICATE = Path(__file__).parents[1] / "fakes" / "loopback.pem"
# With the characters that an address treats in a way of its own.
SECRET = "0123456789+/abcd=="
QUERY = {"id": "QUERY:1", "boardXSize": 5, "boardYSize": 5, "rules": "chinese", "moves": []}


def make_silent(engine: Engine) -> Connection:
    return AnalysisConnection(ServiceOptions(), engine.next_id, lambda: engine.ready, warns=False)


class Service:
    def __init__(self, server: Server, engine: FakeEngine) -> None:
        self.server = server
        self.engine = engine
        self.address = server_address(server)

    def connect(self, path: str = "/", **options: Any) -> connect:
        return connect(
            f"ws://{self.address}{path}", **{"compression": None, "proxy": None, "open_timeout": PATIENCE_S} | options
        )


def run(
    test: Callable[[Service], Awaitable[None]],
    guard: Guard = NO_GUARD,
    seats: int = 4,
    make: Callable[[Engine], Connection] = make_silent,
) -> None:
    async def bounded() -> None:
        engine = FakeEngine()
        (server,) = await serve_websocket(make, engine, "127.0.0.1", 0, guard=guard, seats=Seats(seats))
        try:
            await asyncio.wait_for(test(Service(server, engine)), PATIENCE_S)
        finally:
            server.close()
            await server.wait_closed()

    asyncio.run(bounded())


async def said(client: ClientConnection) -> dict[str, Any]:
    frame = await client.recv()
    assert isinstance(frame, str), "KataGo's JSON goes in text frames"
    assert "\n" not in frame
    answer: dict[str, Any] = json.loads(frame)
    return answer


# ---------------------------------------------------------------- frames


def test_one_query_a_frame_and_one_reply_a_frame() -> None:
    async def test(service: Service) -> None:
        async with service.connect() as client:
            await client.send('{"id":"a","action":"clear_cache"}')
            await client.send('{"id":"b","action":"query_version"}\n')
            assert (await said(client))["id"] == "a"
            assert (await said(client))["id"] == "b"

    run(test)


@pytest.mark.parametrize(
    "frame",
    [
        json.dumps(QUERY, indent=2),
        json.dumps(QUERY, indent=2).replace("\n", "\r\n").encode(),
        [part for letter in json.dumps(QUERY) for part in (letter, "")],
    ],
    ids=["printed over lines", "binary", "in a hundred parts"],
)
def test_a_query_is_a_query_however_it_is_framed(frame: Any) -> None:
    async def test(service: Service) -> None:
        async with service.connect() as client:
            await client.send(frame)
            await service.engine.until(lambda: bool(service.engine.waiting))
            service.engine.release()
            assert (await said(client))["id"] == "QUERY:1"

    run(test)


@pytest.mark.parametrize("frame", ["", "\n", "[1]", "{", "\x00", b"\xff\xfe"], ids=repr)
def test_nonsense_is_answered_and_the_connection_goes_on(frame: str | bytes) -> None:
    async def test(service: Service) -> None:
        async with service.connect() as client:
            await client.send(frame)
            await client.send('{"id":"a","action":"clear_cache"}')
            answers = [await said(client)]
            while answers[-1].get("id") != "a":
                answers.append(await said(client))
            assert all("error" in answer for answer in answers[:-1])

    run(test)


def test_katrains_settings_are_taken_and_no_warning_is_sent() -> None:
    """A warning with a query's id would be taken for its answer."""
    settings = {"reportAnalysisWinratesAs": "BLACK", "wideRootNoise": 0.04, "maxTime": 8.0}
    handicap = {"playoutDoublingAdvantage": 1.5, "playoutDoublingAdvantagePla": "BLACK", "ignorePreRootHistory": False}

    async def test(service: Service) -> None:
        async with service.connect() as client:
            query = {**QUERY, "overrideSettings": {**settings, **handicap, "noSuchKey": 1}, "noSuchField": 2}
            await client.send(json.dumps(query))
            await service.engine.until(lambda: bool(service.engine.waiting))
            service.engine.release()
            assert "moveInfos" in await said(client)

    run(test)


def test_a_frame_longer_than_a_line_may_be_ends_the_connection() -> None:
    async def test(service: Service) -> None:
        async with service.connect() as client:
            with pytest.raises(ConnectionClosed) as caught:
                await client.send("x" * (MAX_LINE_BYTES + 1))
                await client.recv()
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1009
        async with service.connect() as client:
            await client.send('{"id":"a","action":"clear_cache"}')
            assert (await said(client))["id"] == "a"

    run(test)


# ---------------------------------------------------------------- connections


@pytest.mark.parametrize("goodbye", [True, False], ids=["closed", "cut"])
def test_after_a_lost_connection_the_same_ids_are_asked_again(goodbye: bool) -> None:
    """As KaTrain does it: what was outstanding is sent once more, under its old id."""

    async def test(service: Service) -> None:
        engine = service.engine
        engine.ignores_stops = True
        async with service.connect() as lost:
            await lost.send(json.dumps(QUERY))
            await engine.until(lambda: len(engine.waiting) == 1)
            if goodbye:
                await lost.close()
            else:
                lost.transport.abort()
        await engine.until(lambda: len(engine.stopped) == 1)
        async with service.connect() as client:
            await client.send(json.dumps(QUERY))
            await engine.until(lambda: len(engine.submitted) == 2)
            engine.release()
            engine.release()
            assert (await said(client))["id"] == "QUERY:1"
            await client.send('{"id":"a","action":"clear_cache"}')
            assert (await said(client))["id"] == "a"

    run(test)


def test_the_same_ids_on_two_connections() -> None:
    async def test(service: Service) -> None:
        async with service.connect() as first, service.connect() as second:
            await first.send(json.dumps(QUERY))
            await second.send(json.dumps({**QUERY, "initialPlayer": "w"}))
            await service.engine.until(lambda: len(service.engine.waiting) == 2)
            assert len({request.client for request in service.engine.submitted}) == 2
            service.engine.release()
            service.engine.release()
            assert (await said(first))["rootInfo"]["currentPlayer"] == "B"
            assert (await said(second))["rootInfo"]["currentPlayer"] == "W"

    run(test)


def test_no_more_clients_than_seats() -> None:
    async def test(service: Service) -> None:
        async with service.connect(), service.connect() as refused:
            with pytest.raises(ConnectionClosed) as caught:
                await refused.recv()
            assert caught.value.rcvd is not None and caught.value.rcvd.code == TRY_AGAIN_LATER
        async with service.connect() as client:
            await client.send('{"id":"a","action":"clear_cache"}')
            assert (await said(client))["id"] == "a"

    run(test, seats=1)


def test_those_who_say_nothing_are_cut_off_beyond_so_many() -> None:
    async def test(service: Service) -> None:
        host, port = service.server.sockets[0].getsockname()
        ends = [await asyncio.open_connection(host, port) for _ in range(MAX_OPEN)]
        reader, writer = await asyncio.open_connection(host, port)
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        for _, other in [*ends, (reader, writer)]:
            other.transport.abort()
        while len(service.server.handlers) > MAX_CLIENTS:
            await asyncio.sleep(0)
        async with service.connect() as client:
            await client.send('{"id":"a","action":"clear_cache"}')
            assert (await said(client))["id"] == "a"

    run(test)


def test_the_end_of_the_service_is_said_to_clients() -> None:
    async def test(service: Service) -> None:
        async with service.connect() as client:
            service.server.close()
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None and caught.value.rcvd.code == 1001

    run(test)


# ---------------------------------------------------------------- who is let in


def request(path: str = "/", **headers: str) -> Request:
    return Request(path, Headers({"Host": "127.0.0.1:4643", **headers}))


TOKENS = [
    ("/?token=0123456789%2B%2Fabcd%3D%3D", {}, True),
    ("/?token=0123456789+/abcd==", {}, True),
    ("/any/path?x=1&token=0123456789+/abcd==", {}, True),
    ("/", {"Authorization": "Bearer 0123456789+/abcd=="}, True),
    ("/", {"Authorization": "bearer  0123456789+/abcd=="}, True),
    ("/?token=0123456789+/abcd==", {"Origin": "http://elsewhere.example"}, True),
    ("/", {}, False),
    ("/?token=", {}, False),
    ("/?token=wrong&token=0123456789+/abcd==", {}, False),
    ("/?token=%FF%00", {}, False),
    ("/?TOKEN=0123456789+/abcd==", {}, False),
    ("/", {"Authorization": "Basic 0123456789+/abcd=="}, False),
    ("/", {"Authorization": "Bearer \udcff"}, False),
]


@pytest.mark.parametrize(("path", "headers", "welcome"), TOKENS)
def test_the_token_in_the_address_or_the_header(path: str, headers: dict[str, str], welcome: bool) -> None:
    refused = refusal(request(path, **headers), Guard(token=SECRET.encode()))
    assert (refused is None) == welcome
    assert refused is None or refused[0] == HTTPStatus.UNAUTHORIZED


ORIGINS = [
    ({}, True),
    ({"Origin": "http://127.0.0.1:4643"}, True),
    ({"Host": "localhost:4643", "Origin": "http://localhost:4643"}, True),
    ({"Host": "[::1]:4643", "Origin": "http://[::1]:4643"}, True),
    ({"Origin": "null"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "http://127.0.0.1:8000"}, False),
    # Its own name leads to this machine now: DNS rebinding.
    ({"Host": "evil.example:4643", "Origin": "http://evil.example:4643"}, False),
]


@pytest.mark.parametrize(("headers", "welcome"), ORIGINS)
def test_pages_of_other_hosts_are_not_served(headers: dict[str, str], welcome: bool) -> None:
    refused = refusal(Request("/", Headers({"Host": "127.0.0.1:4643"} | headers)), NO_GUARD)
    assert (refused is None) == welcome
    assert refused is None or refused[0] == HTTPStatus.FORBIDDEN


# No deadline: a loaded board may take its time.
@settings(deadline=None)
@given(st.text(), st.text(), st.text(), st.text())
def test_whatever_a_handshake_says_it_is_welcome_or_refused(path: str, host: str, origin: str, secret: str) -> None:
    said = Request(path, Headers({"Host": host, "Origin": origin, "Authorization": secret}))
    assert refusal(said, Guard(token=SECRET.encode())) is not None
    refused = refusal(said, NO_GUARD)
    assert refused is None or refused[0] == HTTPStatus.FORBIDDEN


def test_a_refused_client_is_told_the_status_and_the_next_is_served() -> None:
    async def test(service: Service) -> None:
        with pytest.raises(InvalidStatus) as caught:
            await service.connect("/?token=wrong")
        assert caught.value.response.status_code == HTTPStatus.UNAUTHORIZED
        async with service.connect("/?token=0123456789+/abcd==") as client:
            await client.send('{"id":"a","action":"clear_cache"}')
            assert (await said(client))["id"] == "a"

    run(test, Guard(token=SECRET.encode()))


def test_over_tls() -> None:
    guard = read_guard(Access(tls=ServerTls(cert=CERTIFICATE, key=CERTIFICATE)))

    async def test(service: Service) -> None:
        context = ssl.create_default_context(cafile=CERTIFICATE)
        async with connect(f"wss://{service.address}/", ssl=context, proxy=None) as client:
            await client.send('{"id":"a","action":"clear_cache"}')
            assert (await said(client))["id"] == "a"

    run(test, guard)
