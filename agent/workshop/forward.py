"""A network's answers computed in numpy, with every convolution open to whoever calibrates. Start at `Forward`.

A `Signal` is one or more tracks through the same network at once, each a tuple of arrays, one for each board size:
maps are [n, y, x, channels], columns [n, channels]. With two tracks, the exact and the quantized network walk side by
side, and each convolution sees what both give it. Mirrors `export/emit.py`, which is checked against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from agent.engine.backends.interface import Outputs
from agent.errors import ConversionFailed
from agent.export.network import (
    Activation,
    BatchNorm,
    Block,
    Conv,
    GpoolBlock,
    MatMul,
    NestedBlock,
    Network,
    OrdinaryBlock,
    walk_blocks,
)
from agent.workshop.position_set import PositionSet

Array = NDArray[np.float32]
Track = tuple[Array, ...]
Signal = tuple[Track, ...]

# As in `export/emit.py`.
_MIDDLE_SIDE = 14.0
# Patches of this many points are gathered at once: 3×3×192 channels of float32 for them take 20 MB.
_POINTS_AT_ONCE = 361 * 8


class Convolutions(Protocol):
    """How the convolutions are computed."""

    def conv(self, conv: Conv, x: Signal, bn: BatchNorm | None) -> Signal:
        """The convolution and the normalisation behind it."""


class ExactConvolutions:
    """As the network says, on every track."""

    def conv(self, conv: Conv, x: Signal, bn: BatchNorm | None) -> Signal:
        weights, bias = folded(conv, bn)
        return each(lambda a: convolve(a, weights, bias, conv.dilation), x)


class Forward:
    """Walks through `network`."""

    def __init__(self, network: Network, convolutions: Convolutions) -> None:
        self._network = network
        self._convolutions = convolutions

    def run(self, spatial: Signal, global_: Signal) -> tuple[tuple[Outputs, ...], ...]:
        """Outputs by track and board size; `spatial` [n, y, x, 22], `global_` [n, 19]."""
        x = self._trunk(spatial, global_)
        policy, (value, score, ownership) = self._policy(x), self._value(x)
        return tuple(
            tuple(Outputs(*parts) for parts in zip(*tracks, strict=True))
            for tracks in zip(policy, value, score, ownership, strict=True)
        )

    def _trunk(self, spatial: Signal, global_: Signal) -> Signal:
        trunk = self._network.trunk
        if trunk.metadata_encoder is not None:
            raise _not_calibrated(trunk.metadata_encoder.name)
        column = each(lambda g: g @ trunk.initial_matmul.weights, global_)
        x = each(_add_column, self._conv(trunk.initial_conv, spatial), column)
        for block in trunk.blocks:
            x = self._block(block, x)
        if not isinstance(trunk.tip_norm, BatchNorm):
            raise _not_calibrated(trunk.tip_norm.name)
        return _activate(trunk.tip_act, _batch_norm(trunk.tip_norm, x))

    def _block(self, block: Block, x: Signal) -> Signal:
        if not isinstance(block, OrdinaryBlock | GpoolBlock | NestedBlock):
            raise _not_calibrated(block.name)
        inner = _activate(block.pre_act, _batch_norm(block.pre_bn, x))
        if isinstance(block, OrdinaryBlock):
            inner = _activate(block.mid_act, self._conv(block.regular_conv, inner, block.mid_bn))
            inner = self._conv(block.final_conv, inner)
        elif isinstance(block, GpoolBlock):
            inner = self._gpool(block, inner)
        else:
            inner = self._conv(block.pre_conv, inner)
            for inside in block.blocks:
                inner = self._block(inside, inner)
            inner = _activate(block.post_act, _batch_norm(block.post_bn, inner))
            inner = self._conv(block.post_conv, inner)
        return each(np.add, inner, x)

    def _gpool(self, block: GpoolBlock, x: Signal) -> Signal:
        pooled = _activate(block.gpool_act, self._conv(block.gpool_conv, x, block.gpool_bn))
        bias = _matmul(block.gpool_to_bias, each(_pool, pooled))
        bias = each(lambda b: b * block.mid_bn.scale, bias)
        inner = each(_add_column, self._conv(block.regular_conv, x, block.mid_bn), bias)
        return self._conv(block.final_conv, _activate(block.mid_act, inner))

    def _policy(self, x: Signal) -> Signal:
        head = self._network.policy_head
        pooled = each(_pool, _activate(head.g1_act, self._conv(head.g1_conv, x, head.g1_bn)))
        bias = each(lambda b: b * head.p1_bn.scale, _matmul(head.gpool_to_bias, pooled))
        points = each(_add_column, self._conv(head.p1_conv, x, head.p1_bn), bias)
        points = each(_flat, self._conv(head.p2_conv, _activate(head.p1_act, points)))
        passes = _matmul(head.gpool_to_pass, pooled)
        if (second := head.pass_head) is not None:
            hidden = each(lambda p: p + second.bias, passes)
            passes = _matmul(second.matmul, _activate(second.act, hidden))
        return each(lambda p, q: np.concatenate([p, q[:, :, None]], axis=2), points, passes)

    def _value(self, x: Signal) -> tuple[Signal, Signal, Signal]:
        head = self._network.value_head
        x = _activate(head.v1_act, self._conv(head.v1_conv, x, head.v1_bn))
        hidden = each(lambda h: h + head.v2_bias, _matmul(head.v2_matmul, each(_pool_value, x)))
        hidden = _activate(head.v2_act, hidden)
        value = each(lambda v: v + head.v3_bias, _matmul(head.v3_matmul, hidden))
        score = each(lambda s: s + head.score_bias, _matmul(head.score_matmul, hidden))
        ownership = each(lambda o: _flat(o)[:, 0], self._conv(head.ownership_conv, x))
        return value, score, ownership

    def _conv(self, conv: Conv, x: Signal, bn: BatchNorm | None = None) -> Signal:
        return self._convolutions.conv(conv, x, bn)


def inputs_of(positions: PositionSet) -> tuple[Track, Track]:
    """What `Forward.run` takes, as one track: spatial and global inputs by board size."""
    spatial = tuple(
        np.ascontiguousarray(group.spatial.transpose(0, 2, 3, 1).astype(np.float32)) for group in positions.groups
    )
    return spatial, tuple(group.global_ for group in positions.groups)


def each(function: Callable[..., Array], *signals: Signal) -> Signal:
    """`function` of the arrays of `signals`, for each track and board size."""
    return tuple(
        tuple(function(*arrays) for arrays in zip(*tracks, strict=True)) for tracks in zip(*signals, strict=True)
    )


# ---------------------------------------------------------------- convolutions


def folded(conv: Conv, bn: BatchNorm | None) -> tuple[Array, Array]:
    """Weights [out, in, y, x] and bias [out] of a convolution with the normalisation behind it."""
    if bn is None:
        return conv.weights, np.zeros(conv.out_channels, np.float32)
    return conv.weights * bn.scale[:, None, None, None], bn.bias


def as_matrix(weights: Array) -> Array:
    """[out, in, y, x] as [(y x in), out], what patches are multiplied with."""
    return np.ascontiguousarray(weights.transpose(2, 3, 1, 0).reshape(-1, weights.shape[0]))


def from_matrix(matrix: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """The inverse of `as_matrix`; `shape` is [out, in, y, x]."""
    out, inputs, y_size, x_size = shape
    return np.ascontiguousarray(matrix.reshape(y_size, x_size, inputs, out).transpose(3, 2, 0, 1))


def patches(x: Array, kernel: tuple[int, int], dilation: tuple[int, int] = (1, 1)) -> Array:
    """What lies under the kernel at each point: [n, y, x, in] to [n·y·x, (y x in)], zero beyond the edge."""
    count, y_size, x_size, channels = x.shape
    if kernel == (1, 1):
        return np.ascontiguousarray(x).reshape(-1, channels)
    around = [dilation[axis] * (kernel[axis] // 2) for axis in (0, 1)]
    padded = np.pad(x, ((0, 0), (around[0], around[0]), (around[1], around[1]), (0, 0)))
    steps = padded.strides
    view = as_strided(
        padded,
        (count, y_size, x_size, *kernel, channels),
        (*steps[:3], steps[1] * dilation[0], steps[2] * dilation[1], steps[3]),
        writeable=False,
    )
    return view.reshape(count * y_size * x_size, -1)


def chunks(x: Array) -> list[Array]:
    """`x` in parts of so many positions that their patches may lie in memory at once."""
    at_once = max(1, _POINTS_AT_ONCE // (x.shape[1] * x.shape[2]))
    return [x[start : start + at_once] for start in range(0, len(x), at_once)]


def convolve(x: Array, weights: Array, bias: Array, dilation: tuple[int, int] = (1, 1)) -> Array:
    """[n, y, x, in] to [n, y, x, out] with "same" padding."""
    matrix = as_matrix(weights)
    out = np.empty((*x.shape[:3], weights.shape[0]), np.float32)
    kernel = (weights.shape[2], weights.shape[3])
    start = 0
    for part in chunks(x):
        result = patches(part, kernel, dilation) @ matrix
        result += bias
        out[start : start + len(part)] = result.reshape(*part.shape[:3], -1)
        start += len(part)
    return out


# ---------------------------------------------------------------- the other layers


def require_convolutional(network: Network) -> None:
    """Raises ConversionFailed where `Forward` could not walk through `network`."""
    trunk = network.trunk
    odd: list[str] = [] if trunk.metadata_encoder is None else [trunk.metadata_encoder.name]
    known = OrdinaryBlock | GpoolBlock | NestedBlock
    odd += [block.name for block in walk_blocks(trunk.blocks) if not isinstance(block, known)]
    if not isinstance(trunk.tip_norm, BatchNorm):
        odd.append(trunk.tip_norm.name)
    if odd:
        raise _not_calibrated(odd[0])


def _not_calibrated(name: str) -> ConversionFailed:
    return ConversionFailed(
        f"{name} belongs to a transformer or to a human-style network, which are not calibrated",
        fix="Export it as fp16 or with int8 weights.",
    )


def _batch_norm(bn: BatchNorm, x: Signal) -> Signal:
    def line(a: Array) -> Array:
        out = a * bn.scale
        out += bn.bias
        return out

    return each(line, x)


def _matmul(layer: MatMul, x: Signal) -> Signal:
    return each(lambda a: a @ layer.weights, x)


def _add_column(x: Array, column: Array) -> Array:
    return x + column[:, None, None, :]


def _flat(x: Array) -> Array:
    count, y_size, x_size, channels = x.shape
    return np.ascontiguousarray(x.reshape(count, y_size * x_size, channels).transpose(0, 2, 1))


def _activate(activation: Activation, x: Signal) -> Signal:
    return each(_FUNCTIONS[activation], x)


def _silu(x: Array) -> Array:
    return np.asarray(x / (1 + np.exp(np.minimum(-x, np.float32(80.0)))), np.float32)


def _mish(x: Array) -> Array:
    """x·tanh(log(1 + e)) with e = exp(x): x·n/(n + 2), n = e² + 2e."""
    e = np.minimum(x, np.float32(20.0))
    np.exp(e, out=e)
    n: Array = e * (e + 2)
    n /= n + 2
    n *= x
    return n


_FUNCTIONS: dict[Activation, Callable[[Array], Array]] = {
    Activation.IDENTITY: lambda x: x,
    Activation.RELU: lambda x: np.maximum(x, 0),
    Activation.MISH: _mish,
    Activation.SILU: _silu,
}


def _factors(x: Array) -> tuple[np.float32, np.float32]:
    away = (np.sqrt(x.shape[1] * x.shape[2]) - _MIDDLE_SIDE) * 0.1
    return np.float32(away), np.float32(away * away - 0.1)


def _pool(x: Array) -> Array:
    mean = x.mean(axis=(1, 2))
    return np.concatenate([mean, mean * _factors(x)[0], x.max(axis=(1, 2))], axis=1)


def _pool_value(x: Array) -> Array:
    mean = x.mean(axis=(1, 2))
    linear, quadratic = _factors(x)
    return np.concatenate([mean, mean * linear, mean * quadratic], axis=1)
