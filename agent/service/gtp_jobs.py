"""GTP commands that need the engine. Each is a generator: it yields what is to be done, is sent the reports of its
requests, and returns the last outputs. Nothing here waits.

Sources: KataGo cpp/command/gtp.cpp and cpp/program/playutils.cpp.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from agent.engine.messages import RawReport, RawRequest, SearchReport, SearchRequest
from agent.engine.points import BLACK, WHITE, opponent, vertex
from agent.engine.search_params import SEARCH_PARAMS
from agent.errors import CommandRefused, IllegalMove
from agent.service.clock import move_time_s
from agent.service.gtp_arguments import AnalyzeArguments, parse_analyze, parse_raw
from agent.service.gtp_format import info_line, points_text, raw_text, score_text
from agent.service.gtp_reply import Reply
from agent.service.gtp_setup import handicap_count, neighbours, read_color
from agent.service.gtp_state import GtpState
from agent.service.numbers import round_half_away
from agent.service.options import MAX_VISITS
from agent.service.outputs import Output, Send, Submit
from agent.service.resignation import should_resign, win_loss

Report: TypeAlias = SearchReport | RawReport
Job: TypeAlias = Generator[list[Output], Report, list[Output]]

# KataGo's GTP engine: what differs from a search in self-play.
_GTP_SEARCH: dict[str, float | int | bool] = {"conservativePass": True, "fillDameBeforePass": True}

# KataGo's visits for a question about the end of the game, at least and per thread.
SCORE_VISITS, SCORE_VISITS_PER_THREAD = 50, 10
STATUS_VISITS, STATUS_VISITS_PER_THREAD = 100, 20

# A chain lives where its points are its owner's by this on average, and nowhere worse than that.
_ALIVE_AVERAGE, _ALIVE_WORST = 0.2, -0.6

# KataGo places no more free handicap stones than this, nor than a quarter of the board.
MAX_FREE_HANDICAP = 30

_NO_MOVE = "genmove returned null location or illegal move"


# ---------------------------------------------------------------- moves


def genmove(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """genmove, and kata-search, which does not play the move."""
    if len(args) != 1:
        raise CommandRefused(f"Expected one argument for {command} but got '{' '.join(args)}'")
    return _genmove(state, read_color(args[0]), reply, plays=command == "genmove")


def _genmove(state: GtpState, player: int, reply: Reply, *, plays: bool) -> Job:
    report = _searched((yield [Submit(_move_request(state, player))]))
    try:
        return [reply.ok(_choose(state, player, report, plays=plays))]
    except CommandRefused as error:
        return [reply.fail(str(error))]


def genmove_analyze(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """lz- and kata-genmove_analyze, and kata-search_analyze, which does not play the move."""
    refusal = f"Could not parse genmove_analyze arguments or arguments out of range: '{' '.join(args)}'"
    is_lz = command.startswith("lz-")
    to_play = state.game.to_play
    arguments = parse_analyze(args, is_lz=is_lz, to_play=to_play, sizes=state.sizes, refusal=refusal)
    return _genmove_analyze(state, arguments, reply, plays="genmove" in command)


def _genmove_analyze(state: GtpState, arguments: AnalyzeArguments, reply: Reply, *, plays: bool) -> Job:
    outputs: list[Output] = [reply.header(), Submit(_move_request(state, arguments.player, arguments))]
    while True:
        report = _searched((yield outputs))
        line = info_line(report, state.sizes, arguments, arguments.player, state.options.perspective)
        if report.final:
            break
        outputs = _told(line)
    try:
        return [*_told(line), reply.after_header(f"play {_choose(state, arguments.player, report, plays=plays)}")]
    except CommandRefused:
        # The reply is under way and began with "=": all that is left is to end it, as KataGo does.
        return [*_told(line), reply.end()]


def _choose(state: GtpState, player: int, report: SearchReport, *, plays: bool) -> str:
    """Play or resign, and say which. Raises CommandRefused where the engine found no move."""
    if report.error is not None:
        raise CommandRefused(report.error)
    if report.stats is not None:
        state.genmove_s += report.stats.duration_s
    if report.chosen is None or report.root is None:
        raise CommandRefused(_NO_MOVE)
    state.win_losses.append(win_loss(report.root.winrate))
    if should_resign(state.options, state.position, player, state.win_losses, report.root.score_lead):
        return "resign"
    chosen = _cleanup_instead_of_pass(state, player, report.chosen)
    if plays:
        try:
            state.play(player, chosen)
        except IllegalMove as error:
            raise CommandRefused(_NO_MOVE) from error
    return vertex(chosen, *state.sizes)


def _cleanup_instead_of_pass(state: GtpState, player: int, chosen: int) -> int:
    """Under area rules that count every stone left on the board (no friendly pass), take the dead ones off instead of
    passing: the last empty point of our pass-alive area beside a stone of theirs, if there is one."""
    rules, game = state.position.rules, state.game
    if chosen != state.area or rules.scoring != "AREA" or rules.friendly_pass_ok or rules.has_button:
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


def _move_request(state: GtpState, player: int, arguments: AnalyzeArguments | None = None) -> SearchRequest:
    options = state.options
    limits = [
        options.max_time_s,
        move_time_s(state.clocks[player], state.area, sum(map(bool, state.game.stones())), options.lag_buffer_s),
    ]
    given = [limit for limit in limits if limit is not None]
    return _search_request(
        state,
        player,
        arguments,
        max_visits=options.max_visits,
        max_time_s=min(given) if given else None,
        tree=f"{state.tree}-play",
        overrides={**_GTP_SEARCH, **options.search},
    )


def _search_request(
    state: GtpState,
    player: int,
    arguments: AnalyzeArguments | None,
    *,
    max_visits: int,
    max_time_s: float | None,
    tree: str,
    overrides: dict[str, float | int | bool],
) -> SearchRequest:
    asked = arguments or AnalyzeArguments(is_lz=False, player=player)
    return SearchRequest(
        id=state.next_id(),
        position=state.position,
        player=player,
        max_visits=max_visits,
        max_time_s=max_time_s,
        tree=tree,
        report_every_s=asked.interval_s,
        first_report_after_s=asked.interval_s,
        limits=asked.limits,
        pv_len=state.options.pv_len or GTP_PV_LEN,
        ownership=asked.ownership,
        ownership_stdev=asked.ownership_stdev,
        moves_ownership=asked.moves_ownership,
        moves_ownership_stdev=asked.moves_ownership_stdev,
        overrides=overrides,
    )


# KataGo's analysisPVLen under GTP.
GTP_PV_LEN = 13


# ---------------------------------------------------------------- analysis


def analyze(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """lz-analyze and kata-analyze: goes on until the next line of the client, which the connection sees to."""
    refusal = f"Could not parse analyze arguments or arguments out of range: '{' '.join(args)}'"
    is_lz = command.startswith("lz-")
    to_play = state.game.to_play
    arguments = parse_analyze(args, is_lz=is_lz, to_play=to_play, sizes=state.sizes, refusal=refusal)
    return _analyze(state, arguments, reply)


def _analyze(state: GtpState, arguments: AnalyzeArguments, reply: Reply) -> Job:
    options = state.options
    request = _search_request(
        state,
        arguments.player,
        arguments,
        max_visits=MAX_VISITS,
        max_time_s=None,
        tree=f"{state.tree}-analyze",
        overrides={
            **_GTP_SEARCH,
            **options.search,
            "wideRootNoise": options.analysis_wide_root_noise,
            "ignorePreRootHistory": options.analysis_ignore_pre_root_history,
        },
    )
    sizes, perspective = state.sizes, options.perspective
    outputs: list[Output] = [reply.header(), Submit(request)]
    while True:
        report = _searched((yield outputs))
        outputs = _told(info_line(report, sizes, arguments, arguments.player, perspective))


# ---------------------------------------------------------------- the network alone


def kata_raw_nn(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    del command
    default = state.options.search.get("rootPolicyOptimism", SEARCH_PARAMS["rootPolicyOptimism"].default)
    arguments = parse_raw(args, to_play=state.game.to_play, optimism=float(default))

    def ask() -> Job:
        blocks = []
        for symmetry in arguments.symmetries:
            request = RawRequest(
                id=state.next_id(),
                position=state.position,
                player=arguments.player,
                # As KataGo: on a board that is not square, those that would turn it on its side do not.
                symmetry=symmetry if state.position.x_size == state.position.y_size else symmetry & 3,
                optimism=arguments.optimism,
            )
            report = _raw((yield [Submit(request)]))
            if report.error is not None:
                return [reply.fail(report.error)]
            blocks.append(raw_text(report, symmetry, *state.sizes))
        # KataGo puts an empty line between symmetries.
        return [reply.ok("\n".join(blocks).strip())]

    return ask()


def place_free_handicap(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """Stones where the network would play, one after the other."""
    count = min(handicap_count(state, args, command), MAX_FREE_HANDICAP, state.area // 4)

    def place() -> Job:
        points: list[int] = []
        for _ in range(count):
            state.set_up([(BLACK, point) for point in points], BLACK)
            request = RawRequest(id=state.next_id(), position=state.position, player=BLACK)
            report = _raw((yield [Submit(request)]))
            if report.error is not None:
                state.set_up((), BLACK)
                return [reply.fail(report.error)]
            points.append(max(range(state.area), key=lambda point: report.policy[point]))
        state.set_up([(BLACK, point) for point in points], WHITE)
        return [reply.ok(points_text(sorted(points), state.sizes))]

    return place()


# ---------------------------------------------------------------- the end of the game


def final_score(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """A game that its rules have counted is told as counted; any other is estimated by a search."""
    del args, command

    def ask() -> Job:
        if _is_counted(state):
            return [reply.ok(score_text(state.game.final_white_score()))]
        request = _quiet_request(state, SCORE_VISITS, SCORE_VISITS_PER_THREAD, ownership=False)
        report = _searched((yield [Submit(request)]))
        if report.error is not None or report.root is None:
            return [reply.fail(report.error or _NO_MOVE)]
        lead = report.root.score_lead
        is_whole = (state.position.komi == int(state.position.komi)) != state.position.rules.has_button
        return [reply.ok(score_text(round_half_away(lead) if is_whole else round_half_away(lead + 0.5) - 0.5))]

    return ask()


def final_status_list(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    if len(args) != 1:
        raise CommandRefused(f"Expected one argument for {command} but got '{' '.join(args)}'")
    status = args[0]
    if status not in ("alive", "seki", "dead"):
        raise CommandRefused("Argument to final_status_list must be 'alive' or 'seki' or 'dead'")

    def ask() -> Job:
        colors = state.game.stones()
        if status == "seki":
            # As KataGo: stones in seki are told as alive.
            return [reply.ok("")]
        if _is_counted(state):
            owners = state.game.final_area()
            alive = [bool(color) and owner in (color, 0) for color, owner in zip(colors, owners, strict=True)]
        else:
            request = _quiet_request(state, STATUS_VISITS, STATUS_VISITS_PER_THREAD, ownership=True)
            report = _searched((yield [Submit(request)]))
            if report.error is not None or report.ownership is None:
                return [reply.fail(report.error or _NO_MOVE)]
            alive = _alive(colors, report.ownership, state.sizes)
        found = [point for point, color in enumerate(colors) if color and alive[point] == (status == "alive")]
        return [reply.ok(points_text(found, state.sizes))]

    return ask()


def _is_counted(state: GtpState) -> bool:
    rules = state.position.rules
    return state.game.finished and not (rules.scoring == "AREA" and rules.friendly_pass_ok)


def _quiet_request(state: GtpState, visits: int, visits_per_thread: int, *, ownership: bool) -> SearchRequest:
    """A search for the truth: no tree kept, no handicap play, no early end by passing."""
    ready = state.ready()
    threads = ready.threads if ready is not None else 1
    return SearchRequest(
        id=state.next_id(),
        position=state.position,
        player=state.game.to_play,
        max_visits=max(visits, visits_per_thread * threads),
        ownership=ownership,
        overrides={
            **_GTP_SEARCH,
            **state.options.search,
            "conservativePass": True,
            "playoutDoublingAdvantage": 0.0,
        },
    )


def _alive(colors: tuple[int, ...], ownership: tuple[float, ...], sizes: tuple[int, int]) -> list[bool]:
    """Which stones live, by who is expected to own the points of each chain (White positive)."""
    alive = [False] * len(colors)
    seen: set[int] = set()
    for start, color in enumerate(colors):
        if not color or start in seen:
            continue
        chain, frontier = {start}, [start]
        while frontier:
            near = [p for p in neighbours(frontier.pop(), *sizes) if colors[p] == color and p not in chain]
            chain.update(near)
            frontier += near
        seen |= chain
        own = [ownership[point] if color == WHITE else -ownership[point] for point in chain]
        if sum(own) / len(own) > _ALIVE_AVERAGE and min(own) > _ALIVE_WORST:
            for point in chain:
                alive[point] = True
    return alive


def _told(line: bytes) -> list[Output]:
    return [Send(line)] if line else []


def _searched(report: Report) -> SearchReport:
    assert isinstance(report, SearchReport)
    return report


def _raw(report: Report) -> RawReport:
    assert isinstance(report, RawReport)
    return report
