"""A native `katago analysis`, one query at a time: what `agent bench --against` measures beside ours."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from agent.engine.bench import SEARCH_S, Query
from agent.engine.native_process import START_S, NativeProcess


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
        self._clock = clock
        self._queries = 0
        self._process = NativeProcess(command, "analysis", network, _config(threads, batch))
        try:
            answer = self._ask({"action": "query_version"}, START_S)
        except BaseException:
            self.close()
            raise
        self.version = str(answer.get("version", "unknown"))

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
            raise self._process.failed(f"native katago refused a position: {answer['error']}")
        return int(answer["rootInfo"]["visits"]), seconds

    def peak_rss_bytes(self) -> int:
        """0 where the kernel does not tell."""
        return self._process.peak_rss_bytes()

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _ask(self, fields: dict[str, Any], patience_s: float) -> dict[str, Any]:
        """Send one query and wait for its answer."""
        self._queries += 1
        name = f"bench-{self._queries}"
        with self._process.patience(patience_s):
            self._process.send(json.dumps({"id": name, **fields}))
            while True:
                answer = self._process.answer()
                # A warning of a field that this katago does not know comes before the answer, under its name.
                is_final = not answer.get("isDuringSearch", False) and "warning" not in answer
                if answer.get("id") == name and is_final:
                    return answer
                if "error" in answer:
                    raise self._process.failed(f"native katago refused a query: {answer['error']}")


def _config(threads: int, batch: int) -> dict[str, object]:
    return {
        "numAnalysisThreads": 1,
        "numSearchThreadsPerAnalysisThread": threads,
        "nnMaxBatchSize": batch,
        "nnCacheSizePowerOfTwo": 16,
        "nnMutexPoolSizePowerOfTwo": 12,
        "reportAnalysisWinratesAs": "WHITE",
    }
