"""Both clients over every transport: against a peer that behaves as told, and what they do when it misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import shlex
import signal
import socket
import ssl
import sys
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes.analysis_answers import Fields, no_results, report
from fakes.analysis_peer import CERTIFICATE, Peer, Script, Talk, answer_all
from fakes.processes import wait_until_gone

from agent.client import (
    Analysis,
    AnalysisClient,
    AnalysisFailed,
    AnalysisRefused,
    AnalysisTerminated,
    AnalysisTimeout,
    AnswerUnreadable,
    AsyncAnalysisClient,
    ClientClosed,
    EngineUnreachable,
    Query,
    Retries,
    Stdio,
    Tcp,
    Unix,
    WebSocket,
    endpoint_of,
)
from agent.client.transports import Channel, open_channel

TESTS = Path(__file__).resolve().parents[1]
GAME = Query(moves=(("B", "D4"), ("W", "Q16"), ("B", "D16")), analyze_turns=(0, 1, 2, 3))
GAME_END = Query(moves=GAME.moves)
AT_ONCE = Retries(attempts=3, wait_s=0)
# Longer than anything takes that does not hang.
PATIENCE_S = 30.0


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, PATIENCE_S))


def child(*manner: str) -> list[str]:
    return [
        sys.executable,
        "-P" if sys.version_info >= (3, 11) else "-s",
        str(TESTS / "fakes" / "analysis_child.py"),
        *manner,
    ]


def engine(*manner: str, log: Callable[[str], None] | None = None) -> Stdio:
    return Stdio(
        child(*manner), environment={"PYTHONPATH": f"{TESTS}:{TESTS.parent}", "PATH": "/usr/bin:/bin"}, on_log=log
    )


@contextlib.asynccontextmanager
async def connected(kind: str, folder: Path, *scripts: Script) -> AsyncIterator[tuple[Peer, AsyncAnalysisClient]]:
    async with (
        Peer(kind, *scripts, folder=folder) as peer,
        AsyncAnalysisClient(peer.address, retries=AT_ONCE) as client,
    ):
        yield peer, client


# ---------------------------------------------------------------- every transport


@pytest.mark.parametrize("kind", ["tcp", "unix", "ws"])
def test_a_game_many_queries_and_actions_over_a_socket(kind: str, tmp_path: Path) -> None:
    async def scene() -> None:
        async with connected(kind, tmp_path, answer_all) as (_, client):
            assert client.engine.version == "9.99"
            await use_everything(client)

    run(scene())


def test_a_game_many_queries_and_actions_over_stdio() -> None:
    async def scene() -> None:
        async with AsyncAnalysisClient(engine("well")) as client:
            await use_everything(client)

    run(scene())


async def use_everything(client: AsyncAnalysisClient) -> None:
    turns = await client.analyze_turns(GAME)
    assert [each.turn_number for each in turns] == [0, 1, 2, 3]
    many = await client.analyze_all([Query(moves=GAME.moves[:count]) for count in (3, 1, 2)])
    assert [each.turn_number for each in many] == [3, 1, 2]
    assert (await client.analyze(Query())).root_info.score_lead == 0.25
    assert await client.models() == ()
    await client.clear_cache()
    await client.terminate_all()
    with pytest.raises(ValueError, match="4 turns"):
        await client.analyze(GAME)


@pytest.mark.parametrize("kind", ["tcp", "unix", "ws"])
def test_a_dropped_connection_costs_a_pause_and_nothing_else(kind: str, tmp_path: Path) -> None:
    """KaTrain's way: the same ids again. Of a game only the turns that are missing."""

    async def drop_in_between(talk: Talk) -> None:
        game, single = await talk.hear(), await talk.hear()
        await talk.say(report(single, during=True), report(game, 2), report(game, 0))
        await talk.drop()

    async def scene() -> None:
        async with connected(kind, tmp_path, drop_in_between, answer_all) as (peer, client):
            turns, single = await asyncio.gather(client.analyze_turns(GAME), client.analyze(Query()))
            assert [each.turn_number for each in turns] == [0, 1, 2, 3] and single.turn_number == 0
            before, after = peer.heard
            assert [each["id"] for each in before] == [each["id"] for each in after]
            assert after[0] == {**before[0], "analyzeTurns": [1, 3]}

    run(scene())


def test_an_engine_that_died_is_started_again(tmp_path: Path) -> None:
    async def scene() -> None:
        said: list[str] = []
        endpoint = engine("dies once", str(tmp_path / "died"), log=said.append)
        async with AsyncAnalysisClient(endpoint, retries=AT_ONCE) as client:
            assert (await client.analyze(Query())).root_info.visits == 10
        assert said == ["out of memory: the cat sat on the board"]

    run(scene())


def test_an_engine_that_dies_of_a_query_is_given_up_with_its_last_words() -> None:
    async def scene() -> None:
        async with AsyncAnalysisClient(engine("dies"), retries=AT_ONCE) as client:
            with pytest.raises(EngineUnreachable, match="ended with status 1: out of memory: the cat"):
                await client.analyze(Query())
            with pytest.raises(EngineUnreachable, match="out of memory"):
                await client.analyze(Query())

    run(scene())


def test_an_engine_that_dies_of_a_query_after_partial_reports_is_given_up_too(tmp_path: Path) -> None:
    """As one that runs out of memory after a minute, each time."""

    async def script(talk: Talk) -> None:
        await talk.say(report(await talk.hear(), during=True))
        await talk.drop()

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (peer, client):
            async with client.stream(Query(report_every_s=0.1)) as reports:
                with pytest.raises(EngineUnreachable):
                    async for each in reports:
                        assert each.is_during_search
            assert len(peer.heard) == 1 + AT_ONCE.attempts

    run(scene())


def test_a_service_that_is_restarted_while_nobody_asks_is_no_failure(tmp_path: Path) -> None:
    async def drop(talk: Talk) -> None:
        await talk.drop()

    async def scene() -> None:
        # More often than there are attempts in a row.
        async with connected("tcp", tmp_path, *[drop] * 8, answer_all) as (peer, client):
            while len(peer.heard) < 9:
                await asyncio.sleep(0)
            assert (await client.analyze(Query())).turn_number == 0

    run(scene())


def test_a_service_that_is_gone_for_good_is_an_error(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Peer("tcp", hang_up_when_asked) as peer:
            client = AsyncAnalysisClient(peer.address, retries=Retries(attempts=2, wait_s=0))
            await client.open()
        with pytest.raises(EngineUnreachable):
            await client.analyze(Query())
        await client.close()

    async def hang_up_when_asked(talk: Talk) -> None:
        await talk.hear()
        await talk.drop()

    run(scene())


async def until_given_up(client: AsyncAnalysisClient, error: type[Exception]) -> None:
    """A client that nobody asks is given up unseen; asked, it fails for as long as nobody is there."""
    with pytest.raises(error):
        await client.analyze(Query())


@pytest.mark.parametrize("opens", [False, True])
def test_a_service_that_was_away_for_longer_than_the_retries_is_used_when_it_is_back(
    opens: bool, tmp_path: Path
) -> None:
    async def scene() -> None:
        async with Peer("unix", answer_all, folder=tmp_path) as peer:
            client = AsyncAnalysisClient(peer.address, retries=AT_ONCE)
            await client.open()
            await client.analyze(Query())
        (tmp_path / "peer.sock").unlink(missing_ok=True)
        for _ in range(3):
            await until_given_up(client, EngineUnreachable)
        async with Peer("unix", answer_all, folder=tmp_path) as peer:
            if opens:
                await client.open()
            # Both at once, on one connection; what failed is not asked again.
            both = await asyncio.gather(client.analyze(Query()), client.analyze(GAME_END))
            assert [each.turn_number for each in both] == [0, 3]
            assert [len(heard) for heard in peer.heard] == [2]
            await client.close()

    run(scene())


def test_a_client_that_was_given_up_for_another_protocol_may_be_opened_again(tmp_path: Path) -> None:
    async def http(talk: Talk) -> None:
        await talk.hear()
        await talk.say("HTTP/1.1 400 Bad Request")

    async def scene() -> None:
        async with connected("tcp", tmp_path, http, answer_all) as (_, client):
            depths = []
            for _ in range(3):
                with pytest.raises(AnswerUnreadable, match="400") as caught:
                    await client.analyze(Query())
                depths.append(len(caught.traceback))
            # Raised again and again, it does not gather the frames of all who were told.
            assert depths[1] == depths[2]
            await client.open()
            assert (await client.analyze(Query())).turn_number == 0

    run(scene())


# ---------------------------------------------------------------- streams


def test_a_stream_gives_partial_reports_and_ends_after_the_last(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        query = await talk.hear()
        await talk.say({"id": query["id"], "field": "foo", "warning": "typo?"})
        for visits in (1, 2):
            await talk.say(report(query, during=True, visits=visits))
            await asked_more.wait()
            asked_more.clear()
        await talk.say(report(query, visits=3))

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (_, client):
            seen: list[Analysis] = []
            async with client.stream(Query(report_every_s=0.1)) as reports:
                async for each in reports:
                    seen.append(each)
                    asked_more.set()
            assert [(each.root_info.visits, each.is_during_search) for each in seen] == [
                (1, True),
                (2, True),
                (3, False),
            ]
            assert [each.text for each in reports.warnings] == ["typo?"] == [each.text for each in client.warnings]

    asked_more = asyncio.Event()
    run(scene())


def test_leaving_a_stream_early_or_cancelling_terminates_the_query(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        first = await talk.hear()
        await talk.say(report(first, during=True))
        await talk.hear()
        # The final report of the terminated query and the terminate's echo are for nobody.
        await talk.say(report(first), {"id": "q2", "action": "terminate"})
        await talk.hear()
        heard_second.set()
        await talk.hear()
        await answer_all(talk)

    async def scene() -> None:
        async with connected("ws", tmp_path, script) as (peer, client):
            async with client.stream(Query(report_every_s=0.1)) as reports:
                async for _ in reports:
                    break
            cancelled = asyncio.ensure_future(client.analyze(Query()))
            await heard_second.wait()
            cancelled.cancel()
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            assert (await client.analyze(Query())).root_info.visits == 10
            first, end, second, end_second, _ = peer.heard[0]
            assert end["action"] == "terminate" and end["terminateId"] == first["id"]
            assert end_second["terminateId"] == second["id"]

    heard_second = asyncio.Event()
    run(scene())


def test_terminate_still_gives_what_was_found(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        query = await talk.hear()
        await talk.say(report(query, 0, during=True))
        end = await talk.hear()
        await talk.say(report(query, 0, visits=4), *(no_results(query, turn) for turn in (1, 2, 3)), end)

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (_, client), client.stream(GAME) as reports:
            seen = []
            async for each in reports:
                seen.append(each.root_info.visits)
                await reports.terminate()
            assert seen == [10, 4] and reports.unanswered == [1, 2, 3]

    run(scene())


def test_a_query_that_another_terminated_before_it_began_is_an_error(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        await talk.say(no_results(await talk.hear(), 0))
        await talk.hear()

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (_, client):
            with pytest.raises(AnalysisTerminated, match="turn 0"):
                await client.analyze(Query())

    run(scene())


def test_a_slow_reader_gets_the_newest_partial_report(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        query = await talk.hear()
        for visits in range(1, 1001):
            await talk.say(report(query, during=True, visits=visits))
        await talk.say(await talk.hear())
        await talk.say(report(query, visits=2000))

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (_, client), client.stream(Query()) as reports:
            # Echoed after a thousand reports.
            await client.clear_cache()
            first = await reports.__anext__()
            assert first.root_info.visits in (1000, 2000)

    run(scene())


# ---------------------------------------------------------------- much at once

# Of six of these a service is sent four.
LARGE = Query(rules={"x" * (1 << 18): "y"})


@pytest.mark.parametrize("kind", ["tcp", "ws"])
def test_what_would_be_too_much_for_a_service_waits_in_the_client(kind: str, tmp_path: Path) -> None:
    """Of one that stops reading a connection looks lost after a minute, and all that waits is asked again."""

    async def script(talk: Talk) -> None:
        for count in (4, 2, 2):
            # An action goes at once: what was to be sent before it has been.
            while "action" not in (heard := await talk.hear()):
                queries.append(heard)
            counts.append(len(queries))
            await talk.say(*(report(query) for query in queries[:count]), heard)
            del queries[:count]

    async def scene() -> None:
        async with connected(kind, tmp_path, script) as (_, client):
            async with contextlib.AsyncExitStack() as stack:
                six = [await stack.enter_async_context(client.stream(LARGE)) for _ in range(6)]
                for _ in range(3):
                    await client.clear_cache()
                assert [(await reports.__anext__()).turn_number for reports in six] == [0] * 6
            assert counts == [4, 2, 0]

    queries: list[Fields] = []
    counts: list[int] = []
    run(scene())


def test_a_reconnect_does_not_send_too_much_either(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        while "action" not in await talk.hear():
            pass
        await talk.drop()

    async def scene() -> None:
        async with connected("tcp", tmp_path, script, script, answer_all) as (peer, client):
            async with contextlib.AsyncExitStack() as stack:
                six = [await stack.enter_async_context(client.stream(LARGE)) for _ in range(6)]
                await client.clear_cache()
                assert [(await reports.__anext__()).turn_number for reports in six] == [0] * 6
            assert [len(heard) for heard in peer.heard] == [5, 5, 7]

    run(scene())


def test_an_engine_that_we_start_is_told_everything_at_once() -> None:
    async def scene() -> None:
        async with AsyncAnalysisClient(engine("late")) as client:
            assert len(await client.analyze_all([LARGE] * 6)) == 6

    run(scene())


def test_no_pong_is_waited_for_and_the_kernel_notices_absence() -> None:
    """A service that has much to do does not read for a while, and not what asks for a pong either."""

    async def scene() -> None:
        async with Peer("ws", answer_all) as peer:
            channel = await open_channel(endpoint_of(peer.address))
            connection = vars(channel)["_connection"]
            assert connection.ping_interval > 0 and connection.ping_timeout is None
            ours = connection.transport.get_extra_info("socket")
            assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            await channel.close()

    run(scene())


# ---------------------------------------------------------------- time


def test_an_answer_that_does_not_come_in_time_is_terminated(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        while "action" not in (heard := await talk.hear()):
            pass
        ends.append(heard)
        await answer_all(talk)

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (peer, client):
            # On a busy machine the time may be over before the query is on its way.
            while not peer.heard[0]:
                with pytest.raises(AnalysisTimeout, match=r"within 0\.05 s"):
                    await client.analyze(Query(), timeout_s=0.05)
            assert (await client.analyze(Query())).turn_number == 0
            assert ends[0]["action"] == "terminate"

    ends: list[Fields] = []
    run(scene())


def test_a_stream_that_falls_silent_is_an_error(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        await talk.say(report(await talk.hear(), during=True))
        await talk.say(await talk.hear())
        while True:
            await talk.hear()

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (_, client), client.stream(Query(), timeout_s=0.05) as reports:
            # Echoed after the report, which is there by then: for that one no time is too short.
            await client.clear_cache()
            assert (await reports.__anext__()).is_during_search
            with pytest.raises(AnalysisTimeout):
                await reports.__anext__()
            with pytest.raises(StopAsyncIteration):
                await reports.__anext__()

    run(scene())


def test_whoever_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    async def mute(talk: Talk) -> None:
        while True:
            await talk.hear()

    async def scene() -> None:
        async with Peer("tcp", mute, greet=False) as peer:
            with pytest.raises(EngineUnreachable, match="did not answer within"):
                await AsyncAnalysisClient(peer.address, connect_s=0.05).open()
        with pytest.raises(EngineUnreachable, match="did not answer within"):
            await AsyncAnalysisClient(engine("mute"), connect_s=0.05).open()

    run(scene())


# ---------------------------------------------------------------- wrong peers


def test_errors_of_the_engine_are_raised_where_the_query_was_asked(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        query = await talk.hear()
        await talk.say({"error": "Illegal move 1: C3", "field": "moves", "id": query["id"]})
        query = await talk.hear()
        await talk.say({"error": "the engine is gone", "id": query["id"], "turnNumber": 0})
        await answer_all(talk)

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (_, client):
            with pytest.raises(AnalysisRefused, match="moves: Illegal move 1: C3") as refused:
                await client.analyze(Query())
            assert refused.value.field == "moves"
            with pytest.raises(AnalysisFailed, match="the engine is gone"):
                await client.analyze(Query())
            assert (await client.analyze(Query())).turn_number == 0

    run(scene())


def test_an_error_in_one_turn_of_a_game_ends_the_others(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        query = await talk.hear()
        await talk.say(report(query, 0), {"error": "the engine is gone", "id": query["id"], "turnNumber": 1})
        ends.append(await talk.hear())
        await answer_all(talk)

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (peer, client):
            with pytest.raises(AnalysisFailed, match="the engine is gone"):
                await client.analyze_turns(GAME)
            assert (await client.analyze(Query())).turn_number == 0
            assert ends[0]["terminateId"] == peer.heard[0][0]["id"]

    ends: list[Fields] = []
    run(scene())


def test_one_error_among_many_queries_terminates_the_others(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        queries = [await talk.hear() for _ in range(3)]
        await talk.say({"error": "no", "field": "rules", "id": queries[1]["id"]})
        ends.extend([await talk.hear(), await talk.hear()])
        both_ended.set()

    async def scene() -> None:
        async with connected("tcp", tmp_path, script) as (peer, client):
            with pytest.raises(AnalysisRefused):
                await client.analyze_all([Query(), Query(), Query()])
            await both_ended.wait()
            assert {end["terminateId"] for end in ends} == {peer.heard[0][0]["id"], peer.heard[0][2]["id"]}

    ends: list[Fields] = []
    both_ended = asyncio.Event()
    run(scene())


def test_gtp_is_recognized() -> None:
    async def scene() -> None:
        with pytest.raises(AnswerUnreadable, match="speaks GTP"):
            await AsyncAnalysisClient(engine("gtp")).open()

    run(scene())


def test_another_protocol_on_a_socket_is_an_error_and_chatter_of_a_script_is_none(tmp_path: Path) -> None:
    async def http(talk: Talk) -> None:
        await talk.say("HTTP/1.1 400 Bad Request")

    async def scene() -> None:
        async with Peer("tcp", http, greet=False) as peer:
            with pytest.raises(AnswerUnreadable, match=r"HTTP/1\.1 400"):
                await AsyncAnalysisClient(peer.address).open()
        async with AsyncAnalysisClient(engine("chatty")) as client:
            assert (await client.analyze(Query())).turn_number == 0

    run(scene())


def test_why_a_service_lets_nobody_in_is_told(tmp_path: Path) -> None:
    async def doorman(talk: Talk) -> None:
        await talk.say({"error": "the token is wrong"})

    async def scene() -> None:
        async with Peer("tcp", doorman, greet=False) as peer:
            with pytest.raises(EngineUnreachable, match="the token is wrong"):
                await AsyncAnalysisClient(peer.address).open()

    run(scene())


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("tcp://127.0.0.1:1", "refused"),
        ("ws://127.0.0.1:1", "refused"),
        ("unix:///nowhere/agent.sock", "No such file"),
        (["/no/such/katago", "analysis"], "no program"),
        ([], "no command"),
        (["false"], "ended with status 1: it said nothing"),
    ],
    ids=str,
)
def test_nobody_there_is_one_error(endpoint: Any, reason: str) -> None:
    async def scene() -> None:
        with pytest.raises(EngineUnreachable, match=reason):
            await AsyncAnalysisClient(endpoint).open()

    run(scene())


# ---------------------------------------------------------------- addresses


def test_addresses_name_endpoints() -> None:
    assert endpoint_of("tcp://pi:4641") == Tcp("pi", 4641)
    assert endpoint_of("tcp://[::1]:4641") == Tcp("::1", 4641)
    assert endpoint_of("tcp://pi:4641?token=s%203") == Tcp("pi", 4641, token="s 3")
    assert endpoint_of("tcp://pi:4641/?token=a+b/c==") == Tcp("pi", 4641, token="a+b/c==")
    assert endpoint_of("tcp://pi:4641?a=1&token=%2B&token=2") == Tcp("pi", 4641, token="+")
    assert endpoint_of("tcp://pi:4641?token=") == endpoint_of("tcp://pi:4641?a") == Tcp("pi", 4641)
    assert endpoint_of("unix:///run/katago-agent/analysis.sock") == Unix("/run/katago-agent/analysis.sock")
    assert endpoint_of("wss://pi/?token=secret") == WebSocket("wss://pi/?token=secret")
    assert endpoint_of(["katago", "analysis"]) == Stdio(("katago", "analysis"))
    tls = endpoint_of("tls://pi:4641")
    assert isinstance(tls, Tcp) and tls.tls is not None
    assert "secret" not in f"{WebSocket('ws://pi/?token=secret')} {Tcp('pi', 1, token='secret')!r}"


@pytest.mark.parametrize("text", ["", "pi:4641", "tcp://pi", "tcp://pi:port", "tcp://pi:70000", "http://pi", "unix://"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        endpoint_of(text)


def test_tokens_are_shown_at_the_door(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Peer("tcp", answer_all) as peer:
            port = int(peer.address.rpartition(":")[2])
            async with AsyncAnalysisClient(Tcp("127.0.0.1", port, token="s3")) as client:
                await client.analyze(Query())
            assert peer.first_lines == [b"token s3\n"]
        async with Peer("ws", answer_all) as peer, AsyncAnalysisClient(WebSocket(peer.address, token="s3")) as client:
            await client.analyze(Query())
            assert peer.headers[0]["Authorization"] == "Bearer s3"

    run(scene())


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_a_proxy_for_the_web_is_not_asked_for_an_engine(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "ws_proxy", "wss_proxy", "socks_proxy", "all_proxy"):
        monkeypatch.setenv(name, proxy)

    async def scene() -> None:
        async with Peer("ws", answer_all) as peer, AsyncAnalysisClient(peer.address) as client:
            assert (await client.analyze(Query())).turn_number == 0

    run(scene())


@pytest.mark.parametrize("kind", ["tls", "wss"])
def test_tls_with_an_authority_of_ones_own_and_not_with_a_stranger(kind: str) -> None:
    trusting = ssl.create_default_context(cafile=CERTIFICATE)

    async def scene() -> None:
        async with Peer(kind, answer_all) as peer:
            endpoint = endpoint_of(peer.address)
            assert isinstance(endpoint, Tcp | WebSocket)
            async with AsyncAnalysisClient(dataclasses.replace(endpoint, tls=trusting)) as client:
                assert (await client.analyze(Query())).turn_number == 0
            with pytest.raises(EngineUnreachable, match="certificate"):
                await AsyncAnalysisClient(peer.address).open()

    run(scene())


# ---------------------------------------------------------------- life


def test_a_closed_client_says_so_and_closing_wakes_who_waits(tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        await talk.hear()
        heard.set()
        ended.append(await talk.hear())
        done.set()

    async def scene() -> None:
        client = AsyncAnalysisClient("tcp://127.0.0.1:1")
        with pytest.raises(ClientClosed, match="not open"):
            await client.analyze(Query())
        await client.close()
        async with Peer("tcp", script) as peer:
            client = AsyncAnalysisClient(peer.address)
            await client.open()
            waiting = asyncio.ensure_future(client.analyze(Query()))
            await heard.wait()
            await client.close()
            with pytest.raises(ClientClosed):
                await waiting
            await done.wait()
            assert ended[0]["action"] == "terminate"
            with pytest.raises(ClientClosed):
                await client.analyze(Query())

    heard, done = asyncio.Event(), asyncio.Event()
    ended: list[Fields] = []
    run(scene())


def test_a_client_that_is_opened_again_asks_nothing_of_before_and_is_as_patient(tmp_path: Path) -> None:
    async def listen(talk: Talk) -> None:
        await talk.hear()
        heard.set()
        await talk.hear()

    async def drop(talk: Talk) -> None:
        await talk.drop()

    async def scene() -> None:
        async with Peer("tcp", listen, drop, answer_all) as peer:
            client = AsyncAnalysisClient(peer.address, retries=Retries(attempts=1, wait_s=0))
            await client.open()
            stream = client.stream(GAME)
            await stream.__aenter__()
            await heard.wait()
            await client.close()
            await client.open()
            assert (await client.analyze(Query())).turn_number == 0
            await client.close()
            assert [each["moves"] for each in peer.heard[2]] == [[]]
            with pytest.raises(ClientClosed):
                await stream.__anext__()

    heard = asyncio.Event()
    run(scene())


@pytest.mark.parametrize("kind", ["tcp", "tls", "unix", "ws"])
def test_a_service_that_takes_nothing_is_let_go_of_at_once(kind: str, tmp_path: Path) -> None:
    async def script(talk: Talk) -> None:
        await closed.wait()
        with contextlib.suppress(EOFError, OSError):
            while True:
                taken.append(len(await talk.raw()))
        ended.set()

    async def send(channel: Channel) -> None:
        while True:
            sent.append(len(line))
            await channel.send(line)

    async def scene() -> None:
        async with Peer(kind, script, folder=tmp_path, greet=False) as peer:
            endpoint = endpoint_of(peer.address)
            if isinstance(endpoint, Tcp) and endpoint.tls is not None:
                endpoint = dataclasses.replace(endpoint, tls=ssl.create_default_context(cafile=CERTIFICATE))
            channel = await open_channel(endpoint)
            transport = (vars(channel).get("_writer") or vars(channel)["_connection"]).transport
            sending = asyncio.ensure_future(send(channel))
            while transport.get_write_buffer_size() <= transport.get_write_buffer_limits()[1]:
                await asyncio.sleep(0)
            await channel.close()
            with pytest.raises(EngineUnreachable):
                await sending
            await channel.close()
            # What it takes now is what was on its way, and no more comes.
            closed.set()
            await ended.wait()
            assert sum(taken) < sum(sent)

    line = b"x" * (1 << 16)
    sent: list[int] = []
    taken: list[int] = []
    closed, ended = asyncio.Event(), asyncio.Event()
    run(scene())


def test_an_engine_that_does_not_end_is_ended(tmp_path: Path) -> None:
    async def scene() -> None:
        endpoint = dataclasses.replace(engine("stays", str(tmp_path / "pid")), quit_s=0.01)
        async with AsyncAnalysisClient(endpoint) as client:
            await client.analyze(Query())
        wait_until_gone(int((tmp_path / "pid").read_text()))

    run(scene())


@pytest.mark.parametrize("turns_of_the_loop", [1, 2, 3])
def test_an_engine_is_ended_also_by_a_close_that_is_cancelled(turns_of_the_loop: int, tmp_path: Path) -> None:
    """As by `wait_for(client.close(), 2)` around an engine that takes no input."""

    async def scene() -> None:
        told = json.dumps({"id": "hello1", "action": "query_version", "version": "9.99"})
        script = f"read line; echo $$ > {tmp_path / 'pid'}; echo '{told}'; exec sleep 60"
        client = AsyncAnalysisClient(Stdio(("sh", "-c", script), quit_s=0.01))
        await client.open()
        # More than a pipe holds.
        asking = asyncio.ensure_future(client.analyze(Query(rules={"x" * (1 << 20): "y"})))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(client.close())
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        wait_until_gone(int((tmp_path / "pid").read_text()))
        await client.close()
        with pytest.raises(ClientClosed):
            await asking

    run(scene())


def test_what_left_the_engines_group_and_holds_its_output_is_not_waited_for() -> None:
    """As the connection that ssh shares does."""

    def hear(line: str) -> None:
        found.append(int(line))
        told.set()

    async def scene() -> None:
        # It tells once it has been asked: by then there is somebody to let go of.
        script = "read line; setsid sleep 60 & echo $! >&2; exec cat >/dev/null"
        endpoint = Stdio(("sh", "-c", script), quit_s=0.1, on_log=hear)
        opening = asyncio.ensure_future(AsyncAnalysisClient(endpoint, connect_s=PATIENCE_S).open())
        await told.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        os.kill(found[0], signal.SIGKILL)

    found: list[int] = []
    told = asyncio.Event()
    run(scene())


# ---------------------------------------------------------------- without asyncio


@pytest.fixture
def collected() -> None:
    """What tests before left to the collector is none of this one's worries."""
    told, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gc.collect()
    finally:
        sys.unraisablehook = told


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning", "error::ResourceWarning")
def test_pipes_that_somebody_holds_are_closed_before_the_loop_is(tmp_path: Path) -> None:
    script = f"setsid sleep 60 & echo $! > {tmp_path / 'pid'}; exec {shlex.join(child('well'))}"
    started = engine("well")
    with AnalysisClient(Stdio(("sh", "-c", script), environment=started.environment)) as client:
        assert client.engine.version == "9.99"
    # Else the pipes tell the collector that their loop is gone.
    gc.collect()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_the_synchronous_client_does_the_same() -> None:
    with AnalysisClient(engine("well")) as client:
        assert client.engine.version == "9.99" and client.warnings == ()
        assert client.analyze(Query()).best.move == "D4"
        assert [each.turn_number for each in client.analyze_turns(GAME)] == [0, 1, 2, 3]
        assert len(client.analyze_all([Query()] * 50)) == 50
        with client.stream(GAME) as reports:
            assert [each.turn_number for each in reports] == [0, 1, 2, 3]
        with client.stream(GAME) as reports:
            for _ in reports:
                reports.terminate()
                break
        assert client.models() == ()
        client.clear_cache()
        client.terminate_all()
        client.open()
    client.close()
    with pytest.raises(ClientClosed):
        client.analyze(Query())


def test_the_synchronous_client_serves_many_threads_and_leaves_none_behind() -> None:
    with AnalysisClient(engine("well")) as client:
        found: list[Analysis] = []
        threads = [threading.Thread(target=lambda: found.append(client.analyze(Query()))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert len(found) == 8
    assert "analysis client" not in [thread.name for thread in threading.enumerate()]


def test_who_still_waits_when_the_loop_ends_is_woken_and_nobody_is_asked_after_it() -> None:
    client = AnalysisClient(engine("well"))
    client.open()
    woken: list[str] = []

    def wait() -> None:
        try:
            client.wait_for(pause())
        except ClientClosed as error:
            woken.append(str(error))

    async def pause() -> None:
        begun.set()
        await asyncio.Event().wait()

    begun = threading.Event()
    thread = threading.Thread(target=wait)
    thread.start()
    begun.wait()
    client.close()
    thread.join(PATIENCE_S)
    assert woken == ["the client was closed while this waited"]
    with pytest.raises(ClientClosed, match="not open"):
        client.analyze(Query())


def test_a_client_that_is_closed_by_another_thread_while_it_opens_says_so(tmp_path: Path) -> None:
    """As when a window is closed while the engine starts."""
    place = tmp_path / "pid"
    os.mkfifo(place)
    endpoint = Stdio(("sh", "-c", f"read line; echo $$ > {place}; exec sleep 60"), quit_s=0.1)
    client = AnalysisClient(endpoint, connect_s=PATIENCE_S)
    told: list[BaseException] = []

    def open_it() -> None:
        try:
            client.open()
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=open_it)
    thread.start()
    started = int(place.read_text())
    client.close()
    thread.join(PATIENCE_S)
    assert [type(error) for error in told] == [ClientClosed]
    wait_until_gone(started)


def test_two_threads_may_close_a_client_at_once() -> None:
    client = AnalysisClient(engine("well"))
    client.open()
    both = threading.Barrier(2)
    told: list[BaseException] = []

    def close() -> None:
        both.wait(PATIENCE_S)
        try:
            client.close()
        except BaseException as error:
            told.append(error)

    threads = [threading.Thread(target=close) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert told == [] and "analysis client" not in [thread.name for thread in threading.enumerate()]


def test_who_failed_to_open_does_not_end_what_another_thread_opened_since() -> None:
    client = AnalysisClient(engine("well"))
    client.open()
    ended = vars(client)["_loop"]
    client.close()
    client.open()
    vars(AnalysisClient)["_end_loop"](client, ended)
    assert client.analyze(Query()).turn_number == 0
    client.close()


def test_ctrl_c_while_the_engine_starts_leaves_no_engine_behind(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    os.mkfifo(place)

    def interrupt() -> None:
        found.append(int(place.read_text()))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    found: list[int] = []
    thread = threading.Thread(target=interrupt)
    thread.start()
    endpoint = Stdio(("sh", "-c", f"trap '' HUP TERM; read line; echo $$ > {place}; exec sleep 60"), quit_s=0.1)
    # Where the tests run in the background SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            AnalysisClient(endpoint, connect_s=PATIENCE_S).open()
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join(PATIENCE_S)
    wait_until_gone(found[0])


def test_a_synchronous_client_that_cannot_open_leaves_nothing_behind() -> None:
    with pytest.raises(EngineUnreachable):
        AnalysisClient(["false"]).open()
    assert "analysis client" not in [thread.name for thread in threading.enumerate()]
    with AnalysisClient(engine("dies"), retries=AT_ONCE) as client, pytest.raises(EngineUnreachable):
        client.analyze(Query())
