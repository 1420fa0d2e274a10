"""What the service does when it cannot start: it tells those who can mend that, and waits before systemd tries again.

A full disk, a missing connection or a name that nobody knows is mended by people. A new try every two seconds would
keep a small board busy and fill its journal, and whoever looks at the fleet would see a device that is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

from agent.errors import AgentError, FrontRunning
from agent.hardware.boot import boot_id
from agent.service import health
from agent.service.listen import server_address
from agent.settings import Settings
from agent.telemetry.host import first_seq
from agent.telemetry.messages import Maker, Message
from agent.telemetry.mqtt import Link
from agent.telemetry.report import DEGRADED
from agent.telemetry.topics import AGENT, ENGINE
from agent.waiting import running, within

# After a start by hand somebody waits at `systemctl`; each further try waits twice as long as the one before, up to
# what a degraded engine waits (`agent.service.recovery`).
FIRST_WAIT_S: Final = 5.0
LAST_WAIT_S: Final = 300.0
# Where systemd does not say which try this is: a try takes up to 20 s of a Cortex-A53.
USUAL_WAIT_S: Final = 60.0
ASK_S: Final = 5.0
# So much longer systemd waits for our start, whatever the try took of that.
MARGIN_S: Final = 60.0


def wait_s(restarts: int | None) -> float:
    """Seconds from a start that failed to the next, after so many `restarts` by systemd."""
    if restarts is None:
        return USUAL_WAIT_S
    return min(LAST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(restarts, 10))


def count_restarts() -> int | None:
    """How often systemd started this service by itself since somebody did so by hand; None where it does not say."""
    try:
        unit = Path("/proc/self/cgroup").read_text(encoding="utf-8").strip().rpartition("/")[2]
        command = ["systemctl", "show", "--property=NRestarts", "--value", unit]
        # systemctl would tell its own failure to whoever listens to us.
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        return int(subprocess.run(command, capture_output=True, timeout=ASK_S, env=environment).stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


def is_service() -> bool:
    """Whether systemd waits for our start."""
    return "NOTIFY_SOCKET" in os.environ


def fail_as_service(settings: Settings | None, error: AgentError) -> NoReturn:
    """End of the error, but only when the next try may come: see `sit_out`."""
    sys.stderr.write(error.explain() + "\n")
    sys.stderr.flush()
    sys.exit(not asyncio.run(sit_out(settings, error, wait_s=wait_s(count_restarts()))))


async def sit_out(settings: Settings | None, error: AgentError, *, wait_s: float) -> bool:
    """Tell systemd, `agent status` and the fleet's broker of the error for so long. Whether we were asked to end by
    SIGTERM meanwhile.

    Where another daemon serves the state folder, only systemd is told: status and device are that one's; and where the
    settings themselves could not be read, so that nobody knows of either.
    """
    begun_s = time.time()
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    health.Notifier().tell(health.more_time(wait_s + MARGIN_S), f"STATUS={_one_line(error)}")
    async with contextlib.AsyncExitStack() as stack:
        if settings is not None and _is_alone(stack, settings):
            await _tell_others(stack, settings, error, begun_s)
        with contextlib.suppress(asyncio.TimeoutError):
            await within(ending.wait(), wait_s)
    return ending.is_set()


def _is_alone(stack: contextlib.AsyncExitStack, settings: Settings) -> bool:
    """Whether no other daemon serves the state folder; none does until the stack ends."""
    try:
        stack.enter_context(health.hold_front(settings.state_dir))
    except AgentError as held:
        # A state folder that cannot be used may be what is wrong.
        return not isinstance(held, FrontRunning)
    return True


async def _tell_others(stack: contextlib.AsyncExitStack, settings: Settings, error: AgentError, begun_s: float) -> None:
    """Until the stack ends."""
    # A broker of our own would be heard by nobody.
    link = Link(settings.mqtt, f"katago-agent-{settings.device_id}") if settings.mqtt.host is not None else None
    server = await health.serve_status(lambda: _status(settings, error, begun_s, link))
    stack.callback(server.close)
    front = health.Front(
        pid=os.getpid(),
        device_id=settings.device_id,
        started=begun_s,
        status_address=server_address(server),
        broker=link.address if link else None,
        start_ticks=health.start_ticks(os.getpid()),
        state_dir=str(settings.state_dir),
    )
    stack.enter_context(health.published(front, settings.state_dir))
    if link is not None:
        for message in down(Maker(settings.device_id, boot_id(), first_seq(), os.getpid()), error, time.time()):
            link.retain(message)
        await stack.enter_async_context(running(link.run()))


def down(maker: Maker, error: AgentError, time_s: float) -> list[Message]:
    """What the fleet is told. It stays true when we end, and the next start takes it back."""
    reason = f"cannot start: {_one_line(error)}"
    return [
        *maker.registrations(),
        maker.health(AGENT, False, time_s, reason=reason),
        maker.health(ENGINE, False, time_s, pid=0, reason=reason),
        maker.alarm(DEGRADED, "major", reason, time_s, service=ENGINE),
    ]


def _one_line(error: AgentError) -> str:
    """An error of a pull names every source in a line of its own."""
    return " ".join(f"{error} fix: {error.fix}".split())


def _status(settings: Settings, error: AgentError, begun_s: float, link: Link | None) -> health.FrontStatus:
    return health.FrontStatus(
        device_id=settings.device_id,
        pid=os.getpid(),
        uptime_s=time.time() - begun_s,
        profile="none yet",
        network=settings.network or "none yet",
        backend="none yet",
        engine="degraded",
        engine_pid=None,
        reason=f"the agent cannot start: {error}",
        fix=f"{error.fix} It is tried again by itself.",
        restarts=0,
        outstanding=0,
        clients=0,
        gtp_address=None,
        analysis_address=None,
        websocket_address=None,
        gtp_socket=None,
        analysis_socket=None,
        broker=link.address if link else f"127.0.0.1:{settings.mqtt.broker_port}",
        broker_connected=link is not None and link.connected.is_set(),
        broker_trouble=link.trouble if link else "the agent's own, which starts with it",
        front_rss_bytes=health.rss_bytes(os.getpid()),
        worker_rss_bytes=None,
    )
