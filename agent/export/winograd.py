"""3×3 convolutions by Winograd's method F(4×4, 3×3), written out as matrix products. See `layers.py` for the form.

A tile of 4×4 outputs takes 36 products for each pair of channels instead of 144. The board is cut into tiles of 4, the
last of which may hang over the edge. Along one axis of `size` points with T = ⌈size/4⌉ tiles,

    out = Aᵀ · [ (G·w) ⊙ (Bᵀ·x) ]      Bᵀ [6, T, size] cuts and transforms, Aᵀ [size, 6, T] transforms back and joins,

and the padding is in Bᵀ, as rows that stop at the edge. On both axes (v and u for the 6 of x and of y) a map goes

    [n, y, x, c] → [n, y, (v tx), c] → [v, (u ty), n, tx, c] → 36 products with [c, o] → … back the same way.

Each step is one matrix product over contiguous memory; the only copies are two transpositions that move runs of tx·c
numbers. The matrices for the board's size are cut from those for 19 points, so one graph serves every size.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent.export.graph_interface import Graph
from agent.export.layers import convolution, rms_normalised
from agent.export.network import Array, BatchNorm, Conv, RmsNorm

MAX_SIDE = 19
TILE = 4
_POINTS = 6
_TILES = -(-MAX_SIDE // TILE)

# Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015): F(4, 3) at the points 0, 1, −1, 2, −2, ∞.
_B = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
KERNEL_TRANSFORM = (
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float64,
    )
    / 24
)
_A = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float64)


class WinogradLayers:
    """Channels last. Convolutions other than 3×3 are one matrix product (1×1) or ONNX's own (the rest)."""

    def __init__(self, graph: Graph, spatial: str) -> None:
        self._graph = graph
        size = [self._dimension(spatial, axis) for axis in (2, 3)]
        self._cut_y, self._cut_x = (self._sliced(_cutting(), side, tiles_axis=1) for side in size)
        self._join_y, self._join_x = (self._sliced(_joining(), side, tiles_axis=2) for side in size)
        six, any_ = graph.constant([_POINTS]), graph.constant([-1])
        rows = graph.node("Mul", [self._tiles(size[0]), six])
        self._products_shape = graph.node("Concat", [six, rows, any_], axis=0)
        zeros = graph.constant([0, 0])
        self._batch_shape = graph.node("Concat", [zeros, self._dimension(spatial, 0), any_], axis=0)
        self._area_shape = graph.node("Concat", [graph.constant([0]), *size, any_], axis=0)

    def enter(self, conv: Conv, spatial: str) -> str:
        """As ONNX's own convolution: 22 channels are too few to win anything."""
        return self._channels_last(convolution(self._graph, conv, spatial))

    def conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        weights = conv.weights if bn is None else conv.weights * bn.scale[:, None, None, None]
        if weights.shape[2:] == (1, 1):
            kernel = self._graph.weights(conv.name, np.ascontiguousarray(weights[:, :, 0, 0].T))
            return self._add_bias(self._graph.node("MatMul", [x, kernel]), bn)
        if weights.shape[2:] != (3, 3) or conv.dilation != (1, 1):
            first = self._graph.node("Transpose", [x], perm=[0, 3, 1, 2])
            return self._channels_last(convolution(self._graph, conv, first, bn))
        return self._winograd(conv.name, weights, x, bn)

    def batch_norm(self, bn: BatchNorm, x: str) -> str:
        scaled = self._graph.node("Mul", [x, self._graph.weights(f"{bn.name}.scale", bn.scale)])
        return self._add_bias(scaled, bn)

    def rms_norm(self, norm: RmsNorm, x: str) -> str:
        x = rms_normalised(self._graph, norm, x, -1, norm.scale)
        return self._graph.node("Add", [x, self._graph.weights(f"{norm.name}.bias", norm.bias)])

    def tokens(self, x: str, channels: int) -> str:
        return self._graph.node("Reshape", [x, self._graph.constant([0, -1, channels])])

    def from_tokens(self, x: str) -> str:
        return self._graph.node("Reshape", [x, self._area_shape])

    def add_column(self, x: str, column: str) -> str:
        return self._graph.node("Add", [x, self._graph.node("Unsqueeze", [column, self._graph.constant([1, 2])])])

    def mean(self, x: str) -> str:
        return self._graph.node("ReduceMean", [x], axes=[1, 2], keepdims=0)

    def largest(self, x: str) -> str:
        return self._graph.node("ReduceMax", [x], axes=[1, 2], keepdims=0)

    def flat(self, x: str) -> str:
        first = self._graph.node("Transpose", [x], perm=[0, 3, 1, 2])
        return self._graph.node("Reshape", [first, self._graph.constant([0, 0, -1])])

    # ------------------------------------------------------------ the method

    def _winograd(self, name: str, weights: Array, x: str, bn: BatchNorm | None) -> str:
        graph, (outputs, inputs) = self._graph, weights.shape[:2]
        x = graph.node("MatMul", [self._cut_x, x])
        x = graph.node("Reshape", [x, graph.constant([0, 0, _POINTS, -1])])
        x = graph.node("Transpose", [x], perm=[2, 1, 0, 3])
        x = graph.node("MatMul", [self._cut_y, graph.node("Reshape", [x, graph.constant([0, 0, -1])])])
        x = graph.node("Reshape", [x, graph.constant([-1, inputs])])
        x = self._products(name, weights, x, bn)
        x = graph.node("MatMul", [self._join_y, graph.node("Reshape", [x, self._products_shape])])
        x = graph.node("Reshape", [x, self._batch_shape])
        x = graph.node("Transpose", [x], perm=[2, 1, 0, 3])
        return graph.node("MatMul", [self._join_x, graph.node("Reshape", [x, graph.constant([0, 0, -1, outputs])])])

    def _products(self, name: str, weights: Array, x: str, bn: BatchNorm | None) -> str:
        graph = self._graph
        products = []
        parts, kernels = graph.split(x, _POINTS**2), self._kernels(name, weights)
        for index, inputs in enumerate([part, kernel] for part, kernel in zip(parts, kernels, strict=True)):
            # What belongs to the point 1 on both axes comes out as the same number everywhere in the tile.
            if bn is not None and index == _POINTS + 1:
                inputs.append(graph.weights(bn.name, bn.bias))
            products.append(graph.node("Gemm", inputs))
        return graph.node("Concat", products, axis=0)

    def _kernels(self, name: str, weights: Array) -> list[str]:
        """G·w·Gᵀ of [out, in, y, x] as 36 matrices [in, out], in the order of (v, u)."""
        return [self._graph.weights(f"{name}.{index}", part) for index, part in enumerate(_transformed(weights))]

    # ------------------------------------------------------------ shapes

    def _dimension(self, spatial: str, axis: int) -> str:
        return self._graph.node("Shape", [spatial], start=axis, end=axis + 1)

    def _tiles(self, side: str) -> str:
        graph = self._graph
        up = graph.node("Add", [side, graph.constant([TILE - 1])])
        return graph.node("Div", [up, graph.constant([TILE])])

    def _sliced(self, matrix: Array, side: str, tiles_axis: int) -> str:
        """The part of `matrix` for a board of `side` points, as two dimensions: tiles go with the points."""
        graph = self._graph
        ends = graph.node("Concat", [side, self._tiles(side)], axis=0)
        axes = graph.constant([2 if tiles_axis == 1 else 0, tiles_axis])
        part = graph.node("Slice", [graph.constant(matrix), graph.constant([0, 0]), ends, axes])
        if tiles_axis == 1:
            shape = graph.node("Concat", [graph.constant([-1]), side], axis=0)
        else:
            shape = graph.node("Concat", [side, graph.constant([-1])], axis=0)
        return graph.node("Reshape", [part, shape])

    def _channels_last(self, x: str) -> str:
        return self._graph.node("Transpose", [x], perm=[0, 2, 3, 1])

    def _add_bias(self, x: str, bn: BatchNorm | None) -> str:
        return x if bn is None else self._graph.node("Add", [x, self._graph.weights(bn.name, bn.bias)])


def winograd_bytes(conv: Conv) -> int:
    """What the weights of a 3×3 convolution take in this form."""
    return 4 * _POINTS**2 * conv.in_channels * conv.out_channels


def _transformed(weights: Array) -> NDArray[np.float32]:
    """G·w·Gᵀ of [out, in, y, x] as [36 (v, u), in, out]."""
    outputs, inputs = weights.shape[:2]
    both = np.einsum("va,ub->vuba", KERNEL_TRANSFORM, KERNEL_TRANSFORM).reshape(_POINTS**2, -1).astype(np.float32)
    flat = weights.transpose(2, 3, 1, 0).reshape(both.shape[1], -1)
    transformed: NDArray[np.float32] = both @ flat
    return transformed.reshape(_POINTS**2, inputs, outputs)


def _cutting() -> NDArray[np.float32]:
    """Bᵀ [6, tiles, 19]."""
    matrix = np.zeros((_POINTS, _TILES, MAX_SIDE), np.float32)
    for tile in range(_TILES):
        for k in range(_POINTS):
            point = TILE * tile + k - 1
            if 0 <= point < MAX_SIDE:
                matrix[:, tile, point] = _B[:, k]
    return matrix


def _joining() -> NDArray[np.float32]:
    """Aᵀ [19, 6, tiles]."""
    matrix = np.zeros((MAX_SIDE, _POINTS, _TILES), np.float32)
    for point in range(MAX_SIDE):
        matrix[point, :, point // TILE] = _A[point % TILE]
    return matrix
