"""Writes a `Network` as an ONNX graph. Start at `emit`; `docs/decisions/` says why the graph has this form.

One graph serves every board: height and width are free, nothing is masked, and the constants of global pooling are
computed from the input's shape. Fixing height and width when a session is made turns all of that into constants.
"""

from __future__ import annotations

import msgspec
import numpy as np
import onnx

from agent.events import Converting, Reporter
from agent.export.graph import GraphBuilder
from agent.export.info import EXPORTER, GLOBAL_CHANNELS, METADATA_KEY, SPATIAL_CHANNELS, VALUE_CHANNELS
from agent.export.network import (
    Activation,
    Array,
    BatchNorm,
    Block,
    Conv,
    GpoolBlock,
    MatMul,
    NestedBlock,
    Network,
    OrdinaryBlock,
    PolicyHead,
    ValueHead,
    count_blocks,
)

INPUT_SPATIAL, INPUT_GLOBAL = "spatial", "global"
OUTPUTS = ("policy", "value", "score", "ownership")

PRODUCER = "katago-agent"

# Pooling is scaled by how far the board's side is from 14, the middle of the sizes trained on (KataGo's model code).
_MIDDLE_SIDE = 14.0


def emit(network: Network, reporter: Reporter) -> onnx.ModelProto:
    """The model of `network`: inputs spatial [n, 22, y, x] and global [n, 19], outputs as `Outputs` in
    `engine/backends/interface.py`, and `network.info` as JSON in the metadata."""
    return _Emitter(network, reporter).model()


class _Emitter:
    def __init__(self, network: Network, reporter: Reporter) -> None:
        self._network = network
        self._reporter = reporter
        self._graph = GraphBuilder()
        self._done = 0
        self._total = count_blocks(network.trunk.blocks) + 2

    def model(self) -> onnx.ModelProto:
        graph, network = self._graph, self._network
        spatial = graph.input(INPUT_SPATIAL, ["batch", SPATIAL_CHANNELS, "height", "width"])
        global_ = graph.input(INPUT_GLOBAL, ["batch", GLOBAL_CHANNELS])
        self._pool_factors(spatial)
        x = self._trunk(spatial, global_)
        self._policy(network.policy_head, x)
        self._progress()
        self._value(network.value_head, x)
        self._progress()
        metadata = {METADATA_KEY: msgspec.json.encode(network.info).decode()}
        return graph.model(network.info.name, PRODUCER, EXPORTER, metadata)

    # ------------------------------------------------------------ trunk

    def _trunk(self, spatial: str, global_: str) -> str:
        trunk = self._network.trunk
        per_channel = self._matmul(trunk.initial_matmul, global_)
        x = self._add_per_channel(self._conv(trunk.initial_conv, spatial), per_channel)
        for block in trunk.blocks:
            x = self._block(block, x)
        return self._activate(trunk.tip_act, self._batch_norm(trunk.tip_bn, x))

    def _block(self, block: Block, x: str) -> str:
        inner = self._activate(block.pre_act, self._batch_norm(block.pre_bn, x))
        if isinstance(block, OrdinaryBlock):
            inner = self._conv(block.regular_conv, inner, block.mid_bn)
            inner = self._conv(block.final_conv, self._activate(block.mid_act, inner))
        elif isinstance(block, GpoolBlock):
            inner = self._gpool(block, inner)
        else:
            inner = self._nested(block, inner)
        self._progress()
        return self._graph.node("Add", [inner, x])

    def _gpool(self, block: GpoolBlock, x: str) -> str:
        pooled = self._activate(block.gpool_act, self._conv(block.gpool_conv, x, block.gpool_bn))
        to_bias = _scaled_matmul(block.gpool_to_bias, block.mid_bn)
        bias = self._matmul(to_bias, self._pool(pooled))
        x = self._add_per_channel(self._conv(block.regular_conv, x, block.mid_bn), bias)
        return self._conv(block.final_conv, self._activate(block.mid_act, x))

    def _nested(self, block: NestedBlock, x: str) -> str:
        x = self._conv(block.pre_conv, x)
        for inside in block.blocks:
            x = self._block(inside, x)
        return self._conv(block.post_conv, self._activate(block.post_act, self._batch_norm(block.post_bn, x)))

    # ------------------------------------------------------------ heads

    def _policy(self, head: PolicyHead, x: str) -> None:
        graph, channels = self._graph, self._network.info.policy_channels
        pooled = self._pool(self._activate(head.g1_act, self._conv(head.g1_conv, x, head.g1_bn)))
        bias = self._matmul(_scaled_matmul(head.gpool_to_bias, head.p1_bn), pooled)
        points = self._add_per_channel(self._conv(head.p1_conv, x, head.p1_bn), bias)
        points = self._conv(head.p2_conv, self._activate(head.p1_act, points))
        points = graph.node("Reshape", [points, graph.constant([0, channels, -1])])
        passes = self._matmul(head.gpool_to_pass, pooled, None if head.pass_head is None else head.pass_head.bias)
        if head.pass_head is not None:
            passes = self._matmul(head.pass_head.matmul, self._activate(head.pass_head.act, passes))
        passes = graph.node("Reshape", [passes, graph.constant([0, channels, 1])])
        graph.output(graph.node("Concat", [points, passes], axis=2), "policy", ["batch", channels, "moves"])

    def _value(self, head: ValueHead, x: str) -> None:
        graph, info = self._graph, self._network.info
        x = self._activate(head.v1_act, self._conv(head.v1_conv, x, head.v1_bn))
        pooled = self._activate(head.v2_act, self._matmul(head.v2_matmul, self._pool_value(x), head.v2_bias))
        graph.output(self._matmul(head.v3_matmul, pooled, head.v3_bias), "value", ["batch", VALUE_CHANNELS])
        score = self._matmul(head.score_matmul, pooled, head.score_bias)
        graph.output(score, "score", ["batch", info.score_channels])
        ownership = graph.node("Flatten", [self._conv(head.ownership_conv, x)], axis=1)
        graph.output(ownership, "ownership", ["batch", "area"])

    # ------------------------------------------------------------ pooling

    def _pool_factors(self, spatial: str) -> None:
        """Compute (side − 14)/10 and (side − 14)²/100 − 0.1 from the board's shape, side being √area."""
        graph = self._graph
        size = graph.node("Shape", [spatial], start=2, end=4)
        area = graph.node("Cast", [graph.node("ReduceProd", [size], keepdims=0)], to=onnx.TensorProto.FLOAT)
        away = graph.node("Sub", [graph.node("Sqrt", [area]), graph.constant(_MIDDLE_SIDE)])
        self._linear = graph.node("Mul", [away, graph.constant(0.1)])
        square = graph.node("Mul", [self._linear, self._linear])
        self._quadratic = graph.node("Sub", [square, graph.constant(0.1)])

    def _pool(self, x: str) -> str:
        """[n, c, y, x] → [n, 3c]: mean, mean·linear, maximum."""
        mean, largest = self._graph.node("GlobalAveragePool", [x]), self._graph.node("GlobalMaxPool", [x])
        return self._join(mean, self._graph.node("Mul", [mean, self._linear]), largest)

    def _pool_value(self, x: str) -> str:
        """[n, c, y, x] → [n, 3c]: mean, mean·linear, mean·quadratic."""
        mean = self._graph.node("GlobalAveragePool", [x])
        parts = [self._graph.node("Mul", [mean, factor]) for factor in (self._linear, self._quadratic)]
        return self._join(mean, *parts)

    def _join(self, *parts: str) -> str:
        return self._graph.node("Flatten", [self._graph.node("Concat", parts, axis=1)], axis=1)

    # ------------------------------------------------------------ layers

    def _conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        """The convolution, and the normalisation behind it, which costs nothing when folded into the weights."""
        weights = conv.weights if bn is None else conv.weights * bn.scale[:, None, None, None]
        inputs = [x, self._graph.weights(conv.name, weights)]
        if bn is not None:
            inputs.append(self._graph.weights(bn.name, bn.bias))
        pads = [dilation * (size // 2) for dilation, size in zip(conv.dilation, weights.shape[2:], strict=True)]
        return self._graph.node(
            "Conv", inputs, kernel_shape=weights.shape[2:], dilations=conv.dilation, pads=[*pads, *pads]
        )

    def _batch_norm(self, bn: BatchNorm, x: str) -> str:
        """One that follows a sum and so cannot be folded."""
        zeros, ones = np.zeros(bn.channels, np.float32), np.ones(bn.channels, np.float32)
        scale = self._graph.weights(f"{bn.name}.scale", bn.scale)
        bias = self._graph.weights(f"{bn.name}.bias", bn.bias)
        mean, variance = self._graph.constant(zeros), self._graph.constant(ones)
        return self._graph.node("BatchNormalization", [x, scale, bias, mean, variance], epsilon=0.0)

    def _matmul(self, matmul: MatMul, x: str, bias: Array | None = None) -> str:
        inputs = [x, self._graph.weights(matmul.name, matmul.weights)]
        if bias is not None:
            inputs.append(self._graph.weights(f"{matmul.name}.bias", bias))
        return self._graph.node("Gemm", inputs)

    def _add_per_channel(self, x: str, bias: str) -> str:
        """[n, c, y, x] + [n, c]."""
        column = self._graph.node("Unsqueeze", [bias, self._graph.constant([2, 3])])
        return self._graph.node("Add", [x, column])

    def _activate(self, activation: Activation, x: str) -> str:
        graph = self._graph
        if activation is Activation.IDENTITY:
            return x
        if activation is Activation.RELU:
            return graph.node("Relu", [x])
        if activation is Activation.SILU:
            return graph.node("Mul", [x, graph.node("Sigmoid", [x])])
        return self._mish(x)

    def _mish(self, x: str) -> str:
        """x·tanh(softplus(x)) = x·(1 − q²)/(1 + q²) with q = sigmoid(−x), which needs no logarithm; ONNX Runtime's
        Softplus alone took 110 of 265 ms in b18c384nbt."""
        graph = self._graph
        q = graph.node("Sigmoid", [graph.node("Neg", [x])])
        square = graph.node("Mul", [q, q])
        one = graph.constant(1.0)
        ratio = graph.node("Div", [graph.node("Sub", [one, square]), graph.node("Add", [one, square])])
        return graph.node("Mul", [x, ratio])

    def _progress(self) -> None:
        self._done += 1
        self._reporter.report(Converting(self._network.info.name, self._done, self._total))


def _scaled_matmul(matmul: MatMul, bn: BatchNorm) -> MatMul:
    """`matmul` for a sum that is normalised by `bn` where `bn` is folded into the other summand."""
    return MatMul(matmul.name, matmul.weights * bn.scale)
