"""When a search ends: conditions that compose. Pure; a condition sees `Progress` and never a clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# KataGo looks at the time only once a search has had so many playouts, so that there is a move to show.
MIN_PLAYOUTS_FOR_TIME = 2


@dataclass(frozen=True)
class Progress:
    """A search at one moment: `visits` of the root, `playouts` of them new, `nodes` in its tree."""

    visits: int = 0
    playouts: int = 0
    elapsed_s: float = 0.0
    nodes: int = 0
    stop_requested: bool = False


Condition = Callable[[Progress], bool]


def visits_reach(count: int) -> Condition:
    return lambda progress: progress.visits >= count


def time_passes(seconds: float) -> Condition:
    """Time and a few playouts, so that the answer is never empty."""
    return lambda progress: progress.elapsed_s >= seconds and progress.playouts >= MIN_PLAYOUTS_FOR_TIME


def tree_holds(nodes: int) -> Condition:
    return lambda progress: progress.nodes >= nodes


def stop_is_requested(progress: Progress) -> bool:
    return progress.stop_requested


def any_of(*conditions: Condition) -> Condition:
    return lambda progress: any(condition(progress) for condition in conditions)
