"""What systemd is told, and what others find: with a real notify socket, real locks and real files."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from pathlib import Path

import msgspec
import pytest

from agent.errors import AgentError, FrontRunning
from agent.service import health
from agent.service.health import Front, FrontStatus, Notifier, Verdict
from agent.settings import SYSTEM_STATE, default_state_dir

STATUS = FrontStatus(
    device_id="box",
    pid=1,
    uptime_s=2.0,
    profile="x86-64",
    network="b15c192",
    backend="onnxruntime",
    engine="up",
    engine_pid=2,
    reason="",
    fix="",
    restarts=0,
    outstanding=0,
    clients=3,
    gtp_address="127.0.0.1:4640",
    analysis_address=None,
    websocket_address="127.0.0.1:3",
    gtp_socket="/run/gtp.sock",
    analysis_socket=None,
    broker="127.0.0.1:1883",
    broker_connected=True,
    broker_trouble="",
    front_rss_bytes=30 << 20,
    worker_rss_bytes=None,
)


def front(pid: int, address: str = "127.0.0.1:1") -> Front:
    return Front(pid=pid, device_id="box", started=0.0, status_address=address, gtp_address=address)


@pytest.fixture
def systemd(tmp_path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.bind(str(tmp_path / "notify"))
    listening.settimeout(10)
    return listening


def test_systemd_is_told_lines_in_one_datagram(systemd: socket.socket) -> None:
    Notifier(systemd.getsockname()).tell("READY=1", "STATUS=well")
    assert systemd.recv(1000) == b"READY=1\nSTATUS=well"
    systemd.close()


def test_systemd_may_listen_in_the_abstract_namespace() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        name = f"katago-agent-test-{os.getpid()}"
        listening.bind("\0" + name)
        Notifier("@" + name).tell("WATCHDOG=1")
        assert listening.recv(100) == b"WATCHDOG=1"


def test_without_systemd_or_with_a_dead_one_nothing_happens(tmp_path: Path) -> None:
    Notifier("").tell("READY=1")
    Notifier(str(tmp_path / "absent")).tell("READY=1")


def test_more_time_is_asked_for_once_a_second_at_most(systemd: socket.socket) -> None:
    times = iter([*(number / 1000 for number in range(1000)), 1.0])
    notifier = Notifier(systemd.getsockname(), clock=lambda: next(times))
    for _ in range(1000):
        notifier.extend_start(300)
    notifier.extend_start(200)
    notifier.tell("READY=1")
    told = [systemd.recv(100) for _ in range(3)]
    assert told == [b"EXTEND_TIMEOUT_USEC=300000000", b"EXTEND_TIMEOUT_USEC=200000000", b"READY=1"]
    systemd.close()


INTERVALS = [
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
    ({"WATCHDOG_USEC": "30000000"}, 15.0),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
    ({"WATCHDOG_USEC": "0"}, None),
    ({"WATCHDOG_USEC": "soon"}, None),
    ({}, None),
]


@pytest.mark.parametrize(("environment", "interval_s"), INTERVALS)
def test_the_watchdog_is_fed_at_half_its_interval(environment: dict[str, str], interval_s: float | None) -> None:
    assert health.watchdog_interval_s(environment) == interval_s


def test_the_watchdog_is_fed_only_while_alive(systemd: socket.socket) -> None:
    answers = iter([True, False, False, True])

    async def scene() -> None:
        notifier = Notifier(systemd.getsockname())
        await health.keep_telling(notifier, "WATCHDOG=1", 0.0, lambda: next(answers))

    # The fourth look is the last one that the answers cover.
    with pytest.raises(RuntimeError):
        asyncio.run(scene())
    systemd.setblocking(False)
    assert [systemd.recv(100), systemd.recv(100)] == [b"WATCHDOG=1", b"WATCHDOG=1"]
    with pytest.raises(BlockingIOError):
        systemd.recv(100)
    systemd.close()


def test_one_daemon_a_folder(tmp_path: Path) -> None:
    with health.hold_front(tmp_path / "state"), health.published(front(os.getpid()), tmp_path / "state"):
        with pytest.raises(FrontRunning) as caught, health.hold_front(tmp_path / "state"):
            pass
        assert str(os.getpid()) in str(caught.value) and caught.value.fix
    with health.hold_front(tmp_path / "state"):
        assert health.find_front(tmp_path / "state") is None
    assert [path.name for path in (tmp_path / "state").iterdir()] == [health.LOCK]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AgentError) as caught, health.hold_front(tmp_path / "file" / "state"):
        pass
    assert "state_dir" in caught.value.fix


def test_front_json_is_readable_for_everybody_and_gone_after_a_failure(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with pytest.raises(KeyError), health.published(front(os.getpid()), tmp_path):
            assert (tmp_path / health.FRONT).stat().st_mode & 0o777 == 0o644
            assert health.find_front(tmp_path) == front(os.getpid())
            raise KeyError
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", ["state", "runtime"])
def test_a_folder_that_cannot_be_written_is_no_reason_not_to_serve(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folders = {name: tmp_path / name for name in ("state", "runtime")}
    for folder in folders.values():
        folder.mkdir()
    # Nothing but itself can take its place, as on a full disk nothing can.
    (folders[broken] / health.FRONT / "something").mkdir(parents=True)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(folders["runtime"]))
    other = next(folder for name, folder in folders.items() if name != broken)
    with health.published(front(os.getpid()), folders["state"]):
        assert health.find_front(other) == front(os.getpid()) and health.find_front(folders[broken]) is None
    assert str(folders[broken]) in caplog.text
    assert [*other.iterdir()] == [] and [path.name for path in folders[broken].iterdir()] == [health.FRONT]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid":"x"}', b"\xff"])
def test_a_broken_front_json_is_no_front(tmp_path: Path, content: bytes) -> None:
    (tmp_path / health.FRONT).write_bytes(content)
    assert health.find_front(tmp_path) is None


def test_a_dead_daemons_front_json_is_no_front(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / health.FRONT).write_bytes(msgspec.json.encode(front(dead.pid)))
    assert health.find_front(tmp_path) is None


def test_what_a_power_cut_left_behind_is_no_front_and_goes_with_the_next_daemon(tmp_path: Path) -> None:
    left = msgspec.structs.replace(front(os.getpid()), start_ticks=health.start_ticks(os.getpid()) + 1)
    (tmp_path / health.FRONT).write_bytes(msgspec.json.encode(left))
    assert health.find_front(tmp_path) is None
    today = msgspec.structs.replace(left, start_ticks=health.start_ticks(os.getpid()))
    (tmp_path / health.FRONT).write_bytes(msgspec.json.encode(today))
    assert health.find_front(tmp_path) == today
    with health.hold_front(tmp_path):
        assert health.find_front(tmp_path) is None


def test_the_service_is_found_by_those_who_cannot_read_the_folder_that_its_file_chose(tmp_path: Path) -> None:
    chosen, runtime = tmp_path / "srv", tmp_path / "run"
    runtime.mkdir()
    service = msgspec.structs.replace(front(os.getpid()), state_dir=str(chosen))
    (runtime / health.FRONT).write_bytes(msgspec.json.encode(service))
    for folder in (chosen, default_state_dir(), SYSTEM_STATE):
        assert health.find_front(folder, runtime) == service
    assert health.find_front(tmp_path / "own", runtime) is None


def test_the_state_is_told_to_everybody_who_connects() -> None:
    async def scene() -> None:
        server = await health.serve_status(lambda: STATUS)
        host, port = server.sockets[0].getsockname()[:2]
        asked = front(os.getpid(), f"{host}:{port}")
        assert await asyncio.to_thread(health.ask_status, asked) == STATUS
        server.close()

    asyncio.run(scene())


def test_one_that_answers_nonsense_or_not_at_all_is_not_understood() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        server.settimeout(10)

        async def scene() -> None:
            asking = asyncio.ensure_future(asyncio.to_thread(health.ask_status, front(1, address)))
            connection, _ = await asyncio.to_thread(server.accept)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.close()
            assert await asking is None

        asyncio.run(scene())
    assert health.ask_status(front(1, address)) is None


VERDICTS = [
    (None, None, "down"),
    (front(1), None, "silent"),
    (front(1), STATUS, "up"),
    (front(1), msgspec.structs.replace(STATUS, engine="waiting", reason="died"), "starting"),
    (front(1), msgspec.structs.replace(STATUS, engine="degraded", reason="no runtime", fix="Install."), "degraded"),
]


@pytest.mark.parametrize(("found", "status", "state"), VERDICTS)
def test_every_state_has_a_verdict_with_reason_and_fix(
    found: Front | None, status: FrontStatus | None, state: str
) -> None:
    verdict = health.judge(found, status)
    assert verdict.state == state
    assert state == "up" or (verdict.reason and verdict.fix)
    assert dict(health.lines(verdict))["agent"] == state
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
