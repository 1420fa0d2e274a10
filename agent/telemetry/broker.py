"""A broker of our own on loopback, for an owner who names none: the only file that imports amqtt.

It runs as a child of the daemon (`agent broker`), because amqtt would cost the front 15 MB, and ends when its standard
input does, so it never outlives the daemon. A device that is part of a fleet names a real broker instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import IO, Final

from amqtt.broker import Broker
from amqtt.errors import BrokerError

from agent.errors import BrokerUnreachable

# A fleet on a broker that only its own host can reach is a handful of readers.
MAX_CONNECTIONS: Final = 50


async def serve_broker(port: int, lifeline: IO[bytes], tell_listening: Callable[[], None]) -> None:
    """Serve on 127.0.0.1 until `lifeline` ends.

    Raises BrokerUnreachable where the port cannot be had.
    """
    config = {
        "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}", "max_connections": MAX_CONNECTIONS}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(config)
    try:
        await broker.start()
    except (BrokerError, OSError) as error:
        fix = "Stop what uses that port, or set mqtt.port (or mqtt.host, to use a broker that is there) in agent.yaml."
        raise BrokerUnreachable(f"the broker cannot listen on 127.0.0.1:{port}: {error}", fix=fix) from error
    tell_listening()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(lifeline, ended.set)
    await ended.wait()
    await broker.shutdown()
