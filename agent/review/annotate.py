"""The record with the review in it: a comment at each move, what would have been better as a variation.

What the file held stays: names, marks, comments and variations. Sabaki draws its own graph from SBKV.
"""

from __future__ import annotations

from agent.engine.points import parse_vertex
from agent.record.sgf import moves_of, point_text
from agent.record.tree import Node, append, main_line, parse_tree, put, values, write_tree
from agent.review.values import Candidate, Review, Reviewed, score_text

# As much of a variation as people follow.
VARIATION_MOVES = 12
CANDIDATES_TOLD = 3


def annotated(data: bytes, review: Review) -> str:
    """`data`, the record that was reviewed, as SGF with the review.

    Raises RecordUnreadable where `data` is not that record.
    """
    root = parse_tree(data)
    put(root, "AP", ["katago-agent"])
    turn = 0
    parent: Node | None = None
    for node in main_line(root):
        here = len(moves_of(node, review.x_size, review.y_size))
        turn += here
        if turn >= len(review.positions):
            break
        reviewed = review.positions[turn]
        if here or node is root:
            _comment(node, review, reviewed)
        if here and parent is not None and reviewed.is_mistake:
            _add_variation(parent, review, review.before(reviewed), reviewed)
        parent = node
    return write_tree(root)


def comment_text(review: Review, reviewed: Reviewed) -> str:
    """What the comment of a move says; empty where the position was not analysed."""
    evaluation = reviewed.evaluation
    if evaluation is None:
        return ""
    lines = [
        f"Black's win rate {evaluation.winrate:.1%}, score {score_text(evaluation.score_lead)} "
        f"({evaluation.visits} visits)"
    ]
    if reviewed.turn and reviewed.points_lost is not None and reviewed.winrate_lost is not None:
        lines += _cost_lines(reviewed, review.best_instead(reviewed))
    for candidate in evaluation.candidates[:CANDIDATES_TOLD]:
        lines.append(
            f"{candidate.move}: {score_text(candidate.score_lead)}, {candidate.winrate:.1%} for Black, "
            f"{candidate.visits} visits: {' '.join(candidate.pv[:VARIATION_MOVES])}"
        )
    return "\n".join(lines)


def _cost_lines(reviewed: Reviewed, best: Candidate | None) -> list[str]:
    if best is not None and best.move == reviewed.played:
        return ["The best move."]
    # Less than nothing is noise.
    points, winrate = max(0.0, reviewed.points_lost or 0), max(0.0, reviewed.winrate_lost or 0)
    lines = [f"{reviewed.played} cost {points:.1f} points and {winrate:.1%} of win rate."]
    if best is not None:
        lines.append(f"Better: {best.move} ({score_text(best.score_lead)}, {best.winrate:.1%} for Black)")
    return lines


def _comment(node: Node, review: Review, reviewed: Reviewed) -> None:
    text = comment_text(review, reviewed)
    if not text or reviewed.evaluation is None:
        return
    # There should be one; of two neither is lost.
    before = "\n\n".join(values(node, "C"))
    put(node, "C", [f"{before}\n\n{text}" if before.strip() else text])
    put(node, "SBKV", [f"{100 * reviewed.evaluation.winrate:.2f}"])


def _add_variation(parent: Node, review: Review, before: Reviewed, reviewed: Reviewed) -> None:
    best = review.best_instead(reviewed)
    if best is None or best.move == reviewed.played:
        return
    node, color = parent, before.to_play
    for number, move in enumerate(best.pv[:VARIATION_MOVES]):
        point = parse_vertex(move, review.x_size, review.y_size)
        if point is None:
            break
        node = append(node, color, point_text(point, review.x_size, review.y_size))
        if number == 0:
            text = f"{best.move} instead of {reviewed.played}: {score_text(best.score_lead)}"
            put(node, "C", [f"{text}, {best.winrate:.1%} for Black, {best.visits} visits"])
        color = "W" if color == "B" else "B"
