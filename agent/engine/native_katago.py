"""A native `katago analysis` process, one query at a time: what `agent bench --against` measures beside ours.

Its configuration is ours, written to a folder that goes with it; the owner's own is not touched.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import msgspec

from agent.engine.bench import SEARCH_S, Query
from agent.errors import BenchFailed

# A first start may tune OpenCL for some minutes.
START_S = 600.0
_QUIT_S = 10.0
_LAST_WORDS = 400


class NativeKatago:
    """Use it as a context manager: the process ends with it."""

    def __init__(
        self, command: Path, network: Path, *, threads: int, batch: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Start `command analysis` on `network` (.bin.gz) with `threads` search threads.

        Raises:
            BenchFailed: it does not start; ends with its last words.
        """
        self.threads = threads
        self.version = ""
        self._clock = clock
        self._queries = 0
        self._folder = tempfile.TemporaryDirectory(prefix="katago-agent-bench-")
        folder = Path(self._folder.name)
        config = folder / "analysis.cfg"
        config.write_text(_config(folder, threads, batch))
        self._errors = (folder / "stderr").open("w+", encoding="utf-8", errors="replace")
        try:
            self._process = subprocess.Popen(
                [str(command), "analysis", "-config", str(config), "-model", str(network)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                cwd=folder,
            )
        except OSError as error:
            self._errors.close()
            self._folder.cleanup()
            raise BenchFailed(f"{command} does not start: {error.strerror}") from error
        try:
            answer = self._ask({"action": "query_version"}, START_S)
            self.version = str(answer.get("version", "unknown"))
        except BenchFailed:
            self.close()
            raise

    def __enter__(self) -> NativeKatago:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def search(self, query: Query, visits: int) -> tuple[int, float]:
        """Search from nothing; returns visits and seconds.

        Raises:
            BenchFailed: it refused the query or ended.
        """
        self._ask({"action": "clear_cache"}, SEARCH_S)
        fields = {**msgspec.to_builtins(query), "maxVisits": visits, "analyzeTurns": [len(query.moves)]}
        start = self._clock()
        answer = self._ask(fields, SEARCH_S)
        seconds = self._clock() - start
        if "error" in answer:
            raise BenchFailed(f"native katago refused a position: {answer['error']}")
        return int(answer["rootInfo"]["visits"]), seconds

    def peak_rss_bytes(self) -> int:
        """0 where the kernel does not tell."""
        try:
            lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        except OSError:
            return 0
        return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)

    def close(self) -> None:
        """End the process, by force where it does not end by itself."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
            self._process.wait(_QUIT_S)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()
        self._folder.cleanup()

    def _ask(self, fields: dict[str, Any], patience_s: float) -> dict[str, Any]:
        """Send one query and wait for its answer."""
        self._queries += 1
        name = f"bench-{self._queries}"
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        watchdog = Watchdog(self._process, patience_s)
        try:
            stdin.write(json.dumps({"id": name, **fields}).encode() + b"\n")
            stdin.flush()
            return self._read(stdout, name)
        except (OSError, ValueError) as error:
            raise BenchFailed(f"native katago ended: {self._last_words()}") from error
        finally:
            watchdog.cancel()

    def _read(self, stdout: IO[bytes], name: str) -> dict[str, Any]:
        for line in stdout:
            try:
                answer = json.loads(line)
            except ValueError:
                continue  # a binary may print a line of its own first
            if isinstance(answer, dict) and answer.get("id") == name and not answer.get("isDuringSearch", False):
                return answer
            if isinstance(answer, dict) and "error" in answer:
                raise BenchFailed(f"native katago refused a query: {answer['error']}")
        raise BenchFailed(f"native katago ended: {self._last_words()}")

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-_LAST_WORDS:].strip() or "it said nothing"


class Watchdog:
    """Kills a process that does not answer in time, so that the reader sees its end."""

    def __init__(self, process: subprocess.Popen[Any], patience_s: float) -> None:
        self._timer = threading.Timer(patience_s, process.kill)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()


def _config(folder: Path, threads: int, batch: int) -> str:
    lines = {
        "logDir": folder / "logs",
        "homeDataDir": folder / "home",
        "logToStderr": "false",
        "numAnalysisThreads": 1,
        "numSearchThreadsPerAnalysisThread": threads,
        "nnMaxBatchSize": batch,
        "nnCacheSizePowerOfTwo": 16,
        "nnMutexPoolSizePowerOfTwo": 12,
        "reportAnalysisWinratesAs": "WHITE",
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items())
