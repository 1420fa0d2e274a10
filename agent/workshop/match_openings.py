"""Where the openings of a match between engines come from: a network, a folder of records, or chance. Start at
`find_openings`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, WHITE
from agent.errors import CalibrationError, IllegalMove
from agent.events import Reporter, WorkshopProgress
from agent.export.artifact import digest
from agent.model import disk
from agent.workshop.contestant import GameSettings
from agent.workshop.opening import open_player
from agent.workshop.openings import Finder, blind_opening, opening, start_of
from agent.workshop.sgf import read_folder


@dataclass(frozen=True)
class Openings:
    """`key` tells one source from another, and a network's file from another of its name."""

    find: Finder
    key: str


def find_openings(
    drawn_by: str | None,
    seed: int,
    settings: GameSettings,
    state_dir: Path,
    reporter: Reporter,
    *,
    human_profile: str = "",
) -> Openings:
    """`drawn_by` is a folder of SGF files, or what `open_player` opens (with `human_profile`); without it moves are
    drawn blindly.

    Raises:
        CalibrationError: no such folder, or too few games in it.
        As `open_player`, when openings are asked for.
    """
    start = msgspec.structs.replace(start_of(settings.size, komi=settings.komi), rules=settings.judged_by())
    if drawn_by is None:
        return Openings(
            lambda pairs, known: [blind_opening(seed, pair, known, start) for pair in pairs], f"blind, seed {seed}"
        )
    if disk.is_folder(Path(drawn_by)):
        recorded = _recorded(Path(drawn_by), start, reporter)
        return Openings(lambda pairs, known: _take(recorded, pairs, known), f"of {Path(drawn_by).absolute()}")

    def draw(pairs: Sequence[int], known: set[tuple[int, ...]]) -> Sequence[Position]:
        if not pairs:
            return []
        # Opened for this alone: its memory is the engines' while they play.
        opened = open_player(drawn_by, state_dir, reporter, human_profile=human_profile)
        try:
            drawn = []
            for number, pair in enumerate(pairs):
                reporter.report(WorkshopProgress("openings", number, len(pairs)))
                drawn.append(opening(opened.backend, settings.size, seed, pair, known, start))
            reporter.report(WorkshopProgress("openings", len(pairs), len(pairs)))
            return drawn
        finally:
            opened.backend.close()

    named = digest(Path(drawn_by)) if disk.is_file(Path(drawn_by)) else drawn_by
    return Openings(draw, f"of {named}, seed {seed}")


def _recorded(folder: Path, start: Position, reporter: Reporter) -> list[Position]:
    """The records on this board that begin with Black and alternate, by the match's rules and komi; each once."""
    records, _ = read_folder([folder], reporter)
    found: dict[tuple[tuple[int, int], ...], Position] = {}
    for record in records:
        moves = record.position.moves
        alternates = all(color == (BLACK, WHITE)[index % 2] for index, (color, _) in enumerate(moves))
        same_board = (record.position.x_size, record.position.y_size) == (start.x_size, start.y_size)
        if alternates and same_board and not record.position.initial_stones:
            opened = msgspec.structs.replace(start, moves=moves)
            if not _is_over(opened):
                found[moves] = opened
    return list(found.values())


def _is_over(position: Position) -> bool:
    try:
        return Game.from_position(position).finished
    except IllegalMove:
        return True


def _take(recorded: Sequence[Position], pairs: Sequence[int], known: set[tuple[int, ...]]) -> list[Position]:
    fresh = [each for each in recorded if tuple(point for _, point in each.moves) not in known]
    if len(fresh) < len(pairs):
        raise CalibrationError(
            f"{len(pairs)} openings are needed, and the folder has {len(fresh)} that begin an even game on this board",
            fix="Play fewer --games, or add records.",
        )
    return fresh[: len(pairs)]
