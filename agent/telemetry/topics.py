"""The topics of thin-edge.io's v1 layout, made and read. No payloads and no connection here.

An entity is `device/<id>//` or `device/<id>/service/<name>`; the two empty levels of a device are part of its name.
Source: thin-edge.io, MQTT API reference, "MQTT topic scheme".
"""

from __future__ import annotations

from typing import Final

import msgspec

ROOT: Final = "te"
AGENT: Final = "agent"
ENGINE: Final = "engine"
# Every topic of every device: what a reader of a whole fleet subscribes to.
EVERYTHING: Final = f"{ROOT}/device/#"


def entity(device_id: str, service: str | None = None) -> str:
    """The entity's name without the root, as registrations refer to it."""
    return f"device/{device_id}/service/{service}" if service else f"device/{device_id}//"


def registration(device_id: str, service: str | None = None) -> str:
    return f"{ROOT}/{entity(device_id, service)}"


def health(device_id: str, service: str) -> str:
    return f"{registration(device_id, service)}/status/health"


def measurement(device_id: str, kind: str, service: str | None = None) -> str:
    return f"{registration(device_id, service)}/m/{kind}"


def event(device_id: str, kind: str, service: str | None = None) -> str:
    return f"{registration(device_id, service)}/e/{kind}"


def alarm(device_id: str, kind: str, service: str | None = None) -> str:
    return f"{registration(device_id, service)}/a/{kind}"


def twin(device_id: str, kind: str) -> str:
    return f"{registration(device_id)}/twin/{kind}"


class Topic(msgspec.Struct, frozen=True):
    """A topic taken apart. `channel` is "" for a registration, else m, e, a, twin or health; `kind` is the last level
    and empty for registration and health."""

    device_id: str
    service: str | None
    channel: str
    kind: str


def parse(topic: str) -> Topic | None:
    """The parts of a topic of this layout; None for any other, such as commands, which later parts read."""
    levels = topic.split("/")
    if len(levels) < 5 or levels[:2] != [ROOT, "device"] or not levels[2]:
        return None
    device_id, service, rest = levels[2], levels[4] or None, levels[5:]
    if (levels[3] == "service") != (service is not None) or levels[3] not in ("", "service"):
        return None
    if not rest:
        return Topic(device_id, service, "", "")
    if rest == ["status", "health"] and service:
        return Topic(device_id, service, "health", "")
    if len(rest) == 2 and rest[0] in ("m", "e", "a", "twin") and rest[1]:
        return Topic(device_id, service, rest[0], rest[1])
    return None
