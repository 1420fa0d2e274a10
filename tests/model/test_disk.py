"""Files that appear whole or not at all: full disks, writers at the same time, writers that were killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fakes.small_disks import on_disk
from fakes.small_networks import tree

from agent.model.disk import new_file, remove_unfinished, write_atomically, write_result

# Linux's largest process id is one less.
NOBODY = 4194304


def write_in(folder: Path, size_bytes: int, *, disk: str = "", limit_bytes: int = 0) -> dict[str, object]:
    """Runs `fakes/write_child.py`, on a tmpfs of size `disk` if given; returns what it printed."""
    command = [sys.executable, "-m", "fakes.write_child", str(folder / "file"), str(size_bytes), str(limit_bytes)]
    if disk:
        command = on_disk(disk, folder, command)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outcome: dict[str, object] = json.loads(done.stdout)
    return outcome


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    assert write_in(tmp_path, 1 << 20, disk="64k") == {"error": "ENOSPC", "old": True, "names": ["file"]}


def test_a_limit_on_file_size_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    assert write_in(tmp_path, 1 << 20, limit_bytes=1 << 16) == {"error": "EFBIG", "old": True, "names": ["file"]}


def test_where_there_is_room_the_new_file_is_there_alone(tmp_path: Path) -> None:
    assert write_in(tmp_path, 1 << 20, limit_bytes=1 << 21) == {"error": "", "old": False, "names": ["file"]}


def test_a_folder_in_the_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "inside").write_text("kept")
    before = tree(tmp_path)
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "file", b"new")
    assert tree(tmp_path) == before


def test_a_pipe_or_a_device_is_written_into_and_never_replaced(tmp_path: Path) -> None:
    """As root a rename onto /dev/null would be carried out."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileExistsError, match="no file"), new_file(pipe):
        raise AssertionError("the block must not run")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_result(pipe, b"into it")
        assert os.read(reader, 100) == b"into it"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def test_behind_a_link_the_file_changes_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to("real/file")
    for content in (b"new", b"newer"):
        write_result(link, content)
        assert link.is_symlink() and (tmp_path / "real" / "file").read_bytes() == content
    assert [path.name for path in (tmp_path / "real").iterdir()] == ["file"]


def test_without_its_folder_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "file", b"new")
    assert not tree(tmp_path)


def test_a_writer_that_raises_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    with pytest.raises(KeyboardInterrupt), new_file(tmp_path / "file") as fresh:
        fresh.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_writers_at_the_same_time_each_write_a_file_of_their_own(tmp_path: Path) -> None:
    """Under one temporary name, one would rename what the other has half written."""
    contents = [bytes([number]) * 50_000 for number in range(4)]
    start = threading.Barrier(len(contents))
    failed: list[Exception] = []

    def write(content: bytes) -> None:
        try:
            start.wait()
            for _ in range(10):
                write_atomically(tmp_path / "file", content)
                assert (tmp_path / "file").read_bytes() in contents
        except Exception as error:  # a thread's edge: told to the test
            failed.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    (tmp_path / f".file.{NOBODY}.tmp").write_bytes(b"half")
    writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    alive = tmp_path / f".file.{writer.pid}.tmp"
    alive.write_bytes(b"half")
    foreign = tmp_path / ".file.notes.tmp"
    foreign.write_bytes(b"somebody else's")
    other = tmp_path / f".other.{NOBODY}.tmp"
    other.write_bytes(b"half")
    with writer:
        write_atomically(tmp_path / "file", b"new")
        assert sorted(tmp_path.iterdir()) == sorted([alive, foreign, other, tmp_path / "file"])
        remove_unfinished(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([alive, foreign, tmp_path / "file"])


def test_a_leftover_of_a_process_with_our_number_is_not_written_through(tmp_path: Path) -> None:
    """In a folder that others write to it may be a link."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"kept")
    (tmp_path / f".file.{threading.get_native_id()}.tmp").symlink_to(victim)
    write_atomically(tmp_path / "file", b"new")
    assert victim.read_bytes() == b"kept"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()


def test_names_with_signs_that_mean_something_to_glob(tmp_path: Path) -> None:
    (tmp_path / f".a[b]*.{NOBODY}.tmp").write_bytes(b"half")
    write_atomically(tmp_path / "a[b]*", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a[b]*"]
