"""Throws damaged lines at the protocol objects, and at the sockets of a real daemon: no crash, no hang, bounded memory.

    python tests/system/fuzz_protocols.py --lines 1000000 --protocol analysis --protocol gtp
    python tests/system/fuzz_protocols.py --lines 0 --socket-lines 10000

Ends with status 0 when all held. The same --seed gives the same lines; what fails prints the conversation's last lines.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections import deque
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import msgspec
from fakes.daemons import Client, Daemon
from fakes.driving import Driver, analysis, gtp
from fuzz_lines import LineMaker
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from agent.service.health import rss_bytes
from agent.settings import parse_address

# A conversation ends after so many lines, and with its client's end.
CONVERSATION = 2000
# No line may take longer than this to be answered by a protocol object; the slowest regular one takes milliseconds.
LINE_S = 20
# After this many lines what Python and the allocator keep has settled; from there memory may grow by so much.
SETTLED = 100_000
GROWTH_BYTES = 24 << 20
# A client that never lets the engine answer has this many requests and no more waiting there.
MAX_WAITING = 64
# Clients at once on each socket, and how long one stays.
CLIENTS = 4
PROTOCOLS = ("gtp", "analysis")
LINES_A_CLIENT = 250
SANE_S = 60.0
SHOWN = 30


class Failed(Exception):
    """Something that must not be; says what."""


def fuzz_object(protocol: str, lines: int, seed: int) -> str:
    """Drive one protocol object after the other. Raises Failed; what the object raises passes through."""
    maker, chance = LineMaker(protocol, seed), random.Random(seed + 1)
    last: deque[bytes] = deque(maxlen=SHOWN)
    done, settled, slowest = 0, 0, 0.0
    started = time.monotonic()
    try:
        watch = Watch()
        while done < lines:
            client = gtp() if protocol == "gtp" else analysis()
            for _ in range(min(CONVERSATION, lines - done)):
                line = maker.line()
                last.append(line)
                before = time.monotonic()
                step(client, line, chance)
                slowest = max(slowest, time.monotonic() - before)
                watch.done = done
                check(protocol, client)
                done += 1
                if client.is_closed:
                    break
            finish(client)
            check(protocol, client)
            if not settled and done >= SETTLED:
                settled = resident()
    except BaseException:
        print(f"seed {seed}, line {done}; the last lines were:")
        for line in last:
            print(repr(line))
        raise
    signal.setitimer(signal.ITIMER_REAL, 0)
    growth = resident() - settled if settled else 0
    if growth > GROWTH_BYTES:
        raise Failed(f"{protocol}: memory grew by {growth / 1e6:.0f} MB after the first {SETTLED} lines")
    rate = done / (time.monotonic() - started)
    return (
        f"{protocol}: {done} lines, {rate:.0f} a second, slowest {slowest * 1000:.0f} ms,"
        f" memory {resident() / 1e6:.0f} MB, grown by {growth / 1e6:.1f} MB since line {SETTLED}"
    )


def step(client: Driver, line: bytes, chance: random.Random) -> None:
    """One line; then the engine says something, or nothing for a while."""
    client.line(line)
    while client.engine.waiting and chance.random() < 0.6:
        client.release(final=chance.random() < 0.7)
    if len(client.engine.waiting) > MAX_WAITING:
        raise Failed(f"{len(client.engine.waiting)} requests wait at the engine")


def finish(client: Driver) -> None:
    if not client.is_closed:
        client.end()
    while client.engine.waiting:
        client.release()
    if not client.is_closed:
        raise Failed("the connection did not close at its end")


def check(protocol: str, client: Driver) -> None:
    """Every reply is one; then it is forgotten."""
    if protocol == "analysis":
        for reply in client.output.splitlines():
            if not isinstance(msgspec.json.decode(reply), dict):
                raise Failed(f"{reply!r} is no reply")
    else:
        client.output.decode("utf-8")
    client.output = b""
    client.engine.submitted.clear()
    client.engine.stopped.clear()


class Watch:
    """Raises Failed in the main thread when no line was done between two looks."""

    def __init__(self) -> None:
        self.done = 0
        self._seen = -1
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, LINE_S, LINE_S)

    def _look(self, number: int, frame: FrameType | None) -> None:
        if self.done == self._seen:
            raise Failed(f"a line took more than {LINE_S} s")
        self._seen = self.done


def resident() -> int:
    own = rss_bytes(os.getpid())
    return own if own is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


# ---------------------------------------------------------------- sockets


async def fuzz_sockets(lines: int, seed: int) -> str:
    """The same over TCP at a real daemon whose engine knows no network; afterwards a sane client is served, by the same
    front and the same worker."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        daemon = Daemon(Path(folder), None)
        daemon.prefix = ("sh", "-c", f'exec "$@" 2> {log}', "sh")
        async with daemon:
            before = await daemon.status()
            seeds = iter(range(seed, seed + 10**6))
            rounds, sent = 0, 0
            while sent < lines:
                clients = [talk(daemon, protocol, next(seeds)) for protocol in PROTOCOLS for _ in range(CLIENTS)]
                frames = [talk_in_frames(daemon, next(seeds)) for _ in range(CLIENTS)]
                sent += sum(await asyncio.gather(*clients, *frames))
                rounds += 1
                if rounds == 1:
                    first = (await daemon.status()).front_rss_bytes or 0
            await asyncio.wait_for(sane(daemon), SANE_S)
            after = await daemon.status()
            if (after.pid, after.engine_pid, after.restarts) != (before.pid, before.engine_pid, before.restarts):
                raise Failed(f"the front or its worker is another: {before} → {after}")
            # A fault in one conversation ends that alone, and says so.
            if "Traceback" in (told := log.read_text("utf-8", "replace")):
                raise Failed(told[-5000:])
            now = after.front_rss_bytes or 0
            if now - first > GROWTH_BYTES:
                raise Failed(f"the front grew by {(now - first) / 1e6:.0f} MB")
            return f"sockets: {sent} lines, front {now / 1e6:.0f} MB, grown by {(now - first) / 1e6:.1f} MB"


async def talk(daemon: Daemon, protocol: str, seed: int) -> int:
    """One client: writes its lines in pieces of any size, reads what comes, and goes without a word."""
    address = daemon.front.gtp_address if protocol == "gtp" else daemon.front.analysis_address
    assert address is not None
    maker, chance = LineMaker(protocol, seed), random.Random(seed)
    reader, writer = await asyncio.open_connection(*parse_address(address))
    reading = asyncio.create_task(drain(reader))
    try:
        data = b"".join(maker.line() + b"\n" for _ in range(LINES_A_CLIENT))
        while data and not reading.done():
            size = chance.choice((1, 10, 1000, 10_000))
            writer.write(data[:size])
            data = data[size:]
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(writer.drain(), 0.5)
    except ConnectionError:
        pass  # it said quit, or sent what closes a connection
    finally:
        writer.close()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    return LINES_A_CLIENT


async def talk_in_frames(daemon: Daemon, seed: int) -> int:
    """One client of the WebSocket: a line a frame, text or not."""
    address = daemon.front.websocket_address
    assert address is not None
    maker, chance = LineMaker("analysis", seed), random.Random(seed)
    with contextlib.suppress(ConnectionClosed):
        async with connect(f"ws://{address}", max_size=None) as socket:
            reading = asyncio.create_task(drain_frames(socket))
            for _ in range(LINES_A_CLIENT):
                line = maker.line()
                await socket.send(line if chance.random() < 0.1 else line.decode("utf-8", "replace"))
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return LINES_A_CLIENT


async def drain_frames(socket: ClientConnection) -> None:
    async for _ in socket:
        pass


async def drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass


async def sane(daemon: Daemon) -> None:
    client = await Client.connect(daemon.front.gtp_address)
    if await client.gtp("1 genmove b") == "":
        raise Failed("no move after all that")
    client.close()
    client = await Client.connect(daemon.front.analysis_address)
    query = {"id": "s", "boardXSize": 5, "boardYSize": 5, "rules": "chinese", "moves": [], "maxVisits": 3}
    answer = await client.analysis(query)
    if answer.get("rootInfo", {}).get("visits") != 3:
        raise Failed(f"no analysis after all that: {answer}")
    client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1_000_000, help="over each protocol object")
    parser.add_argument("--socket-lines", type=int, default=0, help="over sockets, of both protocols together")
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for protocol in options.protocol or PROTOCOLS:
        if options.lines:
            print(fuzz_object(protocol, options.lines, options.seed), flush=True)
    if options.socket_lines:
        print(asyncio.run(fuzz_sockets(options.socket_lines, options.seed)), flush=True)


if __name__ == "__main__":
    main()
