"""Stands in for `agent probe` with backends that really crash, hang or answer nonsense. Their names say how."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

from fakes.backends import MisshapenBackend, NanBackend  # noqa: E402

from agent.engine.backends import BACKENDS, Backend, Entry  # noqa: E402
from agent.engine.backends.interface import Array, Outputs  # noqa: E402
from agent.engine.backends.uniform import UniformBackend  # noqa: E402
from agent.errors import BackendUnavailable  # noqa: E402
from agent.workshop.probe_child import serve_probe  # noqa: E402

COMMAND = (sys.executable, __file__)


class Dying(UniformBackend):
    """Ends its process in the middle of an evaluation, as a bad instruction does."""

    def __init__(self, number: signal.Signals) -> None:
        self._number = number

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        sys.stderr.write("a last word\n")
        sys.stderr.flush()
        os.kill(os.getpid(), self._number)
        return super().evaluate(spatial, global_)


class Hanging(UniformBackend):
    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        threading.Event().wait()
        return super().evaluate(spatial, global_)


class Wrong(UniformBackend):
    """Certain of a loss."""

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        outputs = super().evaluate(spatial, global_)
        outputs.value[:, 1] = 5.0
        return outputs


class Slow(UniformBackend):
    """A position takes `milliseconds` of this thread, a call two more, whatever the model says."""

    def __init__(self, milliseconds: float) -> None:
        self._seconds = milliseconds / 1000

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        time.sleep(0.002 + self._seconds * len(spatial))
        return super().evaluate(spatial, global_)


class Chatty(UniformBackend):
    """Prints to standard output, as some runtimes do."""

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        os.write(1, b"The device supports: nothing\n")
        return super().evaluate(spatial, global_)


class Greedy(UniformBackend):
    """Takes 200 MB."""

    def __init__(self) -> None:
        self._held = np.ones(25_000_000)


def _missing(model: Path | None, threads: int) -> Backend:
    raise BackendUnavailable("the package imaginary is not installed")


def _odd(model: Path | None, threads: int) -> Backend:
    raise RuntimeError("a class of the runtime's own\nand a second line")


def _entry(make: Callable[[], Backend]) -> Entry:
    return Entry(0, lambda model, threads: make())


TABLE: dict[str, Entry] = {
    **BACKENDS,
    "sigill": _entry(lambda: Dying(signal.SIGILL)),
    "sigsegv": _entry(lambda: Dying(signal.SIGSEGV)),
    "hanging": _entry(Hanging),
    "nan": _entry(NanBackend),
    "misshapen": _entry(MisshapenBackend),
    "wrong": _entry(Wrong),
    "chatty": _entry(Chatty),
    "greedy": _entry(Greedy),
    "quick": _entry(lambda: Slow(1.0)),
    "slow": _entry(lambda: Slow(8.0)),
    "missing": Entry(0, _missing),
    "odd": Entry(0, _odd),
}

if __name__ == "__main__":
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        serve_probe(sys.stdin.buffer, replies, TABLE)
