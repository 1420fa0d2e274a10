"""A game of Go with KataGo's rules: the compiled core, spoken to from Python. Start at `Game.from_position`.

Points and colours are those of `points.py`. No numpy here: the front keeps its clients' games with this module.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from agent.engine.library import CGameState, CRules, load
from agent.engine.points import BLACK, EMPTY, MAX_SIZE, WHITE, color_letter, vertex
from agent.engine.rules import HANDICAP_BONUSES, KO_RULES, SCORING_RULES, TAX_RULES, Rules
from agent.errors import IllegalMove, RulesError

if TYPE_CHECKING:
    from agent.engine.messages import Position

_NO_POINT = -1


class Game:
    """Board, history, rules and score. Not safe for use from two threads at once."""

    def __init__(self, x_size: int, y_size: int, rules: Rules | None = None, komi: float = 7.5) -> None:
        """An empty board with Black to move.

        Raises:
            ValueError: a size outside 1 to 19, or a komi that is not a finite number.
            RulesError: a rule's value is none of KataGo's.
            CoreMissing: see `library.load`.
        """
        if not (1 <= x_size <= MAX_SIZE and 1 <= y_size <= MAX_SIZE):
            raise ValueError(f"board sizes are 1 to {MAX_SIZE}, not {x_size}x{y_size}")
        _require_finite(komi)
        self.x_size = x_size
        self.y_size = y_size
        self.area = x_size * y_size
        self.rules = rules if rules is not None else Rules()
        self._core = load()
        self._handle = _Handle(
            self._core.ka_game_new(x_size, y_size, _c_rules(self.rules), komi), self._core.ka_game_free
        )

    @classmethod
    def from_position(cls, position: Position) -> Game:
        """The game that `position` describes.

        Raises:
            IllegalMove: `str()` is KataGo's text, such as "Illegal move 1: C3" with the move's index from 0.
            ValueError, RulesError: as `Game`; or an initial stone off the board.
        """
        game = cls(position.x_size, position.y_size, position.rules, position.komi)
        game.add_stones(position.initial_stones)
        if position.initial_player != BLACK:
            game.restart(position.initial_player)
        played = game._play(position.moves, position.prevent_encore)
        if played < len(position.moves):
            raise IllegalMove(f"Illegal move {played}: {game._name(position.moves[played][1])}")
        return game

    @property
    def handle(self) -> int:
        """The core's pointer, valid while this object lives; for the modules that call the core themselves."""
        return self._handle.address

    def copy(self) -> Game:
        """An independent game at the same point."""
        other = Game.__new__(Game)
        other.__dict__.update(self.__dict__)
        other._handle = _Handle(self._core.ka_game_copy(self.handle), self._core.ka_game_free)
        return other

    # ------------------------------------------------------------ set-up

    def add_stones(self, stones: Iterable[tuple[int, int]]) -> None:
        """Set up (colour, point) pairs one after the other; EMPTY removes. As in KataGo, a stone that takes another's
        last liberty captures it, and one that would have no liberty is left out. The history starts anew.

        Raises:
            ValueError: a colour or point that does not exist; nothing is changed.
        """
        listed = list(stones)
        for color, point in listed:
            if color not in (EMPTY, BLACK, WHITE) or not 0 <= point < self.area:
                raise ValueError(
                    f"no stone of colour {color} can stand on point {point} of {self.x_size}x{self.y_size}"
                )
        colors, points = _columns(listed)
        self._core.ka_game_add_stones(self.handle, colors, points, len(listed))

    def restart(self, to_play: int) -> None:
        """Make this position the start of the history, with `to_play` to move; an encore goes on.

        Raises:
            ValueError: `to_play` is no player.
        """
        _require_player(to_play)
        self._core.ka_game_restart(self.handle, to_play)

    def set_komi(self, komi: float) -> None:
        """Raises ValueError for a komi that is not a finite number."""
        _require_finite(komi)
        self._core.ka_game_set_komi(self.handle, komi)

    def set_pass_alive_under_suicide(self, on: bool) -> None:
        """Judge pass-alive area as if suicide were legal; for networks with `prefer_pass_alive`."""
        self._core.ka_game_set_pass_alive_under_suicide(self.handle, on)

    # ------------------------------------------------------------ moves

    def play(self, color: int, point: int, *, prevent_encore: bool = True) -> None:
        """Play a stone or pass. Taken is what KataGo takes from its clients: also moves out of turn (the history starts
        anew there), against ko or superko, and suicide of several stones. `prevent_encore` keeps territory-scored games
        out of the encore.

        Raises:
            IllegalMove: an occupied or missing point, suicide of one stone, or a colour that is no player.
        """
        if self._play([(color, point)], prevent_encore) == 0:
            raise IllegalMove(f"illegal move: {self._color_name(color)} {self._name(point)}")

    def is_legal(self, color: int, point: int) -> bool:
        """Whether all rules allow the move; never for the side that is not to move."""
        return self._is_move(color, point) and bool(self._core.ka_game_is_legal(self.handle, color, point))

    def is_playable(self, color: int, point: int) -> bool:
        """Whether `play` takes the move."""
        return self._is_move(color, point) and bool(self._core.ka_game_is_legal_tolerant(self.handle, color, point))

    def is_legal_ignoring_ko(self, color: int, point: int, *, multi_stone_suicide: bool) -> bool:
        """Whether the board alone allows the move, for either side."""
        allowed = self._core.ka_game_is_legal_ignoring_ko
        return self._is_move(color, point) and bool(allowed(self.handle, color, point, multi_stone_suicide))

    def legal_moves(self, color: int) -> tuple[int, ...]:
        """All points that `is_legal` allows, the pass last."""
        if color not in (BLACK, WHITE):
            return ()
        flags = self._read_bytes(self._core.ka_game_legal_moves, self.area + 1, color)
        return tuple(point for point, legal in enumerate(flags) if legal)

    # ------------------------------------------------------------ state

    @property
    def to_play(self) -> int:
        """The side to move, by KataGo's presumption: the other one after a move."""
        return self.state().to_play

    @property
    def finished(self) -> bool:
        """Whether the last move ended the game."""
        return bool(self.state().finished)

    @property
    def no_result(self) -> bool:
        """Whether the game ended void: a position came for the third time under simple ko or in the encore."""
        return bool(self.state().no_result)

    @property
    def captures(self) -> tuple[int, int]:
        """How many black and how many white stones were captured."""
        state = self.state()
        return state.captured_black, state.captured_white

    @property
    def ko_point(self) -> int | None:
        """Where simple ko forbids to retake, if anywhere."""
        point = self.state().ko_point
        return None if point == _NO_POINT else point

    def state(self) -> CGameState:
        """Everything that is one number, at once; fields as in `core/core_api.h`."""
        state = CGameState()
        self._core.ka_game_state(self.handle, ctypes.byref(state))
        return state

    def stones(self) -> tuple[int, ...]:
        """The colour of every point, row-major."""
        return self._read_bytes(self._core.ka_game_stones, self.area)

    @property
    def hash(self) -> str:
        """32 hex digits: stones, board size, side to move and simple ko."""
        halves = (ctypes.c_uint64 * 2)()
        self._core.ka_game_hash(self.handle, halves)
        return f"{halves[1]:016X}{halves[0]:016X}"

    # ------------------------------------------------------------ end and score

    def final_white_score(self) -> float:
        """White's points minus Black's with komi and all bonuses: of the finished game, or were it to end here. 0 for a
        void game."""
        return float(self._core.ka_game_final_white_score(self.handle))

    def final_area(self) -> tuple[int, ...]:
        """The owner of every point as `final_white_score` counts."""
        return self._read_bytes(self._core.ka_game_final_area, self.area)

    def pass_alive_area(self) -> tuple[int, ...]:
        """Whose every point is even if that side only passes from now on (Benson); EMPTY where it is open."""
        return self._read_bytes(self._core.ka_game_pass_alive_area, self.area)

    def ladders(self) -> tuple[int, ...]:
        """1 on stones that a ladder takes (in atari: their owner to move, else the attacker), 2 on the moves of the
        attacker that begin such a ladder, 0 elsewhere."""
        return self._read_bytes(self._core.ka_game_ladders, self.area)

    # ------------------------------------------------------------ inside

    def _play(self, moves: Sequence[tuple[int, int]], prevent_encore: bool) -> int:
        for index, (color, point) in enumerate(moves):
            if not self._is_move(color, point):
                moves = moves[:index]
                break
        colors, points = _columns(moves)
        return int(self._core.ka_game_play(self.handle, colors, points, len(moves), prevent_encore))

    def _is_move(self, color: int, point: int) -> bool:
        """Also keeps numbers out that would wrap around in the core's 32 bits."""
        return color in (BLACK, WHITE) and self._on_board(point)

    def _on_board(self, point: int) -> bool:
        return 0 <= point <= self.area

    def _read_bytes(self, read: Callable[..., Any], size: int, *arguments: int) -> tuple[int, ...]:
        buffer = (ctypes.c_uint8 * size)()
        read(self.handle, *arguments, buffer)
        return tuple(buffer)

    def _name(self, point: int) -> str:
        return vertex(point, self.x_size, self.y_size) if self._on_board(point) else f"point {point}"

    @staticmethod
    def _color_name(color: int) -> str:
        return color_letter(color) if color in (BLACK, WHITE) else f"colour {color}"


class _Handle:
    """Owns one pointer of the core."""

    def __init__(self, address: int | None, free: Callable[[int], None]) -> None:
        if not address:
            raise MemoryError("the core could not make a game")
        self.address = address
        self._free = free

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._free(self.address)


def _columns(pairs: Sequence[tuple[int, int]]) -> tuple[Any, Any]:
    array = ctypes.c_int32 * len(pairs)
    return array(*(color for color, _ in pairs)), array(*(point for _, point in pairs))


def _c_rules(rules: Rules) -> CRules:
    def index(values: tuple[str, ...], value: str) -> int:
        if value not in values:
            raise RulesError(f"{value!r} is none of {', '.join(values)}")
        return values.index(value)

    return CRules(
        ko=index(KO_RULES, rules.ko),
        scoring=index(SCORING_RULES, rules.scoring),
        tax=index(TAX_RULES, rules.tax),
        suicide=rules.suicide,
        has_button=rules.has_button,
        handicap_bonus=index(HANDICAP_BONUSES, rules.white_handicap_bonus),
        friendly_pass=rules.friendly_pass_ok,
    )


def _require_player(color: int) -> None:
    if color not in (BLACK, WHITE):
        raise ValueError(f"{color} is no player; Black is {BLACK}, White is {WHITE}")


def _require_finite(komi: float) -> None:
    if not math.isfinite(komi):
        raise ValueError(f"komi must be a finite number, not {komi}")
