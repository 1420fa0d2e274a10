"""Stones that hang together on a board of colours, row-major. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def neighbours(point: int, x_size: int, y_size: int) -> list[int]:
    """The up to four points beside one."""
    y, x = divmod(point, x_size)
    sides = ((x - 1, y), (x + 1, y), (x, y - 1), (x, y + 1))
    return [v * x_size + u for u, v in sides if 0 <= u < x_size and 0 <= v < y_size]


def chain(colors: Sequence[int], start: int, sizes: tuple[int, int]) -> set[int]:
    """The points of the chain that the stone on `start` belongs to."""
    found, frontier = {start}, [start]
    while frontier:
        near = [p for p in neighbours(frontier.pop(), *sizes) if colors[p] == colors[start] and p not in found]
        found.update(near)
        frontier += near
    return found


def liberties(colors: Sequence[int], points: Iterable[int], sizes: tuple[int, int]) -> set[int]:
    """The empty points beside any of `points`."""
    return {near for point in points for near in neighbours(point, *sizes) if not colors[near]}
