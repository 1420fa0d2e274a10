"""Network runtimes: one table, one contract (`interface.py`). A runtime's package is imported when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.engine.backends.human_style import told
from agent.engine.backends.interface import Backend, NetworkInfo, Outputs
from agent.engine.backends.uniform import UniformBackend
from agent.errors import AgentError, BackendUnavailable
from agent.settings import TEST_BACKENDS

__all__ = ["BACKENDS", "Backend", "Entry", "NetworkInfo", "Outputs", "open_backend"]


@dataclass(frozen=True)
class Entry:
    """A row of the table. The highest `priority` is taken where nobody chooses; 0 is never taken by itself.

    `open` takes the converted network (None where there is none) and how many threads will call `evaluate` at once.
    """

    priority: int
    open: Callable[[Path | None, int], Backend]


def _open_uniform(model: Path | None, threads: int) -> Backend:
    del model, threads
    return UniformBackend()


def _open_onnxruntime(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.onnxruntime import open_onnxruntime

    return open_onnxruntime(model, threads)


def _open_core(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.core import open_core

    return open_core(model, threads)


def _open_cuda(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.cuda import open_cuda

    return open_cuda(model, threads)


def _open_cuda_tensorrt(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.cuda import open_cuda_tensorrt

    return open_cuda_tensorrt(model, threads)


def _open_tensorrt(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.tensorrt import open_tensorrt

    return open_tensorrt(model, threads)


def _open_mnn(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.mnn import open_mnn

    return open_mnn(model, threads)


def _open_mnn_lean(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.mnn import open_mnn_lean

    return open_mnn_lean(model, threads)


def _open_litert(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.litert import open_litert

    return open_litert(model, threads)


def _open_check(model: Path | None, threads: int) -> Backend:
    from agent.engine.backends.check import open_check

    return open_check(model, threads)


BACKENDS: dict[str, Entry] = {
    "onnxruntime": Entry(100, _open_onnxruntime),
    "core": Entry(50, _open_core),
    "cuda": Entry(0, _open_cuda),
    "cuda-tensorrt": Entry(0, _open_cuda_tensorrt),
    "tensorrt": Entry(0, _open_tensorrt),
    "mnn": Entry(0, _open_mnn),
    "mnn-lean": Entry(0, _open_mnn_lean),
    "litert": Entry(0, _open_litert),
    "check": Entry(0, _open_check),
    "uniform": Entry(0, _open_uniform),
}


def open_backend(
    name: str,
    model: Path | None,
    *,
    threads: int,
    table: Mapping[str, Entry] = BACKENDS,
    human_profile: str = "",
) -> Backend:
    """The backend called `name` in `table`, with `model` (a converted network, or what the backend reads) loaded;
    `threads` will call it at once. `human_profile` is whom a human-style network imitates that was not converted for
    somebody.

    Raises:
        BackendUnavailable: no such name, its package is missing or does not work here, `model` does not load, or it
            does not go with `human_profile`.
    """
    entry = table.get(name)
    if entry is None:
        known = ", ".join(each for each in table if each not in TEST_BACKENDS)
        raise BackendUnavailable(f"there is no backend named {name!r}", fix=f"Choose one of: {known}.")
    backend = entry.open(model, threads)
    try:
        return told(backend, human_profile)
    except AgentError as error:
        backend.close()
        raise BackendUnavailable(str(error), fix=error.fix) from error
