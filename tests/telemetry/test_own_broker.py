"""Our own broker: it goes with the daemon, however that ends, and says why it cannot start."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.brokers import free_port
from fakes.processes import wait_until_gone

from agent.errors import BrokerUnreachable
from agent.settings import Mqtt, own_command
from agent.telemetry.mqtt import Link
from agent.telemetry.own_broker import LISTENING, OwnBroker


def test_it_goes_with_a_parent_that_was_killed() -> None:
    """By the kernel's hand: its standard input is still open here, and amqtt's own end may wait for its clients."""
    script = 'exec 3<&0; "$@" <&3 & echo $!; wait'
    command = ["sh", "-c", script, "sh", *own_command(), "broker", "--port", str(free_port())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        broker = int(parent.stdout.readline())
        assert parent.stdout.readline() == LISTENING
        parent.kill()
        wait_until_gone(broker)


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """No process can be started: that takes pipes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_one_that_cannot_be_started_is_told_with_its_fix() -> None:
    async def scene() -> None:
        own = OwnBroker(Mqtt(port=free_port()))
        with no_more_files(), pytest.raises(BrokerUnreachable, match="Too many open files") as caught:
            await own.run()
        assert "mqtt.host" in caught.value.fix

    asyncio.run(scene())


class Log(logging.Handler):
    """What is logged, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.put_nowait(record.getMessage())

    async def until(self, text: str) -> None:
        while text not in await self.lines.get():
            pass


def children() -> set[int]:
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split()}


def test_one_that_was_killed_comes_back_though_it_cannot_be_started_at_once() -> None:
    async def scene() -> None:
        own, log, before = OwnBroker(Mqtt(port=free_port()), restart_s=0.01), Log(), children()
        logging.getLogger(OwnBroker.__module__).addHandler(log)
        running = asyncio.ensure_future(own.run())
        await own.listening.wait()
        (broker,) = children() - before
        with no_more_files():
            os.kill(broker, signal.SIGKILL)
            await log.until("cannot be started")
        link = Link(own.mqtt, "pi")
        linking = asyncio.ensure_future(link.run())
        await link.connected.wait()
        for task in (linking, running):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        logging.getLogger(OwnBroker.__module__).removeHandler(log)
        assert not children() - before

    asyncio.run(asyncio.wait_for(scene(), 60))
