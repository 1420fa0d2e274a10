"""Puts an ONNX graph together, node by node. The one owner of the `onnx` package; knows no network.

Values are strings: the names of tensors. Constants are stored once each, as raw little-endian bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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

_TYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.int64): TensorProto.INT64}


class GraphBuilder:
    """Collects nodes, constants, inputs and outputs; `model` makes the file's contents of them."""

    def __init__(self) -> None:
        self._model = onnx.ModelProto()
        self._graph = self._model.graph
        self._names: set[str] = set()
        self._constants: dict[tuple[object, ...], str] = {}
        self._count = 0

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

    def weights(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Store a large constant; returns its name, which is `name` unless another has that already."""
        unique, count = name, 1
        while unique in self._names:
            count += 1
            unique = f"{name}#{count}"
        self._names.add(unique)
        tensor = self._graph.initializer.add()
        tensor.name = unique
        tensor.data_type = _TYPES[values.dtype]
        tensor.dims.extend(values.shape)
        little = values.astype(values.dtype.newbyteorder("<"), copy=False)
        tensor.raw_data = little.tobytes()
        return unique

    def constant(self, values: Sequence[int] | float | NDArray[np.float32]) -> str:
        """A small constant; equal ones are stored once. Whole numbers become int64, others float32."""
        if isinstance(values, np.ndarray):
            array: NDArray[np.float32] | NDArray[np.int64] = values
        elif isinstance(values, float):
            array = np.asarray(values, np.float32)
        else:
            array = np.asarray(values, np.int64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.weights(f"constant_{len(self._constants)}", array)
        return self._constants[key]

    def model(self, name: str, producer: str, version: str, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """The finished model. It is the builder's own, not a copy, so the builder is of no further use."""
        model = self._model
        model.ir_version = IR_VERSION
        model.producer_name = producer
        model.producer_version = version
        model.opset_import.append(helper.make_opsetid("", OPSET))
        helper.set_model_props(model, dict(metadata))
        model.graph.name = name
        return model


def check_file(path: Path) -> None:
    """Check a written model against ONNX's definition, types and shapes included.

    Raises:
        ConversionFailed: it does not conform; a mistake of ours.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionFailed(f"the graph that was written is not valid ONNX: {error}") from error
