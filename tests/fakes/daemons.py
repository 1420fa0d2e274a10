"""A real `agent run` in a folder of its own, and clients of its sockets."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import yaml

from agent.service.health import Front, FrontStatus, ask_status, find_front
from agent.settings import Mqtt, own_command, parse_address

# A start takes 2 s on an idle desktop; test machines share their cores.
READY_S = 60.0


class Daemon:
    """`agent run` with the uniform backend on free ports. Use as an async context manager; leaving it kills."""

    def __init__(self, folder: Path, broker: Mqtt | None, device: str = "box", **settings: Any) -> None:
        self.device = device
        self.state_dir = folder / device
        self.config = folder / f"{device}.yaml"
        mqtt: dict[str, Any] = {"port": 0} if broker is None else {"host": broker.host, "port": broker.port}
        content = {
            "device_id": device,
            "state_dir": str(self.state_dir),
            "gtp_address": "127.0.0.1:0",
            "analysis_address": "127.0.0.1:0",
            "websocket_address": "127.0.0.1:0",
            "report_interval_s": 0.2,
            "mqtt": mqtt,
            "engine": {"backend": "uniform"},
        }
        self.config.write_text(yaml.safe_dump(content | settings))
        self.lines: list[str] = []
        # A command that runs the daemon elsewhere, such as in a network namespace.
        self.prefix: tuple[str, ...] = ()
        self.process: asyncio.subprocess.Process
        # What the last start took, by which a test may judge the machine.
        self.start_s: float

    async def __aenter__(self) -> Daemon:
        await self.start()
        return self

    async def start(self, *options: str) -> None:
        """Returns when the last line of the chain is printed. Where that fails, nothing is left running."""
        begun_s = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            *self.prefix,
            *own_command(),
            "run",
            "--config",
            str(self.config),
            *options,
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(self.until("broker"), READY_S)
        except BaseException:
            await self.end(signal.SIGKILL)
            raise
        self.start_s = time.monotonic() - begun_s

    async def until(self, beginning: str) -> str:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())
            if self.lines[-1].startswith(beginning):
                return self.lines[-1]
        raise AssertionError(f"the daemon ended before it said {beginning!r}: {self.lines}")

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end; the exit status is returned."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), READY_S)

    async def __aexit__(self, *_: object) -> None:
        await self.end(signal.SIGKILL)

    @property
    def front(self) -> Front:
        found = find_front(self.state_dir)
        assert found is not None
        return found

    async def status(self) -> FrontStatus:
        status = await asyncio.to_thread(ask_status, self.front)
        assert status is not None
        return status

    async def outstanding(self, count: int) -> FrontStatus:
        """The first status with so many requests at the engine."""
        while (status := await self.status()).outstanding < count or status.engine != "up":
            pass
        return status

    def kill_worker(self, pid: int | None) -> None:
        assert pid is not None
        os.kill(pid, signal.SIGKILL)


class Client:
    """One TCP client that keeps its connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, address: str | None) -> Client:
        assert address is not None
        return cls(*await asyncio.open_connection(*parse_address(address), limit=1 << 24))

    def say(self, text: str) -> None:
        self._writer.write(text.encode() + b"\n")

    async def line(self) -> str:
        """The next line that is not empty (the service sends empty ones to a client that stopped sending)."""
        while True:
            data = await self._reader.readuntil(b"\n")
            if data.strip():
                return data.decode().strip()

    async def gtp(self, command: str) -> str:
        self.say(command)
        return await self.line()

    async def analysis(self, query: dict[str, Any]) -> dict[str, Any]:
        self.say(json.dumps(query))
        answer: dict[str, Any] = json.loads(await self.line())
        return answer

    def close(self) -> None:
        self._writer.close()
