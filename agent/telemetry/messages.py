"""The payloads of the topics, as values; pure. What is known is passed in, the clock included.

Every payload carries `properties`: the boot it was made in, a number that only grows within that boot, the schema's
version, and whether it is old news, sent after the connection was away. Registrations have no such field, because
thin-edge takes every unknown one for a fact about the device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from agent.telemetry import topics

# Grows when a field changes its meaning; new fields do not change it.
SCHEMA: Final = 1


class Message(msgspec.Struct, frozen=True):
    """One publication. An empty payload, retained, takes what was retained away (MQTT 3.1.1, section 3.3.1.3)."""

    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


class Properties(msgspec.Struct, frozen=True):
    """Under `properties` of every payload."""

    boot_id: str
    seq: int
    schema: int = SCHEMA
    historical: bool = False


class Maker:
    """Makes one device's messages, numbered in order. `first_seq` must grow over restarts within a boot."""

    def __init__(self, device_id: str, boot_id: str, first_seq: int, pid: int) -> None:
        self.device_id = device_id
        self._boot_id = boot_id
        self._next_seq = first_seq
        self._pid = pid

    def registrations(self) -> list[Message]:
        """The device and its two services; a device's health is its agent's."""
        device = self.device_id
        agent = topics.entity(device, topics.AGENT)
        services = [
            _retained(
                topics.registration(device, name),
                {"@type": "service", "@parent": topics.entity(device), "name": name, "type": "systemd"},
            )
            for name in (topics.AGENT, topics.ENGINE)
        ]
        return [_retained(topics.registration(device), {"@type": "child-device", "@health": agent}), *services]

    def health(self, service: str, up: bool, time_s: float, *, pid: int | None = None, reason: str = "") -> Message:
        """`pid` is the agent's own where none is given; `reason` tells why a service is down."""
        payload = {"pid": self._pid if pid is None else pid, "status": "up" if up else "down", "time": time_s}
        if reason:
            payload["reason"] = reason
        return _retained(topics.health(self.device_id, service), payload | self._properties())

    def measurement(self, kind: str, values: Mapping[str, float | None], time_s: float) -> Message:
        """Numbers only at the top level; a value of None is not known and left out."""
        numbers = {name: round(value, 6) for name, value in values.items() if value is not None}
        payload = {"time": time_s, **numbers, **self._properties()}
        return Message(topics.measurement(self.device_id, kind), _encode(payload))

    def event(self, kind: str, text: str, time_s: float, *, service: str | None = None, **facts: object) -> Message:
        payload = {"text": text, "time": time_s, **facts, **self._properties()}
        return Message(topics.event(self.device_id, kind, service), _encode(payload), qos=1)

    def alarm(self, kind: str, severity: str, text: str, time_s: float, *, service: str | None = None) -> Message:
        """`severity` is critical, major, minor or warning."""
        payload = {"severity": severity, "text": text, "time": time_s, **self._properties()}
        return _retained(topics.alarm(self.device_id, kind, service), payload)

    def no_alarm(self, kind: str, *, service: str | None = None) -> Message:
        """Clears the alarm for everybody."""
        return Message(topics.alarm(self.device_id, kind, service), b"", qos=1, retain=True)

    def twin(self, kind: str, facts: Mapping[str, object]) -> Message:
        return _retained(topics.twin(self.device_id, kind), {**facts, **self._properties()})

    def _properties(self) -> dict[str, object]:
        seq, self._next_seq = self._next_seq, self._next_seq + 1
        return {"properties": Properties(boot_id=self._boot_id, seq=seq)}


def as_historical(message: Message) -> Message:
    """The same message, marked as sent late."""
    payload = msgspec.json.decode(message.payload)
    payload["properties"]["historical"] = True
    return msgspec.structs.replace(message, payload=_encode(payload))


def _retained(topic: str, payload: Mapping[str, object]) -> Message:
    return Message(topic, _encode(payload), qos=1, retain=True)


def _encode(payload: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(payload)
