"""Colours and points, and how GTP writes them. Knows nothing of rules or boards' contents.

A point is an integer: `y * x_size + x`, row-major from the top left (A19 first on 19×19), which is the order in which
KataGo prints policy and ownership. `x_size * y_size` is the pass. The core uses the same numbers.
"""

from __future__ import annotations

from typing import Final

EMPTY: Final = 0
BLACK: Final = 1
WHITE: Final = 2

# GTP skips I; KataGo continues after Z with AA, AB… but its boards end at 19 here.
COLUMNS: Final = "ABCDEFGHJKLMNOPQRST"
MAX_SIZE: Final = 19


def opponent(color: int) -> int:
    return BLACK + WHITE - color


def color_letter(color: int) -> str:
    """ "B" or "W"."""
    return "B" if color == BLACK else "W"


def parse_color(text: str) -> int | None:
    """BLACK or WHITE for b, black, w, white in any case; None for anything else."""
    return {"b": BLACK, "black": BLACK, "w": WHITE, "white": WHITE}.get(text.lower())


def pass_point(x_size: int, y_size: int) -> int:
    return x_size * y_size


def parse_vertex(text: str, x_size: int, y_size: int) -> int | None:
    """The point of a GTP vertex ("D4", "pass" in any case), or None where it is none of this board."""
    if text.lower() == "pass":
        return pass_point(x_size, y_size)
    if not 2 <= len(text) <= 3 or not (text[1:].isascii() and text[1:].isdigit()):
        return None
    x = COLUMNS.find(text[0].upper())
    y = y_size - int(text[1:])
    if not (0 <= x < x_size and 0 <= y < y_size):
        return None
    return y * x_size + x


def vertex(point: int, x_size: int, y_size: int) -> str:
    """How GTP writes a point; "pass" for the pass."""
    if point == pass_point(x_size, y_size):
        return "pass"
    y, x = divmod(point, x_size)
    return f"{COLUMNS[x]}{y_size - y}"
