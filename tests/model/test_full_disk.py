"""A disk that is full before, and one that fills up meanwhile: a real small tmpfs in a mount namespace of its own.

`fakes/small_disks.py` says which right that needs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fakes.http_server import FileServer
from fakes.small_disks import on_disk
from fakes.small_networks import content_of, entry_of

from agent.model.catalogue import Source

CONTENT = content_of("large", 1_500_000)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/net": CONTENT}) as serving:
        yield serving


def pull_in(
    folder: Path,
    server: FileServer,
    *,
    disk: str | None = None,
    limit_bytes: int | None = None,
    fill_at: int | None = None,
    converts: bool = True,
) -> dict[str, object]:
    """Runs `fakes/full_disk_child.py`, on a tmpfs of size `disk` if given; returns what it printed."""
    entry = entry_of("net", CONTENT, Source(url=server.url("/net")))
    order = {"root": str(folder / "state"), "entry": msgspec.to_builtins(entry), "limit_bytes": limit_bytes}
    command = [
        sys.executable,
        "-m",
        "fakes.full_disk_child",
        json.dumps({**order, "fill_at": fill_at, "converts": converts}),
    ]
    if disk:
        command = on_disk(disk, folder, command)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, object] = json.loads(done.stdout)
    return outcome


def test_too_small_is_found_before_anything_is_fetched(tmp_path: Path, server: FileServer) -> None:
    outcome = pull_in(tmp_path, server, disk="3m")
    assert outcome["error"] == "StorageFull"
    assert "3.1 MB free; network and conversion need 9.0 MB" in str(outcome["text"])
    assert "larger disk" in str(outcome["fix"])
    assert outcome["before"] == outcome["after"]
    assert not server.requests


def test_no_room_is_asked_for_a_conversion_that_will_not_be(tmp_path: Path, server: FileServer) -> None:
    assert pull_in(tmp_path, server, disk="3m", converts=False)["error"] is None
    outcome = pull_in(tmp_path, server, disk="1m", converts=False)
    assert "; the network needs 2.5 MB" in str(outcome["text"])


def test_filled_up_by_somebody_else_meanwhile(tmp_path: Path, server: FileServer) -> None:
    outcome = pull_in(tmp_path, server, disk="12m", fill_at=500_000)
    assert outcome["error"] == "StorageFull"
    assert "is full" in str(outcome["text"])
    assert outcome["before"] == outcome["after"], "the part of a download is given back to a full disk"
    assert len(server.requests) == 1


def test_large_enough(tmp_path: Path, server: FileServer) -> None:
    assert pull_in(tmp_path, server, disk="16m")["error"] is None


def test_a_limit_on_file_size_is_another_error(tmp_path: Path, server: FileServer) -> None:
    outcome = pull_in(tmp_path, server, limit_bytes=1_000_000)
    assert outcome["error"] == "StorageFull"
    assert "a limit on file size" in str(outcome["text"])
    assert "ulimit" in str(outcome["fix"])
    assert outcome["before"] == outcome["after"]
