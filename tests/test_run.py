"""The daemon's own promises: one proof, one daemon a folder, clear refusals, small memory, joining clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import faulty_client
from fakes.brokers import Broker, free_port
from fakes.daemons import Client, Daemon
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from agent.service.health import Front, find_front
from agent.settings import own_command, parse_address

# Shows 6 of the issue: the daemon's peak resident memory.
MEMORY_BYTES = 40_000_000


def verb(*arguments: str, text: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run one of the agent's verbs to its end and check its exit status."""
    done = subprocess.run(
        [*own_command(), *arguments], input=text, capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def configured(folder: Path, **settings: object) -> Path:
    return Daemon(folder, None, **settings).config


def peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def test_once_ends_well_when_a_move_and_a_metric_came_back(tmp_path: Path) -> None:
    done = verb("run", "--once", "--config", str(configured(tmp_path)), "--visits", "5")
    steps = [line.split()[0] for line in done.stdout.splitlines()]
    for step in ("hardware", "profile", "network", "gtp", "analysis", "engine", "broker", "move", "metric"):
        assert step in steps, done.stdout
    assert not (tmp_path / "box" / "front.json").exists()


def test_once_fails_with_reason_and_fix_where_no_broker_answers(tmp_path: Path) -> None:
    config = configured(tmp_path, mqtt={"host": "127.0.0.1", "port": free_port()})
    done = verb("run", "--once", "--config", str(config), "--visits", "5", "--patience", "1", status=1)
    assert "no metric" in done.stderr and "does not answer" in done.stderr and "fix: " in done.stderr


def test_once_fails_with_reason_and_fix_where_no_engine_starts(tmp_path: Path) -> None:
    config = configured(tmp_path, engine={"backend": "onnxruntime"}, network=str(tmp_path / "absent.bin.gz"))
    done = verb("run", "--once", "--config", str(config), status=1)
    assert "absent.bin.gz" in done.stderr and "fix: " in done.stderr


def test_a_second_daemon_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Daemon(tmp_path, None) as daemon:
            done = await asyncio.to_thread(verb, "run", "--config", str(daemon.config), status=1)
            assert f"pid {daemon.process.pid}" in done.stderr and "state_dir" in done.stderr
            assert (await daemon.status()).engine == "up"

    asyncio.run(scene())


@pytest.mark.parametrize("key", ["gtp_address", "analysis_address", "websocket_address"])
def test_a_taken_address_is_refused_by_name(tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = verb("run", "--config", str(configured(tmp_path, **{key: address})), status=1)
    assert address in done.stderr and key in done.stderr


def test_a_taken_broker_port_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = verb("run", "--config", str(configured(tmp_path, mqtt={"port": port})), status=1)
    assert str(port) in done.stderr and "mqtt.port" in done.stderr


def test_the_daemon_is_small_and_serves_both_protocols(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Daemon(tmp_path, None, visits=50) as daemon:
            gtp = await Client.connect(daemon.front.gtp_address)
            assert (await gtp.gtp("name")) == "= KataGo"
            assert (await gtp.gtp("genmove b")).startswith("= ")
            analysis = await Client.connect(daemon.front.analysis_address)
            query = {"id": "a", "moves": [], "rules": "japanese", "boardXSize": 19, "boardYSize": 19}
            answer = await analysis.analysis({**query, "includeOwnership": True, "maxVisits": 20})
            assert answer["id"] == "a" and len(answer["ownership"]) == 361
            # A broker of its own may be later than the chain's last line, which does not wait for it for long.
            while not (status := await daemon.status()).broker_connected:
                pass
            assert peak_bytes(daemon.process.pid) <= MEMORY_BYTES
            assert status.outstanding == 0
            assert await daemon.end(signal.SIGINT) == 0
            gtp.close()
            analysis.close()

    asyncio.run(scene())


def test_systemd_is_asked_for_patience_while_an_engine_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        async def scene() -> None:
            async with Daemon(tmp_path, None) as daemon:
                assert await daemon.end() == 0

        asyncio.run(scene())
        told = [systemd.recv(1000).decode()]
        while told[-1] != "STOPPING=1":
            told.append(systemd.recv(1000).decode())
    assert told[0] == "EXTEND_TIMEOUT_USEC=300000000"
    assert told[1].startswith("READY=1\nSTATUS=uniform") and len(told) == 3


def test_gtp_joins_the_running_daemon_and_leaves_it_running(tmp_path: Path) -> None:
    async def scene() -> None:
        async with Daemon(tmp_path, None, visits=5) as daemon:
            commands = "boardsize 9\ngenmove b\nquit\n"
            joined = await asyncio.to_thread(verb, "gtp", "--config", str(daemon.config), text=commands)
            answers = [line for line in joined.stdout.splitlines() if line]
            assert len(answers) == 3 and all(answer.startswith("=") for answer in answers)
            # No engine of its own: that would have told of its worker on stderr.
            assert "worker" not in joined.stderr
            query = {"id": "j", "moves": [], "rules": "japanese", "boardXSize": 9, "boardYSize": 9, "maxVisits": 2}
            text = json.dumps(query) + "\n"
            analysed = await asyncio.to_thread(verb, "analysis", "--config", str(daemon.config), text=text)
            assert json.loads(analysed.stdout)["id"] == "j"
            assert (await daemon.status()).engine == "up"

    asyncio.run(scene())


def test_every_socket_serves_and_joining_needs_no_token(tmp_path: Path) -> None:
    """With a token, TCP and WebSocket ask for it; `agent gtp` on the same machine comes in by the Unix socket."""
    secret = "0123456789abcdef0123456789abcdef"
    (tmp_path / "token").write_text(secret)
    (tmp_path / "token").chmod(0o600)
    query = {"id": "QUERY:1", "moves": [], "rules": "japanese", "boardXSize": 9, "boardYSize": 9, "maxVisits": 2}

    async def scene() -> None:
        async with Daemon(tmp_path, None, visits=5, access={"token_file": "token"}) as daemon:
            front = daemon.front
            stranger = await Client.connect(front.gtp_address)
            assert (await stranger.gtp("name")).startswith("? ")
            known = await Client.connect(front.gtp_address)
            known.say(f"token {secret}")
            assert (await known.gtp("genmove b")).startswith("= ")
            with pytest.raises(InvalidStatus):
                await connect(f"ws://{front.websocket_address}/", proxy=None)
            async with connect(f"ws://{front.websocket_address}/?token={secret}", proxy=None) as remote:
                await remote.send(json.dumps(query))
                assert json.loads(await remote.recv())["id"] == "QUERY:1"
                status = await daemon.status()
                assert status.clients == 2 and status.websocket_address == front.websocket_address
            joined = await asyncio.to_thread(verb, "gtp", "--config", str(daemon.config), text="name\nquit\n")
            assert joined.stdout.startswith("= KataGo") and "worker" not in joined.stderr
            assert peak_bytes(daemon.process.pid) <= MEMORY_BYTES
            assert await daemon.end() == 0
            for client in (stranger, known):
                client.close()
        assert sorted(path.name for path in (tmp_path / "box").iterdir()) == ["front.lock"]

    asyncio.run(scene())


def test_gtp_without_a_daemon_serves_by_itself(tmp_path: Path) -> None:
    options = ["--config", str(configured(tmp_path)), "--visits", "5", "--override-config", "maxVisits=3,noSuchKey=1"]
    done = verb("gtp", *options, text="boardsize 9\ngenmove b\nshowboard\nquit\n")
    answers = [line for line in done.stdout.split("\n\n") if line.strip()]
    assert len(answers) == 4 and all(answer.startswith("=") for answer in answers)
    assert "noSuchKey" in done.stderr


@contextlib.contextmanager
def own_engine(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A GTP program with an engine of its own that is ready, and its worker's process id."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd="/") as program:
        assert program.stderr is not None
        try:
            said = [next(program.stderr)]
            while not said[-1].startswith("ready"):
                said.append(next(program.stderr))
            yield program, next(int(line.split("pid ")[1]) for line in said if line.startswith("worker"))
        finally:
            program.kill()


def test_a_client_goes_on_after_its_engine_died_though_nobody_reads_what_it_tells(tmp_path: Path) -> None:
    command = [*own_command(), "gtp", "--config", str(configured(tmp_path)), "--visits", "5"]
    with own_engine(command) as (program, worker):
        assert program.stdin is not None and program.stdout is not None and program.stderr is not None
        program.stderr.close()
        os.kill(worker, signal.SIGKILL)
        program.stdin.write("genmove b\n")
        program.stdin.flush()
        assert program.stdout.readline().startswith("= ")
        program.stdin.close()
        assert program.wait(60) == 0


def test_a_client_whose_supervision_fails_ends_with_the_fault(tmp_path: Path) -> None:
    command = [sys.executable, faulty_client.__file__, str(configured(tmp_path))]
    with own_engine(command) as (program, worker):
        os.kill(worker, signal.SIGKILL)
        # Its input stays open: without an engine that would be for ever.
        assert program.wait(60) == 1
        assert program.stderr is not None and "ZeroDivisionError" in program.stderr.read()


@pytest.mark.parametrize(
    ("options", "limited"),
    [([], True), (["--visits", "5"], False), (["--override-config", "maxVisits=5"], False)],
    ids=["profile", "visits", "override"],
)
def test_the_profile_limits_the_time_of_a_move_unless_the_owner_said_how_many_visits(
    tmp_path: Path, options: list[str], limited: bool
) -> None:
    config = configured(tmp_path, engine={"backend": "uniform", "path": "/opt/katago"})
    done = verb("gtp", "--config", str(config), *options, text="kata-get-param maxTime\nquit\n")
    # Every profile's limit is half a minute.
    assert (float(done.stdout.split()[1]) <= 30) == limited
    assert "/opt/katago rests: engine.backend names another engine" in done.stderr


BYE = "= \n\n"  # the reply to quit


@pytest.mark.parametrize("backend", ["core", "onnxruntime"])
def test_a_human_style_network_needs_a_profile_and_follows_it(backend: str, tmp_path: Path) -> None:
    network = shutil.copy(Path(__file__).parent / "golden" / "human_network.gz", tmp_path / "human.bin.gz")
    without = configured(tmp_path, engine={"backend": backend}, network=str(network))
    refused = verb("gtp", "--config", str(without), text="quit\n", status=1)
    assert "is a human-style network" in refused.stderr
    assert "Set `human_profile` in agent.yaml" in refused.stderr
    answers = {}
    for profile in ("rank_20k", "rank_9d"):
        config = configured(
            tmp_path, engine={"backend": backend}, network=str(network), human_profile=profile, threads=1
        )
        answers[profile] = verb("gtp", "--config", str(config), text="kata-raw-nn 0\nquit\n").stdout
        assert "whiteWin" in answers[profile]
    assert answers["rank_20k"] != answers["rank_9d"]
    # The first answer comes when there is a network.
    asked = "kata-raw-nn 0\nkata-set-param humanSLProfile rank_20k\nkata-raw-nn 0\nquit\n"
    answer = verb("gtp", "--config", str(config), text=asked).stdout
    if backend == "core":
        assert answer == f"{answers['rank_9d'].removesuffix(BYE)}= \n\n{answers['rank_20k']}"
    else:
        assert "? Could not set params: humanSLProfile is 'rank_9d' for everybody on backend onnxruntime" in answer


def test_a_stale_front_file_deceives_nobody(tmp_path: Path) -> None:
    config = configured(tmp_path)
    (tmp_path / "box").mkdir()
    dead = subprocess.Popen(["true"])
    dead.wait()
    address = f"127.0.0.1:{free_port()}"
    for pid in (dead.pid, os.getpid()):
        front = Front(pid=pid, device_id="box", started=0.0, status_address=address, gtp_address=address)
        (tmp_path / "box" / "front.json").write_bytes(json.dumps({**_as_dict(front)}).encode())
        done = verb("gtp", "--config", str(config), "--visits", "2", text="genmove b\nquit\n")
        assert done.stdout.startswith("= ")
    assert find_front(tmp_path / "box") is not None
    done = verb("status", "--config", str(config), status=1)
    assert "silent" in done.stdout and "fix" in done.stdout


def _as_dict(front: Front) -> dict[str, object]:
    return {name: getattr(front, name) for name in front.__struct_fields__}


def test_status_tells_what_runs_and_what_to_do(tmp_path: Path) -> None:
    config = configured(tmp_path)
    down = verb("status", "--config", str(config), status=1)
    assert "down" in down.stdout and "agent run" in down.stdout

    async def scene() -> None:
        async with Daemon(tmp_path, None) as daemon:
            up = await asyncio.to_thread(verb, "status", "--config", str(daemon.config), "--json")
            told = json.loads(up.stdout)
            assert told["state"] == "up" and told["status"]["device_id"] == "box"
            assert parse_address(told["status"]["gtp_address"])[1] > 0

    asyncio.run(scene())


def test_a_worker_that_is_stopped_is_replaced(tmp_path: Path) -> None:
    async def scene() -> None:
        with Broker(tmp_path) as broker:
            async with Daemon(tmp_path, broker.mqtt, visits=5) as daemon:
                pid = (await daemon.status()).engine_pid
                assert pid is not None
                os.kill(pid, signal.SIGSTOP)
                client = await Client.connect(daemon.front.gtp_address)
                assert (await client.gtp("genmove b")).startswith("= ")
                status = await daemon.status()
                assert status.restarts == 1 and status.engine_pid != pid
                assert "no sign of life" in status.reason
                client.close()

    asyncio.run(scene())
