"""Positions to calibrate on and to judge by: the network's inputs, and where each comes from. Start at `PositionSet`.

A set is a file (.npz, written in one step). Its positions are grouped by board size, because a batch has one size. A
game belongs wholly to one half: `split` never lets one game serve both calibration and judgement.
"""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.engine.points import MAX_SIZE
from agent.errors import CalibrationError
from agent.export.info import GLOBAL_CHANNELS, SPATIAL_CHANNELS
from agent.export.quantization import UNREADABLE
from agent.model import disk

# Phases as shares of the board's points played: before a sixth the opening, after three fifths the endgame.
PHASES = ("opening", "middle game", "endgame")
_OPENING_SHARE, _ENDGAME_SHARE = 1 / 6, 3 / 5

_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class Group:
    """n positions on one board size, in the network's terms (V7 features, side to move).

    `spatial` bool [n, 22, y, x] (all planes of version 7 are 0 or 1), `global_` float32 [n, 19], `legal` bool
    [n, area + 1] with pass last, `game` int32 [n] an id that no other game of the set has, `move` int32 [n] how many
    moves were played before."""

    y_size: int
    x_size: int
    spatial: NDArray[np.bool_]
    global_: NDArray[np.float32]
    legal: NDArray[np.bool_]
    game: NDArray[np.int32]
    move: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.move)

    @property
    def board(self) -> str:
        return f"{self.x_size}x{self.y_size}"

    def take(self, index: NDArray[np.bool_] | NDArray[np.intp] | Sequence[int]) -> Group:
        """The positions at `index` (a mask or numbers)."""
        parts = (self.spatial, self.global_, self.legal, self.game, self.move)
        return Group(self.y_size, self.x_size, *(part[np.asarray(index)] for part in parts))

    def phase(self) -> NDArray[np.intp]:
        """Of each position, as a number in PHASES."""
        share = self.move / (self.y_size * self.x_size)
        return np.where(share < _OPENING_SHARE, 0, np.where(share < _ENDGAME_SHARE, 1, 2)).astype(np.intp)

    def inputs(self, start: int, stop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What `Backend.evaluate` takes, of positions `start` to `stop`."""
        return self.spatial[start:stop].astype(np.float32), np.ascontiguousarray(self.global_[start:stop])


@dataclass(frozen=True)
class PositionSet:
    """`source` says how it was made (seed, network, rules, or the SGF folder)."""

    groups: tuple[Group, ...]
    source: str

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)

    @property
    def games(self) -> int:
        return len(self.game_ids())

    def game_ids(self) -> frozenset[int]:
        return frozenset(int(game) for group in self.groups for game in group.game)

    def sha256(self) -> str:
        """Of the positions, whatever the file around them looks like."""
        total = hashlib.sha256()
        for group in self.groups:
            total.update(f"{group.board} {len(group)};".encode())
            for part in (group.spatial, group.global_, group.legal, group.game, group.move):
                total.update(np.ascontiguousarray(part).tobytes())
        return total.hexdigest()

    def split(self, share: float) -> tuple[PositionSet, PositionSet]:
        """Two sets without a common game: about `share` of the games, and the others. Which game goes where depends on
        its id alone, so that the same games land on the same side however many there are."""

        def first(game: int) -> bool:
            return zlib.crc32(int(game).to_bytes(4, "little")) / 2**32 < share

        sides = []
        for wanted in (True, False):
            masks = [np.array([first(game) is wanted for game in group.game], bool) for group in self.groups]
            groups = [group.take(mask) for group, mask in zip(self.groups, masks, strict=True) if mask.any()]
            sides.append(PositionSet(tuple(groups), self.source))
        return sides[0], sides[1]

    def sample(self, count: int, seed: int) -> PositionSet:
        """About `count` positions, each group keeping its share, but none less than one."""
        if count >= len(self):
            return self
        random = np.random.default_rng(seed)
        order = [(group, random.permutation(len(group))) for group in self.groups]
        kept = [(group, index[: max(1, round(count * len(group) / len(self)))]) for group, index in order]
        return PositionSet(tuple(group.take(np.sort(index)) for group, index in kept), self.source)

    def save(self, path: Path) -> None:
        """Write the set in one step.

        Raises:
            CalibrationError: `path` cannot be written; what was there is still there.
        """
        arrays: dict[str, NDArray[np.generic]] = {"source": np.array(self.source)}
        for number, group in enumerate(self.groups):
            arrays |= {
                f"{number}.size": np.array([group.y_size, group.x_size]),
                f"{number}.spatial": np.packbits(group.spatial, axis=None),
                f"{number}.global": group.global_,
                f"{number}.legal": np.packbits(group.legal, axis=None),
                f"{number}.game": group.game,
                f"{number}.move": group.move,
            }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        try:
            disk.write_atomically(path, buffer.getvalue())
        except OSError as error:
            raise CalibrationError(f"cannot write {path}: {error.strerror}") from error


def load_position_set(path: Path) -> PositionSet:
    """Raises CalibrationError: not there, not a whole set, without a position, or with one that is none."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            groups = [_group(arrays, number) for number in range(sum(name.endswith(".size") for name in arrays.files))]
            source = str(arrays["source"])
    except UNREADABLE as error:
        raise CalibrationError(f"{path} is no position set: {error}") from error
    # Nobody could be asked about a board without a position.
    held = tuple(group for group in groups if len(group))
    if not held:
        raise CalibrationError(f"{path} holds no position")
    return PositionSet(held, source)


def _group(arrays: np.lib.npyio.NpzFile, number: int) -> Group:
    """Raises ValueError for what no network may be asked: it would take a fault of the set for one of the network."""
    y_size, x_size = (int(size) for size in arrays[f"{number}.size"])
    if not (1 <= y_size <= MAX_SIZE and 1 <= x_size <= MAX_SIZE):
        raise ValueError(f"group {number} has a board of {x_size}x{y_size}")
    move, game, global_ = (arrays[f"{number}.{part}"] for part in ("move", "game", "global"))
    count, area = len(move), y_size * x_size
    if move.shape != (count,) or game.shape != (count,) or global_.shape != (count, GLOBAL_CHANNELS):
        raise ValueError(f"group {number} has moves {move.shape}, games {game.shape} and global inputs {global_.shape}")
    shape = (count, SPATIAL_CHANNELS, y_size, x_size)
    spatial = _unpacked(arrays[f"{number}.spatial"], shape)
    legal = _unpacked(arrays[f"{number}.legal"], (count, area + 1))
    if count and not 0 <= int(game.min()) <= int(game.max()) <= _LARGEST_ID:
        raise ValueError(f"group {number} has a game whose id is none")
    if not np.isfinite(global_).all() or not legal.any(axis=1).all():
        raise ValueError(f"group {number} has a global input that is no number, or a position without a legal move")
    numbers = game.astype(np.int32), move.astype(np.int32)
    return Group(y_size, x_size, spatial, global_.astype(np.float32), legal, *numbers)


def _unpacked(bits: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    wanted = int(np.prod(shape))
    if len(bits) != -(-wanted // 8):  # `unpackbits` would make up what is missing
        raise ValueError(f"{len(bits)} bytes are not {wanted} bits")
    return np.unpackbits(bits, count=wanted).reshape(shape).astype(bool)
