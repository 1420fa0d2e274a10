"""Topics and payloads: they are thin-edge's, and reading is the inverse of writing."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telemetry import topics
from agent.telemetry.messages import SCHEMA, Maker, Message, as_historical
from agent.telemetry.topics import Topic

LEVEL = st.text(st.characters(exclude_characters="/+#\0", codec="utf-8"), min_size=1)
MADE = [
    ("te/device/pi//", topics.registration("pi")),
    ("te/device/pi/service/engine", topics.registration("pi", "engine")),
    ("te/device/pi/service/agent/status/health", topics.health("pi", "agent")),
    ("te/device/pi///m/host", topics.measurement("pi", "host")),
    ("te/device/pi/service/engine/e/engine_gone", topics.event("pi", "engine_gone", "engine")),
    ("te/device/pi///a/throttling", topics.alarm("pi", "throttling")),
    ("te/device/pi///twin/hardware", topics.twin("pi", "hardware")),
]


@pytest.mark.parametrize(("expected", "made"), MADE)
def test_topics_are_those_of_thin_edge(expected: str, made: str) -> None:
    assert made == expected


@given(LEVEL, st.none() | LEVEL, LEVEL)
def test_what_is_written_can_be_read(device: str, service: str | None, kind: str) -> None:
    assert topics.parse(topics.registration(device, service)) == Topic(device, service, "", "")
    assert topics.parse(topics.measurement(device, kind, service)) == Topic(device, service, "m", kind)
    assert topics.parse(topics.event(device, kind, service)) == Topic(device, service, "e", kind)
    assert topics.parse(topics.alarm(device, kind, service)) == Topic(device, service, "a", kind)
    assert topics.parse(topics.twin(device, kind)) == Topic(device, None, "twin", kind)
    if service:
        assert topics.parse(topics.health(device, service)) == Topic(device, service, "health", "")


@given(st.lists(st.sampled_from(["te", "device", "x", "", "service", "m", "status", "health", "cmd"])).map("/".join))
def test_any_topic_is_read_or_left_alone(topic: str) -> None:
    found = topics.parse(topic)
    assert found is None or topic.startswith(f"te/device/{found.device_id}/")


@pytest.mark.parametrize("topic", ["te/device/pi///cmd/restart/1", "te/device///m/x", "te/device/pi/x//m/y", "a/b"])
def test_other_topics_are_left_alone(topic: str) -> None:
    assert topics.parse(topic) is None


def maker() -> Maker:
    return Maker("pi", "boot", 7, 42)


def decode(message: Message) -> dict[str, object]:
    return msgspec.json.decode(message.payload)


def test_health_is_retained_at_least_once_and_dated() -> None:
    message = maker().health("agent", True, 12.5)
    assert (message.qos, message.retain) == (1, True)
    assert decode(message) == {
        "pid": 42,
        "status": "up",
        "time": 12.5,
        "properties": {"boot_id": "boot", "seq": 7, "schema": SCHEMA, "historical": False},
    }
    down = decode(maker().health("engine", False, 12.5, pid=9, reason="gone"))
    assert (down["pid"], down["status"], down["reason"]) == (9, "down", "gone")


NAMES = st.text("abcdefghij_", min_size=1).filter(lambda name: name not in ("time", "properties"))


@given(st.dictionaries(NAMES, st.none() | st.floats(allow_nan=False, allow_infinity=False)), st.floats(0, 1e10))
def test_measurements_hold_numbers_and_time_only(values: dict[str, float | None], time_s: float) -> None:
    content = decode(maker().measurement("host", values, time_s))
    properties = content.pop("properties")
    assert set(properties) == {"boot_id", "seq", "schema", "historical"}
    assert all(type(value) in (int, float) for value in content.values())
    assert set(content) == {"time"} | {name for name, value in values.items() if value is not None}


def test_every_message_has_the_next_number() -> None:
    make = maker()
    made = [
        make.health("agent", True, 0),
        make.measurement("m", {}, 0),
        make.event("e", "t", 0),
        make.alarm("a", "minor", "t", 0),
        make.twin("t", {}),
    ]
    assert [decode(message)["properties"]["seq"] for message in made] == [7, 8, 9, 10, 11]


def test_old_news_say_so_and_change_nothing_else() -> None:
    message = maker().measurement("m", {"x": 1.0}, 3.0)
    late = as_historical(message)
    content, expected = decode(late), decode(message)
    assert content["properties"].pop("historical") is True
    assert expected["properties"].pop("historical") is False
    assert content == expected and (late.topic, late.qos, late.retain) == (message.topic, message.qos, message.retain)


def test_a_cleared_alarm_is_an_empty_retained_message() -> None:
    message = maker().no_alarm("throttling")
    assert (message.payload, message.retain, message.qos) == (b"", True, 1)
