"""TFLite files, written from the network itself. Start at the writers; `tflite_graph.py` says what an operator becomes.

INT8 comes in two kinds. `tflite-int8-weights` widens its weights while it loads and computes in fp32, as fp16 does.
`tflite-int8` multiplies in INT8: the runtime rounds the inputs of each convolution, by a scale of their own for each
position, while it runs (TensorFlow calls it dynamic range quantization), so nothing is calibrated.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import ConversionFailed
from agent.export.emit import Form, describe
from agent.export.int8_rounding import most_in_float, rounded
from agent.export.job import Job, Written
from agent.export.network import BatchNorm, Conv, Network, RmsNorm
from agent.export.tflite_file import TfliteFile
from agent.export.tflite_graph import Store, TfliteGraph, reduced

FORM = "channels-last"

_LARGEST = 127
# Shares of a channel's largest weight that its scale may reach. Against the largest alone, b15c192 with weights in INT8
# on 279 golden positions: top-1 0.975 → 0.993, win MAE 0.0026 → 0.0021.
_SHARES = np.linspace(1.0, 0.5, 26)

# op_version.cc: what a runtime must know to take such weights.
_DEQUANTIZE_FP16_VERSION = 3
_DEQUANTIZE_PER_CHANNEL_VERSION = 5
_CONV_VERSION = 1
_CONV_HYBRID_PER_CHANNEL_VERSION = 5


def write_fp32(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    return _write(job, _as_fp32, {})


def write_fp16(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    return _write(job, _as_fp16, {"weights": "fp16", "computed in": "fp32"})


def write_int8_weights(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    most = _most_in_float(job.network())
    recipe = {"weights": _INT8, "computed in": "fp32", "layers in fp32": _kept(most)}
    return _write(job, functools.partial(_widened, most), recipe)


def write_int8(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    most = _most_in_float(job.network())
    activations = "int8 before 3x3 convolutions, scaled for each position while running; fp32 before 1x1"
    recipe = {"weights": _INT8, "activations": activations, "layers in fp32": _kept(most)}
    return _write(job, functools.partial(_as_int8, most), recipe)


_INT8 = "int8, one scale for each output channel"


def _kept(most: int) -> str:
    return f"matrices, and convolutions of up to {most} weights"


def _most_in_float(network: Network) -> int:
    """How many weights a convolution may have and stay in fp32."""
    return most_in_float(conv.weights.size for conv in _convolutions(network))


def _convolutions(part: object) -> Iterator[Conv]:
    if isinstance(part, Conv):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from _convolutions(each)
    elif dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            yield from _convolutions(getattr(part, field.name))


def _write(job: Job, store: Store, recipe: dict[str, str]) -> Written:
    network = job.network()
    graph = TfliteGraph(TfliteFile(), store)
    describe(network, Form.PLAIN, graph, job.reporter, layers=lambda _, __: _Layers(graph))
    description = msgspec.json.encode(job.info).decode()
    with job.out.open("wb") as out:
        graph.file.finish(graph.inputs, graph.outputs, job.info.name, description, out)
    return Written(recipe, form=FORM)


# ---------------------------------------------------------------- how weights are kept


def _as_fp32(file: TfliteFile, name: str, values: NDArray[np.float32]) -> tuple[int, int]:
    return file.constant(name, values), _CONV_VERSION


def _as_fp16(file: TfliteFile, name: str, values: NDArray[np.float32]) -> tuple[int, int]:
    half = file.constant(name, values.astype(np.float16))
    return _dequantized(file, name, half, values.shape, _DEQUANTIZE_FP16_VERSION), _CONV_VERSION


def _widened(most_in_float: int, file: TfliteFile, name: str, values: NDArray[np.float32]) -> tuple[int, int]:
    if values.size <= most_in_float:
        return _as_fp32(file, name, values)
    rounded, scales = _rounded(values)
    narrow = file.constant(name, rounded, scales=scales)
    return _dequantized(file, name, narrow, values.shape, _DEQUANTIZE_PER_CHANNEL_VERSION), _CONV_VERSION


def _as_int8(most_in_float: int, file: TfliteFile, name: str, values: NDArray[np.float32]) -> tuple[int, int]:
    """What 1×1 convolutions read is the trunk itself, which rounding hurts most: they only store INT8."""
    if values.size <= most_in_float or values.shape[1:3] == (1, 1):
        return _widened(most_in_float, file, name, values)
    rounded_, scales = _rounded(values)
    return file.constant(name, rounded_, scales=scales), _CONV_HYBRID_PER_CHANNEL_VERSION


def _rounded(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """[out, y, x, in] as whole numbers and the scale of each output channel: of those that cut off more or less of its
    largest weights, the one with the least squared error."""
    channels = values.reshape(values.shape[0], -1)
    largest = np.maximum(np.abs(channels).max(axis=1), np.finfo(np.float32).tiny) / np.float32(_LARGEST)
    best, least = largest, np.full(largest.shape, np.inf, np.float32)
    for share in _SHARES:
        scales = largest * np.float32(share)
        error = np.square(_in_steps(channels, scales) * scales[:, None] - channels).sum(axis=1)
        best, least = np.where(error < least, scales, best), np.minimum(error, least)
    outputs, y_size, x_size, inputs = values.shape
    kernels = (channels / best[:, None]).reshape(outputs, y_size * x_size, inputs).transpose(0, 2, 1)
    steps = rounded(kernels, -_LARGEST, _LARGEST).transpose(0, 2, 1)
    return np.ascontiguousarray(steps, np.int8).reshape(values.shape), best


def _in_steps(channels: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    steps: NDArray[np.float32] = np.clip(np.rint(channels / scales[:, None]), -_LARGEST, _LARGEST)
    return steps


def _dequantized(file: TfliteFile, name: str, narrow: int, shape: tuple[int, ...], version: int) -> int:
    wide = file.tensor(f"{name}.fp32", shape)
    file.operator("DEQUANTIZE", [narrow], wide, options=("DequantizeOptions", {}), version=version)
    return wide


# ---------------------------------------------------------------- layers


class _Layers:
    """As `layers.Layers`; maps are [n, y, x, channels]."""

    def __init__(self, graph: TfliteGraph) -> None:
        self._graph = graph

    def enter(self, conv: Conv, spatial: str) -> str:
        return self.conv(conv, spatial)

    def conv(self, conv: Conv, x: str, bn: BatchNorm | None = None) -> str:
        graph = self._graph
        weights = conv.weights if bn is None else conv.weights * bn.scale[:, None, None, None]
        bias = np.zeros(conv.out_channels, np.float32) if bn is None else bn.bias
        kernel, version = graph.stored(conv.name, np.ascontiguousarray(weights.transpose(0, 2, 3, 1)))
        inputs = [graph.tensor(x), kernel, graph.tensor(graph.weights(f"{conv.name}.bias", bias))]
        dilation = {"dilationHFactor": conv.dilation[0], "dilationWFactor": conv.dilation[1]}
        # Padding 0 is "same", which for odd kernels and steps of one is what KataGo does.
        options = ("Conv2DOptions", {"padding": 0, "strideH": 1, "strideW": 1, **dilation})
        return graph.add("CONV_2D", inputs, (*graph.shape(x)[:3], conv.out_channels), options=options, version=version)

    def batch_norm(self, bn: BatchNorm, x: str) -> str:
        graph = self._graph
        scaled = graph.node("Mul", [x, graph.weights(f"{bn.name}.scale", bn.scale)])
        return graph.node("Add", [scaled, graph.weights(f"{bn.name}.bias", bn.bias)])

    def add_column(self, x: str, column: str) -> str:
        """Every operator that makes columns drops the board; this one brings it back."""
        graph = self._graph
        count, channels = graph.shape(column)
        shape = graph.tensor(graph.constant([-1, 1, 1, channels]))
        spread = graph.add(
            "RESHAPE",
            [graph.tensor(column), shape],
            (count, 1, 1, channels),
            options=("ReshapeOptions", {"newShape": [-1, 1, 1, channels]}),
        )
        return graph.node("Add", [x, spread])

    def mean(self, x: str) -> str:
        return reduced(self._graph, "MEAN", x)

    def largest(self, x: str) -> str:
        return reduced(self._graph, "REDUCE_MAX", x)

    def flat(self, x: str) -> str:
        """Left to the reader of the output."""
        return x

    def rms_norm(self, norm: RmsNorm, x: str) -> str:
        del x
        raise ConversionFailed(_no_transformer(norm.name), fix=_TRANSFORMER_FIX)

    def tokens(self, x: str, channels: int) -> str:
        del x, channels
        raise ConversionFailed(_no_transformer("a transformer block"), fix=_TRANSFORMER_FIX)

    def from_tokens(self, x: str) -> str:
        del x
        raise ConversionFailed(_no_transformer("a transformer block"), fix=_TRANSFORMER_FIX)


_TRANSFORMER_FIX = "Export it to ONNX or MNN."


def _no_transformer(what: str) -> str:
    # Tokens merge two free dimensions, which TFLite's reshape cannot without a shape that is computed.
    return f"{what} has no translation to TFLite for boards of any size"
