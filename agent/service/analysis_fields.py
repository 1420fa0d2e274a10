"""Typed fields of a JSON object, each read with the error text that KataGo gives for it. Pure."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from agent.engine.points import parse_color
from agent.errors import QueryRefused

PRIORITY_LIMIT = (1 << 62) - 1

# A query's own fields nest three deep; Python's JSON gives up at about a thousand.
MAX_DEPTH = 50


def refuse(field: str, text: str) -> QueryRefused:
    return QueryRefused(field, text)


def integer(given: dict[str, Any], field: str, low: int, high: int, text: str) -> int:
    """A JSON integer; 10.0 is none, and neither is true. Raises QueryRefused with `text`."""
    value = given[field]
    if type(value) is not int or not low <= value <= high:
        raise refuse(field, text)
    return value


def number(given: dict[str, Any], field: str, low: float, high: float, text: str) -> float:
    """A JSON number. Raises QueryRefused with `text`."""
    value = given[field]
    if type(value) not in (int, float) or not low <= value <= high:
        raise refuse(field, text)
    return float(value)


def flag(given: dict[str, Any], field: str) -> bool:
    """Raises QueryRefused."""
    value = given[field]
    if not isinstance(value, bool):
        raise refuse(field, "Must be a boolean")
    return value


def player(given: dict[str, Any], field: str, named: str) -> int:
    """BLACK or WHITE. Raises QueryRefused for field `named`."""
    value = given[field]
    color = parse_color(value) if isinstance(value, str) else None
    if color is None:
        raise refuse(named, 'Must be "b" or "w"')
    return color


def integers(given: dict[str, Any], field: str, text: str) -> list[int]:
    """An array of numbers, fractions cut and true as 1, as KataGo's JSON library converts them.

    Raises QueryRefused with `text`.
    """
    values = given[field]
    if not isinstance(values, list) or not all(_is_convertible(value) for value in values):
        raise refuse(field, text)
    return [int(value) for value in values]


def _is_convertible(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, float) and math.isfinite(value))


def is_too_deep(value: Any) -> bool:
    """Whether arrays and objects nest deeper than MAX_DEPTH in each other."""
    level = [value]
    for _ in range(MAX_DEPTH):
        containers = [item for item in level if isinstance(item, dict | list)]
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True


def to_single(x: float) -> float:
    """`x` as a 32-bit float holds it."""
    single: float = struct.unpack("f", struct.pack("f", x))[0]
    return single


def text_of(value: Any) -> str:
    """A setting as the text that a configuration file would hold."""
    return value if isinstance(value, str) else compact(value)


def compact(value: Any) -> str:
    """JSON as KataGo writes it: sorted keys, no spaces, UTF-8 unescaped."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
