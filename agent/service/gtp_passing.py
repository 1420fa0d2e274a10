"""What replaces the move of a genmove at the end of a game: a pass where nothing is left to gain, or the capture of
dead stones where every stone that stays on the board counts.

Source: KataGo cpp/program/playutils.cpp (maybeFriendlyPass, maybeCleanupBeforePass).
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE, opponent
from agent.engine.rules import Rules
from agent.service.chains import chain, liberties, neighbours
from agent.service.gtp_end import living_stones
from agent.service.gtp_searches import Report, ask_quietly, time_of_move_s
from agent.service.gtp_state import GtpState
from agent.service.outputs import Output

_Point = Generator[list[Output], Report, int]

# KataGo's visits for each of three searches, and the share of a move's visits on top, up to a bound.
_VISITS, _VISITS_SHARE, _MOST_VISITS = 8, 10, 1000
# A point is somebody's from here on, so it must be walled in before we pass.
_OWNED = 0.75
# What a pass may cost against the move: points, and utility.
_POINTS_LOST, _UTILITY_LOST = 0.25, 0.1


def consider_passing(state: GtpState, player: int, chosen: int) -> _Point:
    """The move to play instead of `chosen`, or `chosen`. Raises CommandRefused where the engine cannot answer."""
    if _may_pass_friendly(state, player, chosen) and (yield from _nothing_is_left(state, player, chosen)):
        chosen = state.area
    return _clean_up(state, player, chosen) if chosen == state.area else chosen


# ---------------------------------------------------------------- passing


def _may_pass_friendly(state: GtpState, player: int, chosen: int) -> bool:
    """Whether the opponent has just passed and a pass of ours would end the game, under rules where people then agree
    on what is dead."""
    options, rules, moves = state.options, state.position.rules, state.position.moves
    is_wanted = rules.friendly_pass_ok if options.friendly_pass is None else options.friendly_pass
    if not is_wanted or options.cleanup_before_pass or not _counts_area(rules) or chosen == state.area:
        return False
    if not moves or moves[-1] != (opponent(player), state.area) or state.game.to_play != player:
        return False
    after = state.game.copy()
    after.play(player, state.area)
    return after.finished


def _nothing_is_left(state: GtpState, player: int, chosen: int) -> Generator[list[Output], Report, bool]:
    options = state.options
    most = min(options.max_visits, options.max_playouts or options.max_visits)
    visits = _VISITS + min(_MOST_VISITS, most // _VISITS_SHARE)
    # In KataGo the clock does not bound them: 1008 visits, three times, where only the clock limits a move.
    time_s = time_of_move_s(state, player)
    now = yield from ask_quietly(state, state.position, player, visits, max_time_s=time_s, ownership=True)
    ownership = now.ownership or ()
    living = living_stones(state.game.stones(), ownership, state.sizes)
    stones = [color if living[point] else 0 for point, color in enumerate(state.game.stones())]
    if not _borders_are_closed(state.position, stones, ownership) or _is_urgent(stones, player, chosen, state.sizes):
        return False
    after_pass = _after(state.position, player, state.area)
    passed = yield from ask_quietly(state, after_pass, opponent(player), visits, max_time_s=time_s)
    after_move = _after(state.position, player, chosen)
    played = yield from ask_quietly(state, after_move, opponent(player), visits, max_time_s=time_s)
    assert passed.root is not None and played.root is not None
    sign = 1.0 if player == WHITE else -1.0
    return (
        sign * (passed.root.utility - played.root.utility) > -_UTILITY_LOST
        and sign * (passed.root.score_selfplay - played.root.score_selfplay) > -_POINTS_LOST
        and sign * (passed.root.score_lead - played.root.score_lead) > -_POINTS_LOST
    )


def _borders_are_closed(position: Position, stones: list[int], ownership: tuple[float, ...]) -> bool:
    """Whether plain counting gives every point to whom the network gives it, once dead stones are off the board."""
    rules = msgspec.structs.replace(position.rules, scoring="AREA", tax="NONE", has_button=False)
    cleaned = Game(position.x_size, position.y_size, rules, position.komi)
    cleaned.add_stones([(color, point) for point, color in enumerate(stones) if color])
    owners = cleaned.final_area()
    expected = [WHITE if value > _OWNED else BLACK if value < -_OWNED else 0 for value in ownership]
    return all(not owner or owner == counted for owner, counted in zip(expected, owners, strict=True))


def _is_urgent(stones: list[int], player: int, move: int, sizes: tuple[int, int]) -> bool:
    """Whether the move touches a living stone of theirs, or saves one of ours from capture there."""
    for near in neighbours(move, *sizes):
        if stones[near] == opponent(player):
            return True
        if stones[near] == player and liberties(stones, chain(stones, near, sizes), sizes) == {move}:
            return True
    return False


def _after(position: Position, player: int, point: int) -> Position:
    return msgspec.structs.replace(position, moves=(*position.moves, (player, point)))


# ---------------------------------------------------------------- taking dead stones off


def _clean_up(state: GtpState, player: int, chosen: int) -> int:
    """Instead of a pass, the first empty point of our pass-alive area beside a stone of theirs, where that stone would
    count."""
    options, rules, game = state.options, state.position.rules, state.game
    is_wanted = not rules.friendly_pass_ok if options.cleanup_before_pass is None else options.cleanup_before_pass
    if not is_wanted or options.friendly_pass or not _counts_area(rules):
        return chosen
    if game.to_play != player:
        game = game.copy()
        game.restart(player)
    colors, safe = game.stones(), game.pass_alive_area()
    for point in range(state.area):
        if colors[point] or safe[point] != player or not game.is_legal(player, point):
            continue
        if any(colors[near] == opponent(player) for near in neighbours(point, *state.sizes)):
            return point
    return chosen


def _counts_area(rules: Rules) -> bool:
    return rules.scoring == "AREA" and not rules.has_button
