"""The link: it comes back by itself, says again what must stand, shows its papers, and never holds anybody up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from fakes.brokers import Broker, free_port
from fakes.listening import Listener
from fakes.scripted_broker import CERTIFICATE, ScriptedBroker, Wire
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from agent.settings import Mqtt, Tls
from agent.telemetry.messages import Maker, Message
from agent.telemetry.mqtt import BACKLOG, Link, stop_thread
from agent.telemetry.topics import AGENT

MAKER = Maker("pi", "boot", 1, 42)
WILL = MAKER.health(AGENT, False, 1.0, reason="the connection broke")


@asynccontextmanager
async def running(link: Link) -> AsyncIterator[Link]:
    task = asyncio.ensure_future(link.run())
    try:
        yield link
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def connected(link: Link, times: int = 1) -> None:
    async def wait() -> None:
        while link.connections < times:
            await link.connected.wait()
            await asyncio.sleep(0)

    await asyncio.wait_for(wait(), 30)


def test_a_lost_connection_comes_back_and_says_all_that_stands(tmp_path: Path) -> None:
    async def scene() -> None:
        with Broker(tmp_path) as broker:
            link = Link(broker.mqtt, "pi", will=WILL)
            link.retain(MAKER.health(AGENT, True, 1.0))
            link.send(MAKER.event("before", "said while nobody listened", 1.0))
            async with Listener(broker.mqtt) as listener, running(link):
                await listener.health("pi", AGENT, "up")
                late = await listener.until(lambda one: one.topic.endswith("/e/before"))
                assert listener.heard[late].content["properties"]["historical"] is True
                link.retain(MAKER.health("engine", True, 2.0, pid=7))
                await listener.health("pi", "engine", "up")
                broker.stop()
                heard = len(listener.heard)
                broker.start()
                await listener.health("pi", AGENT, "up", after=heard)
                await listener.health("pi", "engine", "up", after=heard)
                assert link.trouble == "" and link.connections == 2

    asyncio.run(scene())


def test_a_cut_wire_is_noticed_on_both_sides_and_forgotten_when_mended(tmp_path: Path) -> None:
    async def scene() -> None:
        with Broker(tmp_path) as broker:
            async with Listener(broker.mqtt) as listener, Wire(broker.mqtt) as wire:
                link = Link(wire.mqtt, "pi", will=WILL, keepalive_s=3)
                link.retain(MAKER.health(AGENT, True, 1.0))
                async with running(link):
                    await listener.health("pi", AGENT, "up")
                    wire.cut()
                    down = await listener.health("pi", AGENT, "down")
                    assert listener.heard[down].content["reason"] == "the connection broke"
                    wire.mend()
                    await listener.health("pi", AGENT, "up", after=down)

    asyncio.run(scene())


def test_an_orderly_end_delivers_the_last_word_and_no_will(tmp_path: Path) -> None:
    async def scene() -> None:
        with Broker(tmp_path) as broker:
            async with Listener(broker.mqtt) as listener:
                link = Link(broker.mqtt, "pi", will=WILL)
                async with running(link):
                    await connected(link)
                    link.retain(MAKER.health(AGENT, False, 1.0, reason="stopped"))
                last = Link(broker.mqtt, "other")
                async with running(last):
                    await connected(last)
                    last.send(MAKER.event("after", "", 1.0))
                    await listener.until(lambda one: one.topic.endswith("/e/after"))
                reasons = [one.content["reason"] for one in listener.heard if one.topic.endswith("/status/health")]
                assert reasons == ["stopped"]

    asyncio.run(scene())


def test_user_and_password_are_shown_anew_for_every_connection(tmp_path: Path) -> None:
    secret = tmp_path / "secret"

    async def scene() -> None:
        async with ScriptedBroker(accept=("pi", "right")) as broker:
            mqtt = msgspec.structs.replace(broker.mqtt, username="pi", password_file=secret)
            link = Link(mqtt, "pi")
            secret.write_text("wrong\n")
            async with running(link):
                while "refuses" not in link.trouble:
                    await asyncio.sleep(0)
                assert "uthori" in link.trouble
                secret.write_text("right\n")
                await connected(link)
            assert broker.logins[0] == ("pi", "wrong") and broker.logins[-1] == ("pi", "right")

    asyncio.run(scene())


def test_a_password_file_that_is_missing_is_told(tmp_path: Path) -> None:
    async def scene() -> None:
        mqtt = Mqtt(host="127.0.0.1", port=free_port(), username="pi", password_file=tmp_path / "absent")
        link = Link(mqtt, "pi")
        async with running(link):
            while "absent" not in link.trouble:
                await asyncio.sleep(0)

    asyncio.run(scene())


SEALED = [
    (Tls(ca=CERTIFICATE), False, True),
    (Tls(ca=CERTIFICATE, cert=CERTIFICATE, key=CERTIFICATE), True, True),
    # No certificate of ours where the broker wants one, and an authority that did not sign the broker's.
    (Tls(ca=CERTIFICATE), True, False),
    (Tls(), False, False),
]


@pytest.mark.parametrize(("tls", "client_tls", "succeeds"), SEALED)
def test_tls_checks_the_broker_and_shows_our_certificate(tls: Tls, client_tls: bool, succeeds: bool) -> None:
    async def scene() -> None:
        async with ScriptedBroker(tls=True, client_tls=client_tls) as broker:
            link = Link(msgspec.structs.replace(broker.mqtt, tls=tls), "pi")
            async with running(link):
                if succeeds:
                    await connected(link)
                else:
                    while "does not" not in link.trouble and "refuses" not in link.trouble:
                        await asyncio.sleep(0)
                    assert link.connections == 0 and broker.logins == []

    asyncio.run(asyncio.wait_for(scene(), 60))


def test_tls_refuses_another_host_name_unless_told_not_to(tmp_path: Path) -> None:
    async def scene() -> None:
        async with ScriptedBroker(tls=True) as broker:
            for insecure in (False, True):
                # The certificate is for localhost and 127.0.0.1.
                tls = Tls(ca=CERTIFICATE, insecure=insecure)
                link = Link(msgspec.structs.replace(broker.mqtt, host="127.1", tls=tls), "pi")
                async with running(link):
                    if insecure:
                        await connected(link)
                    else:
                        while "does not answer" not in link.trouble:
                            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scene(), 60))


@pytest.mark.parametrize(("tls", "warned"), [(None, 1), (Tls(), 0)])
def test_the_port_of_tls_without_tls_is_warned_of_once(
    tls: Tls | None, warned: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        # No such name is ever given to a machine (RFC 6761).
        link = Link(Mqtt(host="broker.invalid", port=8883, tls=tls), "pi")
        async with running(link):
            while "does not answer" not in link.trouble:
                await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scene(), 60))
    said = [line for line in caplog.messages if "write `tls: {}`" in line]
    assert len(said) == warned and all("broker.invalid:8883" in line for line in said)


def test_while_offline_the_newest_news_wait_and_nothing_blocks() -> None:
    async def scene() -> None:
        async with ScriptedBroker() as broker:
            link = Link(broker.mqtt, "pi")
            for number in range(3 * BACKLOG):
                link.send(Message(f"te/device/pi///m/{number}", b'{"properties":{}}'))
            async with running(link):
                published = await broker.until(BACKLOG)
            assert [one.topic.rpartition("/")[2] for one in published] == [
                str(number) for number in range(2 * BACKLOG, 3 * BACKLOG)
            ]

    asyncio.run(scene())


class Ending(Client):
    """A paho client whose thread ends between two looks at it, as it may once the connection is lost."""

    looks = 0

    @property
    def _thread(self) -> threading.Thread | None:
        self.looks += 1
        return threading.Thread() if self.looks == 1 else None

    @_thread.setter
    def _thread(self, thread: threading.Thread | None) -> None:
        self.looks = 0


def test_a_thread_that_ends_while_it_is_waited_for_is_no_trouble() -> None:
    client = Ending(CallbackAPIVersion.VERSION2)
    stop_thread(client)
    assert client.looks > 1
