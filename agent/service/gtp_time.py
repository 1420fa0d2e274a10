"""GTP commands for time. Each takes the state and the arguments and returns the reply's text.

Raises CommandRefused with KataGo's text for what cannot be done (cpp/command/gtp.cpp).
"""

from __future__ import annotations

from agent.engine.points import BLACK, WHITE, parse_color
from agent.errors import CommandRefused
from agent.service import clock
from agent.service.gtp_state import GtpState
from agent.service.numbers import general, parse_float, parse_int

# KataGo's bound on times from a controller; a controller's clock may run a little below zero.
MAX_TIME_S = 1e25
MOST_OVERTIME_S = -10.0
_MAX_STONES = 1_000_000
_MAX_STONES_LEFT = 100_000

TIME_SYSTEMS = ("none", "absolute", "byoyomi", "canadian", "fischer", "fischer-capped")


def time_settings(state: GtpState, args: list[str]) -> str:
    """GTP 2: main time, overtime, stones; overtime without stones means no limit."""
    main = _seconds(args, 0, "main time")
    period = _seconds(args, 1, "byo-yomi per-period time")
    _set_clocks(state, _canadian(main, period, _count(args, 2, "stones")))
    return ""


def kata_list_time_settings(state: GtpState, args: list[str]) -> str:
    del state, args
    return " ".join(TIME_SYSTEMS)


def kgs_time_settings(state: GtpState, args: list[str]) -> str:
    text = "Expected 'none', 'absolute', 'byoyomi', or 'canadian' as first argument for kgs-time_settings"
    return _named_time_settings(state, args, TIME_SYSTEMS[:4], text)


def kata_time_settings(state: GtpState, args: list[str]) -> str:
    text = (
        "Expected 'none', 'absolute', 'byoyomi', 'canadian', 'fischer', or 'fischer-capped' as first argument for"
        " kata-time_settings"
    )
    return _named_time_settings(state, args, TIME_SYSTEMS, text)


def _named_time_settings(state: GtpState, args: list[str], systems: tuple[str, ...], text: str) -> str:
    system = args[0].lower() if args else ""
    if system not in systems:
        raise CommandRefused(text)
    if system == "none":
        _set_clocks(state, clock.UNLIMITED)
        return ""
    main = _seconds(args, 1, "main time")
    if system == "absolute":
        _set_clocks(state, clock.absolute(main))
    elif system == "canadian":
        period = _seconds(args, 2, "byo-yomi period time")
        _set_clocks(state, _canadian(main, period, _count(args, 3, "stones")))
    elif system == "byoyomi":
        period = _seconds(args, 2, "byo-yomi per-period time")
        periods = _count(args, 3, "periods")
        _set_clocks(state, clock.overtime(main, period, periods, 1) if periods else clock.absolute(main))
    else:
        _set_clocks(state, _fischer(args, main, is_capped=system == "fischer-capped"))
    return ""


def _canadian(main_s: float, period_s: float, stones: int) -> clock.TimeControl:
    if stones:
        return clock.overtime(main_s, period_s, 1, stones)
    return clock.UNLIMITED if period_s > 0 else clock.absolute(main_s)


def _fischer(args: list[str], main_s: float, *, is_capped: bool) -> clock.TimeControl:
    increment = _seconds(args, 2, "increment time")
    if not is_capped:
        return clock.fischer(main_s, increment)
    # Below zero means no cap.
    limit = _seconds(args, 3, "main time limit", low=-MAX_TIME_S)
    longest = _seconds(args, 4, "max time per move", low=-MAX_TIME_S)
    if 0 <= limit < main_s:
        raise CommandRefused("TimeControls: mainTimeLimit is smaller than mainTime")
    return clock.fischer(
        main_s, increment, limit if limit >= 0 else None, longest if 0 <= longest <= clock.UNLIMITED_S else None
    )


def time_left(state: GtpState, args: list[str]) -> str:
    color = parse_color(args[0]) if len(args) == 3 else None
    left = parse_float(args[1]) if len(args) == 3 else None
    stones = parse_int(args[2]) if len(args) == 3 else None
    if color is None or left is None or stones is None:
        raise CommandRefused(f"Expected player and float time and int stones for time_left but got '{' '.join(args)}'")
    if not MOST_OVERTIME_S <= left <= MAX_TIME_S:
        raise CommandRefused("invalid time")
    if not 0 <= stones <= _MAX_STONES_LEFT:
        raise CommandRefused("invalid stones")
    control = state.clocks[color]
    if stones and control.periods == 0:
        raise CommandRefused(
            "stones left in period is > 0 but the time control used does not have any overtime periods"
        )
    state.clocks[color] = control.with_time_left(left, stones)
    state.wants_to_ponder = bool(state.position.moves)
    return ""


def kata_debug_print_tc(state: GtpState, args: list[str]) -> str:
    """Both clocks and what they plan for a move."""
    del args
    stones = sum(map(bool, state.game.stones()))
    return "\n".join(
        f"{name} {clock.describe(state.clocks[color], state.area, stones, state.options.lag_buffer_s)}"
        for name, color in (("Black", BLACK), ("White", WHITE))
    )


def _set_clocks(state: GtpState, control: clock.TimeControl) -> None:
    state.clocks = {BLACK: control, WHITE: control}


def _seconds(args: list[str], index: int, what: str, *, low: float = 0.0) -> float:
    value = parse_float(args[index]) if index < len(args) else None
    if value is None:
        raise CommandRefused(f"Expected float for {what} as argument {index}")
    if not low <= value <= MAX_TIME_S:
        raise CommandRefused(f"{what} is an invalid value: {args[index]}")
    return value


def _count(args: list[str], index: int, what: str) -> int:
    value = parse_int(args[index]) if index < len(args) else None
    if value is None:
        raise CommandRefused(f"Expected int for byo-yomi overtime {what} as argument {index}")
    if not 0 <= value <= _MAX_STONES:
        raise CommandRefused(f"byo-yomi overtime {what} is an invalid value: {args[index]}")
    return value


def cputime(state: GtpState, args: list[str]) -> str:
    """Seconds spent in genmove so far."""
    del args
    return general(state.genmove_s)
