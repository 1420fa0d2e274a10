"""Listens to all devices of one broker. Start reading at `watch`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections.abc import Callable
from typing import Final

import msgspec

from agent.errors import BrokerUnreachable
from agent.fleet.state import Fleet, View, hear, view
from agent.service.health import find_front
from agent.settings import MQTT_PORT, Mqtt, Settings, parse_address
from agent.telemetry import topics
from agent.telemetry.messages import Message
from agent.telemetry.mqtt import Link
from agent.waiting import running, within

# A table is redrawn so often at most: faster than anybody reads.
REFRESH_S: Final = 0.5
# For the first connection; a live table goes on trying afterwards.
CONNECT_S: Final = 10.0
# After the retained messages, so long for those that a broker sends a little later.
QUIET_S: Final = 0.3
MARKER_S: Final = 3.0


def choose_broker(settings: Settings, host: str | None, port: int | None) -> Mqtt:
    """The named broker, with the configured user and certificates where it is the configured one; else the configured
    one; else that of the agent that runs here."""
    mqtt = settings.mqtt
    if host is not None and host != mqtt.host:
        return Mqtt(host=host, port=MQTT_PORT if port is None else port)
    if host is None and mqtt.host is None and port is None:
        front = find_front(settings.state_dir)
        if front is not None and front.broker is not None:
            own_host, own_port = parse_address(front.broker)
            return Mqtt(host=own_host, port=own_port)
    return mqtt if port is None else msgspec.structs.replace(mqtt, port=port)


class Watcher:
    """The fleet as this broker tells it."""

    def __init__(self, broker: Mqtt, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fleet: Fleet = {}
        self._marker = f"katago-agent/watch/{uuid.uuid4()}"
        self._told = asyncio.Event()
        self._changed = asyncio.Event()
        self.link = Link(broker, f"katago-agent-watch-{os.getpid()}-{uuid.uuid4().hex[:8]}")
        self.link.subscribe(topics.EVERYTHING, self._hear)
        self.link.subscribe(self._marker, self._hear)

    @property
    def devices(self) -> list[View]:
        return view(self._fleet, self._clock())

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic == self._marker:
            self._told.set()
            return
        self._fleet = hear(self._fleet, topic, payload, self._clock())
        self._changed.set()

    async def until(self, enough: Callable[[list[View]], bool]) -> list[View]:
        """Wait until the devices are as wanted."""
        while not enough(self.devices):
            self._changed.clear()
            await self._changed.wait()
        return self.devices

    async def collect(self, connect_s: float = CONNECT_S) -> None:
        """Wait for a connection, so long, and everything that the broker has retained.

        Raises BrokerUnreachable.
        """
        try:
            await within(self.link.connected.wait(), connect_s)
        except asyncio.TimeoutError as error:
            failure = self.link.failure
            raise BrokerUnreachable(self.link.trouble, fix=failure.fix if failure else "") from error
        # A broker answers in order: when our own word comes back, what it retained for us is here. One that forbids us
        # to speak costs the wait.
        self.link.send(Message(self._marker, b"1", qos=1))
        with contextlib.suppress(asyncio.TimeoutError):
            await within(self._told.wait(), MARKER_S)
        await asyncio.sleep(QUIET_S)


async def watch(
    broker: Mqtt, show: Callable[[list[View], str], None], *, once: bool = False, listen_s: float = 0.0
) -> None:
    """Show the devices, again and again until cancelled; with `once`, one time after what is retained has come and
    `listen_s` have passed for measurements.

    Raises BrokerUnreachable when the first connection fails.
    """
    watcher = Watcher(broker)
    async with running(watcher.link.run()):
        await watcher.collect()
        await asyncio.sleep(listen_s)
        while True:
            show(watcher.devices, watcher.link.address)
            if once:
                return
            await asyncio.sleep(REFRESH_S)
