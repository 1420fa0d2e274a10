"""Writes down what a client and we say to each other, where a KataGo configuration asks for that. No I/O of its own:
lines go to a logger, and whoever starts the service decides where that writes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from agent.engine.messages import RawReport, SearchReport
from agent.service.outputs import Connection, Output, Send

log = logging.getLogger(__name__)


class Traffic(msgspec.Struct, frozen=True):
    """What is written down: lines that come, all replies, or only those that are errors or warnings."""

    requests: bool = False
    responses: bool = False
    errors: bool = False

    def __bool__(self) -> bool:
        return self.requests or self.responses or self.errors


class LoggedConnection:
    """Passes everything on to `inner` and writes down the lines that `traffic` names."""

    def __init__(self, inner: Connection, traffic: Traffic) -> None:
        self._inner = inner
        self._traffic = traffic

    @property
    def is_backlogged(self) -> bool:
        return self._inner.is_backlogged

    def receive_line(self, line: bytes) -> list[Output]:
        if self._traffic.requests and line.strip():
            log.info("Request: %s", _shown(line))
        return self._sent(self._inner.receive_line(line))

    def receive_oversized(self, start: bytes) -> list[Output]:
        if self._traffic.requests:
            log.info("Request: %s… (a line too long to keep)", _shown(start))
        return self._sent(self._inner.receive_oversized(start))

    def receive_report(self, report: SearchReport | RawReport) -> list[Output]:
        return self._sent(self._inner.receive_report(report))

    def receive_end(self) -> list[Output]:
        return self._sent(self._inner.receive_end())

    def _sent(self, outputs: Sequence[Output]) -> list[Output]:
        for output in outputs:
            if isinstance(output, Send):
                self._write(output.data)
        return list(outputs)

    def _write(self, data: bytes) -> None:
        is_error = data.startswith((b"?", b'{"error":')) or b'"warning":' in data
        if self._traffic.responses or (self._traffic.errors and is_error):
            log.log(logging.WARNING if is_error else logging.INFO, "Response: %s", _shown(data))


def _shown(data: bytes) -> str:
    return data.decode("utf-8", "replace").strip()
