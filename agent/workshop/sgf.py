"""Game records in SGF. The one owner of the `pysgf` package. Start at `read_folder`, and `record_text` for writing.

When reading, only the main line is taken, and of it what comes before the first change of the board that is no move.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.engine.game import Game
from agent.engine.messages import Position
from agent.engine.points import BLACK, MAX_SIZE, WHITE
from agent.engine.rules import MAX_KOMI, RulesAndKomi, is_supported_by_networks, parse_rules_and_komi
from agent.errors import CalibrationError, IllegalMove, RulesError, ToolMissing
from agent.events import Reporter, WorkshopProgress
from agent.workshop.records import GameRecord, game_id

# A long game without comments is 3 kB. The parser's time grows with the square of the file (1 MB: some seconds).
MAX_FILE_BYTES = 1_000_000
_MOVES = {"B": BLACK, "W": WHITE}
_SET_UP = {"AB": BLACK, "AW": WHITE}
_CLEARED = "AE"
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
        # 1.0, which needs Python 3.11, renamed the class.
        parser = pysgf.GoGame if hasattr(pysgf, "GoGame") else pysgf.SGF
        root = parser.parse_file(str(path))
        position = _position(root)
        Game.from_position(position)
    except OSError as error:
        raise BadRecord(str(error.strerror)) from error
    except (pysgf.ParseError, IllegalMove, RulesError, *_PARSER_ERRORS) as error:
        raise BadRecord((str(error).splitlines() or [type(error).__name__])[0][:200]) from error
    return GameRecord(game_id(repr(position)), position)


def record_text(root: Mapping[str, str], moves: Sequence[tuple[str, str, str]]) -> str:
    """A game as SGF: the root's properties, and each move as "B" or "W", its point in SGF's letters (none for a pass)
    and a comment.

    Raises:
        ToolMissing: no pysgf.
    """
    pysgf = _import()
    # As in `read_record`.
    node_type = pysgf.GoNode if hasattr(pysgf, "GoNode") else pysgf.SGFNode
    first = node = node_type(properties=dict(root))
    for color, point, comment in moves:
        node = node_type(parent=node, properties={color: point, "C": comment} if comment else {color: point})
    return str(first.sgf()) + "\n"


def require_sgf() -> None:
    """Raises ToolMissing without pysgf, before hours of work whose result it should write."""
    _import()


def _position(root: Any) -> Position:
    """pysgf reads the tree and the properties; what they mean is read here, for its versions differ in that."""
    x_size, y_size = root.board_size
    if not (1 <= x_size <= MAX_SIZE and 1 <= y_size <= MAX_SIZE):
        raise BadRecord(f"a board of {x_size}x{y_size}")
    stones = [(color, point) for name, color in _SET_UP.items() for point in _area(_values(root, name), x_size, y_size)]
    moves: list[tuple[int, int]] = []
    node = root
    while node is root or not any(_values(node, name) for name in (*_SET_UP, _CLEARED)):
        moves += [
            (color, _point(text, x_size, y_size)) for name, color in _MOVES.items() for text in _values(node, name)
        ]
        if not node.children:
            break
        node = node.children[0]
    if not moves:
        raise BadRecord("no moves")
    rules, usual_komi = _rules(_text(root, "RU"))
    return Position(
        x_size,
        y_size,
        rules,
        _komi(_text(root, "KM"), usual_komi),
        initial_stones=tuple(stones),
        initial_player=moves[0][0],
        moves=tuple(moves),
    )


def _values(node: Any, name: str) -> list[str]:
    return [str(value) for value in node.get_list_property(name) or ()]


def _text(node: Any, name: str) -> str:
    return next(iter(_values(node, name)), "").strip()


def _area(values: Sequence[str], x_size: int, y_size: int) -> list[int]:
    """Points, and rectangles as two corners with a colon."""
    points = []
    for value in values:
        first, _, last = value.partition(":")
        low, high = (divmod(_point(corner, x_size, y_size), x_size) for corner in (first, last or first))
        points += [y * x_size + x for y in range(low[0], high[0] + 1) for x in range(low[1], high[1] + 1)]
    return points


def _point(text: str, x_size: int, y_size: int) -> int:
    """Two letters, columns and rows from the top left; nothing or, on boards up to 19, "tt" is a pass."""
    if text in ("", "tt"):
        return x_size * y_size
    if len(text) != 2 or not (
        0 <= (x := ord(text[0]) - ord("a")) < x_size and 0 <= (y := ord(text[1]) - ord("a")) < y_size
    ):
        raise BadRecord(f"{text!r}, which is no point of {x_size}x{y_size}")
    return y * x_size + x


def _rules(name: str) -> RulesAndKomi:
    found = parse_rules_and_komi(_RULES.get(name.lower(), name))
    if not is_supported_by_networks(found.rules):
        raise BadRecord(f"rules that networks do not know: {name}")
    return found


def _komi(text: str, usual: float) -> float:
    """The nearest half: some servers write 3.75 for 7.5 points counted in stones, or averages."""
    komi = float(text) if text else usual
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
