"""A KataGo network as values: what `parse.py` reads and `emit.py` writes. Knows neither files nor graphs.

Start at `Network` and go up. The names are those of KataGo's `cpp/neuralnet/desc.h`; arrays are float32.
Every block is a residual: its result is added to what went in.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.export.info import NetworkInfo

Array = NDArray[np.float32]


class Activation(enum.Enum):
    """By the file's own names. Files before version 11 have nothing but ReLU."""

    IDENTITY = "ACTIVATION_IDENTITY"
    RELU = "ACTIVATION_RELU"
    MISH = "ACTIVATION_MISH"
    SILU = "ACTIVATION_SILU"


@dataclass(frozen=True)
class Conv:
    """A convolution with "same" padding and no bias. `weights` is [out, in, y, x], a view of the file's order."""

    name: str
    weights: Array
    dilation: tuple[int, int]

    @property
    def out_channels(self) -> int:
        return int(self.weights.shape[0])

    @property
    def in_channels(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class BatchNorm:
    """A trained normalisation as the line it is at play: x·scale + bias, each [channels]."""

    name: str
    scale: Array
    bias: Array

    @property
    def channels(self) -> int:
        return int(self.scale.shape[0])


@dataclass(frozen=True)
class MatMul:
    """`weights` is [in, out]."""

    name: str
    weights: Array

    @property
    def in_channels(self) -> int:
        return int(self.weights.shape[0])

    @property
    def out_channels(self) -> int:
        return int(self.weights.shape[1])


@dataclass(frozen=True)
class OrdinaryBlock:
    name: str
    pre_bn: BatchNorm
    pre_act: Activation
    regular_conv: Conv
    mid_bn: BatchNorm
    mid_act: Activation
    final_conv: Conv


@dataclass(frozen=True)
class GpoolBlock:
    """Beside the regular convolution, a second one is pooled over the board and added to the first as a bias."""

    name: str
    pre_bn: BatchNorm
    pre_act: Activation
    regular_conv: Conv
    gpool_conv: Conv
    gpool_bn: BatchNorm
    gpool_act: Activation
    gpool_to_bias: MatMul
    mid_bn: BatchNorm
    mid_act: Activation
    final_conv: Conv


@dataclass(frozen=True)
class NestedBlock:
    """Narrows the trunk with `pre_conv`, runs `blocks` on that, and widens it again."""

    name: str
    pre_bn: BatchNorm
    pre_act: Activation
    pre_conv: Conv
    blocks: tuple[Block, ...]
    post_bn: BatchNorm
    post_act: Activation
    post_conv: Conv


Block = OrdinaryBlock | GpoolBlock | NestedBlock


@dataclass(frozen=True)
class Trunk:
    name: str
    initial_conv: Conv
    initial_matmul: MatMul
    blocks: tuple[Block, ...]
    tip_bn: BatchNorm
    tip_act: Activation


@dataclass(frozen=True)
class PassHead:
    """The second layer on the way to the pass logits, from version 15 on."""

    bias: Array
    act: Activation
    matmul: MatMul


@dataclass(frozen=True)
class PolicyHead:
    name: str
    p1_conv: Conv
    g1_conv: Conv
    g1_bn: BatchNorm
    g1_act: Activation
    gpool_to_bias: MatMul
    p1_bn: BatchNorm
    p1_act: Activation
    p2_conv: Conv
    gpool_to_pass: MatMul
    pass_head: PassHead | None


@dataclass(frozen=True)
class ValueHead:
    name: str
    v1_conv: Conv
    v1_bn: BatchNorm
    v1_act: Activation
    v2_matmul: MatMul
    v2_bias: Array
    v2_act: Activation
    v3_matmul: MatMul
    v3_bias: Array
    score_matmul: MatMul
    score_bias: Array
    ownership_conv: Conv


@dataclass(frozen=True)
class Network:
    info: NetworkInfo
    trunk: Trunk
    policy_head: PolicyHead
    value_head: ValueHead


def count_blocks(blocks: tuple[Block, ...]) -> int:
    """How many blocks there are, those inside others included."""
    return sum(1 for _ in walk_blocks(blocks))


def walk_blocks(blocks: tuple[Block, ...]) -> Iterator[Block]:
    for block in blocks:
        yield block
        if isinstance(block, NestedBlock):
            yield from walk_blocks(block.blocks)
