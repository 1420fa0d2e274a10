"""A review in the terminal. The only file here that knows rich."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from agent.review.values import MISTAKE_POINTS, MISTAKE_WINRATE, Review, Reviewed, score_text

# Twice and five times what counts as a mistake at all.
_SEVERE = ((5.0, "bold red"), (2.0, "red"), (1.0, "yellow"))


def table(review: Review) -> Table:
    """One row for each position that was analysed."""
    title = " – ".join(name for name in (review.black, review.white) if name) or "game"
    result = Table(title=title, caption=caption(review), box=box.SIMPLE_HEAD, highlight=False)
    result.add_column("move", justify="right", no_wrap=True)
    result.add_column("", no_wrap=True)
    result.add_column("played", no_wrap=True)
    # Together they fit into 80 columns; what a move lost is from the side of who played it.
    for heading in ("Black wins", "score", "points lost", "win lost"):
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("best was", no_wrap=True)
    for reviewed in review.positions:
        if reviewed.evaluation is not None:
            result.add_row(*_row(review, reviewed))
    return result


def caption(review: Review) -> str:
    """Who judged, and how the sides fared."""
    parts = [f"{review.rules_name}, komi {review.komi:g}, KataGo {review.engine}"]
    for letter, side in (("B", "Black"), ("W", "White")):
        lost = [each.points_lost for each in review.positions if each.player == letter and each.points_lost is not None]
        if lost:
            parts.append(f"{side} lost {sum(lost) / len(lost):.2f} points a move")
    return "; ".join(parts)


def _row(review: Review, reviewed: Reviewed) -> list[str | Text]:
    assert reviewed.evaluation is not None
    best = review.best_instead(reviewed)
    style = _style(reviewed)
    return [
        str(reviewed.turn),
        {"B": "●", "W": "○"}.get(reviewed.player, ""),
        Text(reviewed.played, style=style),
        f"{reviewed.evaluation.winrate:.1%}",
        score_text(reviewed.evaluation.score_lead),
        Text(f"{reviewed.points_lost:.1f}" if reviewed.points_lost is not None else "", style=style),
        Text(f"{reviewed.winrate_lost:.1%}" if reviewed.winrate_lost is not None else "", style=style),
        (best.move if best.move != reviewed.played else "the same") if best is not None else "",
    ]


def _style(reviewed: Reviewed) -> str:
    size = max((reviewed.points_lost or 0) / MISTAKE_POINTS, (reviewed.winrate_lost or 0) / MISTAKE_WINRATE)
    return next((style for least, style in _SEVERE if size >= least), "")
