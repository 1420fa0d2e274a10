"""A KataGo network as values: what `parse.py` reads and `emit.py` writes. Knows neither files nor graphs.

Start at `Network` and go up. The names are those of KataGo's `cpp/neuralnet/desc.h`; arrays are float32.
Every block is a residual: its result is added to what went in. Points count row by row; x is the column, y the row.
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
class RmsNorm:
    """x / √(mean of x² + epsilon) · scale + bias: the mean over the channels of each point, or, where it is `spatial`,
    over all channels of the whole board. `bias` is zero inside transformer blocks."""

    name: str
    scale: Array
    bias: Array
    epsilon: float
    spatial: bool

    @property
    def channels(self) -> int:
        return int(self.scale.shape[0])


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


@dataclass(frozen=True)
class Rope:
    """Rotary position encoding: at the point (x, y) the channels 2p and 2p + 1 of a query or key are turned, as the two
    parts of a complex number, by x·frequencies[h, p, 0] + y·frequencies[h, p, 1]. `h` is the key's head; where all
    heads turn alike, there is only one."""

    frequencies: Array

    @property
    def heads(self) -> int:
        return int(self.frequencies.shape[0])

    @property
    def pairs(self) -> int:
        return int(self.frequencies.shape[1])


@dataclass(frozen=True)
class AttentionBlock:
    """Every point attends to every point. Keys and values have `kv_heads` heads, each of which serves as many of the
    `heads` of the queries in a row; scores are divided by the root of a query's channels."""

    name: str
    norm: RmsNorm
    heads: int
    kv_heads: int
    query: MatMul
    key: MatMul
    value: MatMul
    out: MatMul
    rope: Rope | None

    @property
    def query_dim(self) -> int:
        return self.query.out_channels // self.heads

    @property
    def value_dim(self) -> int:
        return self.value.out_channels // self.kv_heads


@dataclass(frozen=True)
class FfnBlock:
    """SwiGLU at every point: out(silu(linear(x)) · gate(x))."""

    name: str
    norm: RmsNorm
    linear: MatMul
    gate: MatMul
    out: MatMul


TransformerBlock = AttentionBlock | FfnBlock
Block = OrdinaryBlock | GpoolBlock | NestedBlock | TransformerBlock


@dataclass(frozen=True)
class MetadataEncoder:
    """Turns what a human-style network is told about the players into a column that is added at the trunk's start."""

    name: str
    matmul1: MatMul
    bias1: Array
    act1: Activation
    matmul2: MatMul
    bias2: Array
    act2: Activation
    matmul3: MatMul


@dataclass(frozen=True)
class Trunk:
    name: str
    initial_conv: Conv
    initial_matmul: MatMul
    metadata_encoder: MetadataEncoder | None
    blocks: tuple[Block, ...]
    tip_norm: BatchNorm | RmsNorm
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
