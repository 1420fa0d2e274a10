"""What a network is written into: a graph of ONNX's operators, whoever keeps it.

`graph.py` writes an ONNX file; `coreml_graph.py` builds a Core ML program of the same nodes. Values are strings: the
names of tensors. Float constants are float32, whole numbers int64, as ONNX has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Graph(Protocol):
    """Takes nodes in the order in which they are computed. `graph.py` says more of each."""

    def input(self, name: str, shape: Sequence[str | int]) -> str:
        """A float input; a dimension that is free has a name."""

    def output(self, value: str, name: str, shape: Sequence[str | int]) -> None:
        """Give `value` out as `name`."""

    def node(self, op: str, inputs: Sequence[str], *, output: str = "", **attributes: Any) -> str:
        """An ONNX operator with one output; returns its name."""

    def split(self, value: str, parts: int) -> list[str]:
        """Cut `value` into `parts` equal pieces along its first dimension."""

    def weights(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """A constant of the network's own."""

    def constant(self, values: Sequence[int] | float | NDArray[np.float32]) -> str:
        """A small constant, which may be shared."""
