"""What the layers of a network are in ONNX, in two forms. Knows nothing of how a network is put together.

A "map" is one number for each point and channel. Its layout is the form's own business: `PlainLayers` keeps
[n, channels, y, x], which ONNX Runtime's direct convolutions want; `winograd.py` keeps [n, y, x, channels], where a
convolution is a handful of matrix products. A "column" is [n, channels] in both.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from agent.export.graph_interface import Graph
from agent.export.network import Activation, Array, BatchNorm, Conv, MatMul, RmsNorm


class Layers(Protocol):
    """Adds layers to one graph."""

    def enter(self, conv: Conv, spatial: str) -> str:
        """The first convolution: from the input [n, channels, y, x] to a map."""

    def conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        """Map to map: the convolution, and the normalisation behind it, folded into the weights."""

    def batch_norm(self, bn: BatchNorm, x: str) -> str:
        """Map to map: a normalisation that follows a sum and so cannot be folded."""

    def rms_norm(self, norm: RmsNorm, x: str) -> str:
        """Map to map."""

    def tokens(self, x: str, channels: int) -> str:
        """Map to [n, area, channels], points row by row."""

    def from_tokens(self, x: str) -> str:
        """The way back."""

    def add_column(self, x: str, column: str) -> str:
        """Add to every point of a map."""

    def mean(self, x: str) -> str:
        """Map to column."""

    def largest(self, x: str) -> str:
        """Map to column."""

    def flat(self, x: str) -> str:
        """Map to [n, channels, area], points row-major."""


class PlainLayers:
    """Convolutions as they are, channels first."""

    def __init__(self, graph: Graph, spatial: str) -> None:
        self._graph = graph
        self._spatial = spatial

    def enter(self, conv: Conv, spatial: str) -> str:
        return self.conv(conv, spatial)

    def conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        return convolution(self._graph, conv, x, bn)

    def batch_norm(self, bn: BatchNorm, x: str) -> str:
        """As its own node, which ONNX Runtime runs together with the activation."""
        graph = self._graph
        scale, bias = graph.weights(f"{bn.name}.scale", bn.scale), graph.weights(f"{bn.name}.bias", bn.bias)
        mean = graph.constant(np.zeros(bn.channels, np.float32))
        variance = graph.constant(np.ones(bn.channels, np.float32))
        return graph.node("BatchNormalization", [x, scale, bias, mean, variance], epsilon=0.0)

    def rms_norm(self, norm: RmsNorm, x: str) -> str:
        graph = self._graph
        scale, bias = norm.scale[:, None, None], norm.bias[:, None, None]
        x = rms_normalised(graph, norm, x, 1, scale)
        return graph.node("Add", [x, graph.weights(f"{norm.name}.bias", bias)])

    def tokens(self, x: str, channels: int) -> str:
        points = self._graph.node("Reshape", [x, self._graph.constant([0, channels, -1])])
        return self._graph.node("Transpose", [points], perm=[0, 2, 1])

    def from_tokens(self, x: str) -> str:
        graph = self._graph
        size = graph.node("Shape", [self._spatial], start=2, end=4)
        shape = graph.node("Concat", [graph.constant([0, -1]), size], axis=0)
        return graph.node("Reshape", [graph.node("Transpose", [x], perm=[0, 2, 1]), shape])

    def add_column(self, x: str, column: str) -> str:
        return self._graph.node("Add", [x, self._graph.node("Unsqueeze", [column, self._graph.constant([2, 3])])])

    def mean(self, x: str) -> str:
        return self._graph.node("Flatten", [self._graph.node("GlobalAveragePool", [x])])

    def largest(self, x: str) -> str:
        return self._graph.node("Flatten", [self._graph.node("GlobalMaxPool", [x])])

    def flat(self, x: str) -> str:
        return self._graph.node("Reshape", [x, self._graph.constant([0, 0, -1])])


def convolution(graph: Graph, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
    """A convolution node with "same" padding on [n, channels, y, x], `bn` folded into it."""
    weights = conv.weights if bn is None else conv.weights * bn.scale[:, None, None, None]
    inputs = [x, graph.weights(conv.name, weights)]
    if bn is not None:
        inputs.append(graph.weights(bn.name, bn.bias))
    kernel = weights.shape[2:]
    pads = [dilation * (size // 2) for dilation, size in zip(conv.dilation, kernel, strict=True)]
    return graph.node("Conv", inputs, kernel_shape=kernel, dilations=conv.dilation, pads=[*pads, *pads])


def matmul(graph: Graph, layer: MatMul, column: str, bias: Array | None = None) -> str:
    """Column to column."""
    inputs = [column, graph.weights(layer.name, layer.weights)]
    if bias is not None:
        inputs.append(graph.weights(f"{layer.name}.bias", bias))
    return graph.node("Gemm", inputs)


def activate(graph: Graph, activation: Activation, x: str) -> str:
    """Map to map, or column to column."""
    if activation is Activation.IDENTITY:
        return x
    if activation is Activation.RELU:
        return graph.node("Relu", [x])
    if activation is Activation.SILU:
        return graph.node("Mul", [x, graph.node("Sigmoid", [x])])
    return _mish(graph, x)


def _mish(graph: Graph, x: str) -> str:
    """x·tanh(softplus(x)) without the logarithm: with s = sigmoid(x) and t = s·(2 − s), it is x·t/(2 − t).

    ONNX Runtime's Softplus alone took 110 of 265 ms in b18c384nbt. For large negative x, t keeps its precision, which
    (1 − q²)/(1 + q²) with q = sigmoid(−x), the same in exact numbers, would lose.
    """
    two = graph.constant(2.0)
    s = graph.node("Sigmoid", [x])
    t = graph.node("Mul", [s, graph.node("Sub", [two, s])])
    return graph.node("Mul", [x, graph.node("Div", [t, graph.node("Sub", [two, t])])])


def rms_normalised(graph: Graph, norm: RmsNorm, x: str, channel_axis: int, scale: Array) -> str:
    """`norm` without its bias, written so that ONNX Runtime makes one node of it where it can. `x` is a map, or, where
    `norm` is not spatial, tokens."""
    mean = graph.node("ReduceMean", [graph.node("Pow", [x, graph.constant(2.0)])], axes=[channel_axis])
    if norm.spatial:
        # One axis after the other: MNN 3.6 takes a mean over all at once for a LayerNorm and computes something else.
        mean = graph.node("ReduceMean", [mean], axes=[2, 3] if channel_axis == 1 else [1, 2])
    root = graph.node("Sqrt", [graph.node("Add", [mean, graph.constant(norm.epsilon)])])
    return graph.node("Mul", [graph.node("Div", [x, root]), graph.weights(norm.name, scale)])
