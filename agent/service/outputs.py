"""What a protocol object wants done, and the shape that both of ours share.

The protocol objects (`gtp.GtpConnection`, `analysis.AnalysisConnection`) do no I/O: they take lines and reports and
return a list of the values below, in order. `serve.py` carries them out.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from agent.engine.messages import RawReport, RawRequest, SearchReport, SearchRequest


class Send(msgspec.Struct, frozen=True):
    """Write these bytes to the client."""

    data: bytes


class Submit(msgspec.Struct, frozen=True):
    """Give this request to the engine; its reports come back by `receive_report`."""

    request: SearchRequest | RawRequest


class Stop(msgspec.Struct, frozen=True):
    """Ask the engine for the final report of this request now."""

    request_id: int


class ClearCache(msgspec.Struct, frozen=True):
    """Make the engine forget evaluations and trees."""


class Close(msgspec.Struct, frozen=True):
    """Write what is still to be written, then end the connection."""


Output = Send | Submit | Stop | ClearCache | Close


class Connection(Protocol):
    """One client's conversation. Every call returns at once; nothing here waits, reads a clock or raises."""

    @property
    def is_backlogged(self) -> bool:
        """So much waits for the engine that no further line should be read for now."""

    def receive_line(self, line: bytes) -> list[Output]:
        """Take one line without its newline. Any bytes are acceptable."""

    def receive_oversized(self, start: bytes) -> list[Output]:
        """Take a line that was too long to keep; `start` is its beginning."""

    def receive_report(self, report: SearchReport | RawReport) -> list[Output]:
        """Take a report of a request that this connection submitted."""

    def receive_end(self) -> list[Output]:
        """The client will send no more. `Close` follows, now or when what it asked for is answered."""
