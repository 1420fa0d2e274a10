"""What a part tells about its progress, and who it tells. No part knows who listens: a terminal, a log, MQTT.

A part takes a `Reporter` and calls it with one of the frozen events below; the default reporter does nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

import msgspec


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base of all events. The class name is the tag in JSON."""


class ChainStep(Event, frozen=True):
    """One link of the start-up chain: `name` such as "hardware" or "network", `detail` for people."""

    name: str
    detail: str


class DownloadProgress(Event, frozen=True):
    """Bytes of one file that are on disk so far; `total_bytes` is None where the server does not say."""

    name: str
    done_bytes: int
    total_bytes: int | None


class SourceFailed(Event, frozen=True):
    """A source of a network was tried and did not serve; the next one follows."""

    network: str
    source: str
    reason: str


class Converting(Event, frozen=True):
    """Conversion of a network file: `done` of `total` layers are written."""

    name: str
    done: int
    total: int


class Benchmarking(Event, frozen=True):
    """A benchmark: `done` of `total` measurements are made; `what` is the next one."""

    what: str
    done: int
    total: int


class WorkshopProgress(Event, frozen=True):
    """Long work on networks: `done` of `total` steps (positions, games, layers) of `what` are made; `detail` is how it
    stands, such as the score of a match."""

    what: str
    done: int
    total: int
    detail: str = ""


class EngineUp(Event, frozen=True):
    """The worker is ready to search. `is_fallback` tells that another engine should, and failed."""

    pid: int
    network: str
    backend: str
    is_fallback: bool = False


class EngineGone(Event, frozen=True):
    """The worker ended or was ended; `degraded` means that it will not be started again by itself."""

    pid: int
    reason: str
    degraded: bool
    fix: str = ""


class EngineFellBack(Event, frozen=True):
    """The engine that should serve failed, and another one serves until somebody asks for a new try."""

    pid: int
    reason: str
    fix: str


class SearchDone(Event, frozen=True):
    """One search or raw evaluation was answered."""

    visits: int
    evaluations: int
    latency_s: float


def describe(event: Event) -> str:
    """The event as a line for people; empty for what comes too often to be shown. Progress counts in tenths, so that
    lines that repeat can be left out."""
    if isinstance(event, ChainStep):
        return f"{event.name:<9} {event.detail}"
    if isinstance(event, DownloadProgress):
        if not event.total_bytes:
            return f"download  {event.name}"
        tenths = 10 * event.done_bytes // event.total_bytes
        return f"download  {event.name}: {tenths * 10} % of {event.total_bytes / 1e6:.1f} MB"
    if isinstance(event, SourceFailed):
        return f"source    {event.source} did not serve {event.network}: {event.reason}"
    if isinstance(event, Converting):
        return f"convert   {event.name}: {10 * (10 * event.done // max(1, event.total))} %"
    if isinstance(event, Benchmarking):
        return f"bench     {event.what}"
    if isinstance(event, WorkshopProgress):
        standing = f", {event.detail}" if event.detail else ""
        return f"workshop  {event.what}: {10 * (10 * event.done // max(1, event.total))} %{standing}"
    if isinstance(event, EngineUp):
        return f"worker    up: {event.network} on {event.backend}, pid {event.pid}"
    if isinstance(event, EngineGone):
        fix = f" fix: {event.fix}" if event.fix else ""
        return f"worker    {'degraded' if event.degraded else 'gone'}: {event.reason}{fix}"
    if isinstance(event, EngineFellBack):
        return f"worker    the built-in engine serves instead. fix: {event.fix}"
    return ""


class Reporter(Protocol):
    def report(self, event: Event) -> None:
        """Take one event. Must not block and must not raise."""


class SilentReporter:
    """The default: nobody listens."""

    def report(self, event: Event) -> None:
        del event


class TextReporter:
    """Gives `write` each event as a line for people; a line that repeats is left out. Where it cannot be written, as to
    a full disk or to `head` that has read enough, the work goes on untold."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._last = ""

    def report(self, event: Event) -> None:
        line = describe(event)
        if line and line != self._last:
            self._last = line
            with contextlib.suppress(OSError):
                self._write(line)
