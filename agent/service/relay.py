"""Joins standard input and output to a front that already runs: `ssh pi agent gtp` then costs no second network in
memory. Bytes pass unchanged in both directions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from agent.errors import ServiceDown
from agent.service.listen import MAX_CLIENTS
from agent.service.streams import ByteStream, StdioStream, TcpStream

log = logging.getLogger(__name__)


async def serve_relay(place: Path | tuple[str, int], *, on_connected: Callable[[], None]) -> None:
    """Pass bytes between standard input and output and the service at a Unix socket, or a host and port, until the
    service closes.

    `on_connected` is called once the service is reached. The end of input is passed on, so that the service answers
    what was asked and then closes.
    Raises OSError where the service cannot be reached, ServiceDown where it breaks off.
    """
    if isinstance(place, Path):
        reader, writer = await asyncio.open_unix_connection(place)
    else:
        reader, writer = await asyncio.open_connection(*place)
    on_connected()
    try:
        await relay(StdioStream(), TcpStream(reader, writer), writer.write_eof)
    except OSError as error:
        raise ServiceDown(f"the agent broke off: {error.strerror or error}") from error


async def relay(client: ByteStream, service: ByteStream, end_input: Callable[[], None]) -> None:
    """As `serve_relay`, between any two streams; `end_input` tells the service that the client sends no more. A client
    that is gone is no error.

    Raises OSError where the service breaks off, ServiceDown where it closes without a word that the client can see.
    """
    has_ended = is_heard = False

    async def pass_questions() -> None:
        nonlocal has_ended
        while data := await client.read():
            await service.write(data)
        has_ended = True
        end_input()

    asking = asyncio.create_task(pass_questions())
    try:
        while data := await service.read():
            is_heard = True
            try:
                await client.write(data)
            except OSError as error:
                log.info("client is gone: %s", error)
                return
        if not has_ended and not is_heard:
            raise ServiceDown(f"the agent said nothing and closed: it ended, or {MAX_CLIENTS} clients are connected")
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await service.close()
        await client.close()
