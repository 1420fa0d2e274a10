"""One game between two GTP engines, under our referee. Start at `play_game`.

An engine that fails in its game (it ends, hangs, says what is no move, plays where no one may, or refuses a legal move
of the other) loses it, as on a server: leaving such games out would reward an engine that breaks when it is behind.
The result tells such games apart.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from agent.engine.messages import Position
from agent.engine.points import BLACK, color_letter, opponent
from agent.errors import IllegalMove
from agent.workshop.contestant import GameSettings
from agent.workshop.gtp_player import Player, side
from agent.workshop.gtp_process import FaultKind, PlayerFault
from agent.workshop.referee import End, Referee


class GtpGame(msgspec.Struct, frozen=True):
    """One line of the journal. `first_is_black` tells the colours; `score` is the first's (1, ½, 0). `moves` are
    points, Black first; `opening` of them were given, and the others took `seconds`. Where `end` is what an engine did
    wrong, the loser did it, and `fault` says more."""

    pair: int
    first_is_black: bool
    score: float
    end: End | FaultKind
    result: str
    opening: int
    moves: tuple[int, ...]
    seconds: tuple[float, ...]
    fault: str = ""

    def side_of(self, index: int) -> Literal[0, 1]:
        """Who played move number `index`, from 0: the first contestant or the second."""
        return 0 if (index % 2 == 0) == self.first_is_black else 1

    def seconds_of(self, contestant: int) -> list[float]:
        """How long each move of one contestant took."""
        return [
            seconds for index, seconds in enumerate(self.seconds, self.opening) if self.side_of(index) == contestant
        ]


async def play_game(
    players: tuple[Player, Player],
    start: Position,
    pair: int,
    first_is_black: bool,
    settings: GameSettings,
    tell: Callable[[int], object],
) -> GtpGame:
    """Play the game from `start`, of which both know already (`Player.begin`). `tell` gets the number of moves after
    each. An engine that fails has lost: this raises nothing."""
    referee = Referee(start, settings.most_moves)
    seconds: list[float] = []
    winner: int | None
    end: End | FaultKind
    while referee.outcome is None:
        color = at_fault = referee.to_play
        mover = players[side(first_is_black, color)]
        other = players[side(first_is_black, opponent(color))]
        try:
            point, took = await mover.move(color, settings)
            if point is None:
                referee.resign()
                continue
            _judge(referee, point)
            seconds.append(round(took, 3))
            tell(len(referee.moves))
            if referee.outcome is None:
                at_fault = opponent(color)
                await other.play(color, point)
        except PlayerFault as fault:
            end, winner, said = fault.kind, opponent(at_fault), str(fault)
            result = f"{color_letter(winner)}+F"
            break
    else:
        outcome = referee.outcome
        end, winner, said, result = outcome.end, outcome.winner, "", outcome.result
    first = BLACK if first_is_black else opponent(BLACK)
    score = 0.5 if winner is None else float(winner == first)
    moves, opening = tuple(referee.moves), len(start.moves)
    return GtpGame(pair, first_is_black, score, end, result, opening, moves, tuple(seconds), said)


def _judge(referee: Referee, point: int) -> None:
    try:
        referee.play(point)
    except IllegalMove as error:
        raise PlayerFault("illegal", f"played the illegal move {error}") from error
