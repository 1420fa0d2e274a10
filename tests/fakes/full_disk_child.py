"""A process that pulls onto a disk without room: `python -m fakes.full_disk_child ORDER` with ORDER as JSON.

Prints the error and what the store held before and after, because the disk is gone when the process ends.
"""

from __future__ import annotations

import errno
import json
import resource
import sys
from pathlib import Path
from typing import Any

import msgspec
from fakes.small_networks import content_of, manifest_of, tree

from agent.errors import AgentError
from agent.events import DownloadProgress, Event
from agent.model.catalogue import NetworkEntry
from agent.model.pull import pull
from agent.model.store import Store

OLD = content_of("old", 1000)


class Filler:
    """Fills the disk, as somebody else might, when `fill_at` bytes have come."""

    def __init__(self, path: Path, fill_at: int | None) -> None:
        self._path = path
        self._fill_at = fill_at

    def report(self, event: Event) -> None:
        if self._fill_at is not None and isinstance(event, DownloadProgress) and event.done_bytes >= self._fill_at:
            fill(self._path)


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file:
        for size_bytes in (1 << 16, 1 << 12):
            try:
                while True:
                    file.write(bytes(size_bytes))
            except OSError as error:
                assert error.errno == errno.ENOSPC


def run(order: dict[str, Any]) -> dict[str, object]:
    root = Path(order["root"])
    entry = msgspec.convert(order["entry"], NetworkEntry)
    store = Store(root)
    root.mkdir(parents=True)
    (root / "old").write_bytes(OLD)
    store.activate(store.add_file(root / "old", manifest_of("old", OLD)).sha256)
    before = tree(root)
    if order["limit_bytes"]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit_bytes"], order["limit_bytes"]))
    error: AgentError | None = None
    try:
        pull([entry], store, Filler(root.parent / "filler", order["fill_at"]), converts=order["converts"])
    except AgentError as raised:
        error = raised
    return {
        "error": type(error).__name__ if error else None,
        "text": str(error),
        "fix": error.fix if error else "",
        "before": before,
        "after": tree(root),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
