"""Computes the program inside a Core ML package, slowly and with numpy, on any machine.

Written from the format's own description (MIL.proto, the blob storage of coremltools' mlmodel, and the reference of
MIL's operators), sharing nothing with `agent/export`: what it computes is what the bytes of the package say. Each value
is rounded to the type that the program gives it, so half precision is computed as half precision, except that sums
inside one operator are exact to float32, as they are on Apple's processors where those add in float32.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# MIL.proto, DataType.
_TYPES = {1: np.bool_, 10: np.float16, 11: np.float32, 23: np.int32}
# mlmodel/src/MILBlob/Blob/StorageFormat.hpp: what stands before each blob.
_SENTINEL = 0xDEADBEEF
_BLOB_TYPES = {1: np.float16, 2: np.float32}


class MilProgram:
    """The `main` function of the package at `package`."""

    def __init__(self, package: Path) -> None:
        from coremltools.proto import Model_pb2

        data = package / "Data" / "com.apple.CoreML"
        spec = Model_pb2.Model()
        spec.ParseFromString((data / "model.mlmodel").read_bytes())
        self.spec = spec
        (self._block,) = spec.mlProgram.functions["main"].block_specializations.values()
        self._folder = data

    @property
    def operators(self) -> list[str]:
        return [operation.type for operation in self._block.operations]

    def run(self, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The outputs by their names."""
        values: dict[str, Any] = dict(inputs)
        for operation in self._block.operations:
            if operation.type == "const":
                values[operation.outputs[0].name] = self._value(operation.attributes["val"])
                continue
            arguments = {name: self._argument(argument, values) for name, argument in operation.inputs.items()}
            results = getattr(_Operators, operation.type)(**arguments)
            for output, result in zip(
                operation.outputs, results if isinstance(results, list) else [results], strict=True
            ):
                declared = output.type.tensorType
                assert len(declared.dimensions) == np.ndim(result), (operation.type, output.name)
                for dimension, length in zip(declared.dimensions, np.shape(result), strict=True):
                    fixed = dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else length
                    assert fixed == length, (operation.type, output.name, np.shape(result))
                values[output.name] = np.asarray(result).astype(_TYPES[declared.dataType])
        return {name: values[name] for name in self._block.outputs}

    def _argument(self, argument: Any, values: dict[str, Any]) -> Any:
        found = [
            values[each.name] if each.WhichOneof("binding") == "name" else self._value(each.value)
            for each in argument.arguments
        ]
        return found[0] if len(found) == 1 else found

    def _value(self, value: Any) -> Any:
        declared = value.type.tensorType
        shape = tuple(dimension.constant.size for dimension in declared.dimensions)
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(value.blobFileValue).reshape(shape)
        tensor = value.immediateValue.tensor
        kind = tensor.WhichOneof("value")
        if kind == "strings":
            return tensor.strings.values[0]
        if kind == "bytes":
            return np.frombuffer(tensor.bytes.values, _TYPES[declared.dataType]).reshape(shape)
        values = getattr(tensor, kind).values if kind else []
        return np.array(list(values), _TYPES[declared.dataType]).reshape(shape)

    def _blob(self, reference: Any) -> NDArray[Any]:
        path = self._folder / reference.fileName.removeprefix("@model_path/")
        with path.open("rb") as file:
            file.seek(reference.offset)
            sentinel, kind, size_bytes, offset = struct.unpack("<IIQQ", file.read(24))
            assert sentinel == _SENTINEL
            file.seek(offset)
            return np.frombuffer(file.read(size_bytes), _BLOB_TYPES[kind])


def _exact(x: Any) -> Any:
    """Half precision as float32, for sums; anything else as it is."""
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype == np.float16 else x


class _Operators:
    """By their MIL names, with MIL's names of arguments."""

    @staticmethod
    def cast(x: Any, dtype: str) -> Any:
        return np.asarray(x).astype({"fp16": np.float16, "fp32": np.float32, "int32": np.int32}[dtype])

    @staticmethod
    def identity(x: Any) -> Any:
        return x

    @staticmethod
    def conv(
        x: Any,
        weight: Any,
        strides: Any,
        pad_type: str,
        dilations: Any,
        groups: Any,
        pad: Any = None,
        bias: Any = None,
    ) -> Any:
        assert pad_type == "same" and int(groups) == 1 and list(strides) == [1, 1]
        x, weight = _exact(x), _exact(weight)
        outputs, _, kernel_y, kernel_x = weight.shape
        over_y, over_x = int(dilations[0]) * (kernel_y // 2), int(dilations[1]) * (kernel_x // 2)
        _, _, height, width = x.shape
        padded = np.pad(x, ((0, 0), (0, 0), (over_y, over_y), (over_x, over_x)))
        result = np.zeros((len(x), outputs, height, width), np.float32)
        for ky in range(kernel_y):
            for kx in range(kernel_x):
                y, column = ky * int(dilations[0]), kx * int(dilations[1])
                piece = padded[:, :, y : y + height, column : column + width]
                result += np.einsum("oi,niyx->noyx", weight[:, :, ky, kx], piece, optimize=True)
        return result if bias is None else result + _exact(bias)[None, :, None, None]

    @staticmethod
    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        result = _exact(x) @ _exact(weight).T
        return result if bias is None else result + _exact(bias)

    @staticmethod
    def matmul(x: Any, y: Any, transpose_x: Any = False, transpose_y: Any = False) -> Any:
        x, y = _exact(x), _exact(y)
        return (np.swapaxes(x, -1, -2) if transpose_x else x) @ (np.swapaxes(y, -1, -2) if transpose_y else y)

    @staticmethod
    def batch_norm(x: Any, mean: Any, variance: Any, gamma: Any, beta: Any, epsilon: Any) -> Any:
        column = (1, -1, 1, 1)
        slope = _exact(gamma) / np.sqrt(_exact(variance) + np.float32(epsilon))
        return _exact(x) * slope.reshape(column) + (_exact(beta) - slope * _exact(mean)).reshape(column)

    @staticmethod
    def add(x: Any, y: Any) -> Any:
        return x + y

    @staticmethod
    def sub(x: Any, y: Any) -> Any:
        return x - y

    @staticmethod
    def mul(x: Any, y: Any) -> Any:
        return x * y

    @staticmethod
    def real_div(x: Any, y: Any) -> Any:
        return x / y

    @staticmethod
    def floor_div(x: Any, y: Any) -> Any:
        return x // y

    @staticmethod
    def maximum(x: Any, y: Any) -> Any:
        return np.maximum(x, y)

    @staticmethod
    def pow(x: Any, y: Any) -> Any:
        return x**y

    @staticmethod
    def log(x: Any, epsilon: Any) -> Any:
        return np.log(_exact(x) + np.float32(epsilon))

    @staticmethod
    def sqrt(x: Any) -> Any:
        return np.sqrt(x)

    @staticmethod
    def rsqrt(x: Any, epsilon: Any) -> Any:
        return 1 / np.sqrt(_exact(x) + np.float32(epsilon))

    @staticmethod
    def square(x: Any) -> Any:
        return _exact(x) ** 2

    @staticmethod
    def relu(x: Any) -> Any:
        return np.maximum(x, 0)

    @staticmethod
    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-_exact(x)))

    @staticmethod
    def silu(x: Any) -> Any:
        return _exact(x) / (1 + np.exp(-_exact(x)))

    @staticmethod
    def softmax(x: Any, axis: Any) -> Any:
        exponents = np.exp(_exact(x) - _exact(x).max(axis=int(axis), keepdims=True))
        return exponents / exponents.sum(axis=int(axis), keepdims=True)

    @staticmethod
    def reduce_mean(x: Any, axes: Any, keep_dims: Any) -> Any:
        return _exact(x).mean(axis=tuple(axes), keepdims=bool(keep_dims))

    @staticmethod
    def reduce_sum(x: Any, axes: Any, keep_dims: Any) -> Any:
        return _exact(x).sum(axis=tuple(axes), keepdims=bool(keep_dims))

    @staticmethod
    def reduce_max(x: Any, axes: Any, keep_dims: Any) -> Any:
        return x.max(axis=tuple(axes), keepdims=bool(keep_dims))

    @staticmethod
    def reduce_prod(x: Any, keep_dims: Any, axes: Any = None) -> Any:
        return x.prod(axis=None if axes is None else tuple(axes), keepdims=bool(keep_dims))

    @staticmethod
    def shape(x: Any) -> Any:
        return np.array(x.shape, np.int32)

    @staticmethod
    def reshape(x: Any, shape: Any) -> Any:
        assert 0 not in shape
        return x.reshape(tuple(int(length) for length in shape))

    @staticmethod
    def expand_dims(x: Any, axes: Any) -> Any:
        return np.expand_dims(x, tuple(int(axis) for axis in axes))

    @staticmethod
    def squeeze(x: Any, axes: Any) -> Any:
        return np.squeeze(x, tuple(int(axis) for axis in axes))

    @staticmethod
    def transpose(x: Any, perm: Any) -> Any:
        return np.transpose(x, [int(axis) for axis in perm])

    @staticmethod
    def concat(values: Any, axis: Any, interleave: Any) -> Any:
        assert not interleave
        return np.concatenate([np.atleast_1d(value) for value in values], axis=int(axis))

    @staticmethod
    def split(x: Any, axis: Any, num_splits: Any = None, split_sizes: Any = None) -> list[Any]:
        parts = int(num_splits) if num_splits is not None else np.cumsum(split_sizes)[:-1].tolist()
        return list(np.split(x, parts, axis=int(axis)))

    @staticmethod
    def slice_by_index(
        x: Any,
        begin: Any,
        end: Any,
        stride: Any = None,
        begin_mask: Any = None,
        end_mask: Any = None,
        squeeze_mask: Any = None,
    ) -> Any:
        cut, squeezed = [], []
        for axis in range(len(begin)):
            first = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
            last = None if end_mask is not None and end_mask[axis] else int(end[axis])
            if squeeze_mask is not None and squeeze_mask[axis]:
                squeezed.append(axis)
                last = first + 1 if first not in (None, -1) else None
            cut.append(slice(first, last, None if stride is None else int(stride[axis])))
        return np.squeeze(x[tuple(cut)], tuple(squeezed))

    @staticmethod
    def gather(x: Any, indices: Any, axis: Any, batch_dims: Any = 0, validate_indices: Any = False) -> Any:
        assert not batch_dims
        return np.take(x, indices, axis=int(axis))
