"""How others know that the daemon is well: systemd by its notify socket, people and joiners by `front.json`.

`front.json` stands in the state folder, and beside it in systemd's runtime folder where there is one, which other
users can read. It says where the daemon listens, its process id and when that began, so a file that a killed daemon or
a power cut left behind deceives nobody. A lock on `front.lock` keeps a second daemon away. Anybody who connects to
`status_address` is told the present state.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import AgentError, FrontRunning, ServiceDown
from agent.settings import SYSTEM_STATE, default_state_dir, parse_address

log = logging.getLogger(__name__)

FRONT: Final = "front.json"
LOCK: Final = "front.lock"
# systemd's RuntimeDirectory= of our unit.
SYSTEM_RUNTIME: Final = Path("/run/katago-agent")
# The daemon answers from its event loop; one that takes longer is not well.
STATUS_S: Final = 3.0
STATUS_BYTES: Final = 1 << 20


class Front(msgspec.Struct, frozen=True):
    """A running daemon. Addresses are "host:port", sockets paths, None where one is closed; `is_guarded` says that
    TCP and WebSocket ask who comes; `broker` is where it reports; `start_ticks` is when its process began, by the clock
    of this boot; `state_dir` is the one that it started with."""

    pid: int
    device_id: str
    started: float
    status_address: str
    gtp_address: str | None = None
    analysis_address: str | None = None
    websocket_address: str | None = None
    gtp_socket: str | None = None
    analysis_socket: str | None = None
    is_guarded: bool = False
    broker: str | None = None
    broker_tls: bool = False
    network: str = ""
    visits: int = 0
    start_ticks: int = 0
    state_dir: str = ""

    def places(self, kind: str) -> list[Path | tuple[str, int]]:
        """Where somebody on this machine may join the service of this `kind` (gtp or analysis), best first."""
        path, address = getattr(self, f"{kind}_socket"), getattr(self, f"{kind}_address")
        found: list[Path | tuple[str, int]] = [Path(path)] if path else []
        return found if address is None or self.is_guarded else [*found, parse_address(address)]


class FrontStatus(msgspec.Struct, frozen=True):
    """What a daemon says of itself. `engine` is the supervisor's state (up, starting, waiting, degraded); `clients` are
    connected over all sockets. `fallen_reason` tells why another engine serves than the one that should."""

    device_id: str
    pid: int
    uptime_s: float
    profile: str
    network: str
    backend: str
    engine: str
    engine_pid: int | None
    reason: str
    fix: str
    restarts: int
    outstanding: int
    clients: int
    gtp_address: str | None
    analysis_address: str | None
    websocket_address: str | None
    gtp_socket: str | None
    analysis_socket: str | None
    broker: str | None
    broker_connected: bool
    broker_trouble: str
    front_rss_bytes: int | None
    worker_rss_bytes: int | None
    fallen_reason: str = ""
    fallen_fix: str = ""


# ---------------------------------------------------------------- the daemon's side


@contextlib.contextmanager
def hold_front(state_dir: Path) -> Iterator[None]:
    """Be the one daemon of this state folder.

    Raises FrontRunning where another one is; AgentError where the folder cannot be used.
    """
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        file = (state_dir / LOCK).open("a", encoding="ascii")
    except OSError as error:
        fix = "Set `state_dir` in agent.yaml to a folder that this user can write."
        raise AgentError(f"the state folder {state_dir} cannot be used: {error.strerror}", fix=fix) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            front = _read(state_dir / FRONT)
            who = f" (pid {front.pid})" if front else ""
            raise FrontRunning(f"another `agent run`{who} serves {state_dir}") from error
        with contextlib.suppress(OSError):
            # Of a daemon that was killed; its number may be somebody else's by now.
            (state_dir / FRONT).unlink()
        yield


@contextlib.contextmanager
def published(front: Front, state_dir: Path) -> Iterator[None]:
    """`front.json` stands while the block runs, where it can be written: a full disk is no reason not to serve."""
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    folders = [state_dir, *([Path(runtime.split(":")[0])] if runtime else [])]
    try:
        for folder in folders:
            try:
                _write(folder / FRONT, msgspec.json.encode(front))
            except OSError as error:
                log.warning("who looks in %s does not find this agent: %s", folder, error.strerror)
        yield
    finally:
        for folder in folders:
            with contextlib.suppress(OSError):
                (folder / FRONT).unlink()


def _write(path: Path, data: bytes) -> None:
    """Whole or not at all; readable for every user, whatever our umask: it holds addresses and no secret."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


async def serve_status(tell: Callable[[], FrontStatus]) -> asyncio.Server:
    """A loopback socket that tells everybody who connects the state as one JSON document."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        with contextlib.suppress(OSError):
            writer.write(msgspec.json.encode(tell()) + b"\n")
            await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


class Notifier:
    """systemd's notify protocol (sd_notify(3)); does nothing where no systemd listens."""

    def __init__(self, address: str | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")
        self._clock = clock
        self._sent_s = float("-inf")

    def tell(self, *lines: str) -> None:
        """Send assignments such as READY=1. A systemd that does not listen is none of our worries."""
        if not self._address:
            return
        # "@" means the abstract namespace, whose names begin with NUL.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end,
        ):
            end.setblocking(False)
            end.sendto("\n".join(lines).encode(), address)

    def extend_start(self, seconds: float) -> None:
        """Ask for more time to start; at most once a second, as progress comes in thousands of steps."""
        now_s = self._clock()
        if now_s - self._sent_s >= 1.0:
            self._sent_s = now_s
            self.tell(more_time(seconds))


def more_time(seconds: float) -> str:
    """What has systemd wait so long for our start from now on."""
    return f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}"


def watchdog_interval_s(environment: dict[str, str] | None = None) -> float | None:
    """How often systemd wants a sign of life, halved as sd_watchdog_enabled(3) advises; None where it wants none."""
    given = os.environ if environment is None else environment
    microseconds, pid = given.get("WATCHDOG_USEC", ""), given.get("WATCHDOG_PID", "")
    if not microseconds.isdigit() or int(microseconds) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 2e6


async def keep_telling(notifier: Notifier, line: str, interval_s: float, is_alive: Callable[[], bool]) -> None:
    """Tell from the event loop, and only while `is_alive`; so a stuck loop or supervisor lets systemd step in."""
    while True:
        if is_alive():
            notifier.tell(line)
        await asyncio.sleep(interval_s)


# ---------------------------------------------------------------- the other side


def find_front(state_dir: Path, runtime: Path = SYSTEM_RUNTIME) -> Front | None:
    """The daemon that runs with this state folder, which other users may not be able to read; for somebody who has not
    chosen a folder, also the machine's service."""
    own, service = _read(state_dir / FRONT), _read(runtime / FRONT)
    if service is not None and state_dir not in (default_state_dir(), SYSTEM_STATE, Path(service.state_dir)):
        service = None
    return next((front for front in (own, service) if front is not None and _is_running(front)), None)


def _is_running(front: Front) -> bool:
    # Numbers of processes come back with each boot. Not the boot's id: a container's is not the one that its service,
    # with a /proc of its own (ProtectProc=), reads.
    if front.start_ticks and start_ticks(front.pid) not in (0, front.start_ticks):
        return False
    try:
        os.kill(front.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Another user's process, such as the service's.
        return True
    return True


def _read(path: Path) -> Front | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Front)
    except (OSError, msgspec.MsgspecError):
        return None


def ask_status(front: Front) -> FrontStatus | None:
    """What the daemon says of itself; None where it does not answer."""
    try:
        with socket.create_connection(parse_address(front.status_address), timeout=STATUS_S) as connection:
            answer = b""
            while (more := connection.recv(65536)) and len(answer) < STATUS_BYTES:
                answer += more
        return msgspec.json.decode(answer, type=FrontStatus)
    except (OSError, msgspec.MsgspecError):
        return None


def start_ticks(pid: int) -> int:
    """When a process began, in the kernel's ticks since boot (proc(5), field 22 of stat); 0 where it cannot be read."""
    try:
        return int(
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        )
    except (OSError, ValueError, IndexError):
        return 0


def rss_bytes(pid: int) -> int | None:
    """Resident memory of a process; None where it cannot be read."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


# ---------------------------------------------------------------- in words


class Verdict(msgspec.Struct, frozen=True):
    """`state` is up, starting, degraded, silent (runs and does not answer) or down (does not run)."""

    state: str
    reason: str = ""
    fix: str = ""
    status: FrontStatus | None = None


def judge(front: Front | None, status: FrontStatus | None) -> Verdict:
    """How the daemon is, and what to do about it."""
    if front is None:
        return Verdict("down", "no agent is running", ServiceDown.fix)
    if status is None:
        fix = "Restart it: `systemctl restart katago-agent`; a watchdog does so by itself where systemd runs it."
        return Verdict("silent", f"the agent (pid {front.pid}) does not answer", fix)
    if status.engine == "degraded":
        return Verdict("degraded", status.reason, status.fix, status)
    if status.engine == "up" and status.fallen_reason:
        return Verdict("up", f"{status.fallen_reason}; the built-in engine serves instead", status.fallen_fix, status)
    if status.engine != "up":
        return Verdict("starting", status.reason or "the engine is starting", "Ask again in a moment.", status)
    return Verdict("up", status=status)


def lines(verdict: Verdict) -> list[tuple[str, str]]:
    """The verdict as rows of label and text."""
    rows = [("agent", verdict.state)]
    rows += [(label, text) for label, text in (("reason", verdict.reason), ("fix", verdict.fix)) if text]
    status = verdict.status
    if status is None:
        return rows
    if status.restarts and status.reason and verdict.state == "up" and not verdict.reason:
        rows += [("last end", status.reason), ("its fix", status.fix)]
    memory = [("front", status.front_rss_bytes), ("worker", status.worker_rss_bytes)]
    return [
        *rows,
        ("device", f"{status.device_id}, pid {status.pid}, up for {status.uptime_s:.0f} s"),
        ("profile", status.profile),
        ("network", f"{status.network} on {status.backend}"),
        ("engine", f"{status.engine}, {status.restarts} restarts, {status.outstanding} requests outstanding"),
        ("memory", ", ".join(f"{name} {size / 2**20:.1f} MiB" for name, size in memory if size)),
        ("gtp", _places(status.gtp_address, status.gtp_socket)),
        ("analysis", _places(status.analysis_address, status.analysis_socket)),
        ("websocket", _places(status.websocket_address)),
        ("clients", str(status.clients)),
        ("broker", f"{status.broker}, {'connected' if status.broker_connected else status.broker_trouble}"),
    ]


def _places(*found: str | None) -> str:
    return ", ".join(place for place in found if place) or "closed"
