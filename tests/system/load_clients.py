"""Many clients at once on a real `agent run`: moves, analyses without an end that are terminated, whole games, and
queries of one visit, over TCP, Unix sockets and WebSocket.

    python tests/system/load_clients.py --network b6c96.bin.gz --minutes 10

No answer may be lost or go to another client. The 95th percentile of a query of one visit must stay within three times
what it is on the idle daemon, and memory flat: the last minute within 5 % of the third. Status 0 when all of it held.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from fakes.crowd import KINDS, Figures, come_in, live  # noqa: E402
from fakes.daemons import Daemon  # noqa: E402

from agent.service.health import FrontStatus  # noqa: E402

# A cache that is full before the third minute on a slow machine, too: until then memory grows as it should.
CACHE_POSITIONS = 10_000
SLOWER = 3.0
GROWTH = 0.05
SAMPLE_S = 5.0
IDLE_PROBES = 200
# Seconds that people think before they ask again; an idle prober waits a tenth of that.
PACE_S = 4.0


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def shown(values: list[float]) -> str:
    middle, high = percentile(values, 0.5), percentile(values, 0.95)
    return f"median {middle * 1e3:.0f} ms, p95 {high * 1e3:.0f} ms of {len(values)}"


async def probe_idle(daemon: Daemon, seed: int) -> list[float]:
    """What a query of one visit takes while nobody else asks, over each way in."""
    figures = Figures()
    for way in range(3):
        client = await come_in(daemon.front, "prober", way, seed, figures, PACE_S / 100, time.monotonic)
        await live(client, lambda done: done < IDLE_PROBES // 3)
    return figures.probes_s


async def sample(daemon: Daemon, minutes: float) -> list[tuple[float, FrontStatus]]:
    started_s, samples = time.monotonic(), []
    while time.monotonic() - started_s < minutes * 60:
        samples.append((time.monotonic() - started_s, await daemon.status()))
        await asyncio.sleep(SAMPLE_S)
    return samples


def memory_by_minute(samples: list[tuple[float, FrontStatus]]) -> list[tuple[float, float]]:
    """Front and worker in MB, the mean of each minute."""
    minutes: dict[int, list[FrontStatus]] = {}
    for at_s, status in samples:
        minutes.setdefault(int(at_s // 60), []).append(status)
    return [
        (
            statistics.mean((one.front_rss_bytes or 0) / 1e6 for one in minute),
            statistics.mean((one.worker_rss_bytes or 0) / 1e6 for one in minute),
        )
        for minute in minutes.values()
    ]


async def load(folder: Path, arguments: argparse.Namespace) -> bool:
    settings: dict[str, Any] = {"cache_positions": CACHE_POSITIONS}
    if arguments.network:
        settings |= {"network": str(arguments.network.resolve()), "engine": {}}
    async with Daemon(folder, None, visits=arguments.visits, **settings) as daemon:
        # Threads and kernels warm up with the first ones.
        await probe_idle(daemon, arguments.seed + 1)
        idle = await probe_idle(daemon, arguments.seed)
        print(f"idle: {shown(idle)}", flush=True)
        figures, end_s = Figures(), time.monotonic() + arguments.minutes * 60
        clients = [
            await come_in(daemon.front, KINDS[n % len(KINDS)], n, arguments.seed + 2, figures, PACE_S, time.monotonic)
            for n in range(arguments.clients)
        ]
        living = [live(client, lambda _: time.monotonic() < end_s) for client in clients]
        samples, *_ = await asyncio.gather(sample(daemon, arguments.minutes), *living)
        status = await daemon.status()
        print(f"busy: {shown(figures.probes_s)}; {dict(figures.answers)}", flush=True)
        memory = memory_by_minute(samples)
        for minute, (front, worker) in enumerate(memory, 1):
            print(f"minute {minute}: front {front:.1f} MB, worker {worker:.1f} MB")
        return judge(idle, figures, memory, status)


def judge(idle: list[float], figures: Figures, memory: list[tuple[float, float]], status: FrontStatus) -> bool:
    times = percentile(figures.probes_s, 0.95) / percentile(idle, 0.95)
    holds = {f"p95 of one visit is {times:.1f} times the idle one (at most {SLOWER:.0f})": times <= SLOWER}
    if len(memory) > 3:
        for name, third, last in zip(("front", "worker"), memory[2], memory[-1], strict=True):
            growth = last / third - 1
            holds[f"{name} grew by {growth:+.1%} since the third minute (at most {GROWTH:.0%})"] = growth <= GROWTH
    holds[f"{status.restarts} restarts, {status.outstanding} requests outstanding"] = not status.restarts
    for text, held in holds.items():
        print(f"{'ok  ' if held else 'FAIL'} {text}")
    return all(holds.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", type=Path, help="a .bin.gz; without it every move is as good as another")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--visits", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return 0 if asyncio.run(load(Path(name), arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
