"""Weights as INT8 with scales. Pure numbers; knows no graph. What each choice was worth stands in docs/decisions/0016.

A weight is values · scale. Scales are shared by GROUP inputs of one output at one tap of the kernel: the taps of a
trained 3×3 kernel differ in size, and so do its inputs. Rounding then looks at each kernel as a whole. Neighbouring
points of a map are alike, so errors of the same sign at neighbouring taps add up; where rounding one value the other
way makes the sum smaller, it is rounded that way.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agent.export.network import Array

# A scale (four bytes) for 64 weights (one byte each): 6 % more.
GROUP: Final = 64
LARGEST: Final = 127
# Scales tried, as shares of the one with which the largest weight of its group still fits.
_SHARES: Final = np.linspace(0.7, 0.98, 8, dtype=np.float32)
# How alike the activations of neighbouring points are taken to be. On b6c96 0.3, 0.5, 0.7 and 0.9 gave about the same.
_LIKENESS: Final = 0.5
# Each round changes at most one value of a kernel; nearly all of the gain comes in the first four.
_ROUNDS: Final = 8


class Packed(NamedTuple):
    """`values` int8 [groups, group, …taps, out], `scales` float32 [groups, 1, …taps, out]."""

    values: NDArray[np.int8]
    scales: Array


def pack(weights: Array, group: int = GROUP) -> Packed:
    """`weights` [in, out] or [in, y, x, out] (the two taps in either order). Where `group` does not divide the inputs,
    they are one group."""
    inputs = weights.shape[0]
    size = group if inputs % group == 0 else inputs
    grouped = weights.reshape(inputs // size, size, *weights.shape[1:])
    scales = _scales(grouped)
    values = np.clip(np.rint(grouped / scales), -LARGEST, LARGEST)
    if weights.ndim == 4 and weights.shape[1:3] != (1, 1):
        values = round_together(grouped, scales, values)
    return Packed(values.astype(np.int8), scales)


def _scales(grouped: Array) -> Array:
    """With the least squared error of those tried."""
    fits: Array = np.abs(grouped).max(axis=1, keepdims=True) / np.float32(LARGEST)
    fits[fits == 0] = 1
    best, least = fits, _squared_error(grouped, fits)
    for share in _SHARES:
        error = _squared_error(grouped, fits * share)
        best = np.where(error < least, fits * share, best)
        least = np.minimum(error, least)
    return np.asarray(best, np.float32)


def _squared_error(grouped: Array, scales: Array) -> Array:
    rounded = np.clip(np.rint(grouped / scales), -LARGEST, LARGEST) * scales
    error: Array = np.square(rounded - grouped).sum(axis=1, keepdims=True)
    return error


def round_together(grouped: Array, scales: Array, values: Array) -> Array:
    """`values`, whole numbers that times `scales` stand for `grouped` [groups, group, y, x, out], changed by ones where
    that makes the error of a kernel on activations that are alike smaller: eᵀ·H·e with e the errors of its taps and H
    their likeness."""
    height, width, outputs = grouped.shape[2:]
    y, x = (each.ravel() for each in np.indices((height, width)))
    likeness = np.float32(_LIKENESS) ** (np.abs(y[:, None] - y) + np.abs(x[:, None] - x)).astype(np.float32)
    shape = (grouped.shape[0] * grouped.shape[1], height * width, outputs)
    steps = np.broadcast_to(scales, grouped.shape).reshape(shape)
    rounded = values.reshape(shape).copy()
    errors = grouped.reshape(shape) - rounded * steps
    for _ in range(_ROUNDS):
        pull = np.einsum("st,ito->iso", likeness, errors)
        ways = np.sign(pull)
        # What one step towards the pull changes in eᵀ·H·e; H is 1 on its diagonal.
        changes = steps * (steps - 2 * np.abs(pull))
        changes[np.abs(rounded + ways) > LARGEST] = np.inf
        tap = changes.argmin(axis=1)
        kernel = np.nonzero(np.take_along_axis(changes, tap[:, None], axis=1)[:, 0] < 0)
        if not kernel[0].size:
            break
        place = kernel[0], tap[kernel], kernel[1]
        rounded[place] += ways[place]
        errors[place] -= ways[place] * steps[place]
    return np.asarray(rounded.reshape(grouped.shape), np.float32)
