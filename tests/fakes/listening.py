"""Hears what devices say over a real broker, and waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from agent.settings import Mqtt
from agent.telemetry import topics
from agent.telemetry.mqtt import Link


class Heard(NamedTuple):
    topic: str
    content: Any


class Listener:
    """Everything below te/device, in order. Use as an async context manager."""

    def __init__(self, broker: Mqtt, name: str = "listener") -> None:
        self.heard: list[Heard] = []
        self._more = asyncio.Event()
        self.link = Link(broker, name)
        self.link.subscribe(topics.EVERYTHING, self._hear)

    def _hear(self, topic: str, payload: bytes) -> None:
        self.heard.append(Heard(topic, msgspec.json.decode(payload) if payload else None))
        self._more.set()

    async def until(self, wanted: Callable[[Heard], bool], *, after: int = 0, within_s: float = 30.0) -> int:
        """The index of the first message from `after` on that is wanted; fails after `within_s`."""
        return await asyncio.wait_for(self._find(wanted, after), within_s)

    async def _find(self, wanted: Callable[[Heard], bool], position: int) -> int:
        while True:
            while position < len(self.heard):
                if wanted(self.heard[position]):
                    return position
                position += 1
            self._more.clear()
            await self._more.wait()

    async def health(self, device: str, service: str, status: str, **options: Any) -> int:
        topic = topics.health(device, service)
        return await self.until(lambda one: one.topic == topic and one.content["status"] == status, **options)

    async def __aenter__(self) -> Listener:
        self._running = asyncio.ensure_future(self.link.run())
        await asyncio.wait_for(self.link.connected.wait(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
