"""A backend that runs two others and compares: every answer is the first one's, and an answer that the second does not
confirm is an error. Slow; for tests and for finding out which part is wrong on a new machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.engine.backends.interface import Array, Backend, NetworkInfo, Outputs
from agent.engine.backends.onnxruntime import OnnxRuntimeBackend, require_model
from agent.errors import BackendUnavailable


@dataclass(frozen=True)
class Bounds:
    """Largest differences that two runtimes may show: of probabilities for `policy` and `value`, of raw outputs for
    `score` (about a twentieth of a point each 0.01), of tanh for `ownership`. The defaults are those of our parity
    with KataGo; the score's is 0.01 points over the multiplier of 20."""

    policy: float = 1e-4
    value: float = 1e-4
    score: float = 5e-4
    ownership: float = 1e-3


class CheckBackend:
    """Runs `first` and `second` one after the other."""

    name = "check"

    def __init__(self, first: Backend, second: Backend, bounds: Bounds | None = None) -> None:
        self._first, self._second = first, second
        self._bounds = bounds or Bounds()
        self.network: NetworkInfo = first.network

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`.

        Raises:
            BackendUnavailable: also when the two differ; says by how much and where.
        """
        outputs = self._first.evaluate(spatial, global_)
        other = self._second.evaluate(spatial, global_)
        failures = [line for line in compare(outputs, other, self._bounds) if line]
        if failures:
            raise BackendUnavailable(
                f"{self._first.name} and {self._second.name} disagree on {spatial.shape[3]}×{spatial.shape[2]}: "
                + "; ".join(failures),
                fix="Report this with the output of `agent detect --json`; use another backend meanwhile.",
            )
        return outputs

    def versions(self) -> dict[str, str]:
        return {**self._second.versions(), **self._first.versions()}

    def close(self) -> None:
        """Close both."""
        self._first.close()
        self._second.close()


def compare(first: Outputs, second: Outputs, bounds: Bounds) -> list[str]:
    """One line for each output that is out of bounds, with the figures. A NaN is out of bounds."""
    lines = []
    for name, left, right, bound in (
        ("policy", _softmax(first.policy), _softmax(second.policy), bounds.policy),
        ("value", _softmax(first.value), _softmax(second.value), bounds.value),
        ("score", first.score, second.score, bounds.score),
        ("ownership", np.tanh(first.ownership), np.tanh(second.ownership), bounds.ownership),
    ):
        if left.shape != right.shape:
            lines.append(f"{name} has shapes {left.shape} and {right.shape}")
            continue
        difference = np.abs(left - right)
        worst = np.unravel_index(int(np.argmax(difference)), difference.shape)
        if not difference[worst] <= bound:
            at = ", ".join(str(int(index)) for index in worst)
            lines.append(f"{name}[{at}] {left[worst]:.6g} and {right[worst]:.6g}, more than {bound:g} apart")
    return lines


def _softmax(logits: Array) -> Array:
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), np.float32)


def open_check(model: Path | None, threads: int) -> CheckBackend:
    """For the table: ONNX Runtime as the engine uses it against the same graph run node by node, without the fused
    kernels that differ from machine to machine."""
    del threads
    path = require_model(model)
    return CheckBackend(OnnxRuntimeBackend(path), OnnxRuntimeBackend(path, optimise=False))
