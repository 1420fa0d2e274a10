"""A daemon in front of an owner's katago: it serves, is replaced when it fails, and comes back when it is mended."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.brokers import Broker
from fakes.daemons import Client, Daemon
from fakes.listening import Listener
from fakes.network_writer import NetworkWriter

from agent.service.health import FrontStatus, judge, lines
from agent.settings import own_command

FAKE = Path(__file__).parent / "fakes" / "native_katago.py"


def katago(folder: Path, manner: str) -> Path:
    """A program that behaves in this manner, or differently from the next start on."""
    program = folder / "katago"
    program.write_text(f'#!/bin/sh\nFAKE_KATAGO="{manner}" exec {sys.executable} {FAKE} "$@"\n')
    program.chmod(0o755)
    return program


@pytest.fixture
def network(tmp_path: Path) -> Path:
    return NetworkWriter(8, ["ordinary"]).write(tmp_path / "tiny.bin.gz")


def native(folder: Path, broker: Broker, network: Path, manner: str = "", **engine: object) -> Daemon:
    program = katago(folder, manner)
    return Daemon(
        folder, broker.mqtt, visits=5, threads=1, network=str(network), engine={"path": str(program), **engine}
    )


async def serving(daemon: Daemon, fallen: bool) -> FrontStatus:
    """The status once an engine is up, of this kind."""
    while (status := await daemon.status()).engine != "up" or bool(status.fallen_reason) != fallen:
        await asyncio.sleep(0)
    return status


def test_it_serves_and_a_killed_one_is_replaced(tmp_path: Path, network: Path) -> None:
    async def scene() -> None:
        with Broker(tmp_path) as broker:
            async with native(tmp_path, broker, network) as daemon:
                assert "fake on katago 9.99, Eigen" in daemon.lines[-2]
                client = await Client.connect(daemon.front.gtp_address)
                # The fake knows the first two empty points; which one is played is left to chance.
                assert await client.gtp("genmove b") in ("= A19", "= B19")
                status = await daemon.status()
                assert (status.network, status.backend) == ("fake", "katago 9.99, Eigen")
                children = Path(f"/proc/{status.engine_pid}/task/{status.engine_pid}/children").read_text().split()
                os.kill(int(children[0]), signal.SIGKILL)
                assert await client.gtp("genmove w") in ("= A19", "= B19", "= C19")
                status = await daemon.status()
                assert status.restarts == 1 and "katago died: it was killed (SIGKILL)" in status.reason
                client.close()

    asyncio.run(scene())


def test_one_that_cannot_start_is_stood_in_for_until_it_is_mended(tmp_path: Path, network: Path) -> None:
    async def scene() -> None:
        with Broker(tmp_path) as broker:
            async with Listener(broker.mqtt) as listener, native(tmp_path, broker, network, "library") as daemon:
                status = await serving(daemon, fallen=True)
                assert "libnever.so.7" in status.fallen_reason and "libnever.so.7" in status.fallen_fix
                assert status.network == "random-v8"
                alarm = "te/device/box/service/engine/a/engine_fell_back"
                raised = await listener.until(lambda one: one.topic == alarm and one.content is not None, within_s=60)
                assert "Install the package that holds libnever.so.7" in listener.heard[raised].content["text"]
                client = await Client.connect(daemon.front.gtp_address)
                assert (await client.gtp("genmove b")).startswith("= ")
                command = [*own_command(), "status", "--config", str(daemon.config)]
                told = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True)
                assert told.returncode == 0
                assert "the built-in engine serves instead" in told.stdout
                assert "Install the package that holds libnever.so.7" in told.stdout
                katago(tmp_path, "")
                daemon.process.send_signal(signal.SIGHUP)
                status = await serving(daemon, fallen=False)
                assert status.backend == "katago 9.99, Eigen"
                await listener.until(lambda one: one.topic == alarm and not one.content, after=raised, within_s=60)
                assert lines(judge(daemon.front, status))[0] == ("agent", "up")
                assert (await client.gtp("genmove w")).startswith("= ")
                client.close()

    asyncio.run(scene())
