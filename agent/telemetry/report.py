"""What the daemon tells over MQTT, and when. Start reading at `Telemetry`.

It is the daemon's Reporter: events of the engine arrive by `report`, measurements are taken every interval. It asks
for what it measures by two functions and knows no process, no socket and no sensor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from agent.events import EngineFellBack, EngineGone, EngineUp, Event, SearchDone
from agent.service.supervise import Status
from agent.telemetry.messages import Maker, Message
from agent.telemetry.mqtt import Link
from agent.telemetry.rates import Latencies, Rates
from agent.telemetry.topics import AGENT, ENGINE

DEGRADED: Final = "engine_degraded"
FALLEN_BACK: Final = "engine_fell_back"
THROTTLING: Final = "throttling"


class HostReading(msgspec.Struct, frozen=True):
    """How the machine feels. `values` holds numbers by name with their unit (`temperature_c`), None where unknown;
    `throttling` says why the machine runs slower than it could, empty when it does not."""

    values: Mapping[str, float | None] = {}
    throttling: str = ""


def agent_down(maker: Maker, time_s: float) -> Message:
    """The will: what the broker says for us when we are gone without a word."""
    return maker.health(AGENT, False, time_s, reason="the connection broke")


class Telemetry:
    """Announces the device on `link`, keeps its health true, and measures."""

    def __init__(
        self,
        link: Link,
        maker: Maker,
        *,
        engine: Callable[[], Status],
        host: Callable[[], HostReading],
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._maker = maker
        self._engine = engine
        self._host = host
        self._now = now
        self._monotonic = monotonic
        self._rates = Rates()
        self._latencies = Latencies()
        self._throttling = ""

    def announce(self, twins: Mapping[str, Mapping[str, object]]) -> None:
        """Say who we are and that we are up. The engine is down until `EngineUp`."""
        for message in self._maker.registrations():
            self._link.retain(message)
        for kind, facts in twins.items():
            self._link.retain(self._maker.twin(kind, facts))
        self._link.retain(self._maker.health(AGENT, True, self._now()))
        self._link.retain(self._maker.health(ENGINE, False, self._now(), pid=0, reason="starting"))
        # An alarm of an earlier run may stand; what it was about is not known to be so now.
        self._link.retain(self._maker.no_alarm(DEGRADED, service=ENGINE))
        self._link.retain(self._maker.no_alarm(FALLEN_BACK, service=ENGINE))
        self._link.retain(self._maker.no_alarm(THROTTLING))

    def farewell(self) -> None:
        """The orderly end: both are down, and not by accident."""
        self._link.retain(self._maker.health(ENGINE, False, self._now(), pid=0, reason="stopped"))
        self._link.retain(self._maker.health(AGENT, False, self._now(), reason="stopped"))

    def report(self, event: Event) -> None:
        now_s = self._now()
        if isinstance(event, EngineUp):
            self._link.retain(self._maker.health(ENGINE, True, now_s, pid=event.pid))
            self._link.retain(self._maker.no_alarm(DEGRADED, service=ENGINE))
            if not event.is_fallback:
                self._link.retain(self._maker.no_alarm(FALLEN_BACK, service=ENGINE))
            text = f"the engine is up: {event.network} on {event.backend}"
            self._link.send(self._maker.event("engine_up", text, now_s, service=ENGINE, pid=event.pid))
        elif isinstance(event, EngineGone):
            self._link.retain(self._maker.health(ENGINE, False, now_s, pid=event.pid, reason=event.reason))
            self._link.send(
                self._maker.event(
                    "engine_gone",
                    event.reason,
                    now_s,
                    service=ENGINE,
                    pid=event.pid,
                    degraded=event.degraded,
                    fix=event.fix,
                )
            )
            if event.degraded:
                self._link.retain(self._maker.alarm(DEGRADED, "major", event.reason, now_s, service=ENGINE))
        elif isinstance(event, EngineFellBack):
            text = f"{event.reason}; the built-in engine serves. {event.fix}"
            self._link.send(self._maker.event(FALLEN_BACK, text, now_s, service=ENGINE, pid=event.pid))
            self._link.retain(self._maker.alarm(FALLEN_BACK, "minor", text, now_s, service=ENGINE))
        elif isinstance(event, SearchDone):
            self._latencies.add(event.latency_s, self._monotonic())

    async def run(self, interval_s: float) -> None:
        """Measure every interval until cancelled."""
        self._measure_engine()
        while True:
            await asyncio.sleep(interval_s)
            self.measure()

    def measure(self) -> None:
        """One round of measurements."""
        self._link.send(self._maker.measurement("engine", self._measure_engine(), self._now()))
        reading = self._host()
        self._link.send(self._maker.measurement("host", reading.values, self._now()))
        if reading.throttling != self._throttling:
            self._throttling = reading.throttling
            if reading.throttling:
                self._link.retain(self._maker.alarm(THROTTLING, "minor", reading.throttling, self._now()))
            else:
                self._link.retain(self._maker.no_alarm(THROTTLING))

    def _measure_engine(self) -> dict[str, float | None]:
        status, now_s = self._engine(), self._monotonic()
        beat = status.heartbeat
        totals = {
            "visits_per_s": float(beat.visits_total if beat else 0),
            "evaluations_per_s": float(beat.evaluations_total if beat else 0),
            "cache_hits_per_s": float(beat.cache_hits_total if beat else 0),
        }
        p50, p95 = self._latencies.percentiles((50, 95), now_s)
        return {
            **self._rates.update(status.pid if beat else None, totals, now_s),
            "queue": float(status.outstanding),
            "latency_p50_s": p50,
            "latency_p95_s": p95,
            "restarts": float(status.restarts),
        }
