"""Games for the workshop out of SGF files, and its own games as SGF. Start at `read_folder`, and `record_text` for
writing; the format is `agent/record`'s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.engine.game import Game
from agent.engine.rules import is_supported_by_networks
from agent.errors import CalibrationError, IllegalMove, RecordUnreadable
from agent.events import Reporter, WorkshopProgress
from agent.model import disk
from agent.record.sgf import known_rules, position_of, read_sgf
from agent.record.tree import append, new_tree, put, write_tree
from agent.workshop.records import GameRecord, game_id


class BadRecord(CalibrationError):
    """One file that is left out; `str()` says why."""


def read_folder(folders: Sequence[Path], reporter: Reporter) -> tuple[list[GameRecord], list[str]]:
    """The games of all `*.sgf` files below `folders`, each game once, and a line for each file that was left out.

    Raises:
        CalibrationError: a folder is not there.
    """
    for folder in folders:
        if not disk.is_folder(folder):
            raise CalibrationError(f"{folder} is no folder")
    paths = sorted({path for folder in folders for path in folder.rglob("*") if path.suffix.lower() == ".sgf"})
    records: dict[int, GameRecord] = {}
    skipped: list[str] = []
    for number, path in enumerate(paths):
        reporter.report(WorkshopProgress("reading SGF", number, len(paths)))
        try:
            record = read_record(path)
        except BadRecord as error:
            skipped.append(f"{path}: {error}")
            continue
        if record.id in records:
            skipped.append(f"{path}: the same game as another file")
        records.setdefault(record.id, record)
    reporter.report(WorkshopProgress("reading SGF", len(paths), len(paths)))
    return list(records.values()), skipped


def read_record(path: Path) -> GameRecord:
    """The first game of a file.

    Raises:
        BadRecord: not a game that the core replays.
    """
    try:
        record = read_sgf(path)
        if not record.moves:
            raise BadRecord("no moves")
        rules = known_rules(record.rules)
        if rules is None or not is_supported_by_networks(rules.rules):
            raise BadRecord(f"rules that networks do not know: {record.rules}")
        position = position_of(record, rules)
        Game.from_position(position)
    except (RecordUnreadable, IllegalMove) as error:
        raise BadRecord(str(error)) from error
    return GameRecord(game_id(repr(position)), position)


def record_text(root: Mapping[str, str], moves: Sequence[tuple[str, str, str]]) -> str:
    """A game as SGF: the root's properties, and each move as "B" or "W", its point in SGF's letters (none for a pass)
    and a comment."""
    first = node = new_tree()
    for name, value in root.items():
        put(first, name, [value])
    for color, point, comment in moves:
        node = append(node, color, point)
        if comment:
            put(node, "C", [comment])
    return write_tree(first)
