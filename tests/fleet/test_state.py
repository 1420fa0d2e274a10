"""The fleet folded from messages: order of retained ones does not matter, nonsense does no harm."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from agent.fleet.state import MAX_DEVICES, MAX_KINDS, MAX_NUMBERS, Fleet, hear, view
from agent.fleet.table import table
from agent.telemetry.messages import Maker, Message

MAKER = Maker("pi", "boot", 1, 42)
RETAINED = [
    *MAKER.registrations(),
    MAKER.health("agent", True, 1.0),
    MAKER.health("engine", True, 1.0, pid=43),
    MAKER.twin("hardware", {"summary": "a Pi"}),
    MAKER.twin("network", {"name": "b15c192"}),
    MAKER.twin("reporting", {"interval_s": 2}),
    MAKER.alarm("throttling", "minor", "too hot", 1.0),
]


def fold(messages: list[Message], fleet: Fleet | None = None, now_s: float = 0.0) -> Fleet:
    fleet = {} if fleet is None else fleet
    for message in messages:
        fleet = hear(fleet, message.topic, message.payload, now_s)
    return fleet


@given(st.permutations(RETAINED))
def test_the_order_of_retained_messages_does_not_matter(messages: list[Message]) -> None:
    assert fold(messages) == fold(RETAINED)


def test_a_device_is_shown_as_it_says() -> None:
    (pi,) = view(fold([*RETAINED, MAKER.measurement("engine", {"visits_per_s": 7.0}, 1.0)]), 1.0)
    assert (pi.agent, pi.engine, pi.stale) == ("up", "up", False)
    assert pi.facts["network"] == "b15c192" and pi.values == {"engine.visits_per_s": 7.0}
    assert pi.alarms == {"throttling": "too hot"}


def test_nobody_knows_how_an_engine_is_whose_agent_is_down() -> None:
    fleet = fold([*RETAINED, MAKER.health("agent", False, 2.0)])
    assert [(pi.agent, pi.engine) for pi in view(fleet, 0.0)] == [("down", "unknown")]
    fleet = fold([MAKER.health("agent", True, 3.0)], fleet)
    assert [(pi.agent, pi.engine) for pi in view(fleet, 0.0)] == [("up", "up")]


def test_an_agent_that_says_nothing_for_three_intervals_is_stale() -> None:
    fleet = fold(RETAINED, now_s=100.0)
    assert [view(fleet, now_s)[0].stale for now_s in (100.0, 106.0, 106.5)] == [False, False, True]


def test_a_cleared_alarm_goes_and_an_old_measurement_is_replaced() -> None:
    fleet = fold([*RETAINED, MAKER.no_alarm("throttling"), MAKER.measurement("host", {"a": 1.0, "b": 2.0}, 1.0)])
    fleet = fold([MAKER.measurement("host", {"a": 3.0}, 2.0)], fleet)
    (pi,) = view(fleet, 0.0)
    assert pi.alarms == {} and pi.values == {"host.a": 3.0}


TOPICS = st.sampled_from([message.topic for message in RETAINED] + ["te/device/pi///m/x", "te/device/evil//", "x"])


@given(st.lists(st.tuples(TOPICS, st.binary() | st.sampled_from([b"[1]", b'{"status":7}', b'{"text":"\\u001b[2J"}']))))
def test_any_payload_does_no_harm(messages: list[tuple[str, bytes]]) -> None:
    fleet = fold(RETAINED)
    for topic, payload in messages:
        fleet = hear(fleet, topic, payload, 1.0)
    console = Console(record=True, width=120, file=None, force_terminal=False)
    with console.capture() as shown:
        console.print(table(view(fleet, 1.0), "broker"))
    assert "\x1b" not in shown.get()


def test_a_number_that_no_float_holds_is_left_out() -> None:
    huge = b'{"a":1%s,"b":2}' % (b"0" * 400)
    fleet = hear(fold(RETAINED), "te/device/pi/service/engine/m/engine", huge, 1.0)
    topic = next(message.topic for message in RETAINED if message.topic.endswith("/twin/reporting"))
    fleet = hear(fleet, topic, huge.replace(b'"a"', b'"interval_s"'), 1.0)
    assert fleet["pi"].values == {"engine.b": 2.0} and fleet["pi"].interval_s == 10.0


def test_invented_kinds_and_numbers_are_bounded() -> None:
    fleet = fold(RETAINED)
    for number in range(100):
        fleet = fold(
            [MAKER.measurement(f"k{number}", {"x": number}, 1.0), MAKER.alarm(f"k{number}", "minor", "x", 1.0)], fleet
        )
    assert len(fleet["pi"].values) == len(fleet["pi"].alarms) == MAX_KINDS
    fleet = fold([MAKER.measurement("k1", dict.fromkeys(map(str, range(1000)), 1.0), 1.0)], fleet)
    assert len(fleet["pi"].values) == MAX_KINDS - 1 + MAX_NUMBERS
    fleet = fold(
        [MAKER.measurement("k99", {"x": 1.0}, 1.0), MAKER.no_alarm("k1"), MAKER.alarm("new", "minor", "x", 1.0)], fleet
    )
    assert "k99.x" not in fleet["pi"].values and "new" in fleet["pi"].alarms


def test_invented_devices_are_bounded() -> None:
    fleet: Fleet = {}
    for number in range(60):
        fleet = hear(fleet, f"te/device/d{number}//", b"{}", 0.0)
    full = {**fleet, **dict.fromkeys((f"x{number}" for number in range(MAX_DEVICES - 60)), fleet["d0"])}
    assert hear(full, "te/device/new//", b"{}", 0.0) is full
    assert len(hear(full, "te/device/d1//", b"{}", 5.0)) == MAX_DEVICES
