"""What GTP commands ask of the engine: one function for each kind of request, and the shape of a command that waits for
reports. Pure.

Sources: KataGo cpp/command/gtp.cpp, cpp/program/playutils.cpp (getNoiselessParams, getSearchFactor), and
cpp/search/search.cpp (runWholeSearch, for the factors after passes).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import TypeAlias

from agent.engine.messages import Position, RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.points import BLACK, WHITE, opponent
from agent.engine.search_params import SEARCH_PARAMS
from agent.errors import CommandRefused
from agent.service.clock import move_time_s
from agent.service.gtp_arguments import AnalyzeArguments
from agent.service.gtp_state import GtpState
from agent.service.handicap_play import white_advantage
from agent.service.options import MAX_VISITS
from agent.service.outputs import Output, Submit

Report: TypeAlias = SearchReport | RawReport
# Yields what is to be done, is sent the reports of its requests, and returns the last outputs.
Job: TypeAlias = Generator[list[Output], Report, list[Output]]
# A part of a job that ends with the one report of a search.
Asking: TypeAlias = Generator[list[Output], Report, SearchReport]

Overrides: TypeAlias = dict[str, float | int | bool]

_ADVANTAGE = "playoutDoublingAdvantage"
_DYNAMIC = "dynamicPlayoutDoublingAdvantageCapPerOppLead"
# KataGo's GTP engine: what differs from a search in self-play.
_GTP_SEARCH: Overrides = {"conservativePass": True, "fillDameBeforePass": True}

# KataGo's analysisPVLen under GTP.
GTP_PV_LEN = 13

# So many of the latest moves must all be won before the engine hurries.
_WINNING_MOVES = 3

NO_MOVE = "genmove returned null location or illegal move"


# ---------------------------------------------------------------- moves and analysis


def move_request(state: GtpState, player: int, arguments: AnalyzeArguments | None = None) -> SearchRequest:
    state.searches_for = player
    options, factor = state.options, _search_factor(state, player)
    colors = state.game.stones()
    state.white_advantage = white_advantage(
        state.position, colors, state.win_losses, state.white_advantage, options.dynamic_advantage_per_point
    )
    return _request(
        state,
        player,
        arguments,
        max_visits=math.ceil(options.max_visits * factor),
        max_playouts=None if options.max_playouts is None else math.ceil(options.max_playouts * factor),
        max_time_s=time_of_move_s(state, player, factor),
        tree=f"{state.tree}-play",
        overrides=_overrides_of_play(state, player),
    )


def time_of_move_s(state: GtpState, player: int, factor: float = 1.0) -> float | None:
    """The most that a move may take by the settings and by the clock; None for no limit."""
    options, stones = state.options, sum(map(bool, state.game.stones()))
    limits = (
        None if options.max_time_s is None else options.max_time_s * factor,
        move_time_s(state.clocks[player], state.area, stones, options.lag_buffer_s, factor),
    )
    return min((limit for limit in limits if limit is not None), default=None)


def ponder_request(state: GtpState) -> SearchRequest:
    """The search that goes on in the opponent's time, in the tree of our moves, until it is stopped. It is for whom the
    last one was, as in KataGo, or for the opponent of the side to move."""
    options, player = state.options, state.game.to_play
    state.searches_for = state.searches_for or opponent(player)
    return _request(
        state,
        player,
        None,
        max_visits=options.max_visits_pondering,
        max_time_s=options.max_time_pondering_s,
        tree=f"{state.tree}-play",
        overrides=_overrides_of_play(state, player),
        background=True,
    )


def _overrides_of_play(state: GtpState, player: int) -> Overrides:
    overrides = _overrides(state, player)
    # An advantage that is configured goes before one that follows the game, unless that is configured, too.
    if _ADVANTAGE not in overrides or _DYNAMIC in state.options.configured:
        overrides[_ADVANTAGE] = state.white_advantage if player == WHITE else -state.white_advantage
    return overrides


def _overrides(state: GtpState, player: int) -> Overrides:
    overrides = {**_GTP_SEARCH, **state.options.search}
    if _ADVANTAGE in overrides and (state.options.advantage_player or state.searches_for) != player:
        overrides[_ADVANTAGE] = -overrides[_ADVANTAGE]
    return overrides


def analysis_request(state: GtpState, arguments: AnalyzeArguments) -> SearchRequest:
    state.searches_for = arguments.player
    options = state.options
    return _request(
        state,
        arguments.player,
        arguments,
        max_visits=MAX_VISITS,
        max_time_s=None,
        tree=f"{state.tree}-analyze",
        overrides={
            **_overrides(state, arguments.player),
            "wideRootNoise": options.analysis_wide_root_noise,
            "ignorePreRootHistory": options.analysis_ignore_pre_root_history,
        },
    )


def _request(
    state: GtpState,
    player: int,
    arguments: AnalyzeArguments | None,
    *,
    max_visits: int,
    max_playouts: int | None = None,
    max_time_s: float | None,
    tree: str,
    overrides: Overrides,
    background: bool = False,
) -> SearchRequest:
    asked = arguments or AnalyzeArguments(is_lz=False, player=player)
    # Moves that were not looked at have the policy, and for the ownership after them that of now.
    fills = asked.min_moves > 0
    return SearchRequest(
        id=state.next_id(),
        position=state.position,
        player=player,
        max_visits=max_visits,
        max_playouts=max_playouts,
        max_time_s=max_time_s,
        tree=tree,
        background=background,
        report_every_s=asked.interval_s,
        first_report_after_s=asked.interval_s,
        limits=asked.limits,
        pv_len=state.options.pv_len or GTP_PV_LEN,
        ownership=asked.ownership or (fills and asked.moves_ownership),
        ownership_stdev=asked.ownership_stdev or (fills and asked.moves_ownership_stdev),
        moves_ownership=asked.moves_ownership,
        moves_ownership_stdev=asked.moves_ownership_stdev,
        policy=fills,
        overrides=overrides,
        human_profile=state.options.human_profile,
        turns_before=_turns_before(state, player),
    )


def _turns_before(state: GtpState, player: int) -> int:
    """KataGo guesses how old a position that was set up is by its stones, until a move out of turn begins the history
    anew."""
    position, game = state.position, state.game.state()
    began_in_turn = not position.moves or position.moves[0][0] == position.initial_player
    is_whole = game.move_count == len(position.moves) and game.to_play == player
    return len(position.initial_stones) if began_in_turn and is_whole else 0


def _search_factor(state: GtpState, player: int) -> float:
    """The share of visits and time that this move gets: less when it is won anyway, and after the opponent passed."""
    options, factor = state.options, 1.0
    threshold = options.search_factor_when_winning_threshold
    if len(state.win_losses) >= _WINNING_MOVES and threshold < 1.0:
        recent = state.win_losses[-_WINNING_MOVES:]
        least_won = min(-value if player == BLACK else value for value in recent)
        share = max(0.0, (least_won - threshold) / (1.0 - threshold))
        factor = 1.0 + share * (options.search_factor_when_winning - 1.0)
    moves = state.position.moves
    if moves and moves[-1][1] == state.area:
        twice = len(moves) >= 3 and moves[-3][1] == state.area
        factor *= options.search_factor_after_two_pass if twice else options.search_factor_after_one_pass
    return factor


# ---------------------------------------------------------------- questions about a position


def ask_quietly(
    state: GtpState,
    position: Position,
    player: int,
    visits: int,
    *,
    max_time_s: float | None = None,
    ownership: bool = False,
) -> Asking:
    """Search for the truth: without noise, handicap play or an early end by passing, in a tree of its own.

    Raises CommandRefused where the engine cannot answer.
    """
    search = state.options.search
    overrides = {
        **_GTP_SEARCH,
        **search,
        "conservativePass": True,
        "playoutDoublingAdvantage": 0.0,
        "rootPolicyTemperature": 1.0,
        "rootPolicyTemperatureEarly": 1.0,
        "rootFpuReductionMax": search.get("fpuReductionMax", SEARCH_PARAMS["fpuReductionMax"].default),
        "rootFpuLossProp": search.get("fpuLossProp", SEARCH_PARAMS["fpuLossProp"].default),
        "rootDesiredPerChildVisitsCoeff": 0.0,
        "rootNumSymmetriesToSample": 1,
    }
    request = SearchRequest(
        id=state.next_id(),
        position=position,
        player=player,
        max_visits=visits,
        max_time_s=max_time_s,
        ownership=ownership,
        overrides=overrides,
        human_profile=state.options.human_profile,
    )
    report = searched((yield [Submit(request)]))
    if report.error is not None or report.root is None:
        raise CommandRefused(report.error or NO_MOVE)
    return report


def raw_request(
    state: GtpState,
    position: Position,
    player: int,
    symmetry: int = 0,
    optimism: float = 0.0,
    advantage: float = 0.0,
) -> RawRequest:
    return RawRequest(
        id=state.next_id(),
        position=position,
        player=player,
        # As KataGo: on a board that is not square, those that would turn it on its side do not.
        symmetry=symmetry if position.x_size == position.y_size else symmetry & 3,
        optimism=optimism,
        advantage=advantage,
        human_profile=state.options.human_profile,
    )


def searched(report: Report) -> SearchReport:
    assert isinstance(report, SearchReport)
    return report


def evaluated(report: Report) -> RawReport:
    assert isinstance(report, RawReport)
    return report
