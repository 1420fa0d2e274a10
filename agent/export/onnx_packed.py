"""ONNX files whose weights are stored narrow and widened to float32 by nodes of the graph. Start at
`write_int8_weights`.

Whoever loads the file computes those nodes once: ONNX Runtime folds constants before it optimises anything else, so
afterwards the network is the same as one that was stored in float32, and as fast. In the Winograd form the kernels are
stored once and transformed by such nodes, too. DequantizeLinear would say the same as Cast and Mul, but is never
folded. docs/decisions/0016 has what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from agent.events import Reporter
from agent.export.emit import Form, best_form, emit_into
from agent.export.graph import FLOAT, GraphWriter, check_file
from agent.export.graph_interface import Graph
from agent.export.job import Job, Written
from agent.export.network import Array, Conv, GpoolBlock, MatMul, Network, walk_blocks
from agent.export.packing import GROUP, Packed, pack
from agent.export.winograd import KERNEL_TRANSFORM, WinogradLayers

# Halves of one matrix that the transformer writes apart (`transformer.py`).
_HALVES: Final = (".a", ".b")


def write_int8_weights(job: Job) -> Written:
    """The trunk's convolutions and products in INT8, what is small or sensitive in fp16. Runs as fp32.

    Raises:
        ConversionFailed: the graph is larger than an ONNX file may be, or not valid.
    """
    form = best_form(job.network())
    network = job.in_form(form.value)
    with job.out.open("wb") as file:
        emit_packed(network, form, file, job.reporter)
    check_file(job.out)
    return Written(
        form=form.value,
        recipe={
            "weights": f"int8, a scale for {GROUP} inputs of each output and tap; rounded by kernel",
            "in fp16": "first convolution, pooled biases, heads",
            "in fp32": "normalisations and biases",
            "arithmetic": "fp32",
        },
    )


def emit_packed(network: Network, form: Form, out: BinaryIO, reporter: Reporter) -> None:
    """As `emit`, with the trunk's weights in INT8."""
    layers = PackedWinogradLayers if form is Form.WINOGRAD else None
    emit_into(PackedGraph(out, trunk_layers(network)), network, form, reporter, layers=layers)


def trunk_layers(network: Network) -> frozenset[str]:
    """Names of the layers that hold nearly all weights: the convolutions and matrix products inside the blocks, but for
    the small ones from pooled values, which have no points to average errors over."""
    kinds = Conv | MatMul
    return frozenset(
        layer.name
        for block in walk_blocks(network.trunk.blocks)
        for layer in vars(block).values()
        if isinstance(layer, kinds) and not (isinstance(block, GpoolBlock) and isinstance(layer, MatMul))
    )


class PackedGraph(GraphWriter):
    """Stores the weights of the layers named in `narrow` as INT8, other convolutions' and products' as fp16, and gives
    them out as float32."""

    def __init__(self, file: BinaryIO, narrow: frozenset[str]) -> None:
        super().__init__(file)
        self._narrow = narrow

    def weights(self, name: str, values: Array | NDArray[np.int64]) -> str:
        """As `GraphWriter.weights`: [in, out], or a convolution's [out, in, y, x]; others stay as they are."""
        if values.dtype != np.float32 or values.ndim not in (2, 4):
            return self.store(name, values)
        weights = values.astype(np.float32, copy=False)
        if weights.ndim == 2 or not self._is_narrow(name):
            return self.kernel(name, weights)
        return self._int8(name, pack(weights.transpose(1, 2, 3, 0)), (4, 0, 1, 2, 3), weights.shape)

    def kernel(self, name: str, values: Array) -> str:
        """Weights [in, …taps, out]; without INT8 in any order."""
        if not self._is_narrow(name):
            return self._widened(self.store(name, values.astype(np.float16)))
        return self._int8(name, pack(values), tuple(range(values.ndim + 1)), values.shape)

    def _is_narrow(self, name: str) -> bool:
        return name in self._narrow or (name.endswith(_HALVES) and name[:-2] in self._narrow)

    def _int8(self, name: str, packed: Packed, order: Sequence[int], shape: Sequence[int]) -> str:
        """`packed` with its axes in `order`, as float32 of `shape`."""
        values, scales = (np.ascontiguousarray(part.transpose(order)) for part in packed)
        wide = self._widened(self.store(name, values))
        scaled = self.node("Mul", [wide, self.store(f"{name}.scale", scales)])
        return self.node("Reshape", [scaled, self.constant(list(shape))])

    def _widened(self, stored: str) -> str:
        return self.node("Cast", [stored], to=FLOAT)


class PackedWinogradLayers(WinogradLayers):
    """Winograd's form with each kernel stored once."""

    def __init__(self, graph: Graph, spatial: str) -> None:
        assert isinstance(graph, PackedGraph)
        super().__init__(graph, spatial)
        self._packed = graph

    def _kernels(self, name: str, weights: Array) -> list[str]:
        """In two steps, each of which gives a matrix as it is used: one step would be a copy for each of the 36, and
        cutting them from one product three (loading b15c192: 7 s; 640 MB at the peak; two steps 3.6 s and 380 MB)."""
        graph = self._packed
        kernel = graph.kernel(name, np.ascontiguousarray(weights.transpose(1, 3, 2, 0)))
        rows = [graph.constant(row) for row in KERNEL_TRANSFORM.astype(np.float32)]
        by_y = [graph.node("MatMul", [row, kernel]) for row in rows]
        return [graph.node("MatMul", [row, part]) for row in rows for part in by_y]
