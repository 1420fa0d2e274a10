"""A GTP engine that plays games: who it is, what it understands, its moves. Start at `start_player`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.engine.messages import Position
from agent.engine.points import BLACK, color_letter, parse_vertex, vertex
from agent.workshop.contestant import Contestant, GameSettings, Patience
from agent.workshop.gtp_log import GtpLog
from agent.workshop.gtp_process import GtpProcess, PlayerFault

# KataGo's largest bound on visits: time alone limits the search then.
_ALL_VISITS: Final = 1 << 50


class Player:
    """Made by `start_player`. `name` and `version` are what the engine says. Raises PlayerFault, from every method that
    asks."""

    def __init__(
        self,
        contestant: Contestant,
        process: GtpProcess,
        name: str,
        version: str,
        commands: frozenset[str],
        patience: Patience,
        clock: Callable[[], float],
    ) -> None:
        self.contestant, self.name, self.version = contestant, name, version
        self._process, self._commands, self._patience, self._clock = process, commands, patience, clock
        self._size = 0

    @property
    def is_usable(self) -> bool:
        return self._process.is_usable

    def deaf_to(self, settings: GameSettings) -> tuple[str, ...]:
        """Which settings do not reach it: they are for its command line, or for `Contestant.setup`."""
        missing = []
        if "kata-set-rules" not in self._commands:
            missing.append("rules")
        if "kata-set-param" not in self._commands:
            missing += ["visits"] * (self.contestant.visits is not None)
            missing += ["time"] * (settings.seconds_per_move is not None and "time_settings" not in self._commands)
        return tuple(missing)

    async def begin(self, start: Position, settings: GameSettings) -> None:
        """A new game from `start`."""
        self._size = settings.size
        for command in self._set_up(settings):
            await self._ask(command)
        for color, point in start.moves:
            await self.play(color, point)

    async def play(self, color: int, point: int) -> None:
        """Tell a move of the other side, or of the opening."""
        await self._ask(f"play {color_letter(color)} {vertex(point, self._size, self._size)}")

    async def move(self, color: int, settings: GameSettings) -> tuple[int | None, float]:
        """Its move, None when it resigns; and how long it took, in seconds."""
        limit = settings.seconds_per_move
        if limit is not None and "time_left" in self._commands and "kata-set-param" not in self._commands:
            await self._ask(f"time_left {color_letter(color)} {limit:g} 1")
        begin = self._clock()
        text = await self._process.ask(f"genmove {color_letter(color)}", self._patience.move_s)
        seconds = self._clock() - begin
        if text.lower() == "resign":
            return None, seconds
        point = parse_vertex(text, self._size, self._size)
        if point is None:
            raise PlayerFault("garbage", f"answered {text[:200]!r} when asked for a move")
        return point, seconds

    async def close(self) -> None:
        await self._process.close()

    def abandon(self) -> None:
        self._process.abandon()

    def _set_up(self, settings: GameSettings) -> list[str]:
        commands = [f"boardsize {settings.size}", "clear_board"]
        if "kata-set-rules" in self._commands:
            commands.append(f"kata-set-rules {settings.told_rules()}")
        commands.append(f"komi {settings.komi:g}")
        limit, visits = settings.seconds_per_move, self.contestant.visits
        if "kata-set-param" in self._commands:
            # Not time_settings: KataGo keeps a second of that for a slow connection, which may be all of it.
            if limit is not None:
                commands.append(f"kata-set-param maxTime {limit:g}")
            if limit is not None or visits is not None:
                commands.append(f"kata-set-param maxVisits {_ALL_VISITS if visits is None else visits}")
        elif limit is not None and "time_settings" in self._commands:
            # One stone in each period: GTP's way to say seconds per move.
            commands.append(f"time_settings 0 {max(1, round(limit))} 1")
        return [*commands, *self.contestant.setup]

    async def _ask(self, command: str) -> str:
        return await self._process.ask(command, self._patience.command_s)


async def start_player(
    contestant: Contestant,
    patience: Patience,
    log: GtpLog | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Player:
    """The engine of `contestant`, ready for a game; all that is said goes to `log`.

    Raises:
        PlayerFault: it does not start, or does not speak GTP.
    """
    process = await GtpProcess.start(contestant.command, log)
    try:
        name = await process.ask("name", patience.start_s)
        version = await process.ask("version", patience.command_s)
        commands = frozenset((await process.ask("list_commands", patience.command_s)).split())
    except BaseException:
        process.abandon()
        raise
    words = " ".join(name.split()) or Path(contestant.command[0]).name
    return Player(contestant, process, words, " ".join(version.split()), commands, patience, clock)


def side(first_is_black: bool, color: int) -> int:
    """Which of the two contestants, 0 or 1, has `color`."""
    return 0 if (color == BLACK) == first_is_black else 1
