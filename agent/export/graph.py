"""Writes an ONNX file, node by node. The one owner of the `onnx` package; knows no network.

Values are strings: the names of tensors. Weights go to the file as they come, so that a conversion never holds two
copies of a network: on a board with 512 MB that decides whether it can be done at all. The file is plain protobuf: a
`ModelProto` whose `graph` begins it, with a length that is filled in when the graph is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
import onnx.checker
import onnx.shape_inference
from numpy.typing import NDArray
from onnx import TensorProto, helper

from agent.errors import ConversionFailed

# Opset 17 (ONNX 1.12) is the newest that ONNX Runtime 1.17, the oldest we accept, and the runtimes that convert from
# ONNX all read; IR version 8 goes with it.
OPSET = 17
IR_VERSION = 8

# onnx.proto: ModelProto.graph is field 7, GraphProto.initializer field 5; both length-delimited (wire type 2).
_GRAPH_TAG = bytes([7 << 3 | 2])
_INITIALIZER_TAG = bytes([5 << 3 | 2])
# Protobuf's own limit for one message.
_MAX_GRAPH_BYTES = (1 << 31) - 1
# A length of five groups of seven bits holds any allowed one, so its place can be kept free.
_LENGTH_GROUPS = 5

_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
}
# For the attribute of Cast.
FLOAT = int(TensorProto.FLOAT)
FLOAT16 = int(TensorProto.FLOAT16)

Integers = NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int32] | NDArray[np.int64]
Values = NDArray[np.float32] | NDArray[np.float16] | Integers


class GraphWriter:
    """Collects nodes, inputs and outputs, writes constants at once; `finish` completes the file."""

    def __init__(self, file: BinaryIO) -> None:
        """Write to `file`, which is empty, seekable and open for writing. The caller closes it."""
        self._file = file
        self._graph = onnx.GraphProto()
        self._weights: dict[str, onnx.ValueInfoProto] = {}
        self._constants: dict[tuple[object, ...], str] = {}
        self._count = 0
        file.write(_GRAPH_TAG + bytes(_LENGTH_GROUPS))

    def input(self, name: str, shape: Sequence[str | int]) -> str:
        self._graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[str | int]) -> None:
        self.node("Identity", [value], output=name)
        self._graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def node(self, op: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        if not output:
            self._count += 1
            output = f"{op.lower()}_{self._count}"
        self._graph.node.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def split(self, value: str, parts: int) -> list[str]:
        """Cut `value` into `parts` equal pieces along its first dimension."""
        self._count += 1
        outputs = [f"split_{self._count}_{part}" for part in range(parts)]
        self._graph.node.append(helper.make_node("Split", [value], outputs, name=outputs[0], axis=0))
        return outputs

    def weights(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Write a constant; returns its name, made of `name` so that nothing else in the graph has it: a network's
        file may call its layers anything."""
        return self.store(name, values)

    def store(self, name: str, values: Values) -> str:
        """As `weights`, for any type, and as it is, also where a subclass keeps weights in another way."""
        unique, count = f"w.{name}", 1
        while unique in self._weights:
            count += 1
            unique = f"w.{name}#{count}"
        self._weights[unique] = helper.make_tensor_value_info(unique, _TYPES[values.dtype], values.shape)
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        tensor = TensorProto(
            name=unique, data_type=_TYPES[values.dtype], dims=values.shape, raw_data=little.tobytes()
        ).SerializeToString()
        self._file.write(_INITIALIZER_TAG + _varint(len(tensor)))
        self._file.write(tensor)
        return unique

    def constant(self, values: Sequence[int] | float | Values) -> str:
        """A small constant; equal ones are stored once. Whole numbers become int64, others float32; arrays stay."""
        if isinstance(values, np.ndarray):
            array: Values = values
        elif isinstance(values, float):
            array = np.asarray(values, np.float32)
        else:
            array = np.asarray(values, np.int64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.store(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    def finish(self, name: str, producer: str, version: str, metadata: Mapping[str, str]) -> None:
        """Complete the file. The writer is of no further use.

        Raises:
            ConversionFailed: the graph is larger than an ONNX file may be, or is not valid (a mistake of ours).
        """
        self._graph.name = name
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name=producer, producer_version=version)
        model.opset_import.append(helper.make_opsetid("", OPSET))
        helper.set_model_props(model, dict(metadata))
        self._check(model)
        self._file.write(self._graph.SerializeToString())
        start = len(_GRAPH_TAG) + _LENGTH_GROUPS
        length = self._file.tell() - start
        if length > _MAX_GRAPH_BYTES:
            raise ConversionFailed(f"{name} takes {length >> 20} MB, more than one ONNX file can hold")
        self._file.write(model.SerializeToString())
        self._file.seek(len(_GRAPH_TAG))
        self._file.write(_varint(length, _LENGTH_GROUPS))

    def _check(self, model: onnx.ModelProto) -> None:
        """Check the graph against ONNX's definition, types and shapes included. The weights stand in as inputs: the
        checker would copy them twice."""
        whole = onnx.ModelProto()
        whole.CopyFrom(model)
        whole.graph.CopyFrom(self._graph)
        whole.graph.input.extend(self._weights.values())
        try:
            onnx.checker.check_model(whole, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ConversionFailed(f"the graph is not valid ONNX: {error}") from error


def check_file(model: Path) -> None:
    """Have ONNX's checker judge a file as anybody would read it, types and shapes included.

    Raises:
        ConversionFailed: it is not valid.
    """
    try:
        onnx.checker.check_model(str(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionFailed(f"{model.name} is not valid ONNX: {error}") from error


def _varint(value: int, groups: int = 1) -> bytes:
    """Protobuf's variable-length number, in at least `groups` bytes."""
    encoded = bytearray()
    while value > 0x7F or len(encoded) + 1 < groups:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
