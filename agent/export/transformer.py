"""Transformer blocks as ONNX nodes. Start at `TransformerLayers.block`; docs/decisions/0015 says why they look so.

Here a map is a list of tokens [n, area, channels], one for each point, row by row. Nothing is masked: on a board of any
size all points attend to all. The tables of the rotary encoding are cut from those for 19×19 points by the board's
shape, so one graph serves every size.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from agent.export.graph_interface import Graph
from agent.export.layers import rms_normalised
from agent.export.network import Array, AttentionBlock, FfnBlock, MatMul, Rope, TransformerBlock
from agent.export.winograd import MAX_SIDE


class Transformers(Protocol):
    """Adds transformer blocks to one graph."""

    def block(self, block: TransformerBlock, x: str) -> str:
        """Tokens to tokens, as the graph's layers give them; the block's residual included."""


class TransformerLayers:
    """Adds transformer blocks to one graph, whose input `spatial` is [n, channels, y, x]."""

    def __init__(self, graph: Graph, spatial: str) -> None:
        self._graph = graph
        self._spatial = spatial
        self._tables: dict[tuple[bytes, int], tuple[str, str]] = {}

    def block(self, block: TransformerBlock, x: str) -> str:
        """Tokens to tokens, the block's residual included."""
        inner = rms_normalised(self._graph, block.norm, x, -1, block.norm.scale)
        inner = self._attention(block, inner) if isinstance(block, AttentionBlock) else self._ffn(block, inner)
        return self._graph.node("Add", [x, inner])

    def _ffn(self, block: FfnBlock, x: str) -> str:
        graph = self._graph
        hidden = self._product(block.linear, x)
        hidden = graph.node("Mul", [hidden, graph.node("Sigmoid", [hidden])])
        return self._product(block.out, graph.node("Mul", [hidden, self._product(block.gate, x)]))

    # ------------------------------------------------------------ attention

    def _attention(self, block: AttentionBlock, x: str) -> str:
        graph = self._graph
        scale = np.float32(1 / np.sqrt(np.float32(block.query_dim)))
        queries = self._turned(MatMul(block.query.name, block.query.weights * scale), block.heads, block.rope, x)
        keys = self._turned(block.key, block.kv_heads, block.rope, x)
        values = self._by_head(self._product(block.value, x), block.kv_heads)
        if block.kv_heads < block.heads:
            # Queries that share keys, one below the other.
            queries = graph.node("Reshape", [queries, graph.constant([0, block.kv_heads, -1, block.query_dim])])
        scores = graph.node("MatMul", [queries, graph.node("Transpose", [keys], perm=[0, 1, 3, 2])])
        found = graph.node("MatMul", [graph.node("Softmax", [scores], axis=-1), values])
        if block.kv_heads < block.heads:
            found = graph.node("Reshape", [found, graph.constant([0, block.heads, -1, block.value_dim])])
        found = graph.node("Transpose", [found], perm=[0, 2, 1, 3])
        width = block.heads * block.value_dim
        return self._product(block.out, graph.node("Reshape", [found, graph.constant([0, -1, width])]))

    def _turned(self, layer: MatMul, heads: int, rope: Rope | None, x: str) -> str:
        """Queries or keys [n, heads, area, channels].

        The two parts of all pairs come from a product each, so that they lie apart and turning them takes no gathering.
        That moves each head's even channels before its odd ones, in queries as in keys: their products stay the same.
        """
        if rope is None:
            return self._by_head(self._product(layer, x), heads)
        graph, width = self._graph, layer.out_channels // 2
        parts = np.moveaxis(layer.weights.reshape(layer.in_channels, width, 2), 2, 0)
        a, b = (self._product(MatMul(f"{layer.name}.{name}", part), x) for name, part in zip("ab", parts, strict=True))
        cos, sin = self._cos_sin(rope, heads)
        even = graph.node("Sub", [graph.node("Mul", [a, cos]), graph.node("Mul", [b, sin])])
        odd = graph.node("Add", [graph.node("Mul", [a, sin]), graph.node("Mul", [b, cos])])
        shape = graph.constant([0, -1, heads, rope.pairs])
        halves = [graph.node("Reshape", [half, shape]) for half in (even, odd)]
        return graph.node("Transpose", [graph.node("Concat", halves, axis=-1)], perm=[0, 2, 1, 3])

    def _by_head(self, x: str, heads: int) -> str:
        split = self._graph.node("Reshape", [x, self._graph.constant([0, 0, heads, -1])])
        return self._graph.node("Transpose", [split], perm=[0, 2, 1, 3])

    def _cos_sin(self, rope: Rope, heads: int) -> tuple[str, str]:
        """Cosine and sine [area, heads · pairs] of the angle at each point; cut once for all blocks that turn alike."""
        key = (rope.frequencies.tobytes(), heads)
        if key not in self._tables:
            graph = self._graph
            board = graph.node("Shape", [self._spatial], start=2, end=4)
            axes, begin = graph.constant([0, 1]), graph.constant([0, 0])
            shape = graph.constant([-1, heads * rope.pairs])
            angles = _angles(rope, heads)
            cut = [
                graph.node("Slice", [graph.weights(f"rope.{len(self._tables)}", table), begin, board, axes])
                for table in (np.cos(angles), np.sin(angles))
            ]
            cos, sin = (graph.node("Reshape", [part, shape]) for part in cut)
            self._tables[key] = cos, sin
        return self._tables[key]

    def _product(self, layer: MatMul, x: str) -> str:
        return self._graph.node("MatMul", [x, self._graph.weights(layer.name, layer.weights)])


def _angles(rope: Rope, heads: int) -> Array:
    """[19 rows, 19 columns, heads · pairs]: by how much each pair is turned, heads that share a key turning alike."""
    y, x = np.indices((MAX_SIDE, MAX_SIDE), np.float32)[..., None]
    frequencies = np.repeat(rope.frequencies, heads // rope.heads, axis=0).reshape(-1, 2)
    angles: Array = x * frequencies[:, 0] + y * frequencies[:, 1]
    return angles
