"""Workers in a thread, and the front's end of their socket pair: sends messages, and waits for those that come."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from agent.engine.messages import FrontMessage, SearchReport, WorkerMessage

WAIT_S = 60.0
Message = TypeVar("Message")


class Front:
    """The other end of the socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.socket.settimeout(WAIT_S)
        self._decoder = msgspec.msgpack.Decoder(WorkerMessage)

    def send(self, message: FrontMessage) -> None:
        self.send_frame(msgspec.msgpack.encode(message))

    def send_frame(self, payload: bytes) -> None:
        self.socket.sendall(len(payload).to_bytes(4, "big") + payload)

    def next(self) -> Any:
        return self._decoder.decode(self._read(int.from_bytes(self._read(4), "big")))

    def wait_for(self, kind: type[Message], accept: Callable[[Message], bool] = lambda message: True) -> Message:
        while True:
            message = self.next()
            if isinstance(message, kind) and accept(message):
                return message

    def final(self, number: int) -> SearchReport:
        return self.wait_for(SearchReport, lambda report: report.final and report.id == number)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data


class Running:
    """A worker in a thread of this process; `serve` runs it on its end of the socket pair, to its exit status."""

    def __init__(self, serve: Callable[[socket.socket], int]) -> None:
        ours, theirs = socket.socketpair()
        self.front = Front(ours)
        self.status: int | None = None

        def run() -> None:
            with theirs:
                self.status = serve(theirs)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def end(self) -> int | None:
        self.front.socket.close()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the worker did not end"
        return self.status
