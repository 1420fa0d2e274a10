"""The trees of a worker: named ones wait here for the next search of their game. Bounded in number and memory.

Not thread-safe: the player calls under its lock. A tree is either in use by one search or at rest.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from agent.engine.tree import SearchTree

# A worker serves a handful of games at once; the rest is KaTrain windows somebody forgot.
MAX_RESTING_TREES = 8
# A node on 19×19 with its evaluation is 1.9 kB (24 000 nodes, measured), little more than a cached evaluation, and
# shares that with the cache: whoever sized the cache for the machine's memory sized the trees with it. 50 000 of both,
# an analysis of 40 minutes at 20 visits/s, add 95 MB to the 273 MB of a worker with b15c192.
NODES_PER_CACHED_POSITION = 1
# 19 MB: enough for a night of analysis on the smallest board.
MIN_MAX_NODES = 10_000


def default_max_nodes(cache_positions: int) -> int:
    """How large one tree may grow, and all trees at rest together."""
    return max(MIN_MAX_NODES, NODES_PER_CACHED_POSITION * cache_positions)


class Forest:
    """Gives trees by name and takes them back. `plant` makes a new one."""

    def __init__(self, plant: Callable[[], SearchTree], *, max_nodes: int) -> None:
        self.max_nodes = max_nodes
        self._plant = plant
        self._resting: OrderedDict[str, SearchTree] = OrderedDict()  # the one that rests longest first
        self._in_use: set[str] = set()
        self._stale: set[str] = set()  # of those in use: not to be gone on with

    def is_free(self, name: str) -> bool:
        """Whether a search may take this tree now. Nameless trees always are."""
        return name not in self._in_use

    def take(self, name: str) -> SearchTree:
        """The tree of that name, or a new one. The name must be free; an empty one is nobody's."""
        if not name:
            return self._plant()
        self._in_use.add(name)
        tree = self._resting.pop(name, None)
        return tree if tree is not None else self._plant()

    def give_back(self, name: str, tree: SearchTree) -> None:
        """The search is over. Trees that rest longer may be dropped to stay within bounds; this one, which its search
        bounded, stays for the next move of its game."""
        if not name:
            return
        self._in_use.discard(name)
        if name in self._stale:
            self._stale.remove(name)
            return
        self._resting[name] = tree
        self._drop(lambda: len(self._resting) > MAX_RESTING_TREES or self.resting_nodes > self.max_nodes)

    def clear(self) -> None:
        """Forget all trees: those at rest now, the others when their searches end."""
        self._resting.clear()
        self._stale |= self._in_use

    @property
    def resting_nodes(self) -> int:
        return sum(tree.nodes for tree in self._resting.values())

    def _drop(self, too_much: Callable[[], bool]) -> None:
        while len(self._resting) > 1 and too_much():
            self._resting.popitem(last=False)
