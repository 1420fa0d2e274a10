"""Bytes in, lines out, with bounded memory. Knows nothing of what the lines mean."""

from __future__ import annotations

import msgspec

# A 400-move query of KaTrain with every field set is about 10 kB and a record of 20,000 moves 250 kB; HTTP servers
# bound a header line at 8 to 64 KiB (h11: 16 KiB), asyncio's own readline at 64 KiB.
MAX_LINE_BYTES = 1 << 20

# How much of a line that was too long is kept to name it in the error.
OVERSIZED_START_BYTES = 64


class Line(msgspec.Struct, frozen=True):
    """One line without its newline."""

    data: bytes


class Oversized(msgspec.Struct, frozen=True):
    """A line longer than the limit, of which only `start` was kept."""

    start: bytes


class LineSplitter:
    """Cuts a stream into lines at `\\n`. Keeps at most `max_line_bytes` between calls: the rest of a longer line is
    thrown away as it arrives, reported once as `Oversized`, and the next line is whole again."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._start = min(OVERSIZED_START_BYTES, max_line_bytes)
        self._partial = bytearray()
        self._is_skipping = False

    def feed(self, data: bytes) -> list[Line | Oversized]:
        """The lines that `data` completes, in order."""
        found: list[Line | Oversized] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._take(data[start:end], found)
            if not self._is_skipping:
                found.append(Line(bytes(self._partial)))
            self._partial.clear()
            self._is_skipping = False
            start = end + 1
        self._take(data[start:], found)
        return found

    def end(self) -> list[Line | Oversized]:
        """The last line where the stream ended without a newline."""
        if not self._partial or self._is_skipping:
            return []
        line = Line(bytes(self._partial))
        self._partial.clear()
        return [line]

    def _take(self, part: bytes, found: list[Line | Oversized]) -> None:
        if self._is_skipping:
            return
        if len(self._partial) + len(part) <= self._max:
            self._partial += part
            return
        found.append(Oversized(bytes(self._partial + part)[: self._start]))
        self._partial.clear()
        self._is_skipping = True
