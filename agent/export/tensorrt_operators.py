"""Which ONNX operators TensorRT reads, and whether a file keeps to them. Nothing of NVIDIA's is needed to ask.

Source: docs/operators.md of onnx/onnx-tensorrt, the parser that TensorRT ships, at commit 96e7811 ("ONNX-TensorRT 10.1
GA release", 2024-06-17): "TensorRT 10.0 supports operators in the inclusive range of opset 9 to opset 20". JetPack 6.1
has TensorRT 10.3; later releases only added. The rules for quantization are that table's restrictions and what the
parser's own source refuses (onnxOpImporters.cpp, QuantDequantLinearHelper).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import numpy_helper

from agent.errors import ConversionFailed

TENSORRT_VERSION = "10.1"
OPSETS = range(9, 21)

_NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil Celu
Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Div
Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization GRU HardSigmoid
HardSwish Hardmax Identity If ImageScaler InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization
Min Mish Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad ParametricSoftplus Pow PRelu QuantizeLinear
RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum
ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
ReverseSequence RNN RoiAlign Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign
Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile
TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""

OPERATORS = frozenset(_NAMES.split())

_FLOATS = frozenset(getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "BFLOAT16"))
_QUANTIZED = frozenset({onnx.TensorProto.INT8})


def check_operators(path: Path) -> None:
    """Is every part of the ONNX file at `path` one that TensorRT reads?

    Raises:
        ConversionFailed: no; names each operator, and the node where a restriction is broken.
    """
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's DecodeError has no base but Exception
        raise ConversionFailed(f"{path.name} is no ONNX file: {error}") from error
    refused = sorted(set(_refusals(model)))
    if refused:
        raise ConversionFailed(
            f"{path.name} does not suit TensorRT: {'; '.join(refused)}",
            fix="Use onnx-fp32, onnx-fp16 or onnx-int8 through ONNX Runtime's CUDA provider instead.",
        )


def _refusals(model: onnx.ModelProto) -> Iterator[str]:
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            yield f"operators of the domain {opset.domain}"
        elif opset.version not in OPSETS:
            yield f"opset {opset.version} is not among {OPSETS.start} to {OPSETS.stop - 1}"
    constants = {each.name: each for each in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in OPERATORS:
            yield f"the operator {node.op_type} is not supported"
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from _quantization(node, constants)


def _quantization(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> Iterator[str]:
    where = f"{node.op_type} {node.name}"
    data = constants.get(node.input[0])
    allowed = _QUANTIZED if node.op_type == "DequantizeLinear" else _FLOATS
    if data is not None and data.data_type not in allowed:
        yield f"{where} takes {onnx.TensorProto.DataType.Name(data.data_type)}"
    scale = constants.get(node.input[1])
    if scale is None or not (numpy_helper.to_array(scale) > 0).all():
        yield f"{where} has a scale that is no positive constant"
    if len(node.input) < 3 or not node.input[2]:
        yield f"{where} has no zero point, which means UINT8"
        return
    zero = constants.get(node.input[2])
    if zero is None or zero.data_type not in _QUANTIZED:
        kind = "no constant" if zero is None else onnx.TensorProto.DataType.Name(zero.data_type)
        yield f"{where} has a zero point of {kind}, not INT8"
    elif numpy_helper.to_array(zero).any():
        yield f"{where} has a zero point that is not 0"
