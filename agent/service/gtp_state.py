"""The game of one GTP client, and what its commands may change. No commands, no replies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

import msgspec

from agent.engine.game import Game
from agent.engine.messages import EngineReady, Position
from agent.engine.points import BLACK, WHITE
from agent.engine.rules import Rules
from agent.errors import CommandRefused
from agent.service.clock import TimeControl
from agent.service.options import MAX_MOVES, ServiceOptions

# As KataGo, until a controller says otherwise.
START_SIZE = 19
START_KOMI = 7.5

Stone = tuple[int, int]


class GtpState:
    """`game` is always the board that `position` leads to. `win_losses` are what each of our genmoves thought
    (White's winning minus losing, −1 to 1), since the position was last set up. A command sets `wants_to_ponder` where
    the engine may think on in the opponent's time. `white_advantage` is that of `handicap_play.py` at our last move.
    `searches_for` is whose search the last one was, since the position was set up; None before any."""

    def __init__(
        self,
        options: ServiceOptions,
        next_id: Callable[[], int],
        ready: Callable[[], EngineReady | None],
        seed: int | None = None,
    ) -> None:
        self.options = options
        self.next_id = next_id
        self.ready = ready
        self.clocks: dict[int, TimeControl] = {BLACK: options.clock, WHITE: options.clock}
        self.win_losses: list[float] = []
        self.genmove_s = 0.0
        self.wants_to_ponder = False
        self.white_advantage = 0.0
        self.searches_for: int | None = None
        self.random = Random(seed)
        # Searches of one client for its moves share a tree, and so do those that only analyse.
        self.tree = f"gtp-{next_id()}"
        self.position = Position(
            x_size=START_SIZE,
            y_size=START_SIZE,
            rules=options.rules,
            komi=START_KOMI,
            prevent_encore=options.prevent_encore,
        )
        self.game = Game.from_position(self.position)

    @property
    def sizes(self) -> tuple[int, int]:
        return self.position.x_size, self.position.y_size

    @property
    def area(self) -> int:
        return self.position.x_size * self.position.y_size

    def resize(self, x_size: int, y_size: int) -> None:
        """Nothing happens to a board that already has this size, as in KataGo."""
        if (x_size, y_size) != self.sizes:
            self._replace(x_size=x_size, y_size=y_size, initial_stones=(), initial_player=BLACK, moves=())
            self.win_losses.clear()

    def set_up(self, stones: Iterable[Stone], player: int) -> None:
        """A new game from these stones."""
        self._replace(initial_stones=tuple(stones), initial_player=player, moves=())
        self.win_losses.clear()

    def load(self, position: Position) -> None:
        """Another game altogether. Raises IllegalMove; then nothing changes."""
        self.game = Game.from_position(position)
        self.position = position
        self.searches_for = None
        self.win_losses.clear()

    def set_komi(self, komi: float) -> None:
        if komi != self.position.komi:
            self._replace(komi=komi)

    def set_rules(self, rules: Rules) -> None:
        """The same moves under other rules. Raises IllegalMove where they forbid one; then nothing changes."""
        self._replace(rules=rules)
        self.win_losses.clear()

    def play(self, color: int, point: int) -> None:
        """Raises IllegalMove, and CommandRefused where the game is full; then nothing changes."""
        if len(self.position.moves) >= MAX_MOVES:
            raise CommandRefused(f"a game holds at most {MAX_MOVES} moves; clear_board begins another")
        self.game.play(color, point, prevent_encore=self.position.prevent_encore)
        if color != self.position.to_play:
            self.searches_for = None
        self.position = msgspec.structs.replace(self.position, moves=(*self.position.moves, (color, point)))

    def undo(self) -> bool:
        """False where there is no move to take back."""
        if not self.position.moves:
            return False
        self._replace(moves=self.position.moves[:-1])
        self.win_losses.clear()
        return True

    def _replace(self, **changes: object) -> None:
        position = msgspec.structs.replace(self.position, **changes)
        self.game = Game.from_position(position)
        self.position = position
        self.searches_for = None
