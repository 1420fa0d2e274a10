"""The review as one HTML file that needs nothing beside it: our own SVG and script, no font, no address, no library.

`page.html` is the frame, `page.css` how it looks, `page.js` what it does; the review travels in it as JSON.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any, Final

import msgspec

from agent import __version__
from agent.review.values import Candidate, Evaluation, Review, Reviewed

_PARTS: Final = ("page.css", "page.js")
_PLACE: Final = re.compile(r"\{\{ (page\.css|page\.js|title|review) \}\}")
# Ownership in 63 steps, one character a point: 300 positions of 361 points would be half a megabyte as numbers.
OWNERSHIP_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"
_NO_DIFFERENCE: Final = len(OWNERSHIP_LETTERS) // 2
PV_MOVES: Final = 15
MISTAKES_LISTED: Final = 15


def page(review: Review) -> str:
    """The whole file. Whatever a record holds stays text in it."""
    folder = resources.files("agent.review")
    text = folder.joinpath("page.html").read_text("utf-8")
    parts = {name: folder.joinpath(name).read_text("utf-8") for name in _PARTS}
    parts["title"] = html.escape(_title(review))
    # In JSON "<" stands in strings only.
    parts["review"] = msgspec.json.encode(_data(review)).decode().replace("<", "\\u003c")
    # All at once, so that nothing in the record is taken for a placeholder.
    return _PLACE.sub(lambda place: parts[place[1]], text)


def _title(review: Review) -> str:
    players = " – ".join(name for name in (review.black, review.white) if name)
    return players or review.title or "A reviewed game"


def _data(review: Review) -> dict[str, Any]:
    return {
        "title": _title(review),
        "event": review.title,
        "black": review.black,
        "white": review.white,
        "result": review.result,
        "date": review.date,
        "xSize": review.x_size,
        "ySize": review.y_size,
        "rules": review.rules_name,
        "komi": review.komi,
        "engine": review.engine,
        "version": __version__,
        "notes": review.notes,
        "mistakes": [each.turn for each in review.mistakes[:MISTAKES_LISTED]],
        "positions": [_position(each) for each in review.positions],
    }


def _position(reviewed: Reviewed) -> dict[str, Any]:
    found: dict[str, Any] = {
        "player": reviewed.player,
        "played": reviewed.played,
        "toPlay": reviewed.to_play,
        "stones": reviewed.stones,
        "pointsLost": _rounded(reviewed.points_lost, 2),
        "winrateLost": _rounded(reviewed.winrate_lost, 4),
        "isMistake": reviewed.is_mistake,
    }
    if reviewed.evaluation is not None:
        found["evaluation"] = _evaluation(reviewed.evaluation)
    return found


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "visits": evaluation.visits,
        "winrate": _rounded(evaluation.winrate, 4),
        "score": _rounded(evaluation.score_lead, 2),
        "moves": [_candidate(each) for each in evaluation.candidates],
        "ownership": letters(evaluation.ownership),
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    return {
        "move": candidate.move,
        "visits": candidate.visits,
        "winrate": _rounded(candidate.winrate, 4),
        "score": _rounded(candidate.score_lead, 2),
        "prior": _rounded(candidate.prior, 4),
        "pv": candidate.pv[:PV_MOVES],
    }


def letters(ownership: Sequence[float]) -> str:
    """A letter for each point: the first is wholly White's, the last wholly Black's, the middle one nobody's."""
    return "".join(
        OWNERSHIP_LETTERS[round(max(-1.0, min(1.0, each)) * _NO_DIFFERENCE) + _NO_DIFFERENCE] for each in ownership
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
