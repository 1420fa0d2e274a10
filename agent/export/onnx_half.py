"""ONNX files that compute in fp16, for GPUs. Start at `write_fp16`. Inputs and outputs stay fp32.

Maps are fp16. Columns (what is pooled over the board, and all that follows from it: biases, value, score, pass) are
fp32 from their first matrix product on: they are a ten-thousandth of the work, and a logit of 8 has steps of 0.008 in
fp16. So is the mean square of an RMSNorm, which would overflow. A processor without fp16 arithmetic runs the file too,
casting back and forth; there the INT8 weights of `onnx_packed.py` are smaller and as fast as fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from agent.export.emit import Form, emit_into
from agent.export.graph import FLOAT, FLOAT16, GraphWriter, Values, check_file
from agent.export.job import Job, Written
from agent.export.network import Array

# What is computed in fp32 whatever comes in.
_WIDE_OPERATORS: Final = frozenset({"Gemm", "Pow"})


def write_fp16(job: Job) -> Written:
    """Convolutions as they are: a GPU's own kernels know better.

    Raises:
        ConversionFailed: the graph is larger than an ONNX file may be, or not valid.
    """
    with job.out.open("wb") as file:
        emit_into(HalfGraph(file), job.in_form(Form.PLAIN.value), Form.PLAIN, job.reporter)
    check_file(job.out)
    recipe = {"weights": "fp16", "arithmetic": "fp16 on maps, fp32 on columns"}
    return Written(form=Form.PLAIN.value, recipe=recipe)


class HalfGraph(GraphWriter):
    """Turns the nodes it is given into fp16, but for what is fp32 wholly: a node all of whose inputs are fp32 stays so.
    Constants take the type of the node that uses them. Serves the plain form."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self._types: dict[str, int] = {}  # of values that are floating-point numbers
        self._pending: dict[str, Array] = {}  # constants, by a name that stands for them
        self._stored: dict[tuple[str, int], str] = {}

    def input(self, name: str, shape: Sequence[str | int]) -> str:
        return self._cast(super().input(name, shape), FLOAT16)

    def output(self, value: str, name: str, shape: Sequence[str | int]) -> None:
        super().output(self._as(value, FLOAT), name, shape)

    def weights(self, name: str, values: Array | NDArray[np.int64]) -> str:
        if values.dtype != np.float32:
            return self.store(name, values)
        stand_in = f"{len(self._pending)}.{name}"
        self._pending[stand_in] = values.astype(np.float32, copy=False)
        return stand_in

    def constant(self, values: Sequence[int] | float | Values) -> str:
        if isinstance(values, float):
            return self.weights("constant", np.asarray(values, np.float32))
        if isinstance(values, np.ndarray) and values.dtype == np.float32:
            return self.weights("constant", values.astype(np.float32, copy=False))
        return super().constant(values)

    def node(self, op: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        found = {self._types[value] for value in inputs if value in self._types}
        if op in _WIDE_OPERATORS or (op == "Cast" and attributes["to"] == FLOAT):
            kind = FLOAT
        else:
            kind = FLOAT if found == {FLOAT} else FLOAT16
        added = super().node(op, [self._as(value, kind) for value in inputs], output=output, **attributes)
        if op != "Shape" and (found or op == "Cast"):
            self._types[added] = kind
        return added

    def _as(self, value: str, kind: int) -> str:
        """`value` in floating-point numbers of `kind`; whole numbers as they are."""
        if value in self._pending:
            return self._constant(value, kind)
        return value if self._types.get(value, kind) == kind else self._cast(value, kind)

    def _constant(self, stand_in: str, kind: int) -> str:
        """Large ones are fp16 in the file in any case."""
        key = (stand_in, kind)
        if key not in self._stored:
            values, name = self._pending[stand_in], stand_in.split(".", 1)[1]
            if kind == FLOAT and values.ndim < 2:
                self._stored[key] = self.store(name, values)
            else:
                stored = self.store(name, values.astype(np.float16))
                self._stored[key] = stored if kind == FLOAT16 else self._cast(stored, FLOAT)
        return self._stored[key]

    def _cast(self, value: str, kind: int) -> str:
        cast = super().node("Cast", [value], to=kind)
        self._types[cast] = kind
        return cast
