"""How a TFLite file keeps the weights of convolutions and matrix products: the stores that `tflite.py` chooses from.

What is stored narrow is widened by DEQUANTIZE, which XNNPACK computes once, while it loads. It knows one scale for each
output channel and no finer ones, and the taps of a trained 3×3 kernel differ in size: so `widened` cuts such a kernel
into its centre, the two above and below, the two beside and the four corners, which are convolutions of their own (the
outer ones dilated) with scales of their own, and whose results are added. That is as fast as the whole: 2.8 against
3.1 ms for 192 channels on 19×19, 0.68 for both on 9×9 (AVX2, one thread). On 640 held-out positions b15c192 has a KL of
2.2e-4 instead of 5.1e-4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.export.int8_rounding import rounded
from agent.export.network import Array
from agent.export.packing import LARGEST, round_together
from agent.export.tflite_file import TfliteFile

# Shares of a channel's largest weight that its scale may reach. Against the largest alone, b15c192 with weights in INT8
# on 279 golden positions: top-1 0.975 → 0.993, win MAE 0.0026 → 0.0021.
_SHARES: Final = np.linspace(1.0, 0.5, 26, dtype=np.float32)

# Outputs whose weights are all smaller have no weights: pruned ones, mostly.
_NOTHING: Final = 1e-30

# op_version.cc: what a runtime must know to take such weights.
_DEQUANTIZE_FP16_VERSION: Final = 3
_DEQUANTIZE_PER_CHANNEL_VERSION: Final = 5
_CONV_VERSION: Final = 1
_CONV_HYBRID_PER_CHANNEL_VERSION: Final = 5

# Rows and columns of the taps that share scales. Where there are two, they lie two apart.
_Part = tuple[tuple[int, ...], tuple[int, ...]]
_PARTS: Final[tuple[_Part, ...]] = (((1,), (1,)), ((0, 2), (1,)), ((1,), (0, 2)), ((0, 2), (0, 2)))


@dataclass(frozen=True)
class Stored:
    """A layer's weights, or some taps of them, as an operator takes them: [out, in], or [out, y, x, in] with taps that
    lie `apart` points from each other, y and x. `version` is that of the operator."""

    tensor: int
    version: int
    apart: tuple[int, int] = (1, 1)


# Adds a layer's weights, [out, in] or [out, y, x, in], to a file. What all parts give is to be added.
Store = Callable[[TfliteFile, str, Array], tuple[Stored, ...]]


def as_fp32(file: TfliteFile, name: str, values: Array) -> tuple[Stored, ...]:
    return (Stored(file.constant(name, values), _CONV_VERSION),)


def as_fp16(file: TfliteFile, name: str, values: Array) -> tuple[Stored, ...]:
    half = file.constant(name, values.astype(np.float16))
    return (_dequantized(file, name, half, values.shape, _DEQUANTIZE_FP16_VERSION),)


def widened(most_in_float: int, file: TfliteFile, name: str, values: Array) -> tuple[Stored, ...]:
    """INT8 that is fp32 once it is loaded; fp32 where there are no more than `most_in_float` weights."""
    if values.size <= most_in_float:
        return as_fp32(file, name, values)
    if values.shape[1:3] == (3, 3) and values.ndim == 4:
        return _in_parts(file, name, values)
    whole, scales = _by_output(values)
    return (_widened(file, name, whole, scales),)


def as_int8(most_in_float: int, file: TfliteFile, name: str, values: Array) -> tuple[Stored, ...]:
    """INT8 that is multiplied as such. What 1×1 convolutions and products read is the trunk itself, which rounding
    hurts most: they only store INT8."""
    if values.size <= most_in_float or values.ndim == 2 or values.shape[1:3] == (1, 1):
        return widened(most_in_float, file, name, values)
    whole, scales = _by_output(values)
    return (Stored(file.constant(name, whole, scales=scales), _CONV_HYBRID_PER_CHANNEL_VERSION),)


def _by_output(values: Array) -> tuple[NDArray[np.int8], Array]:
    """Whole numbers, rounded so that sums stay, and the scale of each output."""
    outputs, inputs = values.shape[0], values.shape[-1]
    scales = _scales(values.reshape(outputs, -1))
    kernels = (values.reshape(outputs, -1) / scales[:, None]).reshape(outputs, -1, inputs).transpose(0, 2, 1)
    steps = rounded(kernels, -LARGEST, LARGEST).transpose(0, 2, 1)
    return np.ascontiguousarray(steps, np.int8).reshape(values.shape), scales


def _in_parts(file: TfliteFile, name: str, values: Array) -> tuple[Stored, ...]:
    """A 3×3 kernel, rounded as a whole."""
    outputs = values.shape[0]
    grouped = np.ascontiguousarray(values.transpose(3, 1, 2, 0))[None]
    scales = np.empty((1, 1, 3, 3, outputs), np.float32)
    for rows, columns in _PARTS:
        taps = values[:, rows][:, :, columns].reshape(outputs, -1)
        scales[0, 0][np.ix_(rows, columns)] = _scales(taps)
    whole = np.clip(np.rint(grouped / scales), -LARGEST, LARGEST)
    whole = round_together(grouped, scales, whole)[0].transpose(3, 1, 2, 0).astype(np.int8)
    stored = []
    for number, (rows, columns) in enumerate(_PARTS):
        taps8 = np.ascontiguousarray(whole[:, rows][:, :, columns])
        part = _widened(file, f"{name}.{number}", taps8, scales[0, 0, rows[0], columns[0]])
        stored.append(Stored(part.tensor, part.version, (len(rows), len(columns))))
    return tuple(stored)


def _scales(weights: Array) -> Array:
    """For each row of `weights` [out, …] the scale with the least squared error of those tried."""
    largest = np.abs(weights).max(axis=1)
    # Scales that are no normal numbers would keep XNNPACK from taking the layer.
    largest = np.where(largest > _NOTHING, largest, np.float32(LARGEST)) / np.float32(LARGEST)
    best, least = largest, np.full(largest.shape, np.inf, np.float32)
    for share in _SHARES:
        scales = largest * share
        steps = np.clip(np.rint(weights / scales[:, None]), -LARGEST, LARGEST)
        error = np.square(steps * scales[:, None] - weights).sum(axis=1)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    return np.asarray(best, np.float32)


def _widened(file: TfliteFile, name: str, whole: NDArray[np.int8], scales: Array) -> Stored:
    narrow = file.constant(name, whole, scales=scales)
    return _dequantized(file, name, narrow, whole.shape, _DEQUANTIZE_PER_CHANNEL_VERSION)


def _dequantized(file: TfliteFile, name: str, narrow: int, shape: tuple[int, ...], version: int) -> Stored:
    wide = file.tensor(f"{name}.fp32", shape)
    file.operator("DEQUANTIZE", [narrow], wide, options=("DequantizeOptions", {}), version=version)
    return Stored(wide, _CONV_VERSION)
