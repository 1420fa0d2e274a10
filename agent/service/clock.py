"""Time controls of a game, and how long one move may take. Pure: the time that is left comes from the controller
(`time_left`); nothing here reads a clock. All times are seconds. Start at `move_time_s`.

Systems and formulas are those of KataGo's cpp/search/timecontrols.cpp (and recomputeSearchTimeLimit), so that a move
takes as long as there; `kata-debug-print-tc` shows the same numbers.
"""

from __future__ import annotations

import math

import msgspec

from agent.service.numbers import general

# A time beyond this is no limit (KataGo's UNLIMITED_TIME_THRESHOLD), and what it takes for a clock that was never set.
UNLIMITED_S = 1e20
NO_MAIN_TIME_S = 1e30
NO_MOVE_LIMIT_S = 1e40

# KataGo's estimate of the moves that both sides will still make, a share of the board's area and a constant, less the
# stones on it: how long main time must last under each system, and the fewest moves that it plans for.
_PLANNED = {"absolute": (0.95, 20.0), "increment": (0.75, 15.0), "byo-yomi": (0.50, 10.0)}
_AT_LEAST = {"absolute": (0.15, 30.0), "increment": (0.10, 20.0), "byo-yomi": (0.02, 4.0)}

# All but this many Japanese periods are spent like main time.
RESERVED_PERIODS = 5

# Close enough to a limit to see what it becomes when it is reached.
_INSTANT_S = 1e-6
# A limit grows once for each border that is crossed on the way, main time into overtime and period into period.
_MAX_ROUNDINGS = 64


class TimeControl(msgspec.Struct, frozen=True):
    """`period_s` is 0 without overtime. Canadian overtime has one period of several stones, Japanese several of one.

    `periods_left` and `stones_left` count while `in_overtime`; `left_s` is main time, or what is left of the period.
    `main_limit_s` bounds what Fischer increments may gather.
    """

    main_s: float
    increment_s: float = 0.0
    main_limit_s: float | None = None
    max_move_s: float | None = None
    period_s: float = 0.0
    periods: int = 0
    stones_per_period: int = 0
    left_s: float = 0.0
    in_overtime: bool = False
    periods_left: int = 0
    stones_left: int = 0

    @property
    def is_unlimited(self) -> bool:
        return self.left_s > UNLIMITED_S and (self.max_move_s is None or self.max_move_s > UNLIMITED_S)

    def with_time_left(self, left_s: float, stones: int) -> TimeControl:
        """After `time_left`: `stones` 0 means main time; with Japanese periods controllers send the periods left."""
        if stones == 0:
            return msgspec.structs.replace(
                self, left_s=left_s, in_overtime=False, periods_left=self.periods, stones_left=0
            )
        is_japanese = self.periods > 1 and self.stones_per_period == 1
        return msgspec.structs.replace(
            self,
            left_s=left_s,
            in_overtime=True,
            periods_left=min(stones, self.periods) if is_japanese else 1,
            stones_left=1 if is_japanese else min(stones, self.stones_per_period),
        )


class MoveTimes(msgspec.Struct, frozen=True):
    """What one move should take at least, as planned, and at most."""

    least_s: float
    planned_s: float
    most_s: float


UNLIMITED = TimeControl(NO_MAIN_TIME_S, left_s=NO_MAIN_TIME_S)


def absolute(main_s: float) -> TimeControl:
    return TimeControl(main_s, left_s=main_s)


def fischer(
    main_s: float, increment_s: float, main_limit_s: float | None = None, max_move_s: float | None = None
) -> TimeControl:
    return TimeControl(main_s, increment_s, main_limit_s, max_move_s, left_s=main_s)


def overtime(main_s: float, period_s: float, periods: int, stones: int) -> TimeControl:
    """Japanese (`stones` 1) or Canadian (`periods` 1)."""
    return TimeControl(
        main_s, period_s=period_s, periods=periods, stones_per_period=stones, left_s=main_s, periods_left=periods
    )


def move_time_s(
    control: TimeControl, area: int, stones_on_board: int, lag_s: float, factor: float = 1.0
) -> float | None:
    """How long the next move may take; None for no limit. Never negative. `lag_s` is kept back for the way between us
    and the controller; `factor` shortens the move."""
    if control.is_unlimited:
        return None
    times = plan(control, area, stones_on_board, lag_s)

    def limit(used_s: float) -> float:
        planned = min(round_up(control, used_s, times.planned_s, lag_s), times.most_s)
        return min(max(planned, times.least_s) * factor, times.most_s)

    reached = limit(0.0)
    for _ in range(_MAX_ROUNDINGS):
        later = limit(reached - _INSTANT_S)
        if later <= reached:
            break
        reached = later
    return reached


def with_lag(time_s: float, lag_s: float) -> float:
    """Less the lag; half of a time that is too short for that."""
    if time_s < 0:
        return time_s
    return time_s * 0.5 if time_s < 2.0 * lag_s else time_s - lag_s


def plan(control: TimeControl, area: int, stones_on_board: int, lag_s: float) -> MoveTimes:
    moves_left = {
        system: 0.5 * max(share * area + extra - stones_on_board, _AT_LEAST[system][0] * area + _AT_LEAST[system][1])
        for system, (share, extra) in _PLANNED.items()
    }
    if control.increment_s > 0 or control.periods == 0:
        times = _plan_increment(control, moves_left, lag_s)
    elif (overtime_now := _rolled(control)).in_overtime:
        times, lag_s = _plan_overtime(overtime_now, lag_s)
    else:
        times, lag_s = _plan_main(control, overtime_now, moves_left, lag_s)
    most = with_lag(min(times.most_s, NO_MOVE_LIMIT_S if control.max_move_s is None else control.max_move_s), lag_s)
    most = max(0.0, most)
    return MoveTimes(
        least_s=min(max(0.0, with_lag(times.least_s, lag_s)), most),
        planned_s=min(max(0.0, with_lag(times.planned_s, lag_s)), most),
        most_s=most,
    )


# ---------------------------------------------------------------- absolute time and Fischer's


def _plan_increment(control: TimeControl, moves_left: dict[str, float], lag_s: float) -> MoveTimes:
    left, increment = control.left_s, control.increment_s
    # What would be lost at the limit may as well be used.
    over = 0.0 if control.main_limit_s is None else max(0.0, left + increment - control.main_limit_s)
    least = min(max(0.0, left * 0.5), over)
    if left <= increment:
        return MoveTimes(least, with_lag(left, lag_s), left)
    spare = with_lag(left - increment, lag_s)
    share = spare
    if spare > 0:
        share = min(spare / moves_left["increment"], spare / moves_left["absolute"] + 2.0 * increment)
    return MoveTimes(least, increment + share, min(left, increment + spare / 5.0))


# ---------------------------------------------------------------- periods


def _rolled(control: TimeControl) -> TimeControl:
    """Negative times rolled into the periods that they ate, and all but the last periods made main time."""
    left, in_overtime, periods, stones = control.left_s, control.in_overtime, control.periods_left, control.stones_left
    if left < 0 and not in_overtime:
        left, in_overtime, stones = left + control.period_s, True, control.stones_per_period
    while in_overtime and left < 0 and periods > 1:
        periods, left = periods - 1, left + control.period_s
    if periods > RESERVED_PERIODS:
        # Before overtime no period has begun yet. KataGo forgets here what a negative main time ate.
        if control.in_overtime:
            left += control.period_s * (periods - RESERVED_PERIODS - 1)
        else:
            left = control.left_s + control.period_s * (periods - RESERVED_PERIODS)
        in_overtime = False
    return msgspec.structs.replace(
        control, left_s=left, in_overtime=in_overtime, periods_left=periods, stones_left=stones
    )


def _plan_main(
    control: TimeControl, rolled: TimeControl, moves_left: dict[str, float], lag_s: float
) -> tuple[MoveTimes, float]:
    left = rolled.left_s
    # As much as a move in overtime may take at the utmost.
    generous = control.period_s / (0.75 * control.stones_per_period + 0.25)
    most = generous + max(min(generous * 1.75, left), left / 5.0)
    if left < most < left + generous:
        most = left + generous
    is_deadly = most > left and rolled.periods_left <= 1 and control.stones_per_period <= 1
    planned = _main_share(left, control.period_s / control.stones_per_period, moves_left)
    return MoveTimes(0.0, planned, most), lag_s * 2.0 if is_deadly else lag_s


def _main_share(left_s: float, overtime_move_s: float, moves_left: dict[str, float]) -> float:
    """What one move gets of main time before byo-yomi. If strength grows with the logarithm of time, it is best to play
    e times as slowly as in overtime while main time lasts; KataGo stretches that when it ends too early in the game."""
    evenly = left_s / moves_left["absolute"]
    if overtime_move_s <= 0:
        return evenly
    best = left_s / overtime_move_s * math.exp(-1.0)
    moves = min(moves_left["byo-yomi"], best * 1.75) if moves_left["byo-yomi"] > best else best
    moves = max(1.0, min(moves, moves_left["absolute"]))
    share = max(min(left_s / moves, evenly + 3.0 * overtime_move_s), overtime_move_s)
    if share < overtime_move_s * 1.5 and left_s < overtime_move_s * 1.5:
        return left_s + overtime_move_s
    return share


def _plan_overtime(rolled: TimeControl, lag_s: float) -> tuple[MoveTimes, float]:
    left, periods, stones = rolled.left_s, rolled.periods_left, rolled.stones_left
    # Late in a period, after a lag or a reconnection, another one may be worth its loss.
    worth_one = with_lag(0.5 * rolled.period_s, lag_s) * (periods - 1) / (RESERVED_PERIODS - 1)
    if periods > 1 and with_lag(left, lag_s) < worth_one:
        periods, left = periods - 1, left + rolled.period_s
    least = left if stones <= 1 else 0.0
    is_deadly = periods <= 1 and stones <= 1
    times = MoveTimes(least, left / stones, left / (0.75 * stones + 0.25))
    return times, lag_s * 2.0 if is_deadly else lag_s


def round_up(control: TimeControl, used_s: float, limit_s: float, lag_s: float) -> float:
    """The limit, or more where time that is not used is lost: the rest of a Japanese period, a rest of main time that
    is too short for anything else. `used_s` of this move are gone already."""
    if control.increment_s > 0 or control.periods == 0:
        return limit_s
    left, in_overtime, periods, stones = control.left_s - used_s, control.in_overtime, control.periods_left, 0
    stones = control.stones_left
    if left < 0 and not in_overtime:
        left, in_overtime, stones = left + control.period_s, True, control.stones_per_period
    while in_overtime and left < 0 and periods > 1:
        periods, left = periods - 1, left + control.period_s
    per_move = control.period_s / control.stones_per_period
    per_move_with_lag = with_lag(per_move, lag_s)
    a_little = min(max(lag_s, per_move_with_lag * 0.01), per_move_with_lag)
    if not in_overtime:
        if left >= per_move * 0.5:
            return limit_s
        rounded = used_s + left + (per_move_with_lag if control.stones_per_period <= 1 else a_little)
    elif left <= 0:
        return limit_s  # lost on time, probably
    elif stones > 1:
        # Canadian: a move that ends right at the border should fall on the far side of it.
        begun_s = control.period_s - left
        if control.in_overtime or begun_s >= a_little:
            return limit_s
        rounded = used_s + a_little - begun_s
    else:
        rounded = with_lag(used_s + left, lag_s)
    return limit_s if rounded < used_s else max(limit_s, rounded)


# ---------------------------------------------------------------- for people


def describe(known: TimeControl, area: int, stones_on_board: int, lag_s: float) -> str:
    """The control and what it plans for a move now, as KataGo prints it."""
    in_overtime = known.in_overtime
    shown = {
        "increment": known.increment_s,
        "mainTimeLimit": known.main_limit_s or 0.0,
        "maxTimePerMove": known.max_move_s or 0.0,
        "originalNumPeriods": known.periods,
        "numStonesPerPeriod": known.stones_per_period,
        "perPeriodTime": known.period_s,
    }
    later = {
        "numPeriodsLeftIncludingCurrent": known.periods_left,
        "numStonesLeftInPeriod": known.stones_left,
        "timeLeftInPeriod": known.left_s if in_overtime else 0.0,
    }
    times = plan(known, area, stones_on_board, lag_s)
    rounded = [round_up(known, 0.0, times.planned_s, lag_s)]
    rounded.append(round_up(known, times.planned_s - _INSTANT_S, times.planned_s, lag_s))
    rounded.append(round_up(known, rounded[-1] - _INSTANT_S, rounded[-1], lag_s))
    parts = [f"originalMainTime {general(known.main_s)}", *_named(shown)]
    parts += [f"mainTimeLeft {general(0.0 if in_overtime else known.left_s)}", f"inOvertime {int(in_overtime)}"]
    parts += _named(later)
    parts.append("minRecMax " + " ".join(map(general, (times.least_s, times.planned_s, times.most_s))))
    names = ("rrec0", "rreclimit", "rreclimit2")
    parts += [f"{name} {general(value)}" for name, value in zip(names, rounded, strict=True)]
    return " ".join(parts)


def _named(values: dict[str, float]) -> list[str]:
    return [f"{name} {general(value)}" for name, value in values.items() if value]
