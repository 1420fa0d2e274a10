"""A service that cannot start: systemd, `agent status` and the fleet hear why, and it waits for the next try."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.brokers import Broker
from fakes.daemons import READY_S, Daemon
from fakes.listening import Listener

from agent.daemon import Chain
from agent.errors import AgentError
from agent.events import ChainStep
from agent.outage import count_restarts, sit_out, wait_s
from agent.service.health import FRONT, Front, ask_status, find_front, hold_front, judge, published, start_ticks
from agent.settings import Settings, own_command
from agent.telemetry import topics

TROUBLE = AgentError("no network could be had:\n  a source: unreachable", fix="Connect it.")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A service's that has never been restarted by anybody: where the tests are a service themselves, systemd would
    tell of that one's restarts."""
    silent = tmp_path / "bin" / "systemctl"
    silent.parent.mkdir()
    silent.write_text("#!/bin/sh\nexit 1\n")
    silent.chmod(0o755)
    path = os.pathsep.join([str(silent.parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "NOTIFY_SOCKET": str(tmp_path / "notify")}


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.settimeout(READY_S)
        yield end


def test_a_service_that_cannot_start_tells_everybody_and_waits(
    tmp_path: Path, systemd: socket.socket, environment: dict[str, str]
) -> None:
    async def scene() -> None:
        with Broker(tmp_path) as broker:
            lost = Daemon(tmp_path, broker.mqtt, engine={"backend": "core"}, network=str(tmp_path / "gone.bin.gz"))
            async with Listener(broker.mqtt) as listener:
                # The environment is for it alone: Mosquitto tells systemd, too.
                command = [*own_command(), "run", "--config", str(lost.config)]
                lost.process = await asyncio.create_subprocess_exec(
                    *command, stderr=asyncio.subprocess.PIPE, env=environment
                )
                try:
                    alarm = topics.alarm("box", "engine_degraded", topics.ENGINE)
                    heard = listener.heard[await listener.until(lambda one: one.topic == alarm, within_s=READY_S)]
                    assert heard.content["text"].startswith("cannot start: ")
                    assert "gone.bin.gz" in heard.content["text"] and " fix: " in heard.content["text"]
                    await listener.health("box", topics.AGENT, "down")
                    front = find_front(lost.state_dir)
                    assert front is not None
                    verdict = judge(front, await asyncio.to_thread(ask_status, front))
                    assert verdict.state == "degraded"
                    assert "cannot start" in verdict.reason and "gone.bin.gz" in verdict.reason and verdict.fix
                    assert not front.places("gtp")
                finally:
                    status = await lost.end(signal.SIGTERM)
                assert status == 0, "systemd asked for this end"
                assert lost.process.stderr
                assert "\nfix: " in (await lost.process.stderr.read()).decode()
            assert not (lost.state_dir / FRONT).exists()

    asyncio.run(scene())
    told = systemd.recv(4096).decode().splitlines()
    assert told[0].startswith("EXTEND_TIMEOUT_USEC=")
    assert told[1].startswith("STATUS=") and "gone.bin.gz" in told[1] and len(told) == 2


def test_a_failure_of_many_lines_is_one_line_for_systemd_and_the_next_try_comes(
    tmp_path: Path, systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", systemd.getsockname())
    assert asyncio.run(sit_out(Settings(state_dir=tmp_path / "state"), TROUBLE, wait_s=0.0)) is False
    told = systemd.recv(4096).decode().splitlines()
    assert told[1] == "STATUS=no network could be had: a source: unreachable fix: Connect it."


def test_settings_that_cannot_be_read_are_told_to_systemd_and_waited_for(
    tmp_path: Path, systemd: socket.socket, environment: dict[str, str]
) -> None:
    wrong = tmp_path / "agent.yaml"
    wrong.write_text("netwrok: b15c192\n")
    command = [*own_command(), "run", "--config", str(wrong)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as service:
        try:
            told = systemd.recv(4096).decode().splitlines()
            assert told[0].startswith("EXTEND_TIMEOUT_USEC=")
            assert told[1].startswith("STATUS=") and "'netwrok'" in told[1] and " fix: " in told[1]
            assert service.poll() is None, "it waits for the next try"
        finally:
            service.send_signal(signal.SIGTERM)
        assert service.stderr is not None and "\nfix: " in service.stderr.read().decode()
    assert service.returncode == 0, "systemd asked for this end"


def test_beside_another_daemon_its_status_stays(tmp_path: Path) -> None:
    other = Front(os.getpid(), "box", 0.0, "127.0.0.1:1", start_ticks=start_ticks(os.getpid()), state_dir=str(tmp_path))
    with hold_front(tmp_path), published(other, tmp_path):
        assert asyncio.run(sit_out(Settings(state_dir=tmp_path), TROUBLE, wait_s=0.0)) is False
        assert find_front(tmp_path) == other


def test_a_state_folder_that_is_what_is_wrong_is_no_second_failure(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the place of a folder")
    assert asyncio.run(sit_out(Settings(state_dir=blocked / "state"), TROUBLE, wait_s=0.0)) is False
    assert blocked.read_text() == "in the place of a folder"


def test_the_first_try_fails_soon_and_each_next_one_waits_longer() -> None:
    assert [wait_s(restarts) for restarts in (0, 1, 2, 5, 6, 7, 10_000)] == [5, 10, 20, 160, 300, 300, 300]
    assert wait_s(None) == 60


def test_who_is_no_service_has_no_restarts_to_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert count_restarts() is None
    systemctl = tmp_path / "systemctl"
    for answer, expected in (("3", 3), ("", None), ("[not set]", None)):
        systemctl.write_text(f"#!/bin/sh\necho '{answer}'\n")
        systemctl.chmod(0o755)
        assert count_restarts() == expected


def test_what_fails_later_than_the_start_is_told_apart() -> None:
    chain = Chain()
    chain.report(ChainStep("network", "here"))
    assert not chain.is_complete
    chain.report(ChainStep("engine", "b15c192 on core"))
    chain.report(ChainStep("broker", "connected"))
    assert chain.is_complete
