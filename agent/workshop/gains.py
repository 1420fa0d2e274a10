"""Evens out a layer's input channels before they are rounded with one scale. Start at `choose_input`.

A channel whose numbers are small next to another's loses its precision when both share a scale. Multiplying it by a
gain, and dividing the weights that read it, moves the difference into the weights, whose scale then has to span it. How
far to go is tried out for each layer (the idea is that of Nagel and others, 2019, arXiv 1906.04721, and of Xiao and
others' SmoothQuant, 2022, arXiv 2211.10438). Before the rounding stands a ReLU, through which a gain passes into the
normalisation before it, or else the graph multiplies.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.export.network import Array
from agent.export.quantization import LEVELS, Output, QuantizedConv, Scale
from agent.workshop.forward import Track
from agent.workshop.rounding import LARGEST, weight_scales
from agent.workshop.sites import Site

# How much of the difference between channels goes into the weights, and which share of the range is not cut off.
# b6c96, b15c192: 0.5 and 0.85 are chosen most often; 1 was never.
_STRENGTHS: Final = (0.0, 0.25, 0.5, 0.75)
_RANGES: Final = (1.0, 0.85, 0.7, 0.6)
# Rows on which a choice is tried. 3000 choose as 1000 do.
_TRIAL_ROWS: Final = 1000
# Channels that never rise above this carry nothing.
_SILENT: Final = 1e-6


@dataclass(frozen=True)
class Input:
    """`gain` [in] multiplies, then `scale` rounds."""

    gain: Array
    scale: Scale


def choose_input(maps: Track, rows: Array, extreme: Array, matrix: Array, seed: int) -> Input:
    """The gain and scale with which the layer's results change least. `maps` are all its inputs, `rows` [n, (taps in)]
    some patches of them, `extreme` some of the positions with the largest, which count as much as all others together;
    `matrix` [(taps in), out] is its weights."""
    channels = maps[0].shape[-1]
    low = np.min([part.min(axis=(0, 1, 2)) for part in maps], axis=0)
    reach = np.maximum(np.max([np.abs(part).max(axis=(0, 1, 2)) for part in maps], axis=0), _SILENT)
    taps = len(matrix) // channels
    weights = np.maximum(np.abs(matrix).reshape(taps, channels, -1).max(axis=(0, 2)), _SILENT)
    random = np.random.default_rng(seed)
    trial = np.concatenate([_some(rows, random), _some(extreme, random)])
    wanted = trial @ matrix
    usual = min(_TRIAL_ROWS, len(rows))
    best, least = None, np.inf
    for strength in _STRENGTHS:
        gain = _gain(strength, reach, weights)
        tiled = np.tile(gain, taps)
        scaled, rounded_weights = trial * tiled, _rounded(matrix / tiled[:, None], trial * tiled)
        for share in _RANGES:
            scale = _scale(float((low * gain).min()), float((reach * gain).max()) * share)
            wrong = np.square(scale.rounded(scaled) @ rounded_weights - wanted)
            error = _relative(wrong[:usual], wanted[:usual]) + _relative(wrong[usual:], wanted[usual:])
            if best is None or error < least:
                best, least = Input(gain, scale), error
    assert best is not None
    return best


def _some(rows: Array, random: np.random.Generator) -> Array:
    return rows[np.sort(random.choice(len(rows), min(_TRIAL_ROWS, len(rows)), replace=False))]


def _relative(wrong: Array, wanted: Array) -> float:
    return float(wrong.mean() / (np.square(wanted).mean() + np.finfo(np.float32).tiny)) if len(wrong) else 0.0


def _gain(strength: float, reach: Array, weights: Array) -> Array:
    if strength == 0:
        return np.ones(len(reach), np.float32)
    gain = (weights / weights.mean()) ** (1 - strength) / reach**strength
    return np.where(reach <= _SILENT, 1.0, gain).astype(np.float32)


def _rounded(matrix: Array, rows: Array) -> Array:
    scales = weight_scales(matrix.astype(np.float64), np.square(rows).mean(axis=0, dtype=np.float64))
    return np.asarray(np.clip(np.rint(matrix / scales), -LARGEST, LARGEST) * scales, np.float32)


def _scale(low: float, high: float) -> Scale:
    """Of numbers from `low` (kept whole: mish's least number is small) to `high`."""
    if low >= 0:
        return Scale(high / LEVELS, 0)
    step = (high - low) / LEVELS
    return Scale(step, int(np.clip(round(-low / step), 0, LEVELS)))


def fold_gains(
    convs: Mapping[str, QuantizedConv], sites: Mapping[str, Site]
) -> tuple[dict[str, QuantizedConv], dict[str, NDArray[np.float32]]]:
    """Move gains through a ReLU to the normalisation before it: by its name, and the convolutions without them. Where
    that normalisation is folded into a quantized convolution, its results carry the gain."""
    gains: dict[str, NDArray[np.float32]] = {}
    folded = dict(convs)
    for name, conv in convs.items():
        if conv.gain is not None and sites[name].scalable:
            gains[sites[name].before.name] = conv.gain
        if conv.gain is not None and (sites[name].scalable or bool((conv.gain == 1).all())):
            folded[name] = dataclasses.replace(conv, gain=None)
    for name, conv in folded.items():
        merged = sites[name].merged
        if merged is not None and merged.name in gains:
            folded[name] = _multiplied(conv, gains[merged.name])
    return folded, gains


def _multiplied(conv: QuantizedConv, gain: Array) -> QuantizedConv:
    if conv.output is not None:
        return dataclasses.replace(conv, output=Output(conv.output.scale, conv.output.gain * gain))
    return dataclasses.replace(conv, weight_scale=conv.weight_scale * gain, bias=conv.bias * gain)
