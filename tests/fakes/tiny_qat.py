"""A training run small enough for a test: a random network, positions without a game, and a start by plain rounding."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.export.network import Network, OrdinaryBlock
from agent.export.parse import parse_network
from agent.export.quantization import Output, Quantization, QuantizedConv, Scale
from agent.workshop.position_set import Group, PositionSet
from agent.workshop.qat import Run
from agent.workshop.qat_options import QatOptions

STEPS = 12


def network_of(path: Path) -> Network:
    network = parse_network(path)
    return dataclasses.replace(network, info=msgspec.structs.replace(network.info, sha256="5" * 64))


def positions_of(seed: int, count: int = 8) -> PositionSet:
    """Stones at random; every position is a game of its own."""
    random = np.random.default_rng(seed)
    groups = []
    for number, (y_size, x_size) in enumerate(((5, 5), (4, 6))):
        spatial = random.random((count, 22, y_size, x_size)) < 0.3
        spatial[:, 0] = True
        legal = random.random((count, y_size * x_size + 1)) < 0.8
        legal[:, -1] = True
        game = np.arange(count, dtype=np.int32) + 1000 * seed + 100 * number
        global_ = random.standard_normal((count, 19)).astype(np.float32)
        groups.append(Group(y_size, x_size, spatial, global_, legal, game, game % 7))
    return PositionSet(tuple(groups), f"random, seed {seed}")


def rounded(network: Network, *, stored: bool = False) -> Quantization:
    """Every convolution of the ordinary blocks, rounded to the nearest. `stored` rounds what goes out of the last ones,
    too, each channel with a gain."""
    convs: dict[str, QuantizedConv] = {}
    for block in network.trunk.blocks:
        if isinstance(block, OrdinaryBlock):
            folded = block.regular_conv.weights * block.mid_bn.scale[:, None, None, None]
            convs[block.regular_conv.name] = _conv(folded, block.mid_bn.bias)
            final = block.final_conv.weights
            gain = np.linspace(0.5, 2, len(final), dtype=np.float32)
            output = Output(Scale(0.05, 120), gain) if stored else None
            weights = final / gain[:, None, None, None] if stored else final
            convs[block.final_conv.name] = _conv(weights, np.zeros(len(final), np.float32), output)
    return Quantization(convs, recipe={"calibration": "none"})


def _conv(weights: Any, bias: Any, output: Output | None = None) -> QuantizedConv:
    scales = (np.abs(weights).max((1, 2, 3)) / 127).astype(np.float32)
    integers = np.rint(weights / scales[:, None, None, None]).astype(np.int8)
    return QuantizedConv(integers, scales, np.array(bias, np.float32), Scale(0.03, 0), output=output)


def run_of(path: Path, **changes: Any) -> Run:
    """A run of STEPS steps with a checkpoint after each."""
    network = network_of(path)
    options = QatOptions(
        steps=STEPS, batch=3, symmetries=2, warmup=2, weight_travel=0.3, bias_travel=6e-3, map_scale_travel=6e-2
    )
    run = Run(network, rounded(network), positions_of(1), options, checkpoint_s=0.0)
    return dataclasses.replace(run, **changes)
