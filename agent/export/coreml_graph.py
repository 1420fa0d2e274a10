"""Builds a Core ML program of the nodes that a network is described with. See `coreml.py` for what becomes of it.

Each method of `_Translation` named after an ONNX operator says what it is in Apple's MIL, of its iOS 16 operators. Only
what `emit.py` writes is known; anything else is refused by name. Shapes stay symbolic, so height, width and batch are
as free as in the ONNX graph. MIL counts in int32 where ONNX has int64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConversionFailed

# onnx.TensorProto.DataType, of which ours casts to these alone.
_CASTS = {1: "fp32", 6: "int32", 7: "int32"}


class MilGraph:
    """A `Graph` (see `graph_interface.py`) whose values are MIL variables. Nodes must be added while the function that
    owns `placeholders` is open, as MIL's builder asks; `outputs` are then that function's."""

    def __init__(self, builder: Any, placeholders: Mapping[str, Any]) -> None:
        """`builder` is coremltools' MIL builder; `placeholders` are the inputs by their names."""
        self._values: dict[str, Any] = dict(placeholders)
        self._constants: dict[tuple[object, ...], str] = {}
        self._translation = _Translation(builder)
        self._builder = builder
        self._count = 0
        self.outputs: list[Any] = []

    def input(self, name: str, shape: Sequence[str | int]) -> str:
        rank = len(self._values[name].shape)
        if rank != len(shape):
            raise ConversionFailed(f"the input {name} has {len(shape)} dimensions, not {rank}")
        return name

    def output(self, value: str, name: str, shape: Sequence[str | int]) -> None:
        del shape
        self.outputs.append(self._builder.identity(x=self._values[value], name=name))

    def node(self, op: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """Raises ConversionFailed, naming the operator, for one that has no translation."""
        translate: Callable[..., Any] | None = getattr(self._translation, op, None)
        if translate is None:
            raise ConversionFailed(f"the operator {op} has no translation to Core ML")
        name = output or self._fresh(op.lower())
        self._values[name] = translate(name, *(self._values[value] for value in inputs), **attributes)
        return name

    def split(self, value: str, parts: int) -> list[str]:
        names = [self._fresh("split") for _ in range(parts)]
        pieces = self._builder.split(x=self._values[value], num_splits=parts, axis=0)
        self._values.update(zip(names, pieces, strict=True))
        return names

    def weights(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        unique = self._fresh(f"w.{name}")
        self._values[unique] = np.ascontiguousarray(values, np.int32 if values.dtype.kind == "i" else np.float32)
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

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"{stem}_{self._count}"


class _Translation:
    """ONNX operators by their names. `x` and the like are MIL variables, or numpy arrays for constants."""

    def __init__(self, builder: Any) -> None:
        self._mb = builder
        # What the shapes that were put together are made of, by the variables' names.
        self._parts: dict[str, list[Any]] = {}

    # ------------------------------------------------------------ layers

    def Conv(
        self,
        name: str,
        x: Any,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32] | None = None,
        *,
        kernel_shape: Sequence[int],
        dilations: Sequence[int],
        pads: Sequence[int],
    ) -> Any:
        """With padding called "same", MIL knows that the board keeps its size."""
        around = [dilation * (size // 2) for dilation, size in zip(dilations, kernel_shape, strict=True)]
        if list(pads) != [*around, *around]:
            raise ConversionFailed(f"{name}: a convolution that changes the board's size has no translation to Core ML")
        optional = {} if bias is None else {"bias": bias}
        return self._mb.conv(x=x, weight=weight, pad_type="same", dilations=list(dilations), name=name, **optional)

    def Gemm(self, name: str, x: Any, weight: NDArray[np.float32], bias: NDArray[np.float32] | None = None) -> Any:
        optional = {} if bias is None else {"bias": bias}
        return self._mb.linear(x=x, weight=np.ascontiguousarray(weight.T), name=name, **optional)

    def MatMul(self, name: str, x: Any, y: Any) -> Any:
        return self._mb.matmul(x=x, y=y, name=name)

    def BatchNormalization(
        self,
        name: str,
        x: Any,
        scale: NDArray[np.float32],
        bias: NDArray[np.float32],
        mean: NDArray[np.float32],
        variance: NDArray[np.float32],
        *,
        epsilon: float,
    ) -> Any:
        """As the line it is at play; coremltools fuses the two into a normalisation of its own."""
        slope = scale / np.sqrt(variance + np.float32(epsilon))
        column = (1, -1, 1, 1)
        scaled = self._mb.mul(x=x, y=slope.reshape(column))
        return self._mb.add(x=scaled, y=(bias - slope * mean).reshape(column), name=name)

    # ------------------------------------------------------------ one number at a time

    def Add(self, name: str, x: Any, y: Any) -> Any:
        return self._mb.add(x=x, y=y, name=name)

    def Sub(self, name: str, x: Any, y: Any) -> Any:
        return self._mb.sub(x=x, y=y, name=name)

    def Mul(self, name: str, x: Any, y: Any) -> Any:
        return self._mb.mul(x=x, y=y, name=name)

    def Div(self, name: str, x: Any, y: Any) -> Any:
        """Of whole numbers, ONNX rounds towards zero; ours are sizes, which floor_div treats alike."""
        whole = getattr(x, "dtype", None) is not None and self._is_whole(x)
        return (self._mb.floor_div if whole else self._mb.real_div)(x=x, y=y, name=name)

    def Pow(self, name: str, x: Any, y: Any) -> Any:
        return self._mb.pow(x=x, y=y, name=name)

    def Log(self, name: str, x: Any) -> Any:
        return self._mb.log(x=x, epsilon=0.0, name=name)

    def Sqrt(self, name: str, x: Any) -> Any:
        return self._mb.sqrt(x=x, name=name)

    def Relu(self, name: str, x: Any) -> Any:
        return self._mb.relu(x=x, name=name)

    def Sigmoid(self, name: str, x: Any) -> Any:
        return self._mb.sigmoid(x=x, name=name)

    def Cast(self, name: str, x: Any, *, to: int) -> Any:
        return self._mb.cast(x=x, dtype=_CASTS[to], name=name)

    # ------------------------------------------------------------ over the board

    def GlobalAveragePool(self, name: str, x: Any) -> Any:
        return self._mb.reduce_mean(x=x, axes=[2, 3], keep_dims=True, name=name)

    def GlobalMaxPool(self, name: str, x: Any) -> Any:
        return self._mb.reduce_max(x=x, axes=[2, 3], keep_dims=True, name=name)

    def ReduceMean(self, name: str, x: Any, *, axes: Sequence[int], keepdims: int = 1) -> Any:
        return self._mb.reduce_mean(x=x, axes=list(axes), keep_dims=bool(keepdims), name=name)

    def ReduceMax(self, name: str, x: Any, *, axes: Sequence[int], keepdims: int = 1) -> Any:
        return self._mb.reduce_max(x=x, axes=list(axes), keep_dims=bool(keepdims), name=name)

    def ReduceProd(self, name: str, x: Any, *, keepdims: int) -> Any:
        return self._mb.reduce_prod(x=x, keep_dims=bool(keepdims), name=name)

    def Softmax(self, name: str, x: Any, *, axis: int) -> Any:
        return self._mb.softmax(x=x, axis=axis, name=name)

    # ------------------------------------------------------------ shapes

    def Shape(self, name: str, x: Any, *, start: int, end: int) -> Any:
        return self._mb.slice_by_index(x=self._mb.shape(x=x), begin=[start], end=[end], name=name)

    def Slice(self, name: str, x: Any, begin: NDArray[np.int32], end: Any, axes: NDArray[np.int32]) -> Any:
        """From `begin` to `end` along the first axes, which is all that is cut of ours."""
        if begin.any() or axes.tolist() != list(range(len(axes))):
            raise ConversionFailed(f"{name}: a slice that begins within has no translation to Core ML")
        rest = [int(size) for size in x.shape[len(axes) :]]
        ends = self._mb.concat(values=[end, rest], axis=0) if rest else end
        return self._mb.slice_by_index(x=x, begin=[0] * len(x.shape), end=ends, name=name)

    def Reshape(self, name: str, x: Any, shape: Any) -> Any:
        """A zero means the input's own dimension at that place, whatever the ranks; MIL asks for equal ranks there."""
        pieces, axis = [], 0
        for part in [shape] if isinstance(shape, np.ndarray) else self._parts.get(shape.name, [shape]):
            if isinstance(part, np.ndarray):
                pieces += [self._length(x, axis + at, int(size)) for at, size in enumerate(part)]
            else:
                pieces.append(part)
            axis += int(part.shape[0])
        return self._mb.reshape(x=x, shape=self._mb.concat(values=pieces, axis=0), name=name)

    def Flatten(self, name: str, x: Any) -> Any:
        return self._mb.reshape(x=x, shape=self._mb.concat(values=[self._length(x, 0, 0), [-1]], axis=0), name=name)

    def Unsqueeze(self, name: str, x: Any, axes: NDArray[np.int32]) -> Any:
        return self._mb.expand_dims(x=x, axes=axes.tolist(), name=name)

    def Squeeze(self, name: str, x: Any, axes: NDArray[np.int32]) -> Any:
        return self._mb.squeeze(x=x, axes=axes.tolist(), name=name)

    def Concat(self, name: str, *values: Any, axis: int) -> Any:
        joined = self._mb.concat(values=list(values), axis=axis, name=name)
        if self._is_whole(joined):
            self._parts[joined.name] = list(values)
        return joined

    def Transpose(self, name: str, x: Any, *, perm: Sequence[int]) -> Any:
        return self._mb.transpose(x=x, perm=list(perm), name=name)

    # ------------------------------------------------------------ within

    def _length(self, x: Any, axis: int, size: int) -> Any:
        """`size` as a list of one, or the length of `x` along `axis` where that is 0."""
        if size != 0:
            return [int(size)]
        if not isinstance(x.shape[axis], int | np.integer):
            return self._mb.slice_by_index(x=self._mb.shape(x=x), begin=[axis], end=[axis + 1])
        return [int(x.shape[axis])]

    def _is_whole(self, x: Any) -> bool:
        return "int" in str(getattr(x.dtype, "__name__", x.dtype))
