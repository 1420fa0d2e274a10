"""What the layers of a network are in TFLite's operators. Start at `TfliteLayers`; maps are [n, y, x, channels].

Transformer blocks (`TfliteTransformers`) work on maps, too, because no reshape without a computed shape could bring
tokens back to two free sides. Only keys and values become rows of tokens, which is possible where there is a single
position: a product [1, y, x, d] · [1, 1, d, area] gives each point's scores, and another one brings them back to a map.
So a file with such blocks takes one position at a time. No head is cut out of a product: each has weights of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from agent.export.network import (
    Array,
    AttentionBlock,
    BatchNorm,
    Conv,
    FfnBlock,
    MatMul,
    RmsNorm,
    Rope,
    TransformerBlock,
)
from agent.export.tflite_graph import ON_BOARD, TfliteGraph, reduced
from agent.export.winograd import MAX_SIDE

# What lies to one side of a point, the point itself, and as many on the other side.
_RULER = 2 * MAX_SIDE - 1


class TfliteLayers:
    """As `layers.Layers`."""

    def __init__(self, graph: TfliteGraph) -> None:
        self._graph = graph

    def enter(self, conv: Conv, spatial: str) -> str:
        return self.conv(conv, spatial)

    def conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        """The sum of the parts that its weights are stored in."""
        graph = self._graph
        weights = conv.weights if bn is None else conv.weights * bn.scale[:, None, None, None]
        zero = graph.constant(np.zeros(conv.out_channels, np.float32))
        bias = zero if bn is None else graph.weights(f"{conv.name}.bias", bn.bias)
        total = ""
        for part in graph.stored(conv.name, np.ascontiguousarray(weights.transpose(0, 2, 3, 1))):
            apart = (conv.dilation[0] * part.apart[0], conv.dilation[1] * part.apart[1])
            y = convolved(graph, x, part.tensor, bias, conv.out_channels, apart, part.version)
            total, bias = (graph.node("Add", [total, y]) if total else y), zero
        return total

    def batch_norm(self, bn: BatchNorm, x: str) -> str:
        graph = self._graph
        scaled = graph.node("Mul", [x, graph.weights(f"{bn.name}.scale", bn.scale)])
        return graph.node("Add", [scaled, graph.weights(f"{bn.name}.bias", bn.bias)])

    def rms_norm(self, norm: RmsNorm, x: str) -> str:
        return self._graph.node("Add", [normalised(self._graph, norm, x), self._graph.weights(norm.name, norm.bias)])

    def tokens(self, x: str, channels: int) -> str:
        """A map serves."""
        del channels
        return x

    def from_tokens(self, x: str) -> str:
        return x

    def add_column(self, x: str, column: str) -> str:
        """Every operator that makes columns drops the board; this one brings it back."""
        graph = self._graph
        count, channels = graph.shape(column)
        return graph.node("Add", [x, reshaped(graph, column, [-1, 1, 1, channels], (count, 1, 1, channels))])

    def mean(self, x: str) -> str:
        return reduced(self._graph, "MEAN", x)

    def largest(self, x: str) -> str:
        return reduced(self._graph, "REDUCE_MAX", x)

    def flat(self, x: str) -> str:
        """Left to the reader of the output."""
        return x


class TfliteTransformers:
    """As `transformer.TransformerLayers`, from maps to maps of a single position."""

    def __init__(self, graph: TfliteGraph, spatial: str) -> None:
        self._graph = graph
        self._spatial = spatial
        self._layers = TfliteLayers(graph)
        self._sides: tuple[str, str] | None = None
        self._turns: dict[bytes, tuple[str, str]] = {}

    def block(self, block: TransformerBlock, x: str) -> str:
        inner = normalised(self._graph, block.norm, x)
        inner = self._attention(block, inner) if isinstance(block, AttentionBlock) else self._ffn(block, inner)
        return self._graph.node("Add", [x, inner])

    def _ffn(self, block: FfnBlock, x: str) -> str:
        graph = self._graph
        hidden = self._product(block.linear.name, block.linear.weights, x)
        hidden = graph.node("Mul", [hidden, graph.node("Sigmoid", [hidden])])
        hidden = graph.node("Mul", [hidden, self._product(block.gate.name, block.gate.weights, x)])
        return self._product(block.out.name, block.out.weights, hidden)

    def _attention(self, block: AttentionBlock, x: str) -> str:
        graph = self._graph
        scale = np.float32(1 / np.sqrt(np.float32(block.query_dim)))
        query = dataclasses.replace(block.query, weights=block.query.weights * scale)
        shared = [self._keys_and_values(block, head, x) for head in range(block.kv_heads)]
        found = []
        for head in range(block.heads):
            kv_head = head * block.kv_heads // block.heads
            keys, values = shared[kv_head]
            queries = self._turned(query, head, block.query_dim, block.rope, kv_head, x)
            scores = _matmul(graph, queries, keys, transposed=True)
            found.append(_matmul(graph, graph.node("Softmax", [scores], axis=-1), values, transposed=False))
        together = found[0] if len(found) == 1 else graph.node("Concat", found, axis=3)
        return self._product(block.out.name, block.out.weights, together)

    def _keys_and_values(self, block: AttentionBlock, head: int, x: str) -> tuple[str, str]:
        """Of one head, [1, 1, area, channels] each."""
        keys = self._turned(block.key, head, block.query_dim, block.rope, head, x)
        own = block.value.weights[:, head * block.value_dim : (head + 1) * block.value_dim]
        values = self._product(f"{block.value.name}.{head}", own, x)
        return self._rows(keys), self._rows(values)

    def _rows(self, x: str) -> str:
        _, y_size, x_size, channels = self._graph.shape(x)
        return reshaped(self._graph, x, [1, 1, -1, channels], (1, 1, y_size * x_size, channels))

    def _turned(self, layer: MatMul, head: int, dim: int, rope: Rope | None, kv_head: int, x: str) -> str:
        """A head's queries or keys; with a rotary encoding the even channels before the odd ones, in both alike."""
        own = layer.weights[:, head * dim : (head + 1) * dim]
        name = f"{layer.name}.{head}"
        if rope is None:
            return self._product(name, own, x)
        graph = self._graph
        a, b = (self._product(f"{name}.{part}", own[:, part::2], x) for part in (0, 1))
        cos, sin = self._cos_sin(rope.frequencies[kv_head if rope.heads > 1 else 0])
        even = graph.node("Sub", [graph.node("Mul", [a, cos]), graph.node("Mul", [b, sin])])
        odd = graph.node("Add", [graph.node("Mul", [a, sin]), graph.node("Mul", [b, cos])])
        return graph.node("Concat", [even, odd], axis=3)

    def _product(self, name: str, weights: Array, x: str) -> str:
        """`weights` [in, out] at every point."""
        return self._layers.conv(Conv(name, np.ascontiguousarray(weights.T)[:, :, None, None], (1, 1)), x)

    # ------------------------------------------------------------ where a point lies

    def _cos_sin(self, frequencies: Array) -> tuple[str, str]:
        """Maps of the cosine and sine of each point's angles, by the sums of those for its column and its row."""
        key = frequencies.tobytes()
        if key not in self._turns:
            graph = self._graph
            along = np.arange(MAX_SIDE)[:, None, None] * frequencies.astype(np.float64)
            (cos_x, sin_x), (cos_y, sin_y) = (
                [self._looked_up(table(along[:, :, axis]), where) for table in (np.cos, np.sin)]
                for axis, where in enumerate(self._column_and_row())
            )

            def products(a: str, b: str, c: str, d: str) -> list[str]:
                return [graph.node("Mul", [a, b]), graph.node("Mul", [c, d])]

            cos = graph.node("Sub", products(cos_x, cos_y, sin_x, sin_y))
            self._turns[key] = cos, graph.node("Add", products(sin_x, cos_y, cos_x, sin_y))
        return self._turns[key]

    def _looked_up(self, table: Array, where: str) -> str:
        """`table` [19, channels] at the places that `where` marks."""
        graph, channels = self._graph, table.shape[1]
        kernel = graph.tensor(graph.constant(np.ascontiguousarray(table.T, np.float32)[:, None, None, :]))
        return convolved(graph, where, kernel, graph.constant(np.zeros(channels, np.float32)), channels)

    def _column_and_row(self) -> tuple[str, str]:
        """Maps of 19 channels, of which the one with the point's column, or row, is 1 and the others 0."""
        if self._sides is None:
            self._sides = (self._marked((1, _RULER)), self._marked((_RULER, 1)))
        return self._sides

    def _marked(self, kernel: tuple[int, int]) -> str:
        """How many points of the board lie before a point, less each number that it may be."""
        graph = self._graph
        before = np.zeros((MAX_SIDE, *kernel, graph.shape(self._spatial)[-1]), np.float32)
        before.reshape(MAX_SIDE, _RULER, -1)[:, : MAX_SIDE - 1, ON_BOARD] = 1
        numbers = graph.constant(-np.arange(MAX_SIDE, dtype=np.float32))
        away = convolved(graph, self._spatial, graph.tensor(graph.constant(before)), numbers, MAX_SIDE)
        away = graph.add("ABS", [graph.tensor(away)], graph.shape(away))
        return graph.node("Relu", [graph.node("Sub", [graph.constant(1.0), away])])


def convolved(
    graph: TfliteGraph,
    x: str,
    kernel: int,
    bias: str,
    channels: int,
    apart: tuple[int, int] = (1, 1),
    version: int = 1,
) -> str:
    """A convolution; padding 0 is "same", which for odd kernels and steps of one is what KataGo does."""
    dilation = {"dilationHFactor": apart[0], "dilationWFactor": apart[1]}
    options = ("Conv2DOptions", {"padding": 0, "strideH": 1, "strideW": 1, **dilation})
    inputs, shape = [graph.tensor(x), kernel, graph.tensor(bias)], (*graph.shape(x)[:3], channels)
    return graph.add("CONV_2D", inputs, shape, options=options, version=version)


def normalised(graph: TfliteGraph, norm: RmsNorm, x: str) -> str:
    """Without the bias."""
    count, y_size, x_size, _ = graph.shape(x)
    square = graph.add("SQUARE", [graph.tensor(x)], graph.shape(x))
    axes = graph.tensor(graph.constant([3]))
    keep = ("ReducerOptions", {"keepDims": True})
    mean = graph.add("MEAN", [graph.tensor(square), axes], (count, y_size, x_size, 1), options=keep)
    if norm.spatial:
        mean = reduced(graph, "MEAN", mean, keep=True)
    shifted = graph.node("Add", [mean, graph.constant(norm.epsilon)])
    slope = graph.add("RSQRT", [graph.tensor(shifted)], graph.shape(shifted))
    return graph.node("Mul", [graph.node("Mul", [x, slope]), graph.weights(f"{norm.name}.scale", norm.scale)])


def reshaped(graph: TfliteGraph, x: str, sizes: Sequence[int], shape: tuple[int, ...]) -> str:
    """`sizes` may have one −1; `shape` is what they are on the default board."""
    inputs = [graph.tensor(x), graph.tensor(graph.constant(sizes))]
    return graph.add("RESHAPE", inputs, shape, options=("ReshapeOptions", {"newShape": list(sizes)}))


def _matmul(graph: TfliteGraph, x: str, rows: str, *, transposed: bool) -> str:
    """`x` [1, y, x, k] · `rows` [1, 1, k, out], which may lie the other way round."""
    out = graph.shape(rows)[2 if transposed else 3]
    options = ("BatchMatMulOptions", {"adjX": False, "adjY": transposed})
    return graph.add("BATCH_MATMUL", [graph.tensor(x), graph.tensor(rows)], (*graph.shape(x)[:3], out), options=options)
