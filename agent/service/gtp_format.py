"""What GTP replies say, character for character in KataGo's form. Pure.

Sources: KataGo docs/GTP_Extensions.md, cpp/command/gtp.cpp (getAnalyzeCallback, rawNN) and cpp/game/board.cpp.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.engine.game import Game
from agent.engine.messages import MoveInfo, Position, RawReport, SearchReport
from agent.engine.points import BLACK, COLUMNS, vertex
from agent.engine.rules import rules_to_dict
from agent.service.analysis_fields import compact
from agent.service.gtp_arguments import AnalyzeArguments
from agent.service.history import last_beginning
from agent.service.numbers import general, round_half_away
from agent.service.perspective import Side

_STONES = ".XO"
# The last moves that showboard marks with 1, 2, 3.
_MARKED_MOVES = 3


def board_text(position: Position, game: Game) -> str:
    """showboard: X is Black, O White, the last three moves numbered."""
    x_size, y_size = position.x_size, position.y_size
    colors = game.stones()
    begin = last_beginning(position.initial_player, position.moves)
    marks: dict[int, str] = {}
    for number, (_, point) in enumerate(position.moves[begin:][-_MARKED_MOVES:], start=1):
        marks.setdefault(point, str(number))
    rows = ["   " + " ".join(COLUMNS[:x_size])]
    for y in range(y_size):
        cells = ""
        for point in range(y * x_size, (y + 1) * x_size):
            is_last = point % x_size == x_size - 1
            cells += _STONES[colors[point]] + marks.get(point, "" if is_last else " ")
        rows.append(f"{y_size - y:2d} {cells}")
    rules = compact({**rules_to_dict(position.rules), "komi": position.komi})
    now = game.state()
    tail = [
        f"Next player: {'Black' if now.to_play == BLACK else 'White'}",
        *([f"Game phase: {now.encore_phase}"] if now.encore_phase else []),
        f"Rules: {rules}",
        *([f"Handicap bonus score: {general(now.handicap_bonus)}"] if now.handicap_bonus else []),
        f"B stones captured: {now.captured_black}",
        f"W stones captured: {now.captured_white}",
    ]
    return "\n".join([f"MoveNum: {len(position.moves) - begin} HASH: {game.hash.upper()}", *rows, *tail])


# ---------------------------------------------------------------- analysis


def info_line(
    report: SearchReport, sizes: tuple[int, int], arguments: AnalyzeArguments, player: int, perspective: int | None
) -> bytes:
    """One line of lz-analyze or kata-analyze, with its newline; empty while there is no move to tell of."""
    moves = report.moves[: arguments.max_moves]
    if report.root is None or not moves:
        return b""
    side = Side(player, perspective)
    if arguments.is_lz:
        parts = [_lz_move(move, sizes, side) + _pv(move, sizes, arguments) for move in moves]
        return (" ".join(parts) + "\n").encode()
    parts = [_kata_move(move, sizes, arguments, side) for move in moves]
    if arguments.root_info:
        parts.append(_root(report, side))
    if arguments.ownership and report.ownership is not None:
        parts.append(_numbers("ownership", side.all_signed(report.ownership)))
    if arguments.ownership_stdev and report.ownership_stdev is not None:
        parts.append(_numbers("ownershipStdev", report.ownership_stdev))
    return (" ".join(parts) + "\n").encode()


def _lz_move(move: MoveInfo, sizes: tuple[int, int], side: Side) -> str:
    """Leela Zero's integers: ten-thousandths."""

    def share(x: float) -> str:
        return general(round_half_away(x * 10_000))

    return (
        f"info move {vertex(move.move, *sizes)} visits {move.visits} winrate {share(side.chance(move.winrate))}"
        f" prior {share(move.prior)} lcb {share(side.chance(move.lcb))} order {move.order}"
    )


def _kata_move(move: MoveInfo, sizes: tuple[int, int], arguments: AnalyzeArguments, side: Side) -> str:
    lead = general(side.signed(move.score_lead))
    text = (
        f"info move {vertex(move.move, *sizes)} visits {move.visits} edgeVisits {move.edge_visits}"
        f" utility {general(side.signed(move.utility))} winrate {general(side.chance(move.winrate))}"
        f" scoreMean {lead} scoreStdev {general(move.score_stdev)} scoreLead {lead}"
        f" scoreSelfplay {general(side.signed(move.score_selfplay))}"
    )
    if arguments.no_result:
        text += f" noResultValue {general(move.no_result)}"
    text += (
        f" prior {general(move.prior)} lcb {general(side.chance(move.lcb))}"
        f" utilityLcb {general(side.signed(move.utility_lcb))} weight {general(move.weight)}"
    )
    if move.symmetry_of is not None:
        text += f" isSymmetryOf {vertex(move.symmetry_of, *sizes)}"
    text += f" order {move.order}" + _pv(move, sizes, arguments)
    if arguments.moves_ownership and move.ownership is not None:
        text += " " + _numbers("movesOwnership", side.all_signed(move.ownership))
    if arguments.moves_ownership_stdev and move.ownership_stdev is not None:
        text += " " + _numbers("movesOwnershipStdev", move.ownership_stdev)
    return text


def _pv(move: MoveInfo, sizes: tuple[int, int], arguments: AnalyzeArguments) -> str:
    text = " pv " + " ".join(vertex(point, *sizes) for point in move.pv)
    if arguments.pv_visits:
        text += " pvVisits " + " ".join(map(str, move.pv_visits))
    if arguments.pv_edge_visits:
        text += " pvEdgeVisits " + " ".join(map(str, move.pv_edge_visits))
    return text


def _root(report: SearchReport, side: Side) -> str:
    root = report.root
    assert root is not None
    lead = general(side.signed(root.score_lead))
    return (
        f"rootInfo visits {root.visits} utility {general(side.signed(root.utility))}"
        f" winrate {general(side.chance(root.winrate))} scoreMean {lead} scoreStdev {general(root.score_stdev)}"
        f" scoreLead {lead} scoreSelfplay {general(side.signed(root.score_selfplay))} weight {general(root.weight)}"
        f" rawStWrError {general(root.raw_st_wr_error)} rawStScoreError {general(root.raw_st_score_error)}"
        f" rawVarTimeLeft {general(root.raw_var_time_left)}"
    )


def _numbers(name: str, values: Iterable[float]) -> str:
    return " ".join([name, *map(general, values)])


# ---------------------------------------------------------------- kata-raw-nn


def raw_text(report: RawReport, symmetry: int, x_size: int, y_size: int) -> str:
    """One symmetry's block of kata-raw-nn, every line ended; illegal moves are NAN."""
    area = x_size * y_size
    lines = [
        f"symmetry {symmetry}",
        f"whiteWin {report.white_win:.6f}",
        f"whiteLoss {report.white_loss:.6f}",
        f"noResult {report.no_result:.6f}",
        f"whiteLead {report.white_lead:.3f}",
        f"whiteScoreSelfplay {report.white_score_selfplay:.3f}",
        f"whiteScoreSelfplaySq {report.white_score_selfplay_sq:.3f}",
        f"varTimeLeft {report.var_time_left:.3f}",
        f"shorttermWinlossError {report.shortterm_winloss_error:.3f}",
        f"shorttermScoreError {report.shortterm_score_error:.3f}",
        "policy",
    ]
    rows = range(0, area, x_size)
    lines += ["".join(map(_probability, report.policy[row : row + x_size])) for row in rows]
    lines += [f"policyPass {_probability(report.policy[area])}", "whiteOwnership"]
    lines += ["".join(f"{value:9.7f} " for value in report.ownership[row : row + x_size]) for row in rows]
    return "\n".join(lines) + "\n"


def _probability(p: float) -> str:
    return "    NAN " if p < 0 else f"{p:8.6f} "


def points_text(points: Iterable[int], sizes: tuple[int, int]) -> str:
    return " ".join(vertex(point, *sizes) for point in points)


def score_text(white_score: float) -> str:
    """ "B+3.5", "W+0.5" or "0"."""
    if white_score == 0:
        return "0"
    return f"{'B' if white_score < 0 else 'W'}+{abs(white_score):.1f}"
