"""A native katago that a recorder talks to: lines out, lines in, with nothing of its own on the disk.

Settings that make it repeat itself: one thread, no symmetries, a small cache. Used by the `record_*` scripts.
"""

from __future__ import annotations

import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

CONFIG_NAME = "transcript.cfg"
# The longest wait for one line; a search of the scripts takes far less.
PATIENCE_S = 600.0

COMMON: Mapping[str, str] = {
    "numSearchThreads": "1",
    "nnMaxBatchSize": "1",
    "nnCacheSizePowerOfTwo": "12",
    "nnMutexPoolSizePowerOfTwo": "8",
    "nnRandomize": "false",
    "nnRandSeed": "transcript",
    "searchRandSeed": "transcript",
    "logToStderr": "false",
}


class NativeProcess:
    """`katago gtp` or `katago analysis` with the settings of `COMMON` and more."""

    def __init__(self, katago: str, subcommand: str, network: str, settings: Mapping[str, str]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        home = Path(self._folder.name)
        (home / CONFIG_NAME).write_text("".join(f"{key} = {value}\n" for key, value in {**COMMON, **settings}.items()))
        command = [str(Path(katago).resolve()), subcommand, "-model", str(Path(network).resolve())]
        command += ["-config", CONFIG_NAME, "-override-config", f"homeDataDir={home}"]
        # The configuration is named as errors shall show it, so the process lives in its folder.
        self._process = subprocess.Popen(
            command,
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> NativeProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def write_file(self, name: str, text: str) -> None:
        """Put a file where the process finds it by its name."""
        (Path(self._folder.name) / name).write_text(text, encoding="utf-8")

    def end_input(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def line(self, patience_s: float = PATIENCE_S) -> str:
        """The next line of standard output without its newline. Raises queue.Empty, EOFError."""
        found = self._lines.get(timeout=patience_s)
        if found is None:
            raise EOFError("katago ended")
        return found

    def lines_until(self, is_last: Callable[[str], bool]) -> list[str]:
        """The next lines, the one that `is_last` included."""
        found = [self.line()]
        while not is_last(found[-1]):
            found.append(self.line())
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            self._lines.put(raw.decode("utf-8", "replace").rstrip("\r\n"))
        self._lines.put(None)
