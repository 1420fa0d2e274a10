"""The client against our own service: a real daemon with a small random network, over each of its sockets and stdio."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fakes.daemons import Daemon
from fakes.network_writer import NetworkWriter

from agent.client import (
    AnalysisClient,
    AnalysisRefused,
    AsyncAnalysisClient,
    EngineUnreachable,
    MoveLimit,
    Query,
    Retries,
)
from agent.service.health import Front
from agent.settings import own_command

PATIENCE_S = 120.0
MOVES = (("B", "D4"), ("W", "F6"), ("B", "pass"))
GAME = Query(moves=MOVES, rules="chinese", board_x_size=9, board_y_size=9, analyze_turns=(0, 1, 2, 3), max_visits=4)


TOKEN = "a-token-of-thirty-two-characters"


def addresses(front: Front) -> list[str]:
    """TCP, Unix, which asks for no token, and WebSocket."""
    secret = f"?token={TOKEN}"
    tcp, websocket = f"tcp://{front.analysis_address}{secret}", f"ws://{front.websocket_address}/{secret}"
    return [tcp, f"unix://{front.analysis_socket}", websocket]


def test_the_service_answers_over_all_its_sockets_and_outlives_its_worker(tmp_path: Path) -> None:
    network = NetworkWriter(8, ["ordinary", "gpool"], channels=8).write(tmp_path / "small.bin.gz")

    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    access = {"token_file": str(tmp_path / "token")}

    async def scene() -> None:
        async with Daemon(tmp_path, None, network=str(network), engine={}, access=access) as daemon:
            for address in (
                f"tcp://{daemon.front.analysis_address}",
                f"ws://{daemon.front.websocket_address}?token=no",
            ):
                with pytest.raises(EngineUnreachable, match=r"token|401"):
                    await AsyncAnalysisClient(address).open()
            found = []
            for address in addresses(daemon.front):
                async with AsyncAnalysisClient(address) as client:
                    assert client.engine.version.startswith("1.")
                    found.append(await client.analyze_turns(GAME))
                    await use_the_rest(client)
            # The same search on every way; its tree is a client's own.
            winrates = [[each.root_info.raw_winrate for each in turns] for turns in found]
            assert winrates[0] == winrates[1] == winrates[2] and len(set(winrates[0])) > 1
            assert [each.root_info.current_player for each in found[0]] == ["B", "W", "B", "W"]
            await lose_the_worker(daemon)
            await asyncio.to_thread(join_over_stdio, daemon.config)

    asyncio.run(asyncio.wait_for(scene(), PATIENCE_S))


async def use_the_rest(client: AsyncAnalysisClient) -> None:
    (model,) = await client.models()
    assert model.version == 8
    with pytest.raises(AnalysisRefused, match="Martian") as refused:
        await client.analyze(Query(rules="Martian"))
    assert refused.value.field == "rules"
    corner = MoveLimit(player="B", moves=("A1", "B2"))
    near = Query(board_x_size=9, board_y_size=9, allow_moves=(corner,), max_visits=3, include_ownership=True)
    limited = await client.analyze(near)
    assert {info.move for info in limited.move_infos} <= {"A1", "B2"} and len(limited.ownership) == 81
    endless = Query(board_x_size=9, board_y_size=9, max_visits=1 << 40, report_every_s=0.01)
    async with client.stream(endless) as reports:
        async for report in reports:
            if report.is_during_search:
                await reports.terminate()
            else:
                assert report.root_info.visits > 0
    async with client.stream(endless) as reports:
        async for _ in reports:
            break
    many = [Query(board_x_size=size, board_y_size=9, max_visits=2) for size in (2, 3, 4, 5, 6, 7)]
    assert len(await client.analyze_all(many)) == 6


async def lose_the_worker(daemon: Daemon) -> None:
    """The daemon starts another, and the clients do not notice."""
    endless = Query(board_x_size=9, board_y_size=9, max_visits=1 << 40, report_every_s=0.01)
    tcp, _, websocket = addresses(daemon.front)
    async with (
        AsyncAnalysisClient(tcp) as other,
        AsyncAnalysisClient(websocket) as client,
        client.stream(endless) as reports,
    ):
        await reports.__anext__()
        daemon.kill_worker((await daemon.status()).engine_pid)
        # Another client's: within one client the long search has come first.
        assert (await other.analyze(Query(max_visits=2))).root_info.visits == 2
        await reports.__anext__()


def join_over_stdio(config: Path) -> None:
    command = [*own_command(), "analysis", "--config", str(config)]
    with AnalysisClient(command) as client:
        assert [each.turn_number for each in client.analyze_turns(GAME)] == [0, 1, 2, 3]


def test_a_daemon_that_is_restarted_is_asked_again(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Daemon(tmp_path, None) as daemon:
            front = daemon.front
            # Many and short, because a daemon takes seconds to start.
            retries = Retries(attempts=10_000, wait_s=0.05, longest_wait_s=0.05)
            async with AsyncAnalysisClient(f"tcp://{front.analysis_address}", retries=retries) as client:
                endless = asyncio.ensure_future(client.analyze(Query(max_visits=1 << 40)))
                await daemon.outstanding(1)
                await daemon.end()
                async with Daemon(tmp_path, None, analysis_address=front.analysis_address) as again:
                    await again.outstanding(1)
                    endless.cancel()
                    assert (await client.analyze(Query(max_visits=2))).root_info.visits == 2

    asyncio.run(asyncio.wait_for(scene(), PATIENCE_S))
