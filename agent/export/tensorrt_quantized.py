"""A statically quantized ONNX file as TensorRT wants it: symmetric, in signed eight bits. Start at `symmetric`.

Our INT8 files hold activations as unsigned integers with any zero point, which x86-64 multiplies fastest. TensorRT
refuses both (`tensorrt_operators.py`). So each such scale becomes that of the signed type which reaches as far, 127
steps to the farther end: after a ReLU half as many steps as before. ConvInteger, which TensorRT does not have, becomes
a convolution between dequantized values. Weights that only a convolution in floating point reads, and biases in 32
bits, become the numbers they stand for. The result is ONNX that ONNX Runtime runs, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from agent.errors import ConversionFailed

_SIGNED_STEPS = 127
_UNSIGNED_STEPS = 255
_PAIR = ("QuantizeLinear", "DequantizeLinear")


def symmetric(source: Path, out: Path) -> int:
    """Write `source` to `out` so; returns how many convolutions and products stay in eight bits.

    Raises:
        ConversionFailed: nothing in `source` is quantized, or a scale is computed instead of stored.
    """
    model = onnx.load(str(source))
    _Integers(model.graph).replace()
    graph = _Graph(model.graph)
    kept = []
    for node in model.graph.node:
        if node.op_type in _PAIR and graph.constant(node.input[0]) is None:
            graph.make_signed(node)
        if node.op_type != "DequantizeLinear" or graph.constant(node.input[0]) is None or graph.is_operand(node):
            kept.append(node)
        else:
            graph.replace_by_numbers(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    graph.drop_unused()
    quantized = sum(1 for node in model.graph.node if graph.reads_integers(node))
    if not quantized:
        raise ConversionFailed(f"{source.name} holds nothing in eight bits", fix="Start from an onnx-int8 artifact.")
    onnx.save(model, str(out))
    return quantized


class _Integers:
    """ConvInteger → Cast → Mul → Add, in place of which comes DequantizeLinear → Conv."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {each.name: each for each in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._readers = {name: node for node in graph.node for name in node.input}

    def replace(self) -> None:
        replaced: dict[str, list[onnx.NodeProto]] = {}
        for node in self._graph.node:
            if node.op_type == "ConvInteger":
                cast, scaled, biased = self._behind(node)
                replaced |= {node.name: [], cast.name: [], scaled.name: []}
                replaced[biased.name] = self._convolution(node, scaled, biased)
        nodes = [new for node in self._graph.node for new in replaced.get(node.name, [node])]
        del self._graph.node[:]
        self._graph.node.extend(nodes)
        del self._graph.initializer[:]
        self._graph.initializer.extend(self._constants.values())

    def _behind(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """The Cast, the Mul and the Add that read one another."""
        chain = []
        for wanted in ("Cast", "Mul", "Add"):
            node = self._readers[node.output[0]]
            if node.op_type != wanted:
                raise ConversionFailed(f"{node.name} reads integers, and is no {wanted}")
            chain.append(node)
        return chain

    def _convolution(
        self, integer: onnx.NodeProto, scaled: onnx.NodeProto, biased: onnx.NodeProto
    ) -> list[onnx.NodeProto]:
        quantize = self._makers[integer.input[0]]
        if quantize.op_type != "QuantizeLinear":
            raise ConversionFailed(f"{integer.name} does not read what QuantizeLinear gives")
        weights, zero = self._array(integer.input[1]), self._array(integer.input[3])
        both, input_scale = (self._array(each).astype(np.float64) for each in (scaled.input[1], quantize.input[1]))
        scale = (both.reshape(-1) / input_scale).astype(np.float32)
        name = integer.name
        self._put(f"{name}.w", (weights.astype(np.int16) - zero.astype(np.int16)).astype(np.int8))
        self._put(f"{name}.s", scale)
        self._put(f"{name}.z", np.zeros(len(scale), np.int8))
        self._put(f"{name}.b", self._array(biased.input[1]).reshape(-1))
        x, w = f"{name}.x", f"{name}.real"
        attributes = {each.name: helper.get_attribute_value(each) for each in integer.attribute}
        return [
            helper.make_node("DequantizeLinear", [integer.input[0], *quantize.input[1:3]], [x], name=x),
            helper.make_node("DequantizeLinear", [f"{name}.{part}" for part in "wsz"], [w], name=w, axis=0),
            helper.make_node("Conv", [x, w, f"{name}.b"], [biased.output[0]], name=name, **attributes),
        ]

    def _array(self, name: str) -> NDArray[np.generic]:
        return numpy_helper.to_array(self._constants[name])

    def _put(self, name: str, values: NDArray[np.generic]) -> None:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)


class _Graph:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph
        self._constants = {each.name: each for each in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def constant(self, name: str) -> NDArray[np.generic] | None:
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def make_signed(self, node: onnx.NodeProto) -> None:
        """Give a pair around an activation the scale and zero point of the signed type."""
        scale = self.constant(node.input[1])
        zero = self.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros((), np.uint8)
        if scale is None or zero is None:
            raise ConversionFailed(f"{node.name} computes its scale", fix="Start from an onnx-int8 artifact.")
        if zero.dtype == np.int8 and not zero.any():
            return
        below = zero.astype(np.float64) - (-128 if zero.dtype == np.int8 else 0)
        reach = np.maximum(below, _UNSIGNED_STEPS - below)
        signed = (scale.astype(np.float64) * reach / _SIGNED_STEPS).astype(scale.dtype)
        node.input[1] = self._stored(f"{node.input[1]}.signed", signed)
        zero_name = self._stored(f"{node.input[1]}.zero", np.zeros(scale.shape, np.int8))
        if len(node.input) > 2:
            node.input[2] = zero_name
        else:
            node.input.append(zero_name)

    def is_operand(self, node: onnx.NodeProto) -> bool:
        """Do only nodes read `node`'s result that read another dequantized value first, that is, compute in eight
        bits? A bias in 32 bits does not count: TensorRT adds biases in floating point."""
        data = self.constant(node.input[0])
        if data is None or data.dtype != np.int8:
            return False
        return all(reader.input[0] != node.output[0] and self.reads_integers(reader) for reader in self._read(node))

    def reads_integers(self, node: onnx.NodeProto) -> bool:
        maker = self._makers.get(node.input[0]) if node.input and node.op_type in ("Conv", "Gemm", "MatMul") else None
        return maker is not None and maker.op_type == "DequantizeLinear"

    def replace_by_numbers(self, node: onnx.NodeProto) -> None:
        data, scale = self.constant(node.input[0]), self.constant(node.input[1])
        zero = self.constant(node.input[2]) if len(node.input) > 2 else None
        if data is None or scale is None:
            raise ConversionFailed(f"{node.name} computes its scale", fix="Start from an onnx-int8 artifact.")
        axis = next((each.i for each in node.attribute if each.name == "axis"), 1)
        shape = [-1 if at == axis % data.ndim else 1 for at in range(data.ndim)] if scale.ndim else []
        whole = data.astype(np.float32)
        if zero is not None:
            whole = whole - zero.astype(np.float32).reshape(shape if zero.ndim else [])
        self._put(node.output[0], (whole * scale.astype(np.float32).reshape(shape)).astype(scale.dtype))

    def drop_unused(self) -> None:
        used = {name for node in self._graph.node for name in node.input}
        kept = [tensor for name, tensor in self._constants.items() if name in used]
        del self._graph.initializer[:]
        self._graph.initializer.extend(kept)

    def _read(self, node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
        yield from self._readers.get(node.output[0], [])

    def _stored(self, name: str, values: NDArray[np.generic]) -> str:
        if name not in self._constants:
            self._put(name, values)
        return name

    def _put(self, name: str, values: NDArray[np.generic]) -> None:
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name)
