"""Gives a protocol object its client and the engine; `doors.py` lets the clients in.

Start reading at `Session`. The only I/O of the protocols is here and in the streams. Memory is bounded on every side:
lines by `lines.MAX_LINE_BYTES`; what waits for the engine by the connection's own `is_backlogged`; reports to come by
`share.MAX_REPORT_BYTES`; output by `OUTPUT_HIGH_BYTES`, above which no line is read, partial reports are dropped (the
next one says more) and final ones wait, so that the connection submits nothing new; clients by `listen.MAX_CLIENTS`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec

from agent.engine.messages import Engine, RawReport, SearchReport
from agent.service.lines import Line, LineSplitter, Oversized
from agent.service.outputs import ClearCache, Close, Connection, Output, Send, Stop, Submit
from agent.service.share import Share
from agent.service.streams import STALLED_CLIENT_S, ByteStream, StdioStream
from agent.waiting import within

log = logging.getLogger(__name__)

MakeConnection = Callable[[Engine], Connection]

# asyncio's own high-water mark for a transport.
OUTPUT_HIGH_BYTES = 64 * 1024
# After a client's half of the connection ended, we ask so often whether anybody still reads: a script that piped
# its questions in does, a GUI that was closed does not and is noticed at the second question at the latest. Who closes
# its half, lives longer than that and then goes is noticed at the next reply, or by the kernel in about 80 s.
PROBE_S = 5.0

_Report = SearchReport | RawReport
_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(_Report).decode


class Session:
    """One client: carries out what its connection object wants until it closes."""

    def __init__(self, connection: Connection, engine: Engine, stream: ByteStream, *, probe_s: float = PROBE_S) -> None:
        self._connection = connection
        self._probe_s = probe_s
        self._engine = engine
        # Under its number the engine gives the client its turns.
        self._share = Share(
            engine, str(engine.next_id()), self._deliver, lambda *call: asyncio.get_running_loop().call_soon(*call)
        )
        self._stream = stream
        self._output: deque[bytes] = deque()
        self._output_bytes = 0
        # Final reports that wait, packed: as objects they take three to four times as much.
        self._held: deque[bytes] = deque()
        self._is_closing = False
        self._is_over = False
        self._has_output = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()

    async def run(self) -> None:
        """Serve until the client or the connection object ends it. Afterwards no search of this client runs."""
        reading = asyncio.create_task(self._read())
        try:
            await self._write()
        except (OSError, asyncio.TimeoutError) as error:
            log.info("client is gone: %s", error or type(error).__name__)
        finally:
            self._is_over = True
            reading.cancel()
            self._share.end()
            await self._stream.close()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        splitter = LineSplitter()
        try:
            while data := await self._stream.read():
                await self._take_lines(splitter.feed(data))
            await self._take_lines(splitter.end())
            await self._may_read.wait()
            self._react(self._connection.receive_end)
            await self._probe()
        except OSError as error:
            log.info("client is gone: %s", error)
            self._carry_out([Close()])

    async def _take_lines(self, found: list[Line | Oversized]) -> None:
        for line in found:
            await self._may_read.wait()
            if isinstance(line, Oversized):
                self._react(partial(self._connection.receive_oversized, line.start))
            else:
                self._react(partial(self._connection.receive_line, line.data))
            # Let reports and other clients in between the lines of a long batch.
            await asyncio.sleep(0)

    async def _probe(self) -> None:
        while self._stream.can_vanish and not self._is_closing:
            await asyncio.sleep(self._probe_s)
            self._stream.probe()

    async def _write(self) -> None:
        while True:
            await self._has_output.wait()
            while self._output:
                data = b"".join(self._output)
                self._output.clear()
                await within(self._stream.write(data), STALLED_CLIENT_S if self._stream.can_vanish else None)
                self._output_bytes -= len(data)
                self._update_flow()
                while self._held and self._output_bytes < OUTPUT_HIGH_BYTES:
                    self._take_report(_unpack(self._held.popleft()))
            if self._is_closing:
                return
            self._has_output.clear()

    def _deliver(self, report: _Report) -> None:
        """Reports of the engine arrive here, on the event loop."""
        if self._is_over:
            return
        if self._output_bytes < OUTPUT_HIGH_BYTES and not self._held:
            self._take_report(report)
        elif _is_final(report):
            self._held.append(_pack(report))

    def _take_report(self, report: _Report) -> None:
        self._react(partial(self._connection.receive_report, report))
        if _is_final(report):
            self._share.taken(report.id)

    def _react(self, ask: Callable[[], list[Output]]) -> None:
        try:
            outputs = ask()
        except Exception:
            # The edge to one client: a fault in its conversation ends that, and neither the others nor the engine.
            log.exception("a connection failed and is closed")
            outputs = [Close()]
        self._carry_out(outputs)

    def _carry_out(self, outputs: list[Output]) -> None:
        for output in outputs:
            if self._is_closing:
                break
            if isinstance(output, Send):
                self._send(output.data)
            elif isinstance(output, Submit):
                self._share.submit(output.request)
            elif isinstance(output, Stop):
                self._share.stop(output.request_id)
            elif isinstance(output, ClearCache):
                self._engine.clear_cache()
            else:
                self._is_closing = True
                self._has_output.set()
        self._update_flow()

    def _send(self, data: bytes) -> None:
        self._output.append(data)
        self._output_bytes += len(data)
        self._has_output.set()

    def _update_flow(self) -> None:
        is_open = self._output_bytes < OUTPUT_HIGH_BYTES and not self._held and not self._connection.is_backlogged
        if is_open or self._is_closing:
            self._may_read.set()
        else:
            self._may_read.clear()


def _is_final(report: _Report) -> bool:
    return isinstance(report, RawReport) or report.final


async def serve_stdio(make_connection: MakeConnection, engine: Engine) -> None:
    """Serve the one client on standard input and output until it ends."""
    await Session(make_connection(engine), engine, StdioStream()).run()
