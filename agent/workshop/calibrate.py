"""Turns a network into static INT8: walks it in fp32 and quantized side by side, one convolution after the other.

Start at `calibrate`. Each convolution is quantized on what the already quantized layers before it give, so that it can
make up for the mean of their errors. Finished layers stay on the disk: a run that was killed goes on with the next one
and comes to the same end. What each step was worth stands in docs/decisions/0023.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from agent.errors import CalibrationError
from agent.events import Reporter, WorkshopProgress
from agent.export.network import BatchNorm, Conv, Network
from agent.export.onnx_packed import trunk_layers
from agent.export.quantization import Quantization, QuantizedConv, Scale, load_quantization
from agent.workshop.forward import (
    Array,
    Forward,
    Signal,
    as_matrix,
    chunks,
    convolve,
    each,
    folded,
    from_matrix,
    inputs_of,
    patches,
)
from agent.workshop.gains import Input, choose_input, fold_gains
from agent.workshop.position_set import PositionSet
from agent.workshop.rounding import Real, round_with_feedback, weight_scales
from agent.workshop.sites import Behind, Site, kept_exact, sites_of

# Raised whenever the same network and positions would become another quantization.
METHOD: Final = "3"


class Recipe(msgspec.Struct, frozen=True):
    """`positions` of the set are used, spread over its boards; `rows` points of them make the moments of a layer. The
    `extremes` with a layer's largest inputs have a say of their own in its scale: a lead of a hundred points drives
    what pooling adds to every point far beyond what most positions show, and a scale that cuts it off loses the policy
    there. In fp32 stay the convolutions that `exact` names, those that read a pooled bias, and a share `last_blocks` of
    the trunk."""

    positions: int = 448
    extremes: int = 8
    rows: int = 28000
    seed: int = 0
    last_blocks: float = 0.2
    exact: tuple[str, ...] = ()


def calibrate(
    network: Network, positions: PositionSet, recipe: Recipe, cache: Path | None, reporter: Reporter
) -> Quantization:
    """The quantization of every site of `network` but those the recipe leaves exact. In the folder `cache`, which is
    made if need be, finished layers are kept.

    Raises:
        ConversionFailed: `network` has blocks that are not quantized.
        CalibrationError: no positions, the network's numbers are none on them, or `cache` cannot be written.
    """
    if not len(positions):
        raise CalibrationError("there is no position to calibrate on")
    every = sites_of(network)
    exact = {*recipe.exact, *kept_exact(every, recipe.last_blocks)}
    sites = {name: site for name, site in every.items() if name not in exact}
    store = _Store(cache, _key(network, positions, recipe))
    used = positions.sample(recipe.positions, recipe.seed)
    convolutions = CalibratingConvolutions(network.info.name, sites, recipe, store, reporter)
    spatial, global_ = inputs_of(used)
    Forward(network, convolutions).run((spatial, spatial), (global_, global_))
    convs, gains = fold_gains(convolutions.convs, sites)
    told = _told(positions, used, [name for name in every if name in exact])
    return Quantization(convs, gains, stored=trunk_layers(network) - set(convs), recipe=told)


def _key(network: Network, positions: PositionSet, recipe: Recipe) -> str:
    parts = (METHOD, network.info.sha256, network.info.name, positions.sha256(), msgspec.json.encode(recipe).decode())
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _told(positions: PositionSet, used: PositionSet, exact: Sequence[str]) -> dict[str, str]:
    return {
        "calibration set": positions.sha256(),
        "calibration positions": f"{len(used)} of {used.games} games, {positions.source}",
        "in fp32": ", ".join(("first convolution", "heads", "matrix products", "1x1 convolutions", *exact)),
        "weights": "int8, a scale for each output, rounded with error feedback",
        "activations": "uint8, one scale, channels evened out before",
        "method": METHOD,
    }


class _Store:
    """A file for each finished layer, in a folder of its own for each key."""

    def __init__(self, cache: Path | None, key: str) -> None:
        self._folder = cache / key[:32] if cache else None
        if self._folder:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise CalibrationError(f"cannot write {self._folder}: {error.strerror}") from error

    def load(self, name: str) -> QuantizedConv | None:
        if self._folder is None or not self._path(name).exists():
            return None
        try:
            return load_quantization(self._path(name)).convs.get(name)
        except CalibrationError:
            return None  # damaged: it is made again

    def save(self, name: str, conv: QuantizedConv) -> None:
        if self._folder is not None:
            Quantization({name: conv}).save(self._path(name))

    def _path(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:24]}.npz"


class CalibratingConvolutions:
    """Quantizes the convolutions of `sites` as a walk of two tracks, exact and quantized, comes to them."""

    def __init__(self, name: str, sites: dict[str, Site], recipe: Recipe, store: _Store, reporter: Reporter) -> None:
        self.convs: dict[str, QuantizedConv] = {}
        self._name = name
        self._sites = sites
        self._recipe = recipe
        self._store = store
        self._reporter = reporter
        self._last: tuple[Signal, Input] | None = None

    def conv(self, conv: Conv, x: Signal, bn: BatchNorm | None) -> Signal:
        weights, bias = folded(conv, bn)
        exact = tuple(convolve(part, weights, bias, conv.dilation) for part in x[0])
        site = self._sites.get(conv.name)
        if site is None:
            return exact, tuple(convolve(part, weights, bias, conv.dilation) for part in x[1])
        self._reporter.report(WorkshopProgress(f"calibrating {self._name}", len(self.convs), len(self._sites)))
        quantized = self._store.load(conv.name)
        if quantized is None:
            quantized = self._quantized(site, weights, bias, x)
            self._store.save(conv.name, quantized)
        self.convs[conv.name] = quantized
        gain = np.ones(conv.in_channels, np.float32) if quantized.gain is None else quantized.gain
        self._last = x, Input(gain, quantized.input)
        return exact, tuple(run_quantized(quantized, part, conv.dilation) for part in x[1])

    def _quantized(self, site: Site, weights: Array, bias: Array, x: Signal) -> QuantizedConv:
        conv = site.conv
        exact, rounded = self._rows(x, conv)
        if not (np.isfinite(exact).all() and np.isfinite(rounded).all()):
            raise CalibrationError(
                f"before {conv.name} the network's numbers are not finite",
                fix="Use another network, or other positions.",
            )
        matrix = as_matrix(weights)
        # Convolutions that read the same map read it rounded once.
        shared = self._last[1] if self._last is not None and self._last[0] is x else None
        chosen = shared or choose_input(x[1], rounded, self._extreme(x, conv), matrix, self._recipe.seed)
        taps = np.tile(chosen.gain, len(matrix) // conv.in_channels)
        integers_in = chosen.scale.rounded(rounded * taps)
        moments = (integers_in.T @ integers_in).astype(np.float64) / len(integers_in)
        scaled = matrix.astype(np.float64) / taps[:, None]
        scales = _safe(weight_scales(scaled, np.diag(moments)), bias, chosen.scale)
        integers = round_with_feedback(scaled, moments, scales)
        got = integers_in.mean(axis=0, dtype=np.float64) @ (integers * scales)
        wanted = exact.mean(axis=0, dtype=np.float64) @ matrix
        return QuantizedConv(
            weights=from_matrix(integers, weights.shape).astype(np.int8),
            weight_scale=scales.astype(np.float32),
            bias=(bias + wanted - got).astype(np.float32),
            input=chosen.scale,
            gain=chosen.gain,
            chained=site.behind is Behind.NEXT,
        )

    def _extreme(self, x: Signal, conv: Conv) -> Array:
        """All patches of the positions whose inputs are largest, as root mean square over a position's points."""
        sizes = [np.square(part).mean(axis=(1, 2, 3)) for part in x[0]]
        every = np.sort(np.concatenate(sizes))
        least = every[-min(self._recipe.extremes, len(every))] if self._recipe.extremes else np.inf
        kernel = (conv.weights.shape[2], conv.weights.shape[3])
        taken = [part[size >= least] for part, size in zip(x[1], sizes, strict=True)]
        none = np.empty((0, conv.in_channels * kernel[0] * kernel[1]), np.float32)
        return np.concatenate([none, *(patches(part, kernel, conv.dilation) for part in taken if len(part))])

    def _rows(self, x: Signal, conv: Conv) -> tuple[Array, Array]:
        """The same points of both tracks, as patches, evenly from all positions."""
        random = np.random.default_rng(self._recipe.seed)
        points = sum(part.shape[0] * part.shape[1] * part.shape[2] for part in x[0])
        share = min(1.0, self._recipe.rows / points)
        kernel = (conv.weights.shape[2], conv.weights.shape[3])
        taken: tuple[list[Array], list[Array]] = ([], [])
        for parts in zip(*x, strict=True):
            for pair in zip(*(chunks(part) for part in parts), strict=True):
                count = pair[0].shape[0] * pair[0].shape[1] * pair[0].shape[2]
                rows = np.sort(random.choice(count, max(1, round(count * share)), replace=False))
                for part, into in zip(pair, taken, strict=True):
                    into.append(patches(part, kernel, conv.dilation)[rows])
        return np.concatenate(taken[0]), np.concatenate(taken[1])


# Biases are stored in units of input scale times weight scale, in 32 bits; half of them stay free for the products.
_MOST_BIAS: Final = 2.0**30


def _safe(scales: Real, bias: Array, scale: Scale) -> Real:
    """`scales` no smaller than the bias of each channel allows: a channel without weights has any scale."""
    least: Real = np.abs(bias.astype(np.float64)) / (scale.scale * _MOST_BIAS)
    return np.maximum(scales, least)


def run_quantized(quantized: QuantizedConv, x: Array, dilation: tuple[int, int] = (1, 1)) -> Array:
    """The convolution as integers would compute it, in float32."""
    scaled = x if quantized.gain is None else x * quantized.gain
    y = convolve(quantized.input.rounded(scaled), quantized.real_weights, quantized.bias, dilation)
    return y if quantized.output is None else quantized.output.scale.rounded(y) * quantized.output.gain


class QuantizedConvolutions:
    """Every track as `quantization` says. The network walked must be `quantization.prepared`; rounding between a
    chained convolution and the next is the next one's."""

    def __init__(self, quantization: Quantization) -> None:
        self._convs = quantization.convs

    def conv(self, conv: Conv, x: Signal, bn: BatchNorm | None) -> Signal:
        quantized = self._convs.get(conv.name)
        if quantized is not None:
            known = quantized
            return each(lambda part: run_quantized(known, part, conv.dilation), x)
        weights, bias = folded(conv, bn)
        return each(lambda part: convolve(part, weights, bias, conv.dilation), x)
