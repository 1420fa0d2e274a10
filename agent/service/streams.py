"""Bytes to and from one client: standard input and output, or a socket. Knows nothing of lines."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import select
import socket
import threading
from typing import Protocol

from agent.waiting import holds_unsent, within

# drain() then waits until all is with the kernel: what we count as written is. Not 0: asyncio's TLS pauses at "as much
# as" the mark and would never go on.
WRITE_HIGH_BYTES = 1
# As much as a Linux pipe holds.
READ_BYTES = 64 * 1024
# A client that has asked and then reads nothing for so long is gone, or as good as gone.
STALLED_CLIENT_S = 120.0
# For the other end of a TLS connection to say goodbye, too.
CLOSE_S = 2.0
# A laptop that was closed says nothing: after a silent minute the kernel asks, four times, 15 s apart.
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}
# It asks sooner where a client has closed its half: once that one's program is gone, its kernel still answers for a
# minute (tcp_fin_timeout in tcp(7)), and then resets.
HALF_CLOSED_IDLE_S = 15


class ByteStream(Protocol):
    @property
    def can_vanish(self) -> bool:
        """Whether the client may be gone without a sign, as over a network."""

    async def read(self) -> bytes:
        """Some bytes; none at the end. Raises OSError where the client is gone."""

    async def write(self, data: bytes) -> None:
        """Returns when the client's buffer has taken `data`. Raises OSError where the client is gone."""

    def probe(self) -> None:
        """Find out whether anybody still reads, once no more is to be read ourselves. Raises OSError where nobody does:
        on the second call at the latest for a client that was gone at the first."""

    async def close(self) -> None:
        """Let go of the client. Never raises."""


class TcpStream:
    """A client over TCP, plain or in TLS. In TLS there is no half of a connection: who closes reads no more."""

    can_vanish = True

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._returned = b""
        self._has_knocked = False
        self._is_tls = writer.get_extra_info("ssl_object") is not None
        writer.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        notice_absence(writer.get_extra_info("socket"))

    async def read(self) -> bytes:
        if self._returned:
            data, self._returned = self._returned, b""
            return data
        data = await self._reader.read(READ_BYTES)
        if not data and self._is_tls:
            raise ConnectionResetError("closed by the client")
        return data

    def put_back(self, data: bytes) -> None:
        """Have the next `read` return this."""
        self._returned = data + self._returned

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def probe(self) -> None:
        if not self._has_knocked and not self._writer.is_closing():
            self._has_knocked = self._knock()
        self._look()

    def _knock(self) -> bool:
        """Have a client that is gone answer with a reset; False where it is to be tried again."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, HALF_CLOSED_IDLE_S)
        try:
            # One byte out of band (RFC 9293, urgent data), which no reader of the stream sees. A second one would turn
            # the first into data where the client has not read so far (`tcp_check_urg` in Linux' tcp_input.c).
            with connection.dup() as end:
                end.send(b"\0", socket.MSG_OOB | socket.MSG_DONTWAIT)
        except BlockingIOError:
            # What waits to be sent finds out by itself; the client may just be slow.
            return False
        return True

    def _look(self) -> None:
        """Raises ConnectionResetError where the kernel knows that nobody reads: once the other end is closed as a whole
        it reports a hang-up, wanted or not (poll(2), unix(7))."""
        poll = select.poll()
        if not self._writer.is_closing():
            poll.register(self._writer.get_extra_info("socket").fileno(), 0)
            if not poll.poll(0):
                return
        raise ConnectionResetError("closed by the client")

    def abort(self) -> None:
        """Cut the client off without a word; whoever reads sees its end."""
        self._writer.transport.abort()

    async def close(self) -> None:
        if holds_unsent(self._writer.transport):
            self._writer.transport.abort()
        self._writer.close()
        with contextlib.suppress(OSError):
            try:
                await within(self._writer.wait_closed(), CLOSE_S)
            except asyncio.TimeoutError:
                # In TLS the other end has to agree; asyncio waits for that half a minute, before Python 3.11 forever.
                self._writer.transport.abort()


class UnixStream(TcpStream):
    """A client over a Unix socket."""

    def probe(self) -> None:
        self._look()


def notice_absence(connection: socket.socket) -> None:
    """Have the kernel end a TCP connection whose other end is gone without a word (tcp(7))."""
    if connection.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_CLIENT_S * 1000))


class StdioStream:
    """Standard input and output, whatever they are: asyncio's own pipes refuse files, and a terminal set to
    non-blocking stays so for the shell after us. So a thread reads, and another writes."""

    can_vanish = False

    def __init__(self, input_fd: int = 0, output_fd: int = 1) -> None:
        self._input_fd = input_fd
        self._output_fd = output_fd
        self._loop = asyncio.get_running_loop()
        # One chunk at a time: the reading thread waits until it is taken.
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue(maxsize=1)
        self._writing = concurrent.futures.ThreadPoolExecutor(max_workers=1, thread_name_prefix="stdout")
        # A daemon, because nothing but input can end a blocked read.
        threading.Thread(target=self._read_all, name="stdin", daemon=True).start()

    async def read(self) -> bytes:
        return await self._chunks.get()

    async def write(self, data: bytes) -> None:
        await self._loop.run_in_executor(self._writing, self._write_all, data)

    def probe(self) -> None:
        """A pipe that nobody reads is an error of the next write."""

    async def close(self) -> None:
        self._writing.shutdown(wait=False)

    def _read_all(self) -> None:
        while True:
            try:
                data = os.read(self._input_fd, READ_BYTES)
            except OSError:
                # A terminal that hung up: the same as its end.
                data = b""
            handing_over = self._chunks.put(data)
            try:
                asyncio.run_coroutine_threadsafe(handing_over, self._loop).result()
            except (RuntimeError, concurrent.futures.CancelledError):
                # The event loop is gone, and nobody reads any more.
                handing_over.close()
                return
            if not data:
                return

    def _write_all(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._output_fd, view) :]
