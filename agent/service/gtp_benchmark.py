"""kata-benchmark VISITS: how fast the engine searches, by ten positions of a game that it plays against itself.

KataGo searches positions of games that it brings along, one for each size; here the game is made on the way, so every
board has one. The line is KataGo's (cpp/program/playutils.cpp, BenchmarkResults), but for how full batches were.
"""

from __future__ import annotations

import msgspec

from agent.engine.messages import Position, SearchRequest, SearchStats
from agent.engine.rules import Rules
from agent.errors import CommandRefused
from agent.service.gtp_reply import Reply
from agent.service.gtp_searches import NO_MOVE, Job, searched
from agent.service.gtp_state import GtpState
from agent.service.numbers import parse_int
from agent.service.outputs import ClearCache, Submit

POSITIONS = 10
# Between two positions; a tenth of a 19×19 game in all.
_PLIES_BETWEEN = 4
# A search of the profile's visits takes seconds to a minute; of a million, days.
MAX_VISITS = 100_000


def kata_benchmark(state: GtpState, args: list[str], reply: Reply, command: str) -> Job:
    if len(args) != 1:
        raise CommandRefused(f"Expected one argument for {command} but got '{' '.join(args)}'")
    visits = parse_int(args[0])
    if visits is None or not 1 <= visits <= MAX_VISITS:
        raise CommandRefused(f"Could not parse number of visits: {args[0]}")
    return _run(state, visits, reply)


def _run(state: GtpState, visits: int, reply: Reply) -> Job:
    x_size, y_size = state.sizes
    position = Position(x_size, y_size, Rules(), state.position.komi, prevent_encore=True)
    done: list[SearchStats] = []
    while len(done) < POSITIONS:
        request = SearchRequest(
            id=state.next_id(),
            position=position,
            player=position.to_play,
            max_visits=visits,
            pv_len=_PLIES_BETWEEN,
            overrides=dict(state.options.search),
            human_profile=state.options.human_profile,
        )
        # What is known already would be no work.
        report = searched((yield [ClearCache(), Submit(request)]))
        if report.error is not None or not report.moves or report.stats is None:
            raise CommandRefused(report.error or NO_MOVE)
        done.append(report.stats)
        position = _later(position, report.moves[0].pv)
    return [reply.header(), reply.after_header(_line(state, done))]


def _later(position: Position, line: tuple[int, ...]) -> Position:
    """After the first moves of a line, up to a pass, which would end the game."""
    passing = position.x_size * position.y_size
    for point in line[:_PLIES_BETWEEN]:
        if point == passing:
            break
        position = msgspec.structs.replace(position, moves=(*position.moves, (position.to_play, point)))
    return position


def _line(state: GtpState, done: list[SearchStats]) -> str:
    ready = state.ready()
    seconds = max(sum(stats.duration_s for stats in done), 1e-9)
    visits, evaluations = sum(stats.visits for stats in done), sum(stats.evaluations for stats in done)
    return (
        f"numSearchThreads = {ready.threads if ready else 1:2d}: {len(done)} / {POSITIONS} positions,"
        f" visits/s = {visits / seconds:.2f} nnEvals/s = {evaluations / seconds:.2f} ({seconds:.1f} secs)"
    )
