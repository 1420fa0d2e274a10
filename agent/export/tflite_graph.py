"""Builds a TFLite graph of the nodes that a network is described with (`graph_interface.py`). Start at `TfliteGraph`.

Each method of `_Operators` named after an ONNX operator says what it is in TFLite's operators, of the oldest versions.
Only what `emit.py` writes is known; anything else is refused by name. Maps lie channels last, which is all that TFLite
knows. Nothing may depend on a shape that is computed, for delegates such as XNNPACK take no such graph; so

- the board's area is the sum of the plane that is 1 on the board, and
- what would only rearrange outputs is left to their reader: `policy` [n, y, x, channels] and `policy_pass`
  [n, channels] are apart, and `ownership` is [n, y, x, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConversionFailed
from agent.export.tflite_file import TfliteFile
from agent.export.tflite_weights import Store, Stored

# Shapes in the file hold for this board and one position; a reader changes those of the inputs.
DEFAULT_SIDE = 19
_DEFAULTS = {"batch": 1, "height": DEFAULT_SIDE, "width": DEFAULT_SIDE}
# The input plane that is 1 on the board (KataGo's V7 features).
ON_BOARD = 0


class TfliteGraph:
    """A `Graph` whose values are tensors of one TFLite subgraph, by their names. With `single` it takes one position
    at a time, otherwise as many as the reader wants."""

    def __init__(self, file: TfliteFile, store: Store, *, single: bool = False) -> None:
        self.file = file
        self._store = store
        self._fixed = {"batch"} if single else set()
        self._tensors: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        # Constants that no operator has taken yet; many are parameters in ONNX and fields in TFLite.
        self._pending: dict[str, NDArray[Any]] = {}
        self._constants: dict[tuple[object, ...], str] = {}
        self._count = 0
        self._operators = _Operators(self)
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    # ------------------------------------------------------------ what `Graph` promises

    def input(self, name: str, shape: Sequence[str | int]) -> str:
        order = [0, 2, 3, 1] if len(shape) == 4 else range(len(shape))
        named = [shape[axis] for axis in order]
        sizes = [_DEFAULTS[size] if isinstance(size, str) else size for size in named]
        free = [axis for axis, size in enumerate(named) if isinstance(size, str) and size not in self._fixed]
        self._tensors[name] = self.file.tensor(name, sizes, free=free)
        self._shapes[name] = tuple(sizes)
        self.inputs.append(self._tensors[name])
        return name

    def output(self, value: str, name: str, shape: Sequence[str | int]) -> None:
        del shape
        points, passes = self._operators.parted.get(value, (value, ""))
        for part, called in ((points, name), (passes, f"{name}_pass")):
            if part:
                zero = self.file.constant(f"{called}.zero", np.zeros((), np.float32))
                sizes = self.shape(part)
                free = [axis for axis in (range(3) if len(sizes) == 4 else range(1)) if axis or not self._fixed]
                out = self.file.tensor(called, sizes, free=free)
                self.file.operator("ADD", [self.tensor(part), zero], out, options=("AddOptions", {}))
                self.outputs.append(out)

    def node(self, op: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Raises ConversionFailed, naming the operator, for one that has no translation."""
        translate: Callable[..., str] | None = getattr(self._operators, op, None)
        if translate is None or output:
            raise ConversionFailed(f"the operator {op} has no translation to TFLite")
        return translate(*inputs, **attributes)

    def split(self, value: str, parts: int) -> list[str]:
        del value, parts
        raise ConversionFailed("the operator Split has no translation to TFLite")

    def weights(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        unique = self._fresh(name)
        self._pending[unique] = values
        self._shapes[unique] = values.shape
        return unique

    def constant(self, values: Sequence[int] | float | NDArray[np.float32]) -> str:
        array: NDArray[np.float32] | NDArray[np.int64]
        if isinstance(values, float | np.ndarray):
            array = np.asarray(values, np.float32)
        else:
            array = np.asarray(values, np.int64)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.weights("constant", array)
        return self._constants[key]

    # ------------------------------------------------------------ what operators and layers need

    def shape(self, value: str) -> tuple[int, ...]:
        """For the default board."""
        return self._shapes[value]

    def array(self, value: str) -> NDArray[Any]:
        """The numbers of a constant."""
        return self._pending[value]

    def tensor(self, value: str) -> int:
        """The tensor of a value; a constant is written to the file when it is first asked for."""
        if value not in self._tensors:
            array = self._pending[value]
            kind = np.int32 if array.dtype.kind == "i" else np.float32
            self._tensors[value] = self.file.constant(value, array.astype(kind, copy=False))
        return self._tensors[value]

    def stored(self, name: str, values: NDArray[np.float32]) -> tuple[Stored, ...]:
        """A layer's weights, as the file keeps them."""
        return self._store(self.file, self._fresh(name), values)

    def add(self, op: str, inputs: Sequence[int], shape: Sequence[int], **more: Any) -> str:
        """Append a TFLite operator; returns its output."""
        name = self._fresh(op.lower())
        self._tensors[name] = self.file.tensor(name, shape)
        self._shapes[name] = tuple(shape)
        self.file.operator(op, inputs, self._tensors[name], **more)
        return name

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


class _Operators:
    """ONNX operators by their names; arguments are names of values."""

    def __init__(self, graph: TfliteGraph) -> None:
        self._graph = graph
        # What ONNX would put one after the other along a board's points: (points, the pass).
        self.parted: dict[str, tuple[str, str]] = {}

    # ------------------------------------------------------------ one number at a time

    def Add(self, x: str, y: str) -> str:
        return self._pointwise("ADD", "AddOptions", x, y)

    def Sub(self, x: str, y: str) -> str:
        return self._pointwise("SUB", "SubOptions", x, y)

    def Mul(self, x: str, y: str) -> str:
        return self._pointwise("MUL", "MulOptions", x, y)

    def Div(self, x: str, y: str) -> str:
        return self._pointwise("DIV", "DivOptions", x, y)

    def Relu(self, x: str) -> str:
        return self._alone("RELU", x)

    def Sigmoid(self, x: str) -> str:
        return self._alone("LOGISTIC", x)

    def Sqrt(self, x: str) -> str:
        return self._alone("SQRT", x)

    def Log(self, x: str) -> str:
        return self._alone("LOG", x)

    def Softmax(self, x: str, *, axis: int) -> str:
        """Along the last axis, the only one there is."""
        graph = self._graph
        if axis != -1:
            raise ConversionFailed("a softmax along another axis than the last has no translation to TFLite")
        return graph.add("SOFTMAX", [graph.tensor(x)], graph.shape(x), options=("SoftmaxOptions", {"beta": 1.0}))

    # ------------------------------------------------------------ columns

    def Gemm(self, x: str, weights: str, bias: str = "") -> str:
        """`weights` [in, out] lie the other way round in TFLite."""
        graph = self._graph
        values = graph.array(weights)
        kept = graph.tensor(graph.weights(weights, np.ascontiguousarray(values.T)))
        inputs = [graph.tensor(x), kept, graph.tensor(bias) if bias else -1]
        shape = (graph.shape(x)[0], values.shape[1])
        return graph.add("FULLY_CONNECTED", inputs, shape, options=("FullyConnectedOptions", {}))

    def Concat(self, *values: str, axis: int) -> str:
        graph = self._graph
        if axis == 2 and len(values) == 2:
            name = f"{values[0]}+{values[1]}"
            self.parted[name] = (values[0], values[1])
            return name
        shapes = [graph.shape(value) for value in values]
        shape = list(shapes[0])
        shape[axis] = sum(each[axis] for each in shapes)
        inputs = [graph.tensor(value) for value in values]
        return graph.add("CONCATENATION", inputs, shape, options=("ConcatenationOptions", {"axis": axis}))

    # ------------------------------------------------------------ shapes, of which nothing is computed

    def Unsqueeze(self, x: str, axes: str) -> str:
        """Only on the way to what `output` gives out apart."""
        del axes
        return x

    def Flatten(self, x: str) -> str:
        """As Unsqueeze."""
        return x

    def Shape(self, x: str, *, start: int, end: int) -> str:
        """Only on the way to the board's area, which the plane knows as well."""
        if (start, end) != (2, 4):
            raise ConversionFailed("a shape other than the board's has no translation to TFLite")
        return x

    def ReduceProd(self, x: str, *, keepdims: int) -> str:
        """The product of the board's sides: a column [n, 1]."""
        del keepdims
        graph = self._graph
        picks = np.zeros((graph.shape(x)[-1], 1), np.float32)
        picks[ON_BOARD] = 1
        return self.Gemm(reduced(graph, "SUM", x), graph.constant(picks))

    def Cast(self, x: str, *, to: int) -> str:
        """It is a float already."""
        del to
        return x

    # ------------------------------------------------------------ inside

    def _pointwise(self, op: str, options: str, x: str, y: str) -> str:
        graph = self._graph
        shape = np.broadcast_shapes(graph.shape(x), graph.shape(y))
        return graph.add(op, [graph.tensor(x), graph.tensor(y)], shape, options=(options, {}))

    def _alone(self, op: str, x: str) -> str:
        return self._graph.add(op, [self._graph.tensor(x)], self._graph.shape(x))


def reduced(graph: TfliteGraph, op: str, x: str, *, keep: bool = False) -> str:
    """Map [n, y, x, channels] to column [n, channels], or, to `keep` it a map, [n, 1, 1, channels]."""
    count, _, _, channels = graph.shape(x)
    axes = graph.tensor(graph.constant([1, 2]))
    shape = (count, 1, 1, channels) if keep else (count, channels)
    return graph.add(op, [graph.tensor(x), axes], shape, options=("ReducerOptions", {"keepDims": keep}))
