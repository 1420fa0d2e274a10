"""What the layers of a network are in ONNX, in two forms. Knows nothing of how a network is put together.

A "map" is one number for each point and channel. Its layout is the form's own business: `PlainLayers` keeps
[n, channels, y, x], which ONNX Runtime's direct convolutions want; `winograd.py` keeps [n, y, x, channels], where a
convolution is a handful of matrix products. A "column" is [n, channels] in both.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from agent.export.graph_interface import Graph
from agent.export.network import Activation, Array, BatchNorm, Conv, MatMul


class Layers(Protocol):
    """Adds layers to one graph."""

    def enter(self, conv: Conv, spatial: str) -> str:
        """The first convolution: from the input [n, channels, y, x] to a map."""

    def conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        """Map to map: the convolution, and the normalisation behind it, folded into the weights."""

    def batch_norm(self, bn: BatchNorm, x: str) -> str:
        """Map to map: a normalisation that follows a sum and so cannot be folded."""

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

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

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
