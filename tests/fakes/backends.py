"""Backends that misbehave, or wait to be told; all implement the real interface over the uniform one."""

from __future__ import annotations

import threading

import msgspec
import numpy as np

from agent.engine.backends.interface import Array, Outputs
from agent.engine.backends.uniform import UniformBackend


class GatedBackend(UniformBackend):
    """Evaluates only what it is let through, first come, first served: `let(n)` allows n more calls, `open()` all.
    `entered` counts callers."""

    name = "gated"

    def __init__(self) -> None:
        self._gate = threading.Condition()
        self._allowed = 0.0
        self.entered = 0

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        with self._gate:
            self.entered += 1
            number = self.entered
            self._gate.notify_all()
            self._gate.wait_for(lambda: number <= self._allowed)
        return super().evaluate(spatial, global_)

    def let(self, calls: float) -> None:
        with self._gate:
            self._allowed += calls
            self._gate.notify_all()

    def open(self) -> None:
        self.let(float("inf"))

    def wait_entered(self, calls: int, timeout_s: float = 20.0) -> bool:
        """Until `calls` evaluations were asked for in all."""
        with self._gate:
            return self._gate.wait_for(lambda: self.entered >= calls, timeout_s)


class ImitatingBackend(UniformBackend):
    """Says of its network that it imitates players."""

    name = "imitating"
    network = msgspec.structs.replace(UniformBackend.network, human_profile="rank_5k")


class RaisingBackend(UniformBackend):
    """Raises `error` in the calls whose numbers (from 0) are in `calls`, or in all."""

    name = "raising"

    def __init__(self, error: Exception, calls: tuple[int, ...] | None = None) -> None:
        self._error = error
        self._calls = calls
        self._lock = threading.Lock()
        self._count = 0

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        with self._lock:
            number, self._count = self._count, self._count + 1
        if self._calls is None or number in self._calls:
            raise self._error
        return super().evaluate(spatial, global_)


class NanBackend(UniformBackend):
    """Every win rate is not a number."""

    name = "nan"

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        outputs = super().evaluate(spatial, global_)
        outputs.value[:] = np.nan
        return outputs


class MisshapenBackend(UniformBackend):
    """Forgets the pass."""

    name = "misshapen"

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        outputs = super().evaluate(spatial, global_)
        return outputs._replace(policy=outputs.policy[:, :, :-1])
