"""Many clients of one daemon, and a daemon whose engine keeps dying: small versions of tests/system/load_clients.py and
kill_engine.py, with a network for which every move is as good as another."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

from fakes.crowd import KINDS, Figures, come_in, live
from fakes.daemons import Daemon
from fakes.killed_game import KilledGame

PACE_S = 0.1
ROUNDS = 2


def test_a_crowd_over_all_sockets_loses_and_crosses_no_answer(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Daemon(tmp_path, None, visits=20) as daemon:
            figures, front = Figures(), daemon.front
            clients = [
                await come_in(front, kind, number, 1, figures, PACE_S, time.monotonic)
                for number, kind in enumerate(KINDS * 2)
            ]
            assert (await daemon.status()).clients == len(clients)
            await asyncio.gather(*(live(client, lambda done: done < ROUNDS) for client in clients))
            expected = {kind: ROUNDS * 2 * KINDS.count(kind) for kind in KINDS}
            assert figures.answers["moves"] == expected["mover"]
            assert figures.answers["GTP analyses"] == expected["watcher"]
            assert figures.answers["turns"] == expected["sweeper"] * 9
            assert figures.answers["terminated analyses"] == expected["ponderer"]
            assert figures.answers["probes"] == expected["prober"]
            # A GTP analysis is answered at its interruption; the worker's last word of it comes later.
            while (status := await daemon.status()).clients or status.outstanding:
                pass
            assert status.restarts == 0

    asyncio.run(scene())


def test_a_game_goes_on_while_its_engine_is_killed(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Daemon(tmp_path, None, visits=200) as daemon:
            figures = await KilledGame(daemon, random.Random(5), size=9).play(4)
            assert figures.kills == 4 and figures.while_searching and figures.while_analyzing
            assert len(figures.hashes) == figures.moves

    asyncio.run(scene())
