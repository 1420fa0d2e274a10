"""One search of the compiled core, with numpy buffers, as Python objects. Start at `SearchTree`.

The functions are those of `core/search_api.cpp`; `core/search.h` says how the search works. Knows no threads and no
clock: `player.py` brings both. All calls release the GIL. Everything is from White's side, as in `messages.py`.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.engine.backends.interface import GLOBAL_CHANNELS, SPATIAL_CHANNELS, VALUE_CHANNELS, NetworkInfo, Outputs
from agent.engine.game import Game
from agent.engine.library import CPostParams, load
from agent.engine.messages import MoveLimit, Position, SearchReport, SearchRequest, SearchStats
from agent.engine.points import BLACK, MAX_SIZE, WHITE, opponent
from agent.engine.search_params import core_values
from agent.engine.tree_report import declare_report, read_report
from agent.errors import BackendUnavailable, EngineError

# `select` did visits that needed no network; call it again.
MADE_PROGRESS = -1
_FAILED = -2

# The core's names for the number of whom the network imitates, and for how old a position that was set up is. No
# parameters of KataGo's, so no client can say them.
EVALUATED_AS = "evaluatedAs"
TURNS_BEFORE = "turnsBefore"

# A depth no game reaches, for limits that hold "always".
_MAX_DEPTH = 2**30

Floats = NDArray[np.float32]


class EvalCache:
    """Evaluations of up to `capacity` positions, shared by all trees of a worker. Thread-safe.

    Raises EngineError where the core has no memory for it.
    """

    def __init__(self, capacity: int) -> None:
        self._core = _core()
        self.handle = made(self._core, self._core.ka_cache_new(capacity))

    def __del__(self) -> None:
        if hasattr(self, "handle"):
            self._core.ka_cache_free(self.handle)

    def __len__(self) -> int:
        return int(self._core.ka_cache_size(self.handle))

    def clear(self) -> None:
        self._core.ka_cache_clear(self.handle)


class LeafBatch:
    """Room for the features of `capacity` positions on any board; each thread has one. After `SearchTree.select`,
    `spatial` [n, 22, y, x] and `global_` [n, 19] show the n positions chosen, and `ids` their n names."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.count = 0
        self.ids = np.zeros(capacity, np.int32)
        self._spatial: Floats = np.zeros(capacity * SPATIAL_CHANNELS * MAX_SIZE * MAX_SIZE, np.float32)
        self._global: Floats = np.zeros((capacity, GLOBAL_CHANNELS), np.float32)
        self.addresses = (self._spatial.ctypes.data, self._global.ctypes.data, self.ids.ctypes.data)
        self.spatial: Floats = self._spatial[:0]
        self.global_: Floats = self._global[:0]

    def show(self, count: int, x_size: int, y_size: int) -> None:
        """Shape the buffers for what was just written into them."""
        self.count = count
        floats = count * SPATIAL_CHANNELS * y_size * x_size
        self.spatial = self._spatial[:floats].reshape(count, SPATIAL_CHANNELS, y_size, x_size)
        self.global_ = self._global[:count]


class SearchTree:
    """A search and the tree it grows, which later searches of the same game go on with.

    `begin` and `report` say when they may be called; `select`, `deliver` and `abandon` may be called by any thread at
    any time after `begin`. `seed` decides symmetries and random draws.

    Raises EngineError where the core has no memory for one.
    """

    def __init__(self, network: NetworkInfo, cache: EvalCache, seed: int) -> None:
        self._core = _core()
        self._network = network
        self._cache = cache  # the core only borrows it
        params = _post_params(network)
        handle = self._core.ka_search_new(
            ctypes.byref(params), network.prefer_pass_alive, cache.handle, seed & 0xFFFFFFFFFFFFFFFF
        )
        self._handle = made(self._core, handle)
        self._position: Position | None = None
        self._to_play = BLACK
        self._size = (MAX_SIZE, MAX_SIZE)

    def __del__(self) -> None:
        if hasattr(self, "_handle"):
            self._core.ka_search_free(self._handle)

    # ------------------------------------------------------------ one search

    def begin(self, request: SearchRequest) -> int:
        """Prepare to search for `request`, with what the tree knows of its position already; returns those visits.
        Not while leaves are out.

        Raises:
            IllegalMove, ValueError, RulesError: the position cannot be (see `Game.from_position`).
            SettingRefused: an override that is none.
        """
        values = core_values(request.overrides)
        values[EVALUATED_AS] = float(zlib.crc32(request.human_profile.encode()))
        values[TURNS_BEFORE] = float(request.turns_before)
        game = Game.from_position(request.position)
        if not self._move_on(request.position, request.player):
            self._check(self._core.ka_search_set_game(self._handle, game.handle, request.player))
        # A player out of turn made the tree's game another one than the position's; do not go on from there.
        in_turn = game.to_play == request.player
        self._position = request.position if in_turn else None
        self._to_play = request.player
        self._size = (request.position.x_size, request.position.y_size)
        names = (ctypes.c_char_p * len(values))(*(name.encode() for name in values))
        numbers = (ctypes.c_double * len(values))(*values.values())
        area = game.area
        black = _until_depth(request.limits, BLACK, area)
        white = _until_depth(request.limits, WHITE, area)
        return self._check(self._core.ka_search_begin(self._handle, len(values), names, numbers, black, white))

    def _move_on(self, position: Position, player: int) -> bool:
        """Re-root the tree where `position` continues the one it was grown for. False: it does not."""
        old, self._position = self._position, None
        if old is None or not _continues(old, position):
            return False
        for color, point in position.moves[len(old.moves) :]:
            if color != self._to_play:
                return False
            self._check(self._core.ka_search_advance(self._handle, point, position.prevent_encore))
            self._to_play = opponent(color)
        return self._to_play == player

    def select(self, batch: LeafBatch, max_visits: int, most: int | None = None) -> int:
        """Choose up to `most` positions that need the network (as many as fit, by default) and write their features
        into `batch`; no playout is begun that would bring the root past `max_visits`. Returns their number; 0 where
        nothing can be had now, `MADE_PROGRESS` where visits were done without the network and there may be more."""
        spatial, global_, ids = batch.addresses
        count = self._check(
            self._core.ka_search_select(
                self._handle, min(most or batch.capacity, batch.capacity), max_visits, spatial, global_, ids
            )
        )
        if count > 0:
            batch.show(count, *self._size)
        return count

    def deliver(self, batch: LeafBatch, outputs: Outputs) -> bool:
        """Take the network's outputs for `batch`. False when some were not finite; those playouts are undone.

        Raises:
            BackendUnavailable: outputs of the wrong shape; nothing was taken and the leaves are still out.
            EngineError: no memory for some, whose playouts are undone. As after success, nothing is left to abandon.
        """
        arrays = self._arrays(batch.count, outputs)
        addresses = (array.ctypes.data for array in arrays)
        count, batch.count = batch.count, 0
        return self._check(self._core.ka_search_deliver(self._handle, count, batch.addresses[2], *addresses)) == 1

    def abandon(self, batch: LeafBatch) -> None:
        """Undo the playouts of `batch`, which will never be evaluated."""
        self._core.ka_search_abandon(self._handle, batch.count, batch.addresses[2])

    def _arrays(self, count: int, outputs: Outputs) -> tuple[Floats, ...]:
        x_size, y_size = self._size
        area = x_size * y_size
        network = self._network
        shapes = (
            (count, network.policy_channels, area + 1),
            (count, VALUE_CHANNELS),
            (count, network.score_channels),
            (count, area),
        )
        arrays = tuple(np.ascontiguousarray(array, np.float32) for array in outputs)
        for array, shape in zip(arrays, shapes, strict=True):
            if array.shape != shape:
                raise BackendUnavailable(f"the backend gave an output of shape {array.shape} instead of {shape}")
        return arrays

    # ------------------------------------------------------------ state

    @property
    def visits(self) -> int:
        """Of the root, those from before `begin` included."""
        return int(self._core.ka_search_visits(self._handle))

    @property
    def in_flight(self) -> int:
        """Leaves that were selected and neither delivered nor abandoned."""
        return int(self._core.ka_search_in_flight(self._handle))

    @property
    def nodes(self) -> int:
        return int(self._core.ka_search_nodes(self._handle))

    @property
    def virtual_losses(self) -> int:
        """Sum over all nodes; 0 whenever nothing is in flight."""
        return int(self._core.ka_search_virtual_losses(self._handle))

    def is_done(self, max_visits: int) -> bool:
        """Whether the root has `max_visits` and nothing is in flight."""
        return bool(self._core.ka_search_is_done(self._handle, max_visits))

    def stats(self, duration_s: float) -> SearchStats:
        """What this search cost since `begin`."""
        counts = (ctypes.c_int64 * 4)()
        self._core.ka_search_counts(self._handle, counts)
        visits, evaluations, cache_hits, terminal = counts
        return SearchStats(visits, evaluations, cache_hits, terminal, duration_s)

    def report(self, request: SearchRequest, *, final: bool, duration_s: float) -> SearchReport:
        """What was found so far; may be called while the search runs."""
        return read_report(self._core, self._handle, request, final=final, stats=self.stats(duration_s))

    def _check(self, result: int) -> int:
        if result == _FAILED:
            raise EngineError(self._core.ka_search_error().decode(errors="replace"))
        return result


def made(core: ctypes.CDLL, handle: int | None) -> int:
    """The core's `handle` of something new, where it could make it."""
    if handle is None:
        raise EngineError(f"the core could not start a search: {core.ka_search_error().decode(errors='replace')}")
    return handle


def _continues(old: Position, new: Position) -> bool:
    """Whether `new` is `old` or comes after it in the same game."""
    return (
        (old.x_size, old.y_size, old.rules, old.komi) == (new.x_size, new.y_size, new.rules, new.komi)
        and (old.initial_stones, old.initial_player) == (new.initial_stones, new.initial_player)
        and old.prevent_encore == new.prevent_encore
        and old.moves == new.moves[: len(old.moves)]
    )


def _until_depth(limits: Sequence[MoveLimit], player: int, area: int) -> ctypes.Array[ctypes.c_int32] | None:
    """For each of area + 1 points the ply before which `player` may not play it; None where all is free."""
    mine = [limit for limit in limits if limit.player == player]
    if not mine:
        return None
    until = [0] * (area + 1)
    for limit in mine:
        named = set(limit.points)
        for point in range(area + 1):
            if (point in named) != limit.allow:
                until[point] = max(until[point], min(limit.until_depth, _MAX_DEPTH))
    return (ctypes.c_int32 * (area + 1))(*until)


def _post_params(network: NetworkInfo) -> CPostParams:
    return CPostParams(*(getattr(network, name) for name, _ in CPostParams._fields_))


def _core() -> ctypes.CDLL:
    """The core with this module's functions declared."""
    core = load()
    if core.ka_search_new.restype is ctypes.c_void_p:
        return core
    pointer, int32, int64 = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
    strings, numbers = ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_double)
    depths = ctypes.POINTER(int32)
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "ka_cache_new": (pointer, (int64,)),
        "ka_cache_free": (None, (pointer,)),
        "ka_cache_clear": (None, (pointer,)),
        "ka_cache_size": (int64, (pointer,)),
        "ka_search_error": (ctypes.c_char_p, ()),
        "ka_search_free": (None, (pointer,)),
        "ka_search_set_game": (int32, (pointer, pointer, int32)),
        "ka_search_advance": (int32, (pointer, int32, int32)),
        "ka_search_begin": (int64, (pointer, int32, strings, numbers, depths, depths)),
        "ka_search_select": (int32, (pointer, int32, int64, pointer, pointer, pointer)),
        "ka_search_deliver": (int32, (pointer, int32, pointer, pointer, pointer, pointer, pointer)),
        "ka_search_abandon": (None, (pointer, int32, pointer)),
        "ka_search_visits": (int64, (pointer,)),
        "ka_search_in_flight": (int32, (pointer,)),
        "ka_search_is_done": (int32, (pointer, int64)),
        "ka_search_nodes": (int64, (pointer,)),
        "ka_search_virtual_losses": (int64, (pointer,)),
        "ka_search_counts": (None, (pointer, ctypes.POINTER(int64))),
        "ka_search_param": (ctypes.c_char_p, (int32, numbers)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(core, name)
        function.restype = result
        function.argtypes = arguments
    declare_report(core)
    # Last, since it tells another thread that all are declared.
    core.ka_search_new.argtypes = (ctypes.POINTER(CPostParams), int32, pointer, ctypes.c_uint64)
    core.ka_search_new.restype = pointer
    return core


def core_params() -> dict[str, float]:
    """The core's own search parameters and their defaults, to compare with `search_params.py`."""
    core = _core()
    value = ctypes.c_double()
    found: dict[str, float] = {}
    while (name := core.ka_search_param(len(found), ctypes.byref(value))) is not None:
        found[name.decode()] = value.value
    return found
