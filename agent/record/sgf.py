"""What an SGF file says of a game. Start at `parse_sgf`; nothing is replayed here.

Only the main line is taken, and of it what comes before the first change of the board that is no move; changes before
the first move are the set-up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from agent.engine.messages import Position
from agent.engine.points import BLACK, EMPTY, MAX_SIZE, WHITE
from agent.engine.rules import MAX_KOMI, RulesAndKomi, parse_rules_and_komi
from agent.errors import RecordUnreadable, RulesError
from agent.record.tree import Node, main_line, parse_first, text_of, values

_MOVES: Final = {"B": BLACK, "W": WHITE}
_SET_UP: Final = {"AB": BLACK, "AW": WHITE, "AE": EMPTY}
# What servers and editors write into RU beside KataGo's own names (in lower case).
_RULES: Final = {
    "jp": "japanese",
    "cn": "chinese",
    "chinese, pda": "chinese",
    "old chinese": "ancient-area",
    "": "japanese",
}
_OTHER_KOMI: Final = "Correct KM in the file; `agent analyze` takes another by --komi."
# Fox writes komi in hundredths, and under Chinese rules counts it in stones: 375 is 3 3/4 stones.
_FOX_KOMI: Final = {325.0: 6.5, 375.0: 7.5, 550.0: 5.5, 650.0: 6.5, 750.0: 7.5}


class Record(msgspec.Struct, frozen=True):
    """A game as its file tells it, without defaults. Colours and points are those of `engine/points.py`.

    `set_up` are (colour, point) in the file's order, EMPTY where a stone is taken away. `rules` is RU as written,
    `komi` KM's number; `first_player` is PL's. `ends_early` says why later nodes of the file are not in `moves`, if so;
    `is_first_of_several` that the file holds further games.
    """

    x_size: int
    y_size: int
    set_up: tuple[tuple[int, int], ...]
    moves: tuple[tuple[int, int], ...]
    rules: str = ""
    komi: float | None = None
    first_player: int | None = None
    black: str = ""
    white: str = ""
    result: str = ""
    date: str = ""
    event: str = ""
    ends_early: str = ""
    is_first_of_several: bool = False

    @property
    def initial_player(self) -> int:
        """PL's; else who moved first; else White after a handicap; else Black."""
        if self.first_player is not None:
            return self.first_player
        if self.moves:
            return self.moves[0][0]
        stones = {point: color for color, point in self.set_up if color != EMPTY}
        return WHITE if len(stones) > 1 and WHITE not in stones.values() else BLACK


def read_sgf(path: Path) -> Record:
    """As `parse_sgf`, of a file. Raises RecordUnreadable for one that cannot be read, too."""
    return parse_sgf(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Raises RecordUnreadable where there is no such file, or it may not be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordUnreadable(f"it cannot be read: {error.strerror}") from error


def parse_sgf(data: bytes | str, *, komi: float | None = None) -> Record:
    """The main line of the first game. A `komi` that is given takes the place of the file's, whatever that is.

    Raises:
        RecordUnreadable: no SGF, a board that is not 1×1 to 19×19, a point off the board, a komi that is no number.
    """
    root, is_first_of_several = parse_first(data)
    if text_of(root, "GM") not in ("", "1"):
        raise RecordUnreadable(f"it is of another game than Go (GM[{text_of(root, 'GM')}])")
    x_size, y_size = _board_size(text_of(root, "SZ"))
    set_up: list[tuple[int, int]] = []
    moves: list[tuple[int, int]] = []
    first_player, ends_early = None, ""
    for node in main_line(root):
        changes = _set_up(node, x_size, y_size)
        if changes and moves:
            ends_early = f"stones are set or taken off after move {len(moves)}"
            break
        set_up += changes
        if not moves:
            first_player = _MOVES.get(text_of(node, "PL").upper()[:1], first_player)
        moves += moves_of(node, x_size, y_size)
    return Record(
        x_size,
        y_size,
        tuple(set_up),
        tuple(moves),
        rules=text_of(root, "RU"),
        komi=_komi(text_of(root, "KM")) if komi is None else komi,
        first_player=first_player,
        black=text_of(root, "PB"),
        white=text_of(root, "PW"),
        result=text_of(root, "RE"),
        date=text_of(root, "DT"),
        event=text_of(root, "EV") or text_of(root, "GN"),
        ends_early=ends_early,
        is_first_of_several=is_first_of_several,
    )


def moves_of(node: Node, x_size: int, y_size: int) -> list[tuple[int, int]]:
    """The moves of one node: one, or none; a sloppy file may have one of each colour. Raises RecordUnreadable."""
    return [(color, _point(text, x_size, y_size)) for name, color in _MOVES.items() for text in values(node, name)]


def point_text(point: int, x_size: int, y_size: int) -> str:
    """SGF's letters of a point; nothing for the pass."""
    if point == x_size * y_size:
        return ""
    y, x = divmod(point, x_size)
    return f"{chr(ord('a') + x)}{chr(ord('a') + y)}"


def known_rules(text: str) -> RulesAndKomi | None:
    """The rules that a name of RU means, with their usual komi; None for a name that nobody knows. No name is Japanese,
    as most servers mean it."""
    try:
        return parse_rules_and_komi(_RULES.get(text.lower(), text))
    except RulesError:
        return None


def position_of(record: Record, rules: RulesAndKomi) -> Position:
    """The game under `rules`, with the record's komi where it has one: to the nearest half, since some servers write
    3.75 for 7.5 points counted in stones, or averages.

    Raises RecordUnreadable for a komi beyond KataGo's bound.
    """
    komi = record.komi if record.komi is not None else rules.komi
    if abs(komi) > MAX_KOMI:
        raise RecordUnreadable(f"a komi of {komi:g}", fix=_OTHER_KOMI)
    return Position(
        record.x_size,
        record.y_size,
        rules.rules,
        round(komi * 2) / 2,
        initial_stones=record.set_up,
        initial_player=record.initial_player,
        moves=record.moves,
    )


# ---------------------------------------------------------------- properties


def _board_size(text: str) -> tuple[int, int]:
    """One number, or columns and rows with a colon; 19 where there is none (FF[4])."""
    columns, _, rows = (text or "19").partition(":")
    try:
        x_size, y_size = int(columns), int(rows or columns)
    except ValueError as error:
        raise RecordUnreadable(f"{text!r} is no size of a board") from error
    if not (1 <= x_size <= MAX_SIZE and 1 <= y_size <= MAX_SIZE):
        raise RecordUnreadable(
            f"a board of {x_size}x{y_size}; KataGo's networks know boards up to {MAX_SIZE}x{MAX_SIZE}"
        )
    return x_size, y_size


def _set_up(node: Node, x_size: int, y_size: int) -> list[tuple[int, int]]:
    return [(color, point) for name, color in _SET_UP.items() for point in _area(values(node, name), x_size, y_size)]


def _area(given: Sequence[str], x_size: int, y_size: int) -> list[int]:
    """Points, and rectangles as two corners with a colon."""
    points = []
    for value in given:
        first, _, last = value.partition(":")
        corners = _point(first, x_size, y_size), _point(last or first, x_size, y_size)
        if x_size * y_size in corners:
            raise RecordUnreadable(f"a stone on {value!r}, which is no point of {x_size}x{y_size}")
        (top, left), (bottom, right) = (divmod(corner, x_size) for corner in corners)
        points += [y * x_size + x for y in range(top, bottom + 1) for x in range(left, right + 1)]
    return points


def _point(text: str, x_size: int, y_size: int) -> int:
    """Two letters, columns and rows from the top left; nothing, or "tt" off the board, is a pass (FF[3])."""
    text = text.strip()
    if text in ("", "tt"):
        return x_size * y_size
    if len(text) != 2 or not (
        0 <= (x := ord(text[0]) - ord("a")) < x_size and 0 <= (y := ord(text[1]) - ord("a")) < y_size
    ):
        raise RecordUnreadable(f"{text[:10]!r}, which is no point of {x_size}x{y_size}")
    return y * x_size + x


def _komi(text: str) -> float | None:
    if not text:
        return None
    try:
        komi = float(text)
    except ValueError:
        komi = math.nan
    if not math.isfinite(komi):
        raise RecordUnreadable(f"a komi of {text[:20]}", fix=_OTHER_KOMI)
    return _FOX_KOMI.get(komi, komi)
