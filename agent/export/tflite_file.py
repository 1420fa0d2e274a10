"""TFLite files: tensors and operators as the schema that ships in `ai_edge_litert` names them. The one owner of that
schema and of `flatbuffers`; knows no network. No TensorFlow is involved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from agent.errors import ConversionFailed, ToolMissing, install_extra

# The schema's version since 2017; its file identifier follows the root's offset.
_VERSION = 3
_IDENTIFIER = b"TFL3"
# schema.fbs: Buffer.data has force_align 16, which the generated code leaves to its caller. Runtimes map the file and
# read the weights where they lie.
_DATA_ALIGNMENT = 16
# Flatbuffers' offsets are signed 32-bit numbers.
_MAX_BYTES = (1 << 31) - 1

# Codes up to here also stand in the older, one-byte field (schema.fbs, OperatorCode).
_PLACEHOLDER_CODE = 127


class TfliteFile:
    """Collects one subgraph; `finish` writes the file. A tensor is its index."""

    def __init__(self) -> None:
        """Raises ToolMissing."""
        self._schema, self._flatbuffers = _import()
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        # Buffer 0 is the empty one, of all tensors that are computed.
        self._buffers: list[Any] = [self._schema.BufferT()]

    def tensor(self, name: str, shape: Sequence[int], *, free: Sequence[int] = ()) -> int:
        """A float tensor that is computed or given; `shape` holds for the default board, and the dimensions `free` may
        be changed."""
        signature = [-1 if axis in free else size for axis, size in enumerate(shape)] if free else None
        return self._add(name, shape, self._schema.TensorType.FLOAT32, 0, signature=signature)

    def constant(
        self, name: str, values: NDArray[Any], *, scales: NDArray[np.float32] | None = None, scaled_axis: int = 0
    ) -> int:
        """Float32, float16, int32 or int8; with `scales`, symmetric INT8 that counts in them along `scaled_axis`."""
        kind = {"f4": "FLOAT32", "f2": "FLOAT16", "i4": "INT32", "i1": "INT8"}[values.dtype.str[1:]]
        little = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False))
        self._buffers.append(self._schema.BufferT(data=little.reshape(-1).view(np.uint8)))
        quantization = None
        if scales is not None:
            quantization = self._schema.QuantizationParametersT(
                scale=scales, zeroPoint=np.zeros(scales.size, np.int64), quantizedDimension=scaled_axis
            )
        kind_number = getattr(self._schema.TensorType, kind)
        return self._add(name, values.shape, kind_number, len(self._buffers) - 1, quantization=quantization)

    def operator(
        self,
        name: str,
        inputs: Sequence[int],
        output: int,
        *,
        options: tuple[str, dict[str, Any]] | None = None,
        version: int = 1,
    ) -> None:
        """Append an operator; `options` are the schema's table, without its last word, and its fields."""
        schema = self._schema
        code = getattr(schema.BuiltinOperator, name)
        index = self._codes.setdefault((code, version), len(self._codes))
        operator = schema.OperatorT(opcodeIndex=index, inputs=list(inputs), outputs=[output])
        if options is not None:
            table, fields = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            operator.builtinOptions = getattr(schema, f"{table}T")(**fields)
        self._operators.append(operator)

    def finish(self, inputs: Sequence[int], outputs: Sequence[int], name: str, description: str, out: BinaryIO) -> None:
        """Write the file to `out`.

        Raises:
            ConversionFailed: it is larger than such a file may be.
        """
        schema = self._schema
        graph = schema.SubGraphT(
            tensors=self._tensors, inputs=list(inputs), outputs=list(outputs), operators=self._operators, name=name
        )
        codes = [
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, _PLACEHOLDER_CODE), builtinCode=code, version=version)
            for code, version in self._codes
        ]
        model = schema.ModelT(
            version=_VERSION, operatorCodes=codes, subgraphs=[graph], buffers=self._buffers, description=description
        )
        size_bytes = sum(buffer.data.size for buffer in self._buffers if buffer.data is not None)
        if size_bytes > _MAX_BYTES:
            raise ConversionFailed(f"{name} takes {size_bytes >> 20} MB, more than one TFLite file can hold")
        builder = _aligning(self._flatbuffers)(size_bytes + (1 << 20))
        builder.Finish(model.Pack(builder), _IDENTIFIER)
        # Not `Output`, which is a copy of the whole.
        out.write(memoryview(builder.Bytes)[builder.Head() :])

    def _add(
        self,
        name: str,
        shape: Sequence[int],
        kind: int,
        buffer: int,
        *,
        signature: list[int] | None = None,
        quantization: Any = None,
    ) -> int:
        self._tensors.append(
            self._schema.TensorT(
                shape=np.asarray(shape, np.int32),
                type=kind,
                buffer=buffer,
                name=name,
                shapeSignature=signature,
                quantization=quantization,
                hasRank=True,
            )
        )
        return len(self._tensors) - 1


def _aligning(flatbuffers: Any) -> Any:
    """flatbuffers' builder, but bytes are aligned as the schema asks for."""

    class Builder(flatbuffers.Builder):  # type: ignore[misc]  # the package has no types
        def CreateNumpyVector(self, x: NDArray[Any]) -> int:
            if x.dtype != np.uint8:
                return int(super().CreateNumpyVector(x))
            self.StartVector(1, x.size, _DATA_ALIGNMENT)
            self.head: int
            start = self.head - x.size
            self.head = start
            self.Bytes[start : start + x.size] = x.data
            self.vectorNumElems = x.size
            return int(self.EndVector())

    return Builder


def _import() -> tuple[Any, Any]:
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated
    except ImportError as error:
        raise ToolMissing(
            f"the package ai-edge-litert, which holds the schema of TFLite files, does not load: {error}",
            fix=install_extra("litert"),
        ) from error
    return schema_py_generated, flatbuffers
