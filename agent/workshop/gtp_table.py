"""Where two GTP engines sit across games: started when they are needed, replaced when they failed. Start at `Table`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from agent.engine.messages import Position
from agent.errors import PlayerFailed
from agent.workshop.contestant import Contestant, GameSettings, Patience, command_line
from agent.workshop.gtp_log import GtpLogs
from agent.workshop.gtp_player import Player, start_player
from agent.workshop.gtp_process import PlayerFault


class Table:
    """A pair of processes; a process that failed is replaced when the next game begins."""

    def __init__(
        self, contestants: tuple[Contestant, Contestant], patience: Patience, logs: Path | None = None
    ) -> None:
        self._contestants, self._patience = contestants, patience
        self._logs = GtpLogs(logs) if logs is not None else None
        self._players: list[Player | None] = [None, None]

    async def seat(self) -> tuple[Player, Player]:
        """Both players, started where they are not there."""
        first, second = await all_or_none([self._sit(0), self._sit(1)])
        return first, second

    async def begin(self, start: Position, settings: GameSettings) -> tuple[Player, Player]:
        """Both, before the first move from `start`. One that fails here is started anew, once.

        Raises:
            PlayerFailed: a new process fails, too: playing on would be of no use.
        """
        first, second = await all_or_none([self._prepare(0, start, settings), self._prepare(1, start, settings)])
        return first, second

    async def close(self) -> None:
        """End both."""
        players = [player for player in self._players if player is not None]
        self._players = [None, None]
        try:
            await asyncio.gather(*(player.close() for player in players))
        finally:
            for player in players:
                player.abandon()

    async def _prepare(self, side: int, start: Position, settings: GameSettings) -> Player:
        was_there = self._players[side] is not None
        player = await self._sit(side)
        try:
            await player.begin(start, settings)
        except PlayerFault as fault:
            await self._leave(side)
            if was_there and fault.kind != "refused":
                return await self._prepare(side, start, settings)
            raise PlayerFailed(f"{player.name} cannot begin a game: it {fault}") from fault
        return player

    async def _sit(self, side: int) -> Player:
        player = self._players[side]
        if player is not None and player.is_usable:
            return player
        await self._leave(side)
        contestant = self._contestants[side]
        log = self._logs.open(side) if self._logs is not None else None
        try:
            player = self._players[side] = await start_player(contestant, self._patience, log)
        except PlayerFault as fault:
            called = contestant.name or command_line(contestant.command)
            raise PlayerFailed(f"{called} does not play: it {fault}") from fault
        return player

    async def _leave(self, side: int) -> None:
        player, self._players[side] = self._players[side], None
        if player is not None:
            await player.close()


async def all_or_none(work: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run all at once; when one fails the others are cancelled and have ended before its error is raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(tasks)
