"""Time controls of a game, and how long one move may take. Pure: the time that is left comes from the controller
(`time_left`); nothing here reads a clock. All times are seconds.

The systems are those of KataGo's cpp/search/timecontrols.cpp; the division of the time is simpler than its own.
"""

from __future__ import annotations

import msgspec

# What a move is given less, for the way between us and the controller (lagBuffer of KataGo's gtp_example.cfg).
LAG_S = 1.0

# KataGo's estimate of a game's length, a share of the board's area plus a constant; and the fewest moves it plans for.
GAME_AREA_SHARE, GAME_EXTRA_MOVES = 0.95, 20.0
LEAST_AREA_SHARE, LEAST_EXTRA_MOVES = 0.15, 30.0

# A Japanese period may be overstepped only by losing it; all but this many are spent like main time (as in KataGo).
RESERVED_PERIODS = 5


class TimeControl(msgspec.Struct, frozen=True):
    """`period_s` is 0 without overtime. Canadian overtime has one period of several stones, Japanese several of one.

    `periods_left` and `stones_left` count while `in_overtime`; `left_s` is main time, or what is left of the period.
    """

    main_s: float
    increment_s: float = 0.0
    max_move_s: float | None = None
    period_s: float = 0.0
    periods: int = 0
    stones_per_period: int = 0
    left_s: float = 0.0
    in_overtime: bool = False
    periods_left: int = 0
    stones_left: int = 0

    def with_time_left(self, left_s: float, stones: int) -> TimeControl:
        """After `time_left`: `stones` 0 means main time; with Japanese periods controllers send the periods left."""
        if stones == 0:
            return msgspec.structs.replace(self, left_s=left_s, in_overtime=False, periods_left=self.periods)
        is_japanese = self.periods > 1 and self.stones_per_period == 1
        return msgspec.structs.replace(
            self,
            left_s=left_s,
            in_overtime=True,
            periods_left=min(stones, self.periods) if is_japanese else 1,
            stones_left=1 if is_japanese else min(stones, self.stones_per_period),
        )


def absolute(main_s: float) -> TimeControl:
    return TimeControl(main_s, left_s=main_s)


def fischer(main_s: float, increment_s: float, max_move_s: float | None = None) -> TimeControl:
    return TimeControl(main_s, increment_s, max_move_s, left_s=main_s)


def overtime(main_s: float, period_s: float, periods: int, stones: int) -> TimeControl:
    """Japanese (`stones` 1) or Canadian (`periods` 1)."""
    return TimeControl(
        main_s, period_s=period_s, periods=periods, stones_per_period=stones, left_s=main_s, periods_left=periods
    )


def move_time_s(control: TimeControl | None, area: int, stones_on_board: int) -> float | None:
    """How long the next move may take; None for no limit. Never negative."""
    if control is None:
        return None
    planned = _overtime_move_s(control) if control.in_overtime else _main_move_s(control, area, stones_on_board)
    if control.max_move_s is not None:
        planned = min(planned, control.max_move_s)
    return max(0.0, planned / 2 if planned < 2 * LAG_S else planned - LAG_S)


def _overtime_move_s(control: TimeControl) -> float:
    return control.left_s / max(1, control.stones_left)


def _main_move_s(control: TimeControl, area: int, stones_on_board: int) -> float:
    moves_left = 0.5 * max(
        GAME_AREA_SHARE * area + GAME_EXTRA_MOVES - stones_on_board, LEAST_AREA_SHARE * area + LEAST_EXTRA_MOVES
    )
    if control.increment_s > 0:
        spare = max(0.0, control.left_s - control.increment_s)
        return min(control.left_s, control.increment_s + spare / moves_left)
    spare = control.left_s + control.period_s * max(0, control.periods_left - RESERVED_PERIODS)
    share = spare / moves_left
    if control.stones_per_period == 0:
        return share
    return max(share, control.period_s / control.stones_per_period)
