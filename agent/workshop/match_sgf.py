"""Writes the games of a match between engines as SGF files. Start at `GameWriter`."""

from __future__ import annotations

from pathlib import Path

from agent.engine.points import color_letter, vertex
from agent.errors import JournalUnusable, RecordUnreadable
from agent.model.disk import write_atomically
from agent.record.sgf import parse_sgf
from agent.workshop.contestant import GameSettings
from agent.workshop.gtp_game import GtpGame
from agent.workshop.sgf import record_text

_ENDS = {
    "score": "two passes",
    "resign": "resignation",
    "void": "a repetition",
    "length": "the limit on moves",
}


class GameWriter:
    """One file for each game in `folder`, named by its opening and by who is Black."""

    def __init__(self, folder: Path, settings: GameSettings) -> None:
        self._folder, self._settings = folder, settings

    def write(self, game: GtpGame, names: tuple[str, str]) -> None:
        """Write the game unless it lies there already, as those of a match that goes on do.

        Raises:
            JournalUnusable: the folder cannot be written to, or holds the records of another match.
        """
        path = self._folder / f"{game.pair + 1:04}{'a' if game.first_is_black else 'b'}.sgf"
        text = game_text(game, names, self._settings).encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            before = path.read_bytes() if path.exists() else None
            if before is not None and not _is_same_game(before, text):
                raise JournalUnusable(f"{path} is another game's record", fix="Give another folder with --sgf.")
            if before != text:
                write_atomically(path, text)
        except OSError as error:
            raise JournalUnusable(f"cannot write {path}: {error.strerror or error}") from error


def game_text(game: GtpGame, names: tuple[str, str], settings: GameSettings) -> str:
    """The game as SGF, with how it ended and, at each move, how long it took."""
    black, white = names if game.first_is_black else names[::-1]
    ended = f"{names[0 if game.score == 0 else 1]} {game.fault}" if game.fault else f"Ended by {_ENDS[game.end]}"
    root = {
        "GM": "1",
        "FF": "4",
        "CA": "UTF-8",
        "AP": "katago-agent",
        "SZ": str(settings.size),
        "KM": f"{settings.komi:g}",
        "RU": settings.rules,
        "PB": black,
        "PW": white,
        "RE": game.result,
        "C": f"Opening {game.pair + 1}: the first {game.opening} moves were given.\n{ended}.",
    }
    comments = ["opening"] * game.opening + [f"{seconds:.2f} s" for seconds in game.seconds]
    moves = [
        (color_letter(1 + index % 2), _sgf_point(point, settings.size), comment)
        for index, (point, comment) in enumerate(zip(game.moves, comments, strict=True))
    ]
    return record_text(root, moves)


def _is_same_game(one: bytes, other: bytes) -> bool:
    """By who played and what, and not by how it is told, which another release may do in other words."""
    if one == other:
        return True
    try:
        records = [parse_sgf(each) for each in (one, other)]
    except RecordUnreadable:
        return False
    first, second = ((each.black, each.white, each.x_size, each.komi, each.moves) for each in records)
    return first == second


def _sgf_point(point: int, size: int) -> str:
    if vertex(point, size, size) == "pass":
        return ""
    y, x = divmod(point, size)
    return chr(ord("a") + x) + chr(ord("a") + y)
