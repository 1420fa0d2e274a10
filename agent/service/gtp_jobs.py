"""GTP commands that need the engine to choose, analyse or evaluate; those about the end of a game are in `gtp_end.py`.
Each is a job (see `gtp_searches.Job`). Nothing here waits.

A job may raise CommandRefused with the text of the reply, as long as nothing of the reply is sent.
Sources: KataGo cpp/command/gtp.cpp and cpp/program/playutils.cpp.
"""

from __future__ import annotations

from collections.abc import Generator

from agent.engine.messages import SearchReport
from agent.engine.points import BLACK, WHITE, vertex
from agent.engine.search_params import SEARCH_PARAMS
from agent.errors import CommandRefused, IllegalMove
from agent.service.gtp_arguments import AnalyzeArguments, parse_analyze, parse_raw
from agent.service.gtp_format import info_line, points_text, raw_text
from agent.service.gtp_passing import consider_passing
from agent.service.gtp_reply import Reply
from agent.service.gtp_searches import (
    NO_MOVE,
    Job,
    Report,
    analysis_request,
    evaluated,
    move_request,
    raw_request,
    searched,
)
from agent.service.gtp_setup import handicap_count, read_color
from agent.service.gtp_state import GtpState
from agent.service.outputs import Output, Send, Submit
from agent.service.resignation import should_resign, win_loss
from agent.service.unvisited import with_unvisited

# KataGo places no more free handicap stones than this, nor than a quarter of the board.
MAX_FREE_HANDICAP = 30
# It draws them from the policy at this temperature.
HANDICAP_TEMPERATURE = 0.25

_Word = Generator[list[Output], Report, str]


# ---------------------------------------------------------------- moves


def genmove(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """genmove, and kata-search and kata-search_cancellable, which do not play the move."""
    if len(args) != 1:
        raise CommandRefused(f"Expected one argument for {command} but got '{' '.join(args)}'")
    return _genmove(state, read_color(args[0]), reply, plays=command == "genmove")


def _genmove(state: GtpState, player: int, reply: Reply, *, plays: bool) -> Job:
    report = searched((yield [Submit(move_request(state, player))]))
    return [reply.ok((yield from _choose(state, player, report, plays=plays)))]


def genmove_analyze(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """lz- and kata-genmove_analyze; kata-search_analyze and its cancellable twin do not play the move."""
    refusal = f"Could not parse genmove_analyze arguments or arguments out of range: '{' '.join(args)}'"
    is_lz = command.startswith("lz-")
    to_play = state.game.to_play
    arguments = parse_analyze(args, is_lz=is_lz, to_play=to_play, sizes=state.sizes, refusal=refusal)
    return _genmove_analyze(state, arguments, reply, plays="genmove" in command)


def _genmove_analyze(state: GtpState, arguments: AnalyzeArguments, reply: Reply, *, plays: bool) -> Job:
    player = arguments.player
    outputs: list[Output] = [reply.header(), Submit(move_request(state, player, arguments))]
    while True:
        report = searched((yield outputs))
        line = _line(state, arguments, report)
        if report.final:
            break
        outputs = _told(line)
    try:
        word = yield from _choose(state, player, report, plays=plays)
    except CommandRefused:
        # The reply is under way and began with "=": all that is left is to end it, as KataGo does.
        return [*_told(line), reply.end()]
    return [*_told(line), reply.after_header(f"play {word}")]


def _choose(state: GtpState, player: int, report: SearchReport, *, plays: bool) -> _Word:
    """Play or resign, and say which. Raises CommandRefused where the engine found no move."""
    if report.error is not None:
        raise CommandRefused(report.error)
    if report.stats is not None:
        state.genmove_s += report.stats.duration_s
    if report.chosen is None or report.root is None:
        raise CommandRefused(NO_MOVE)
    state.win_losses.append(win_loss(report.root.winrate))
    if should_resign(state.options, state.position, player, state.win_losses, report.root.score_lead):
        return "resign"
    chosen = yield from consider_passing(state, player, report.chosen)
    if plays:
        try:
            state.play(player, chosen)
        except IllegalMove as error:
            raise CommandRefused(NO_MOVE) from error
        state.wants_to_ponder = True
    return vertex(chosen, *state.sizes)


# ---------------------------------------------------------------- analysis


def analyze(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """lz-analyze and kata-analyze: goes on until the next line of the client, which the connection sees to."""
    refusal = f"Could not parse analyze arguments or arguments out of range: '{' '.join(args)}'"
    is_lz = command.startswith("lz-")
    to_play = state.game.to_play
    arguments = parse_analyze(args, is_lz=is_lz, to_play=to_play, sizes=state.sizes, refusal=refusal)
    return _analyze(state, arguments, reply)


def _analyze(state: GtpState, arguments: AnalyzeArguments, reply: Reply) -> Job:
    outputs: list[Output] = [reply.header(), Submit(analysis_request(state, arguments))]
    while True:
        report = searched((yield outputs))
        outputs = _told(_line(state, arguments, report))


def _line(state: GtpState, arguments: AnalyzeArguments, report: SearchReport) -> bytes:
    if arguments.min_moves:
        report = with_unvisited(report, arguments.min_moves, state.options.search)
    return info_line(report, state.sizes, arguments, arguments.player, state.options.perspective)


# ---------------------------------------------------------------- the network alone


def kata_raw_nn(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    del command
    default = state.options.search.get("rootPolicyOptimism", SEARCH_PARAMS["rootPolicyOptimism"].default)
    try:
        arguments = parse_raw(args, to_play=state.game.to_play, optimism=float(default))
    except CommandRefused as error:
        usage = "an optional color, a symmetry 'all' or index [0-7], and an optional optimism [0-1]"
        raise CommandRefused(f"{error} for kata-raw-nn (expected {usage})") from error

    # What was set, as for an analysis: in a game it may follow the score.
    advantage = float(state.options.search.get("playoutDoublingAdvantage", 0.0))
    if state.options.advantage_player not in (None, arguments.player):
        advantage = -advantage

    def ask() -> Job:
        blocks = []
        for symmetry in arguments.symmetries:
            optimism = arguments.optimism or 0.0
            request = raw_request(state, state.position, arguments.player, symmetry, optimism, advantage)
            report = evaluated((yield [Submit(request)]))
            if report.error is not None:
                raise CommandRefused(report.error)
            blocks.append(raw_text(report, symmetry, *state.sizes))
        # KataGo puts an empty line between symmetries.
        return [reply.ok("\n".join(blocks).strip())]

    return ask()


def kata_raw_human_nn(state: GtpState, args: list[str]) -> str:
    """A second network that imitates people is never loaded beside the first: what KataGo says then."""
    try:
        parse_raw(args, to_play=state.game.to_play, optimism=None)
    except CommandRefused as error:
        usage = "an optional color followed by a symmetry 'all' or index [0-7]"
        raise CommandRefused(f"{error} for kata-raw-human-nn (expected {usage})") from error
    raise CommandRefused("Cannot run kata-raw-human-nn, -human-model was not provided")


def place_free_handicap(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    """Stones where the network would play, one after the other."""
    count = min(handicap_count(state, args, command), MAX_FREE_HANDICAP, state.area // 4)

    def place() -> Job:
        points: list[int] = []
        while len(points) < count:
            state.set_up([(BLACK, point) for point in points], BLACK)
            report = evaluated((yield [Submit(raw_request(state, state.position, BLACK))]))
            if report.error is not None:
                state.set_up((), BLACK)
                raise CommandRefused(report.error)
            weights = [max(0.0, chance) ** (1.0 / HANDICAP_TEMPERATURE) for chance in report.policy[: state.area]]
            if not any(weights):
                break
            points += state.random.choices(range(state.area), weights)
        state.set_up([(BLACK, point) for point in points], WHITE)
        return [reply.ok(points_text(sorted(points), state.sizes))]

    return place()


def _told(line: bytes) -> list[Output]:
    return [Send(line)] if line else []
