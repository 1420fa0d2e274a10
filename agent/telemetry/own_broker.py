"""The daemon's own broker, for an owner who names none: `agent broker` as a supervised child, so no amqtt in here."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

import msgspec

from agent.errors import BrokerUnreachable
from agent.settings import Mqtt, own_command
from agent.waiting import within

log = logging.getLogger(__name__)

# amqtt is imported and listening in 1 s on a desktop and 8 s on a Cortex-A53.
START_S: Final = 60.0
# Long enough not to keep a board busy with a broker that cannot live, short beside the link's own retries.
RESTART_S: Final = 2.0
GOODBYE_S: Final = 3.0
# What the child prints when it listens.
LISTENING: Final = b"listening\n"


class OwnBroker:
    """A broker that lives as long as `run` does. `mqtt` says where; `listening` is set when it first answers."""

    def __init__(self, wanted: Mqtt, *, restart_s: float = RESTART_S) -> None:
        """`wanted.port` 0 takes a free port."""
        self._restart_s = restart_s
        self.mqtt = msgspec.structs.replace(wanted, host="127.0.0.1", port=wanted.broker_port or _free_port())
        self.listening = asyncio.Event()
        self._child: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Start it, and start it again whenever it ends, until cancelled; then end it.

        Raises BrokerUnreachable when the first start fails.
        """
        try:
            await self._start()
            self.listening.set()
            while True:
                assert self._child is not None
                log.warning("our own broker ended with status %d", await self._child.wait())
                await self._start_again()
        finally:
            await self._end()

    async def _start_again(self) -> None:
        while True:
            await asyncio.sleep(self._restart_s)
            try:
                await self._start()
                return
            except BrokerUnreachable as error:
                log.warning("%s; trying again", error)

    async def _start(self) -> None:
        """Returns when it listens.

        Raises BrokerUnreachable.
        """
        try:
            # Its standard input is its lifeline: when we end, it reads the end and goes. Its log is ours.
            self._child = child = await asyncio.create_subprocess_exec(
                *own_command(),
                "broker",
                "--port",
                str(self.mqtt.broker_port),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            fix = "Free memory, or set mqtt.host in agent.yaml, for a broker that is there."
            raise BrokerUnreachable(f"our own broker cannot be started: {error.strerror}", fix=fix) from error
        assert child.stdout is not None
        try:
            said = await within(child.stdout.readline(), START_S)
        except asyncio.TimeoutError:
            said = b""
        if said != LISTENING:
            await self._end()
            port = self.mqtt.broker_port
            fix = "Stop what uses that port, or set mqtt.port (or mqtt.host, for a broker that is there) in agent.yaml."
            raise BrokerUnreachable(f"our own broker cannot listen on 127.0.0.1:{port}", fix=fix)

    async def _end(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            await within(child.wait(), GOODBYE_S)
        except asyncio.TimeoutError:
            child.kill()
            await child.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
