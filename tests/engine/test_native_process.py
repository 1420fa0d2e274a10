"""A native engine's process: found, asked, waited for only so long, and gone with all that it started."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.engine.native_process import NativeProcess
from agent.errors import BenchFailed

# Says how it was started, then whatever it hears. It does not exec katago: the process that we know is not the one that
# speaks. Both hold a pipe by name, which ends for its reader when both have ended.
SCRIPT = """#!/bin/sh
cd "$(dirname "$0")" && exec 3<> alive
cd "$OLDPWD"
{python} -c '
import json, os, sys
print("a line of its own")
print(json.dumps([1, 2]))
print(json.dumps({{"arguments": sys.argv[1:], "folder": os.getcwd(), "config": open("katago.cfg").read()}}), flush=True)
for line in sys.stdin:
    if line == "end\\n":
        sys.exit("last words")
    if line != "wait\\n":
        print(json.dumps({{"heard": line.strip()}}), flush=True)
' "$@"
exit 1
"""


@pytest.fixture
def command(tmp_path: Path) -> Path:
    path = tmp_path / "katago"
    path.write_text(SCRIPT.format(python=sys.executable))
    path.chmod(0o755)
    os.mkfifo(tmp_path / "alive")
    return path


@pytest.fixture
def alive(command: Path) -> Iterator[int]:
    """Ends for its reader when no process of the engine is left."""
    reader = os.open(command.with_name("alive"), os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    yield reader
    os.close(reader)


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the process's folder lies."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


def test_it_is_started_asked_and_ended(command: Path, alive: int, temporary: Path) -> None:
    network = command.with_name("n.bin.gz")
    with NativeProcess(command, "analysis", network, {"nnMaxBatchSize": 7}, within=temporary) as process:
        told = process.answer()
        (folder,) = temporary.iterdir()
        assert told["folder"] == str(folder)
        assert told["arguments"][0::2] == ["analysis", str(folder / "katago.cfg"), str(network)]
        assert told["arguments"][1::2] == ["-config", "-model"]
        assert "nnMaxBatchSize = 7\n" in told["config"] and f"logDir = {folder}/logs\n" in told["config"]
        process.send("one\ntwo")
        assert [process.answer(), process.answer()] == [{"heard": "one"}, {"heard": "two"}]
        assert process.peak_rss_bytes() > 0
    process.close()
    assert os.read(alive, 1) == b"", "nothing that it started is left"
    assert list(temporary.iterdir()) == []


def test_one_that_does_not_answer_in_time_is_ended_with_all_that_it_started(command: Path, alive: int) -> None:
    with NativeProcess(command, "gtp", Path("n"), {}) as process:
        process.answer()
        with pytest.raises(BenchFailed, match="ended: it said nothing"), process.patience(0.05):
            process.send("wait")
            process.answer()
        assert os.read(alive, 1) == b""


def test_one_that_ends_says_why(command: Path) -> None:
    with NativeProcess(command, "gtp", Path("n"), {}, fix="Mend it.") as process:
        process.answer()
        process.send("end")
        with pytest.raises(BenchFailed, match="ended: last words") as caught:
            process.answer()
        assert caught.value.fix == "Mend it."
        with pytest.raises(BenchFailed, match="last words"):
            process.send("x" * 100_000)


def test_relative_paths_are_those_of_the_one_who_gave_them(command: Path) -> None:
    with NativeProcess(Path(os.path.relpath(command)), "gtp", Path("n"), {}) as process:
        assert process.answer()["arguments"][-1] == str(Path.cwd() / "n")


def test_a_name_is_looked_for_as_a_shell_does(command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    with NativeProcess(Path("katago"), "gtp", Path("n"), {}) as process:
        assert process.answer()["arguments"][0] == "gtp"


def test_a_folder_of_that_name_is_not_what_is_meant(
    command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a checkout of KataGo in the folder that somebody works in."""
    (tmp_path / "work" / "katago").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    with NativeProcess(Path("katago"), "gtp", Path("n"), {}) as process:
        assert process.answer()["arguments"][0] == "gtp"


@pytest.mark.parametrize(("name", "reason"), [("none", "No such file"), (".", "Permission denied")])
def test_one_that_is_none_leaves_nothing(name: str, reason: str, tmp_path: Path, temporary: Path) -> None:
    with pytest.raises(BenchFailed, match=f"does not start: {reason}"):
        NativeProcess(tmp_path / name, "gtp", Path("n"), {}, within=temporary)
    assert list(temporary.iterdir()) == []


def test_a_temporary_folder_that_cannot_be_made(command: Path) -> None:
    with pytest.raises(BenchFailed, match="does not start: No such file"):
        NativeProcess(command, "gtp", Path("n"), {}, within=command.with_name("none"))
