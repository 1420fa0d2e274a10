"""Real MQTT brokers on loopback for tests: Mosquitto where it is installed, else the agent's own embedded broker, so
that the tests of telemetry run for everybody. `KIND` says which."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from agent.settings import Mqtt, own_command

# /usr/sbin is where Debian puts it, and not on every user's path.
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
KIND = "mosquitto" if MOSQUITTO else "amqtt"
START_S = 20.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """A broker that can be killed and started again on the same port; what it retained is gone then. `extra` are lines
    of Mosquitto's configuration after its listener."""

    def __init__(self, folder: Path, extra: tuple[str, ...] = ()) -> None:
        self.port = free_port()
        self._folder = folder
        self._extra = extra
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def mqtt(self) -> Mqtt:
        return Mqtt(host="127.0.0.1", port=self.port)

    def start(self) -> None:
        assert self._process is None
        if MOSQUITTO:
            config = self._folder / f"mosquitto-{self.port}.conf"
            lines = [f"listener {self.port} 127.0.0.1", *(self._extra or ("allow_anonymous true",))]
            config.write_text("\n".join([*lines, "persistence false", "user root", ""]))
            command = [MOSQUITTO, "-c", str(config)]
        else:
            assert not self._extra, "the embedded broker has no such options"
            command = [*own_command(), "broker", "--port", str(self.port)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            self._await_port()
        except BaseException:
            self.stop()
            raise

    def _await_port(self) -> None:
        """The port is the only sign that both kinds give."""
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except ConnectionRefusedError:
                assert self._process.poll() is None, f"{KIND} ended with status {self._process.poll()}"
                assert time.monotonic() < deadline, f"{KIND} does not listen"
                time.sleep(0.01)

    def stop(self) -> None:
        """End it without a word to anybody, as a power cut would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            if self._process.stdin:
                self._process.stdin.close()
            self._process = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
