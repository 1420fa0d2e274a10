"""Who watches a fleet is told why the broker does not let them, and what to do about just that."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
from fakes.brokers import free_port
from fakes.pull_child import start_forkserver
from fakes.scripted_broker import ScriptedBroker
from fakes.stranger import as_stranger, shared_folder

from agent.errors import BrokerUnreachable
from agent.fleet.watch import Watcher
from agent.settings import Mqtt
from agent.waiting import running


async def told(broker: Mqtt) -> tuple[str, str]:
    """What went wrong with the first connection, and the fix."""
    watcher = Watcher(broker)
    async with running(watcher.link.run()):
        while watcher.link.failure is None:
            await asyncio.sleep(0)
        try:
            await watcher.collect(connect_s=0)
        except BrokerUnreachable as error:
            return str(error), error.fix
    raise AssertionError("it connected")


def test_a_wrong_password_is_told_with_its_own_fix(tmp_path: Path) -> None:
    async def scene() -> None:
        secret = tmp_path / "secret"
        secret.write_text("wrong\n")
        async with ScriptedBroker(accept=("pi", "right")) as broker:
            mqtt = msgspec.structs.replace(broker.mqtt, username="pi", password_file=secret)
            wrong, fix = await told(mqtt)
            assert "refuses us" in wrong and "mqtt.password_file" in fix
            secret.write_text("right\n")
            link = Watcher(mqtt).link
            async with running(link.run()):
                await link.connected.wait()
                assert link.failure is None

    asyncio.run(asyncio.wait_for(scene(), 60))


def test_a_broker_that_is_not_there_is_looked_for_elsewhere() -> None:
    wrong, fix = asyncio.run(told(Mqtt(host="127.0.0.1", port=free_port())))
    assert "does not answer" in wrong and fix == BrokerUnreachable.fix


def test_a_password_file_that_is_the_services_own_is_read_with_sudo() -> None:
    with shared_folder() as folder:
        secret = folder / "secret"
        secret.write_text("right\n")
        secret.chmod(0)
        wrong, fix = as_stranger(start_forkserver(), told_apart, secret)
    assert str(secret) in wrong and fix.startswith("Go on with sudo")


def told_apart(secret: Path) -> tuple[str, str]:
    return asyncio.run(told(Mqtt(host="127.0.0.1", port=free_port(), username="pi", password_file=secret)))
