"""A worker's end of the socket pair to the front: what it reads, what it sends. What goes over it is in `messages.py`.

No numpy here: the worker of an owner's katago (`native_worker.py`) needs none.
"""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import msgspec

from agent.engine.messages import FrontMessage, WorkerMessage
from agent.errors import EngineError

# The largest request is a game of some thousand moves, 10 kB; the front's own limit for reports is the same.
MAX_FRAME_BYTES = 16 * 2**20
_READ_BYTES = 65536
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class FrontGarbage(EngineError):
    """The front sent what is no message."""

    fix = "Front and worker are of different versions; restart the agent."


class Frames:
    """Cuts a byte stream into messages, each led by its length as a 4-byte big-endian number. No I/O."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._decoder = msgspec.msgpack.Decoder(FrontMessage)

    def feed(self, data: bytes) -> list[FrontMessage]:
        """The messages that are complete now. Raises FrontGarbage."""
        self._buffer += data
        messages: list[FrontMessage] = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > MAX_FRAME_BYTES:
                raise FrontGarbage(f"the front sent a frame of {length} bytes")
            if len(self._buffer) < 4 + length:
                break
            payload = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            try:
                messages.append(self._decoder.decode(payload))
            except msgspec.MsgspecError as error:
                raise FrontGarbage(f"the front sent no message: {error}") from error
        return messages


class Connection:
    """The worker's end of the socket pair. `send` may be called by any thread."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._sending = threading.Lock()
        self._encoder = msgspec.msgpack.Encoder()
        self.closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: WorkerMessage) -> None:
        """Send one message whole. A front that is gone is no error: the main loop sees it too."""
        with self._sending:
            try:
                payload = self._encoder.encode(message)
                self._socket.sendall(len(payload).to_bytes(4, "big") + payload)
            except OSError:
                self.closed = True

    def receive(self) -> bytes:
        """What there is to read; empty at the end."""
        try:
            return self._socket.recv(_READ_BYTES)
        except OSError:
            return b""


def resident_bytes() -> int:
    """Memory that this process holds now, by /proc; 0 where there is none."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return 0
