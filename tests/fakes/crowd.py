"""Many clients of one daemon, each checking that its answers are its own: all of them, once, and nobody else's.

Every client has a board or an opening that no other has, so an answer that went astray shows. What does not come within
`PATIENCE_S` is lost. Whatever is wrong is an AssertionError that names the client.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fakes.lines import WAYS, Analysis, Gtp, open_line

from agent.service.health import Front

PATIENCE_S = 300.0
_COLUMNS = "ABCDEFGHJKLMNOPQRST"


@dataclass
class Figures:
    """What all clients saw together. `probes_s` are the times that queries of one visit took."""

    answers: Counter[str] = field(default_factory=Counter)
    probes_s: list[float] = field(default_factory=list)
    owners: dict[str, str] = field(default_factory=dict)

    def claim(self, position: str, owner: str) -> None:
        """The position of this hash is `owner`'s; an answer about another client's is a crossed one."""
        assert self.owners.setdefault(position, owner) == owner, f"{owner} got an answer of {self.owners[position]}"


class Client(Protocol):
    async def act(self) -> None:
        """Ask, and check all that is answered."""

    async def close(self) -> None: ...


def opening(rng: random.Random, size: int, count: int) -> list[list[str]]:
    """Moves on points that do not touch, so that nothing is captured; two clients hardly ever draw the same."""
    points = [(x, y) for x in range(0, size, 2) for y in range(0, size, 2)]
    chosen = rng.sample(points, min(count, len(points)))
    return [["BW"[number % 2], f"{_COLUMNS[x]}{y + 1}"] for number, (x, y) in enumerate(chosen)]


def query(name: str, moves: Sequence[Sequence[str]], size: int, visits: int, **more: Any) -> dict[str, Any]:
    sizes = {"boardXSize": size, "boardYSize": size}
    return {"id": name, "moves": moves, "rules": "japanese", "maxVisits": visits, **sizes, **more}


class Mover:
    """Plays against itself over GTP on a board and with a komi of its own."""

    def __init__(self, name: str, rng: random.Random, figures: Figures, gtp: Gtp, number: int) -> None:
        self._name = name
        self._rng = rng
        self._figures = figures
        self._gtp = gtp
        self._size = 7 + number % 13
        self._komi = number / 2
        self._moves = -1

    async def act(self) -> None:
        if not 0 <= self._moves < self._size * 2:
            await self._ask(f"boardsize {self._size}")
            await self._ask("clear_board")
            await self._ask(f"komi {self._komi}")
            self._moves = 0
        move = await self._ask(f"genmove {'bw'[self._moves % 2]}")
        self._figures.answers["moves"] += 1
        self._moves = self._moves + 1 if move not in ("pass", "resign") else -1
        if move not in ("pass", "resign"):
            column, row = _COLUMNS.index(move[0]) + 1, int(move[1:])
            assert max(column, row) <= self._size, f"{self._name} on {self._size}×{self._size} got the move {move}"
        komi = float(await self._ask("get_komi"))
        assert komi == self._komi, f"{self._name} has komi {self._komi}, was told {komi}"

    async def _ask(self, command: str) -> str:
        return await asyncio.wait_for(self._gtp.ask(command), PATIENCE_S)

    async def close(self) -> None:
        await self._gtp.close()


class Watcher:
    """Lets kata-analyze run for a while over GTP, then goes on with another command."""

    def __init__(self, name: str, rng: random.Random, figures: Figures, gtp: Gtp, pace_s: float) -> None:
        self._name = name
        self._rng = rng
        self._figures = figures
        self._gtp = gtp
        self._pace_s = pace_s
        self._size = rng.choice([9, 13, 19])
        self._is_set_up = False

    async def act(self) -> None:
        if not self._is_set_up:
            await self._gtp.ask(f"boardsize {self._size}")
            self._is_set_up = True
        await self._gtp.ask("clear_board")
        for color, point in opening(self._rng, self._size, 4):
            await self._gtp.ask(f"play {color} {point}")
        begin = await self._gtp.start("kata-analyze 50")
        assert await asyncio.wait_for(self._gtp.line(), PATIENCE_S) == begin
        await asyncio.sleep(self._rng.uniform(0, self._pace_s))
        await self._gtp.start("protocol_version")
        while text := await asyncio.wait_for(self._gtp.line(), PATIENCE_S):
            assert text.startswith("info move "), f"{self._name} got {text[:80]!r}"
            self._figures.answers["GTP reports"] += 1
        assert await asyncio.wait_for(self._gtp.finish(), PATIENCE_S) == "2"
        self._figures.answers["GTP analyses"] += 1

    async def close(self) -> None:
        await self._gtp.close()


class Sweeper:
    """Has all turns of a game analysed at once; each turn must be answered once."""

    def __init__(self, name: str, rng: random.Random, figures: Figures, analysis: Analysis) -> None:
        self._name = name
        self._rng = rng
        self._figures = figures
        self._analysis = analysis
        self._count = 0

    async def act(self) -> None:
        self._count += 1
        size = self._rng.choice([13, 19])
        moves = opening(self._rng, size, 12)
        turns = set(range(4, len(moves) + 1))
        # Every client names its queries as KaTrain does.
        sent = query(f"QUERY:{self._count}", moves, size, 8, analyzeTurns=sorted(turns), includeOwnership=True)
        await self._analysis.send(sent)
        while turns:
            answer = await asyncio.wait_for(self._analysis.message(), PATIENCE_S)
            assert answer["id"] == sent["id"] and answer["turnNumber"] in turns, f"{self._name} got {answer}"
            assert len(answer["ownership"]) == size * size
            turns.remove(answer["turnNumber"])
            self._figures.claim(answer["rootInfo"]["thisHash"], self._name)
            self._figures.answers["turns"] += 1

    async def close(self) -> None:
        await self._analysis.close()


class Ponderer:
    """Starts an analysis without an end and terminates it."""

    def __init__(self, name: str, rng: random.Random, figures: Figures, analysis: Analysis, pace_s: float) -> None:
        self._name = name
        self._rng = rng
        self._figures = figures
        self._analysis = analysis
        self._pace_s = pace_s
        self._count = 0

    async def act(self) -> None:
        self._count += 1
        size = self._rng.choice([9, 13, 19])
        name = f"QUERY:{self._count}"
        sent = query(name, opening(self._rng, size, 8), size, 10_000_000, reportDuringSearchEvery=self._pace_s / 5)
        await self._analysis.send(sent)
        await asyncio.sleep(self._rng.uniform(0, self._pace_s))
        await self._analysis.send({"id": f"end {self._count}", "action": "terminate", "terminateId": name})
        finals = echoes = 0
        while not (finals and echoes):
            answer = await asyncio.wait_for(self._analysis.message(), PATIENCE_S)
            if "action" in answer:
                assert answer["id"] == f"end {self._count}", f"{self._name} got {answer}"
                echoes += 1
                continue
            assert answer["id"] == name, f"{self._name} got an answer to {answer['id']}"
            finals += not answer["isDuringSearch"]
            self._figures.answers["reports"] += bool(answer["isDuringSearch"])
            if "rootInfo" in answer:
                self._figures.claim(answer["rootInfo"]["thisHash"], self._name)
        assert finals == echoes == 1
        self._figures.answers["terminated analyses"] += 1

    async def close(self) -> None:
        await self._analysis.close()


class Prober:
    """Asks for one visit now and then, and looks at the clock."""

    def __init__(
        self,
        name: str,
        rng: random.Random,
        figures: Figures,
        analysis: Analysis,
        pace_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._name = name
        self._rng = rng
        self._figures = figures
        self._analysis = analysis
        self._pace_s = pace_s
        self._clock = clock
        self._count = 0

    async def act(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, self._pace_s))
        self._count += 1
        sent = query(f"QUERY:{self._count}", opening(self._rng, 19, 20), 19, 1)
        started_s = self._clock()
        await self._analysis.send(sent)
        answer = await asyncio.wait_for(self._analysis.message(), PATIENCE_S)
        self._figures.probes_s.append(self._clock() - started_s)
        assert answer["id"] == sent["id"] and answer["rootInfo"]["visits"] == 1, f"{self._name} got {answer}"
        self._figures.claim(answer["rootInfo"]["thisHash"], self._name)
        self._figures.answers["probes"] += 1

    async def close(self) -> None:
        await self._analysis.close()


# Of each 16 clients: four play, two watch, four ponder, three sweep, three probe.
ROLES = "mover ponderer prober sweeper mover watcher ponderer prober mover sweeper ponderer watcher mover prober"
KINDS = (*ROLES.split(), "sweeper", "ponderer")


async def come_in(
    front: Front, kind: str, number: int, seed: int, figures: Figures, pace_s: float, clock: Callable[[], float]
) -> Client:
    """Connect client `number` of this `kind`. The ways in come in turn; WebSocket has no GTP."""
    is_gtp = kind in ("mover", "watcher")
    way = WAYS[(number // len(KINDS) + number) % (2 if is_gtp else 3)]
    line = await open_line(front, "gtp" if is_gtp else "analysis", way)
    name, rng = f"{kind} {number} over {way}", random.Random(f"{seed} {number}")
    if kind == "mover":
        return Mover(name, rng, figures, Gtp(line), number)
    if kind == "watcher":
        return Watcher(name, rng, figures, Gtp(line), pace_s)
    if kind == "sweeper":
        return Sweeper(name, rng, figures, Analysis(line))
    if kind == "ponderer":
        return Ponderer(name, rng, figures, Analysis(line), pace_s)
    return Prober(name, rng, figures, Analysis(line), pace_s, clock)


async def live(client: Client, goes_on: Callable[[int], bool]) -> None:
    """Act as long as `goes_on`, which is told how often it was done."""
    done = 0
    try:
        while goes_on(done):
            await client.act()
            done += 1
    finally:
        await client.close()
