"""Has an engine look at every turn of a game. Start at `review_game`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from agent.client import AnalysisClient
from agent.engine.rules import rules_to_dict
from agent.events import Reporter, WorkshopProgress
from agent.record.sgf import Record
from agent.review.game import Prepared, query_of
from agent.review.values import Evaluation, Review, Reviewed, evaluation_of, with_losses

# A whole game must not keep the moves of somebody who plays waiting: KataGo serves what has more first.
PRIORITY: Final = -1


def review_game(
    client: AnalysisClient,
    record: Record,
    prepared: Prepared,
    turns: Sequence[int],
    visits: int | None,
    reporter: Reporter,
) -> Review:
    """The game with the engine's view of `turns` (numbers of moves played; None of `visits` is the engine's own).

    Raises what `AnalysisClient.analyze` raises.
    """
    found: dict[int, Evaluation] = {}
    notes: list[str] = []
    reporter.report(WorkshopProgress("analysing", 0, len(turns)))
    with client.stream(query_of(prepared, turns, visits, priority=PRIORITY)) as reports:
        for report in reports:
            if report.is_during_search:
                continue
            found[report.turn_number] = evaluation_of(report)
            reporter.report(WorkshopProgress("analysing", len(found), len(turns)))
        notes += [f"The engine says: {warning.text}" for warning in reports.warnings]
        if reports.unanswered:
            turns_left = ", ".join(map(str, reports.unanswered))
            notes.append(f"Turns that somebody terminated before the engine looked at them: {turns_left}.")
    positions = [
        msgspec.structs.replace(position, evaluation=found.get(position.turn)) for position in prepared.positions
    ]
    return review_of(record, prepared, positions, engine=client.engine.version, notes=notes)


def review_of(
    record: Record, prepared: Prepared, positions: Sequence[Reviewed], *, engine: str, notes: Sequence[str] = ()
) -> Review:
    """What is known of the game, with the evaluated positions; `engine` names the version that looked at them."""
    return Review(
        title=record.event,
        black=record.black,
        white=record.white,
        result=record.result,
        date=record.date,
        x_size=record.x_size,
        y_size=record.y_size,
        rules=rules_to_dict(prepared.position.rules),
        rules_name=prepared.rules_name,
        komi=prepared.position.komi,
        engine=engine,
        positions=with_losses(positions),
        notes=(*prepared.notes, *notes),
    )


def parse_turns(text: str, last: int) -> tuple[int, ...]:
    """ "all", or numbers and ranges such as "0-50,120,200-"; both ends are meant.

    Raises ValueError for anything else, and for turns beyond `last`.
    """
    if text.strip().lower() == "all":
        return tuple(range(last + 1))
    found: set[int] = set()
    for piece in text.split(","):
        first, dash, end = piece.strip().partition("-")
        if not _is_number(first) or (end and not _is_number(end)):
            raise ValueError(f"{piece.strip()!r} is no turn and no range of turns such as 10-50")
        low = int(first)
        high = (int(end) if end else last) if dash else low
        if not low <= high <= last:
            raise ValueError(f"{piece.strip()!r}: this record has the turns 0 to {last}")
        found.update(range(low, high + 1))
    return tuple(sorted(found))


def _is_number(text: str) -> bool:
    # No game has ten thousand moves, and Python refuses to read very long numbers.
    return text.isascii() and text.isdigit() and len(text) < 6
