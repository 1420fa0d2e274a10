"""Kills the engine of a real `agent run` at random moments of GTP games. The client must see no error, the game must go
on, and the board must stay what it was: its hash is compared with that of a second client, who was told the same moves.

    python tests/system/kill_engine.py --network b6c96.bin.gz --kills 100

Kills come before a move, in its search, and during kata-analyze. Prints what was seen; status 0 when all held.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from fakes.daemons import Daemon  # noqa: E402
from fakes.killed_game import KilledGame  # noqa: E402


async def kill(folder: Path, arguments: argparse.Namespace) -> None:
    settings = {"network": str(arguments.network.resolve()), "engine": {}} if arguments.network else {}
    async with Daemon(folder, None, visits=arguments.visits, **settings) as daemon:
        started_s = time.monotonic()
        game = KilledGame(daemon, random.Random(arguments.seed), size=arguments.size, tell=print)
        figures = await game.play(arguments.kills)
        status = await daemon.status()
        print(
            f"{figures.kills} kills in {time.monotonic() - started_s:.0f} s ({figures.while_searching} in a search, "
            f"{figures.while_analyzing} in an analysis), {figures.moves} moves of {figures.games} games, "
            f"{len(figures.hashes)} boards compared, {status.restarts} restarts; no error, no board differed; "
            f"the longest move took {figures.longest_s:.1f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", type=Path, help="a .bin.gz; without it every move is as good as another")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--visits", type=int, default=100)
    parser.add_argument("--size", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(kill(Path(name), arguments))


if __name__ == "__main__":
    main()
