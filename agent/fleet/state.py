"""What is known of every device on a broker, folded from messages one by one; pure, the clock is passed in.

Start reading at `hear`. Whatever a message holds, it changes at most what it is about: others' payloads are not ours to
trust. The order in which retained messages arrive does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from agent.telemetry import topics
from agent.telemetry.topics import AGENT, ENGINE, Topic

UP: Final = "up"
DOWN: Final = "down"
UNKNOWN: Final = "unknown"

# Our largest payload is the hardware twin of a 128-core server, 40 kB.
MAX_PAYLOAD_BYTES: Final = 1 << 18
# More devices than a broker on a board serves; beyond it somebody invents names.
MAX_DEVICES: Final = 10_000
# Kinds of measurements and of alarms of one device, and numbers of a kind; ours has two, three and some ten.
MAX_KINDS: Final = 64
MAX_NUMBERS: Final = 256
# A device that is up measures every interval; three missed ones are no jitter.
MISSED_INTERVALS: Final = 3
DEFAULT_INTERVAL_S: Final = 10.0


class Device(msgspec.Struct, frozen=True):
    """One device. `agent` and `engine` are up, down or unknown, as their health last said; `facts` holds a text for
    each thing that twins tell, `values` the last measurements, `alarms` the texts of those that stand. `heard_s` is
    when anything came, on the reader's clock."""

    device_id: str
    agent: str = UNKNOWN
    engine: str = UNKNOWN
    reason: str = ""
    facts: Mapping[str, str] = {}
    values: Mapping[str, float] = {}
    alarms: Mapping[str, str] = {}
    interval_s: float = DEFAULT_INTERVAL_S
    heard_s: float = 0.0


class View(msgspec.Struct, frozen=True):
    """A device as it is shown at one moment: nobody knows how an engine is whose agent is not up, and an agent that
    says nothing for long is `stale`."""

    device_id: str
    agent: str
    engine: str
    stale: bool
    silent_s: float
    reason: str
    facts: Mapping[str, str]
    values: Mapping[str, float]
    alarms: Mapping[str, str]


Fleet = Mapping[str, Device]


def hear(fleet: Fleet, topic: str, payload: bytes, now_s: float) -> Fleet:
    """The fleet after one message; the same one where the message is not of our layout."""
    found = topics.parse(topic)
    if found is None or len(payload) > MAX_PAYLOAD_BYTES:
        return fleet
    device = fleet.get(found.device_id) or Device(found.device_id)
    if found.device_id not in fleet and (not payload or len(fleet) >= MAX_DEVICES):
        return fleet
    content = _decode(payload)
    if content is None:
        return fleet
    changed = _changed(device, found, content)
    return {**fleet, found.device_id: msgspec.structs.replace(changed, heard_s=now_s)}


def view(fleet: Fleet, now_s: float) -> list[View]:
    """All devices by name, as they are to be shown."""
    return [_view(fleet[name], now_s) for name in sorted(fleet)]


def _view(device: Device, now_s: float) -> View:
    silent_s = max(0.0, now_s - device.heard_s)
    return View(
        device_id=device.device_id,
        agent=device.agent,
        engine=device.engine if device.agent == UP else UNKNOWN,
        stale=device.agent == UP and silent_s > MISSED_INTERVALS * device.interval_s,
        silent_s=silent_s,
        reason=device.reason,
        facts=device.facts,
        values=device.values,
        alarms=device.alarms,
    )


def _decode(payload: bytes) -> dict[str, Any] | None:
    """The object; {} for an empty payload, which clears; None for anything else."""
    if not payload:
        return {}
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _changed(device: Device, topic: Topic, content: dict[str, Any]) -> Device:
    if topic.channel == "health" and topic.service in (AGENT, ENGINE):
        return _with_health(device, topic.service, content)
    if topic.channel == "m":
        given = [(name, number) for name, value in content.items() if (number := _number(value)) is not None]
        told = [(name, number) for name, number in given if name != "time"]
        numbers = {f"{topic.kind}.{name}": number for name, number in told[:MAX_NUMBERS]}
        kept = {name: value for name, value in device.values.items() if not name.startswith(f"{topic.kind}.")}
        if len({name.partition(".")[0] for name in kept}) >= MAX_KINDS:
            return device
        return msgspec.structs.replace(device, values=kept | numbers)
    if topic.channel == "a":
        alarms = {name: text for name, text in device.alarms.items() if name != topic.kind}
        if len(alarms) >= MAX_KINDS:
            return device
        return msgspec.structs.replace(
            device, alarms=alarms | ({topic.kind: _text(content.get("text"))} if content else {})
        )
    if topic.channel == "twin":
        return _with_twin(device, topic.kind, content)
    return device


def _with_health(device: Device, service: str, content: dict[str, Any]) -> Device:
    said = content.get("status")
    health = said if said in (UP, DOWN) else UNKNOWN
    if service == AGENT:
        return msgspec.structs.replace(device, agent=health)
    return msgspec.structs.replace(device, engine=health, reason=_text(content.get("reason")))


# The field of each twin that a reader wants to see.
_SHOWN: Final = {"hardware": "summary", "profile": "name", "network": "name", "versions": "agent"}


def _with_twin(device: Device, kind: str, content: dict[str, Any]) -> Device:
    if kind == "reporting":
        interval_s = _number(content.get("interval_s")) or 0.0
        return msgspec.structs.replace(device, interval_s=interval_s if interval_s > 0 else DEFAULT_INTERVAL_S)
    if kind not in _SHOWN:
        return device
    facts = {name: text for name, text in device.facts.items() if name != kind}
    return msgspec.structs.replace(device, facts=facts | {kind: _text(content.get(_SHOWN[kind]))})


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON has integers of any length
        return None


def _text(value: object) -> str:
    """Others' text, without what would move a terminal's cursor."""
    if not isinstance(value, str):
        return ""
    return "".join(letter if letter.isprintable() else " " for letter in value[:200])
