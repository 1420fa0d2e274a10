"""A GTP game whose engine is killed again and again, at moments that a random generator chooses."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fakes.daemons import Daemon
from fakes.lines import Gtp, open_line

# A game ends after so many moves at the latest.
MAX_MOVES = 60
# What a reply may take: a new worker, and the whole search again.
PATIENCE_S = 300.0
POLL_S = 0.05


@dataclass
class Figures:
    kills: int = 0
    while_searching: int = 0
    while_analyzing: int = 0
    moves: int = 0
    games: int = 0
    longest_s: float = 0.0
    hashes: set[str] = field(default_factory=set)


class KilledGame:
    """`player` plays against itself through the daemon; `mirror` is told the moves and asks nothing of the engine, so
    its board is what the player's must be. A reply that is an error, or late, or a board that differs, is an
    AssertionError."""

    def __init__(self, daemon: Daemon, rng: random.Random, *, size: int, tell: Callable[[str], None] = lambda _: None):
        self._daemon = daemon
        self._rng = rng
        self._size = size
        self._tell = tell
        self._move_s = 0.0
        self._killed: int | None = None
        self.figures = Figures()

    async def play(self, kills: int) -> Figures:
        """Until the engine was killed so often."""
        front = self._daemon.front
        self._player = Gtp(await open_line(front, "gtp", "tcp"))
        self._mirror = Gtp(await open_line(front, "gtp", "unix"))
        while self.figures.kills < kills:
            await self._game(kills)
        await self._player.close()
        await self._mirror.close()
        return self.figures

    async def _game(self, kills: int) -> None:
        for side in (self._player, self._mirror):
            await side.ask(f"boardsize {self._size}")
            await side.ask("clear_board")
        self.figures.games += 1
        passes = 0
        for number in range(MAX_MOVES):
            color = "bw"[number % 2]
            move = await self._move(color, can_kill=self.figures.kills < kills and self._move_s > 0)
            self.figures.moves += 1
            if move == "resign":
                return
            await self._mirror.ask(f"play {color} {move}")
            await self._compare()
            passes = passes + 1 if move == "pass" else 0
            if passes == 2 or self.figures.kills >= kills:
                return

    async def _move(self, color: str, *, can_kill: bool) -> str:
        kind = self._rng.choice(["before", "searching", "searching", "analyzing"]) if can_kill else ""
        if kind == "before":
            await self._kill()
        if kind == "analyzing":
            await self._analyze(color)
        started_s = time.monotonic()
        await self._player.start(f"genmove {color}")
        if kind == "searching":
            await asyncio.sleep(self._rng.uniform(0, self._move_s))
            self.figures.while_searching += await self._kill()
        move = (await asyncio.wait_for(self._player.finish(), PATIENCE_S)).lower()
        took_s = time.monotonic() - started_s
        self.figures.longest_s = max(self.figures.longest_s, took_s)
        if not kind:
            self._move_s = took_s
        return move

    async def _analyze(self, color: str) -> None:
        """Analysis begins, the engine dies, analysis goes on; the next command ends it."""
        begin = await self._player.start(f"kata-analyze {color} 5")
        assert await asyncio.wait_for(self._player.line(), PATIENCE_S) == begin
        assert (await asyncio.wait_for(self._player.line(), PATIENCE_S)).startswith("info move ")
        await asyncio.sleep(self._rng.uniform(0, self._move_s))
        self.figures.while_analyzing += await self._kill()
        while (await self._daemon.status()).engine_pid in (None, self._killed):
            await asyncio.sleep(POLL_S)
        up_s = time.monotonic()
        while time.monotonic() - up_s < self._move_s:
            assert (await asyncio.wait_for(self._player.line(), PATIENCE_S)).startswith("info move ")
        await self._player.start("name")
        while text := await asyncio.wait_for(self._player.line(), PATIENCE_S):
            assert text.startswith("info move "), text
        assert await self._player.finish() == "KataGo"

    async def _kill(self) -> bool:
        """Whether there was an engine to kill."""
        pid = (await self._daemon.status()).engine_pid
        if pid in (None, self._killed):
            # The last one is still being buried, or the next not yet born.
            return False
        self._daemon.kill_worker(pid)
        self._killed = pid
        self.figures.kills += 1
        self._tell(f"kill {self.figures.kills}: pid {pid}, move {self.figures.moves}")
        return True

    async def _compare(self) -> None:
        ours, theirs = [(await side.ask("showboard")).splitlines()[0] for side in (self._player, self._mirror)]
        assert ours == theirs, f"the board changed: {ours}, not {theirs}"
        self.figures.hashes.add(ours)
