"""Cuts the network between a real `agent run` and a real Mosquitto, each in a network namespace of its own.

    unshare -rn python tests/system/network_cut.py      (as any user where user namespaces are allowed; or as root)

Needs iproute2, util-linux and mosquitto. Two namespaces are joined by a veth pair. With the link down, the broker must
tell everybody that the agent is down (its will); with the link up again, the agent must be back and have announced all
that is retained. The listener sits beside the broker. Exit status 0 when all of it happened.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

from fakes.daemons import Daemon  # noqa: E402
from fakes.listening import Listener  # noqa: E402

from agent.settings import Mqtt  # noqa: E402
from agent.telemetry import topics  # noqa: E402
from agent.telemetry.topics import AGENT, ENGINE  # noqa: E402

BROKER, DEVICE = "10.231.0.1", "10.231.0.2"
PORT = 1883
# The keep-alive is 15 s: the broker waits one and a half of it (MQTT 3.1.1, 3.1.2.10), the agent up to two.
NOTICED_S = 60.0
BACK_S = 90.0
RETAINED = [
    topics.registration("box"),
    topics.registration("box", AGENT),
    topics.registration("box", ENGINE),
    topics.twin("box", "hardware"),
    topics.twin("box", "profile"),
    topics.twin("box", "network"),
    topics.twin("box", "versions"),
]


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def join(other: int) -> None:
    """A wire from this namespace (the broker's) to that of process `other` (the device's)."""
    ip("link", "set", "lo", "up")
    ip("link", "add", "broker0", "type", "veth", "peer", "name", "device0")
    ip("link", "set", "device0", "netns", str(other))
    ip("address", "add", f"{BROKER}/24", "dev", "broker0")
    ip("link", "set", "broker0", "up")
    inside = ["nsenter", "-t", str(other), "-n"]
    for command in (
        ["link", "set", "lo", "up"],
        ["address", "add", f"{DEVICE}/24", "dev", "device0"],
        ["link", "set", "device0", "up"],
    ):
        subprocess.run([*inside, "ip", *command], check=True)


def start_mosquitto(folder: Path) -> subprocess.Popen[bytes]:
    program = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "mosquitto is not installed (apt-get install mosquitto)"
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {PORT} {BROKER}\nallow_anonymous true\npersistence false\nuser root\n")
    return subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)


class FarDaemon(Daemon):
    """The daemon in the other namespace."""

    def __init__(self, folder: Path, broker: Mqtt, holder: int) -> None:
        super().__init__(folder, broker)
        self.prefix = ("nsenter", "-t", str(holder), "-n")


async def cut(folder: Path, holder: int) -> None:
    broker = Mqtt(host=BROKER, port=PORT)
    async with Listener(broker) as listener, FarDaemon(folder, broker, holder):
        await listener.health("box", ENGINE, "up")
        print("up: health and engine arrived")
        heard, cut_s = len(listener.heard), time.monotonic()
        ip("link", "set", "broker0", "down")
        down = await listener.health("box", AGENT, "down", after=heard, within_s=NOTICED_S)
        print(f"cut: the will arrived after {time.monotonic() - cut_s:.1f} s")
        ip("link", "set", "broker0", "up")
        mended_s = time.monotonic()
        await listener.health("box", AGENT, "up", after=down, within_s=BACK_S)
        await listener.health("box", ENGINE, "up", after=down, within_s=BACK_S)
        for topic in RETAINED:
            await listener.until(lambda one, topic=topic: one.topic == topic, after=down, within_s=BACK_S)
        await listener.until(lambda one: one.topic.endswith("/m/engine"), after=down, within_s=BACK_S)
        print(f"mended: announced again after {time.monotonic() - mended_s:.1f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        # Nothing but the holder of the device's namespace.
        holder = subprocess.Popen(["unshare", "-n", "sleep", "600"])
        stack.callback(holder.wait)
        stack.callback(holder.kill)
        await_namespace(holder.pid)
        join(holder.pid)
        mosquitto = start_mosquitto(Path(name))
        stack.callback(mosquitto.wait)
        stack.callback(mosquitto.kill)
        asyncio.run(cut(Path(name), holder.pid))


def await_namespace(pid: int) -> None:
    ours = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{pid}/ns/net").readlink() == ours:
        time.sleep(0.01)


if __name__ == "__main__":
    main()
