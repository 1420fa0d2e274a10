"""Static INT8 as a graph: the layers of a `Quantization` between QuantizeLinear and DequantizeLinear (QDQ).

A runtime makes one integer operator of DequantizeLinear → Conv → (Relu →) QuantizeLinear; in ONNX Runtime that is
QLinearConv. A convolution whose result is not rounded has no QuantizeLinear behind it, and ONNX Runtime would compute
it in fp32; `Unrounded` says how such a one is written.
"""

from __future__ import annotations

import enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.export.graph import FLOAT, GraphWriter
from agent.export.graph_interface import Graph
from agent.export.layers import PlainLayers
from agent.export.network import Array, BatchNorm, Conv
from agent.export.quantization import Output, Quantization, QuantizedConv, Scale


class Unrounded(enum.Enum):
    """QDQ is what TensorRT wants: it takes DequantizeLinear → Conv as an integer convolution with a real result.
    CONV_INTEGER is what ONNX Runtime runs in integers."""

    QDQ = "qdq"
    CONV_INTEGER = "conv-integer"


class QuantizedLayers(PlainLayers):
    """Channels first. Layers that `quantization` does not name are as in the plain form; the network must be
    `quantization.prepared`."""

    def __init__(
        self, graph: Graph, spatial: str, quantization: Quantization, unrounded: Unrounded = Unrounded.QDQ
    ) -> None:
        super().__init__(graph, spatial)
        assert isinstance(graph, GraphWriter)  # integers are ONNX's own business
        self._writer = graph
        self._quantization = quantization
        self._unrounded = unrounded
        self._integers: dict[tuple[str, Scale, bytes], str] = {}

    def conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        quantized = self._quantization.convs.get(conv.name)
        if quantized is None:
            return super().conv(conv, x, bn)
        integers = self._rounded(quantized, x)
        if quantized.output is None and not quantized.chained and self._unrounded is Unrounded.CONV_INTEGER:
            return self._conv_integer(conv, quantized, integers)
        inputs = [
            self._real(integers, quantized.input),
            self._per_channel(conv.name, quantized.weights, quantized.weight_scale),
            self._bias(conv.name, quantized),
        ]
        y = self._writer.node("Conv", inputs, **_shape_of(conv))
        return y if quantized.output is None else self._stored(conv.name, y, quantized.output)

    def _rounded(self, quantized: QuantizedConv, x: str) -> str:
        """`x` as uint8; once where several convolutions read the same."""
        writer, gain = self._writer, quantized.gain
        key = (x, quantized.input, b"" if gain is None else gain.tobytes())
        if key not in self._integers:
            if gain is not None:
                x = writer.node("Mul", [x, writer.store(f"{x}.gain", _over_points(gain))])
            self._integers[key] = writer.node("QuantizeLinear", [x, *self._scale(quantized.input)])
        return self._integers[key]

    def _real(self, integers: str, scale: Scale) -> str:
        return self._writer.node("DequantizeLinear", [integers, *self._scale(scale)])

    def _stored(self, name: str, y: str, output: Output) -> str:
        writer = self._writer
        y = self._real(writer.node("QuantizeLinear", [y, *self._scale(output.scale)]), output.scale)
        return writer.node("Mul", [y, writer.store(f"{name}.output_gain", _over_points(output.gain))])

    def _conv_integer(self, conv: Conv, quantized: QuantizedConv, integers: str) -> str:
        """Weights as uint8 around 128: ONNX Runtime's ConvInteger takes 2.4 ms so and 9.0 ms with int8 (192 channels,
        19×19, AVX2)."""
        writer = self._writer
        weights = (quantized.weights.astype(np.int16) + 128).astype(np.uint8)
        inputs = [
            integers,
            writer.store(conv.name, weights),
            self._scale(quantized.input)[1],
            self._writer.constant(np.array(128, np.uint8)),
        ]
        y = writer.node("Cast", [writer.node("ConvInteger", inputs, **_shape_of(conv))], to=FLOAT)
        scale = quantized.weight_scale * np.float32(quantized.input.scale)
        y = writer.node("Mul", [y, writer.store(f"{conv.name}.scale", _over_points(scale))])
        return writer.node("Add", [y, writer.store(f"{conv.name}.bias", _over_points(quantized.bias))])

    def _bias(self, name: str, quantized: QuantizedConv) -> str:
        """In units of the products, as integer convolutions add it."""
        scale = quantized.weight_scale * np.float32(quantized.input.scale)
        integers = np.rint(quantized.bias.astype(np.float64) / scale)
        return self._per_channel(f"{name}.bias", integers.astype(np.int32), scale)

    def _per_channel(self, name: str, integers: NDArray[np.int8] | NDArray[np.int32], scale: Array) -> str:
        writer = self._writer
        inputs = [
            writer.store(name, integers),
            writer.store(f"{name}.scale", scale.astype(np.float32)),
            # Its own for each: ONNX Runtime replaces those of int8 weights one by one where int8 could overflow.
            writer.store(f"{name}.zero", np.zeros(len(scale), integers.dtype)),
        ]
        return writer.node("DequantizeLinear", inputs, axis=0)

    def _scale(self, scale: Scale) -> list[str]:
        return [
            self._writer.constant(np.array(scale.scale, np.float32)),
            self._writer.constant(np.array(scale.zero_point, np.uint8)),
        ]


def _over_points(values: Array) -> Array:
    return np.ascontiguousarray(values.astype(np.float32)[None, :, None, None])


def _shape_of(conv: Conv) -> dict[str, Any]:
    kernel = conv.weights.shape[2:]
    pads = [dilation * (size // 2) for dilation, size in zip(conv.dilation, kernel, strict=True)]
    return {"kernel_shape": kernel, "dilations": conv.dilation, "pads": [*pads, *pads]}
