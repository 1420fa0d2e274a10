"""Game records in SGF. The one owner of the `pysgf` package. Start at `read_folder`.

Only the main line is taken, and of it what comes before the first change of the board that is no move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, EMPTY, MAX_SIZE, WHITE
from agent.engine.rules import MAX_KOMI, Rules, is_supported_by_networks, parse_rules
from agent.errors import CalibrationError, IllegalMove, RulesError, ToolMissing
from agent.events import Reporter, WorkshopProgress
from agent.workshop.records import GameRecord, game_id

# A long game without comments is 3 kB. The parser's time grows with the square of the file (1 MB: some seconds).
MAX_FILE_BYTES = 1_000_000
_COLORS = {"B": BLACK, "W": WHITE}
# What servers and editors write into RU beside KataGo's own names (in lower case, without what follows the name).
_RULES = {"jp": "japanese", "cn": "chinese", "chinese, pda": "chinese", "old chinese": "ancient-area", "": "japanese"}
# The errors of a parser that meets what it does not expect.
_PARSER_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError)


class BadRecord(CalibrationError):
    """One file that is left out; `str()` says why."""


def read_folder(folders: Sequence[Path], reporter: Reporter) -> tuple[list[GameRecord], list[str]]:
    """The games of all `*.sgf` files below `folders`, each game once, and a line for each file that was left out.

    Raises:
        ToolMissing: no pysgf.
        CalibrationError: a folder is not there.
    """
    _import()
    for folder in folders:
        if not folder.is_dir():
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
        ToolMissing: no pysgf.
    """
    pysgf = _import()
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadRecord(f"larger than {MAX_FILE_BYTES / 1e6:.0f} MB")
        root = pysgf.GoGame.parse_file(str(path))
        position = _position(root)
        Game.from_position(position)
    except OSError as error:
        raise BadRecord(str(error.strerror)) from error
    except (pysgf.ParseError, IllegalMove, RulesError, *_PARSER_ERRORS) as error:
        raise BadRecord((str(error).splitlines() or [type(error).__name__])[0][:200]) from error
    return GameRecord(game_id(repr(position)), position)


def _position(root: Any) -> Position:
    x_size, y_size = root.board_size
    if not (1 <= x_size <= MAX_SIZE and 1 <= y_size <= MAX_SIZE):
        raise BadRecord(f"a board of {x_size}x{y_size}")
    stones = [(_COLORS[stone.player], _point(stone, x_size, y_size)) for stone in root.placements]
    stones += [(EMPTY, _point(stone, x_size, y_size)) for stone in root.clear_placements]
    moves: list[tuple[int, int]] = []
    node = root
    while True:
        if node is not root and (node.placements or node.clear_placements):
            break
        moves += [(_COLORS[move.player], _point(move, x_size, y_size)) for move in node.moves]
        if not node.children:
            break
        node = node.children[0]
    if not moves:
        raise BadRecord("no moves")
    return Position(
        x_size,
        y_size,
        _rules(str(root.ruleset)),
        _komi(float(root.komi)),
        initial_stones=tuple(stones),
        initial_player=moves[0][0],
        moves=tuple(moves),
    )


def _point(move: Any, x_size: int, y_size: int) -> int:
    """pysgf counts rows from below."""
    if move.coords is None:
        return int(x_size * y_size)
    x, y = move.coords
    if not (0 <= x < x_size and 0 <= y < y_size):
        raise BadRecord(f"a point outside {x_size}x{y_size}")
    return int((y_size - 1 - y) * x_size + x)


def _rules(name: str) -> Rules:
    plain = name.strip().lower()
    rules = parse_rules(_RULES.get(plain, name.strip()))
    if not is_supported_by_networks(rules):
        raise BadRecord(f"rules that networks do not know: {name}")
    return rules


def _komi(komi: float) -> float:
    """The nearest half: some servers write 3.75 for 7.5 points counted in stones, or averages."""
    if not math.isfinite(komi) or abs(komi) > MAX_KOMI:
        raise BadRecord(f"a komi of {komi:g}")
    return round(komi * 2) / 2


def _import() -> Any:
    try:
        import pysgf
    except ImportError as error:
        raise ToolMissing(
            "reading SGF needs the package pysgf", fix="Install it with `pip install 'katago-agent[sgf]'`."
        ) from error
    return pysgf
