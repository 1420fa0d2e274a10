"""`agent analyze`: from a file to a table, a page, SGF and JSON; with every kind of engine; what it leaves behind."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.daemons import Daemon
from fakes.network_writer import NetworkWriter
from fakes.processes import wait_until_gone
from fakes.reviewed_game import SGF
from fakes.terminal import hear_ctrl_c
from typer.testing import CliRunner

from agent.__main__ import app
from agent.errors import AnalysisRefused, EngineUnreachable, RecordUnreadable, StoreUnwritable
from agent.record.sgf import parse_sgf
from agent.settings import own_command

TESTS = Path(__file__).resolve().parents[1]
PATIENCE_S = 120.0


def fake(*manner: str) -> str:
    path = f"PYTHONPATH={TESTS}:{TESTS.parent}"
    return shlex.join(["env", path, sys.executable, str(TESTS / "fakes" / "analysis_child.py"), *manner])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a game in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "game.sgf").write_text(SGF, "utf-8")
    return tmp_path


def analyze(*options: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["analyze", *options])
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.stdout


def refused(kind: type[Exception], *options: str) -> str:
    result = CliRunner().invoke(app, ["analyze", *options])
    assert isinstance(result.exception, kind), result.output
    return str(result.exception)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---------------------------------------------------------------- engines


def test_an_engine_of_our_own_on_a_small_network(folder: Path) -> None:
    NetworkWriter(8, ["ordinary", "gpool"], channels=8).write(folder / "small.bin.gz")
    (folder / "agent.yaml").write_text(f"state_dir: {folder / 'state'}\nthreads: 1\n")
    out = analyze(
        "game.sgf", "--network", "small.bin.gz", "--config", "agent.yaml", "--visits", "3", "--sgf", "out.sgf"
    )
    assert "Lee – Go Seigen" in out and "game.html:" in out and "out.sgf:" in out
    assert names(folder) >= {"game.html", "out.sgf"}
    assert parse_sgf((folder / "out.sgf").read_bytes()).moves == parse_sgf(SGF).moves
    # The network is random, but it judges each position by itself.
    comments = (folder / "out.sgf").read_text("utf-8")
    assert comments.count("SBKV") == 7 and comments.count("(3 visits)") == 7


def test_the_running_agent_is_asked_where_there_is_one(folder: Path) -> None:
    async def scene() -> None:
        async with Daemon(folder, None) as daemon:
            options = ["game.sgf", "--config", str(daemon.config), "--visits", "2", "--json"]
            process = await asyncio.create_subprocess_exec(
                *own_command(), "analyze", *options, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            out, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
            assert process.returncode == 0, errors.decode()
            review = json.loads(out)
            assert [each["evaluation"]["visits"] for each in review["positions"]] == [2] * 7
            # No engine of its own: that would have told of its worker.
            assert b"worker" not in errors
            again = await asyncio.to_thread(analyze, "game.sgf", "--engine", f"ws://{daemon.front.websocket_address}")
            assert "Lee – Go Seigen" in again
            (folder / "thin.sgf").write_text("(;SZ[1:5];B[aa])")
            address = f"tcp://{daemon.front.analysis_address}"
            refusal = await asyncio.to_thread(refused, AnalysisRefused, "thin.sgf", "--engine", address)
            assert "boardXSize" in refusal

    asyncio.run(asyncio.wait_for(scene(), PATIENCE_S))


def test_another_engine_by_its_command(folder: Path) -> None:
    out = analyze("game.sgf", "--engine", fake("well"), "--html", "page.html", "--turns", "2-4,6")
    rows = [line.split()[0] for line in out.splitlines() if line.split() and line.split()[0].isdigit()]
    assert rows == ["2", "3", "4", "6"] and names(folder) == {"game.sgf", "page.html"}


def test_a_komi_that_is_none_is_taken_from_whoever_asks(folder: Path) -> None:
    (folder / "odd.sgf").write_text(SGF.replace("KM[7]", "KM[6.5目]"), "utf-8")
    result = CliRunner().invoke(app, ["analyze", "odd.sgf", "--engine", fake("well")])
    assert isinstance(result.exception, RecordUnreadable) and "komi of 6.5目" in str(result.exception)
    assert "--komi" in result.exception.fix
    assert json.loads(analyze("odd.sgf", "--engine", fake("well"), "--komi", "6.5", "--json"))["komi"] == 6.5


def test_json_writes_no_page_unless_it_is_asked_for(folder: Path) -> None:
    review = json.loads(analyze("game.sgf", "--engine", fake("well"), "--json"))
    assert review["black"] == "Lee" and len(review["positions"]) == 7 and names(folder) == {"game.sgf"}
    assert json.loads(analyze("game.sgf", "--engine", fake("well"), "--json", "--html", "page.html")) == review
    assert names(folder) == {"game.sgf", "page.html"}


@pytest.mark.parametrize("name", ["Lee[/b]", "Lee [pro]", "Lee :smile:", "[red]Lee"])
def test_a_name_is_shown_as_the_record_has_it(folder: Path, name: str) -> None:
    (folder / "game.sgf").write_text(SGF.replace("PB[Lee]", f"PB[{name.replace(']', chr(92) + ']')}]"), "utf-8")
    assert f"{name} – Go Seigen" in analyze("game.sgf", "--engine", fake("well"))
    assert names(folder) == {"game.sgf", "game.html"}


def test_whoever_stops_reading_the_table_still_gets_the_files(folder: Path) -> None:
    reads, writes = os.pipe()
    os.close(reads)
    command = [*own_command(), "analyze", "game.sgf", "--sgf", "out.sgf", "--engine", fake("well")]
    with os.fdopen(writes, "wb") as closed:
        subprocess.run(command, stdout=closed, stderr=subprocess.DEVNULL, timeout=PATIENCE_S, check=False)
    assert names(folder) == {"game.sgf", "game.html", "out.sgf"}


def test_a_page_and_sgf_may_go_into_a_pipe_which_stays_one(folder: Path) -> None:
    """As /dev/null does, which a test must not risk."""
    pipe = folder / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 1 << 20)
        analyze("game.sgf", "--engine", fake("well"), "--html", "pipe", "--sgf", "pipe")
        told = os.read(reader, 1 << 20)
    finally:
        os.close(reader)
    assert told.startswith(b"<!doctype html>") and b"SBKV" in told.rpartition(b"</html>")[2]
    assert pipe.is_fifo() and names(folder) == {"game.sgf", "pipe"}


# ---------------------------------------------------------------- refusals leave nothing


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n\0", "no text"),
        (b"(;SZ[9]", "no SGF"),
        (b"(;SZ[25];B[aa])", "25x25"),
        (b"(;SZ[9];B[ee];W[ee])", "move 2, White E5, is illegal"),
        (b"(;SZ[9]KM[999];B[ee])", "komi of 999"),
        (b" " * 2_000_000, "larger than 1 MB"),
    ],
)
def test_bad_records(folder: Path, data: bytes, reason: str) -> None:
    (folder / "bad.sgf").write_bytes(data)
    text = refused(RecordUnreadable, "bad.sgf", "--engine", fake("well"))
    assert text.startswith("bad.sgf: ") and reason in text
    assert names(folder) == {"game.sgf", "bad.sgf"}


def test_records_that_are_not_there(folder: Path) -> None:
    assert "No such file" in refused(RecordUnreadable, "absent.sgf", "--engine", fake("well"))
    assert names(folder) == {"game.sgf"}


@pytest.mark.parametrize(
    "options",
    [
        ("--turns", "7"),
        ("--visits", "0"),
        ("--engine", "ftp://pi"),
        ("--engine", "unclosed 'quote"),
        ("--engine", "katago analysis", "--network", "b15c192"),
        ("--komi", "1000"),
    ],
)
def test_wrong_usage(folder: Path, options: tuple[str, ...]) -> None:
    analyze("game.sgf", *options, status=2)
    assert names(folder) == {"game.sgf"}


def test_places_that_cannot_be_written_are_refused_before_the_work(folder: Path) -> None:
    engine = ("--engine", "/no/such/engine")
    assert "absent/page.html cannot be written" in refused(
        StoreUnwritable, "game.sgf", "--html", "absent/page.html", *engine
    )
    (folder / "page.html").mkdir()
    assert "cannot be written" in refused(StoreUnwritable, "game.sgf", "--html", "page.html", *engine)
    assert "is the record itself" in refused(StoreUnwritable, "game.sgf", "--sgf", "game.sgf", *engine)
    assert "the page and the SGF" in refused(StoreUnwritable, "game.sgf", "--html", "x", "--sgf", "./x", *engine)
    assert (folder / "game.sgf").read_text("utf-8") == SGF


def test_a_place_that_turns_out_to_be_none_costs_no_review(folder: Path) -> None:
    # Short enough for a name, too long for that of an unfinished file beside it.
    result = CliRunner().invoke(app, ["analyze", "game.sgf", "--engine", fake("well"), "--html", "x" * 250])
    assert isinstance(result.exception, StoreUnwritable) and "name too long" in str(result.exception)
    assert "Lee – Go Seigen" in result.stdout and names(folder) == {"game.sgf"}
    text = refused(StoreUnwritable, "game.sgf", "--engine", "/no/such/engine", "--html", "x" * 300)
    assert "name too long" in text


def test_an_engine_that_fails_leaves_no_files(folder: Path) -> None:
    (folder / "game.html").write_text("of yesterday")
    assert "no program" in refused(EngineUnreachable, "game.sgf", "--engine", "/no/such/engine")
    assert "GTP" in refused(Exception, "game.sgf", "--engine", fake("gtp"))
    assert "Martian" in refused(Exception, "game.sgf", "--engine", fake("well"), "--rules", "Martian")
    assert names(folder) == {"game.sgf", "game.html"} and (folder / "game.html").read_text() == "of yesterday"


def test_ctrl_c_leaves_no_file_and_no_engine(folder: Path) -> None:
    asked = folder / "asked"
    os.mkfifo(asked)
    command = [*own_command(), "analyze", "game.sgf", "--sgf", "out.sgf", "--engine", fake("waits", str(asked))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
    ) as process:
        # Waits until the engine has been asked for the game; it writes its process id then.
        engine = int(asked.read_text())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode not in (0, -signal.SIGKILL) and "Traceback" not in errors
    assert names(folder) == {"game.sgf", "asked"}
    wait_until_gone(engine)
