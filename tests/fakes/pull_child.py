"""Processes that pull, so that a test can kill them: forked from a clean server that has imported everything."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from types import FrameType
from typing import Any

from agent.events import ChainStep, DownloadProgress, Event
from agent.model.catalogue import NetworkEntry
from agent.model.http_source import HttpLimits
from agent.model.pull import pull
from agent.model.store import Manifest, Store

# System calls by which a store changes; a crash between any two of them must be harmless.
CHANGING_MODULES = ("posix", "fcntl")

# Imported once, for all children of the one server that a test run has: it is started by whichever test comes first.
PRELOADED = [
    *("fakes.pull_child", "fakes.export_child", "fakes.calibration_child"),
    *("onnxruntime", "agent.engine.backends.onnxruntime", "agent.workshop.static_int8"),
    *(f"agent.export.onnx_{kind}" for kind in ("float", "half", "packed")),
]


def start_forkserver() -> ForkServerContext:
    """Children of the context start within milliseconds, with no thread or lock of the test's own process in them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # The server of Python 3.10 to 3.12 does not take over sys.path, and then silently preloads nothing.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    try:
        ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


class PullingProcess:
    """A process that pulls one network. `acknowledged` is how many bytes are on its disk by what it says."""

    def __init__(
        self, context: ForkServerContext, root: Path, entry: NetworkEntry, ca_file: Path | None, on_disk: int
    ) -> None:
        self.acknowledged = on_disk
        self._reports, self._theirs = context.Pipe(duplex=False)
        self.process: ForkServerProcess = context.Process(target=_pull, args=(root, entry, ca_file, self._theirs))

    def start(self) -> None:
        self.process.start()
        self._theirs.close()

    def wait_for_bytes(self, done_bytes: int) -> bool:
        """True when that many bytes are on the disk, False when the process is gone first."""
        with contextlib.suppress(EOFError, OSError):
            while self.acknowledged < done_bytes:
                said = self._reports.recv()
                if isinstance(said, DownloadProgress):
                    self.acknowledged = said.done_bytes
            return True
        return False

    def wait_for_step(self) -> ChainStep:
        """The next step that it tells."""
        while not isinstance(said := self._reports.recv(), ChainStep):
            pass
        return said

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def finish(self) -> None:
        """Waits for its end and checks that it was a good one."""
        self.process.join(60)
        assert self.process.exitcode == 0


class _Acknowledging:
    def __init__(self, reports: Connection) -> None:
        self._reports = reports

    def report(self, event: Event) -> None:
        self._reports.send(event)


def _pull(root: Path, entry: NetworkEntry, ca_file: Path | None, reports: Connection) -> None:
    pull([entry], Store(root), _Acknowledging(reports), limits=HttpLimits(ca_file=ca_file))


def add_and_activate(root: Path, path: Path, manifest: Manifest) -> None:
    """What follows a download."""
    store = Store(root)
    store.collect_garbage()
    stored = store.find(manifest.sha256) or store.add_file(path, manifest)
    store.activate(stored.sha256)


def add_and_die(root: Path, path: Path, manifest: Manifest, die_at: int) -> None:
    """The same, killed (SIGKILL) right before its `die_at`th changing system call."""
    calls = 0

    def count(frame: FrameType, event: str, function: Any) -> None:
        nonlocal calls
        if event == "c_call" and _changes(function):
            calls += 1
            if calls == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    add_and_activate(root, path, manifest)


def _changes(function: Any) -> bool:
    of_file = isinstance(getattr(function, "__self__", None), io.IOBase)
    return of_file or getattr(function, "__module__", "") in CHANGING_MODULES
