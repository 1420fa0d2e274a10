"""Points as clients write them: GTP vertices in any case, `pss` and `(x,y)` as KataGo also takes them. Pure."""

from __future__ import annotations

from agent.engine.points import parse_vertex, pass_point
from agent.service.numbers import parse_int


def read_point(text: str, x_size: int, y_size: int) -> int | None:
    """The point, or None where the text names none of this board. `(x,y)` counts from the top left, from 0, and is
    checked against the board (KataGo does not)."""
    trimmed = text.strip()
    if trimmed.lower() == "pss":
        return pass_point(x_size, y_size)
    if trimmed.startswith("(") and trimmed.endswith(")"):
        parts = [parse_int(part.strip()) for part in trimmed[1:-1].split(",")]
        if len(parts) != 2 or parts[0] is None or parts[1] is None:
            return None
        x, y = parts[0], parts[1]
        return y * x_size + x if 0 <= x < x_size and 0 <= y < y_size else None
    return parse_vertex(trimmed, x_size, y_size)
