"""The data path from end to end: detect → choose → pull → convert → serve → report. Nothing else wires parts together.

Start reading at `run_front`, the daemon; its first half, up to a converted network, is `provision.py`. The daemon stays
small: it provisions in a child process, keeps network and search in another, and imports neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import msgspec

from agent.engine.messages import NATIVE_START_S
from agent.errors import AgentError
from agent.events import ChainStep, Converting, DownloadProgress, Event, Reporter
from agent.hardware import Sampler, sample
from agent.hardware.boot import boot_id
from agent.plan import Plan, fallback_command, worker_command
from agent.prove import METRIC_S, prove
from agent.provision import provision
from agent.provision_apart import provision_apart
from agent.service import health
from agent.service.access import read_guard
from agent.service.analysis import AnalysisConnection
from agent.service.config_keys import Configuration, EngineWishes
from agent.service.doors import Doors
from agent.service.gtp import GtpConnection
from agent.service.identity import READY_LINES
from agent.service.listen import server_address
from agent.service.options import ServiceOptions
from agent.service.recovery import Limits
from agent.service.relay import serve_relay
from agent.service.serve import MakeConnection, serve_stdio
from agent.service.supervise import Supervisor
from agent.settings import Access, Settings, with_overrides
from agent.telemetry.host import first_seq, host_values, throttling_reason
from agent.telemetry.messages import Maker
from agent.telemetry.mqtt import Link
from agent.telemetry.own_broker import OwnBroker
from agent.telemetry.report import HostReading, Telemetry, agent_down
from agent.twins import twins, versions
from agent.waiting import running, within

log = logging.getLogger(__name__)

T = TypeVar("T")

__all__ = ["Plan", "provision", "provision_apart", "run_front", "serve_client", "worker_command"]

# `run --once` waits for one of these.
ONCE_INTERVAL_S: Final = 1.0
# While bytes arrive, layers are written or an engine is tried, systemd waits so much longer for our start.
EXTEND_S: Final = 300.0
# It is asked so often while engines are tried, each as long and as often as `Limits` has patience.
EXTEND_INTERVAL_S: Final = 60.0
# The supervisor looks at its worker four times a second; after so long without a look it is stuck.
SUPERVISOR_S: Final = 10.0
# The broker answers in milliseconds; start-up does not wait longer to tell of it.
BROKER_S: Final = 3.0


def gtp_service(supervisor: Supervisor, options: ServiceOptions, *, version: str = "") -> MakeConnection:
    options = msgspec.structs.replace(options, version=version)
    return lambda engine: GtpConnection(options, engine.next_id, lambda: supervisor.ready)


def analysis_service(
    supervisor: Supervisor, options: ServiceOptions, *, quit_without_waiting: bool = False, warns: bool = True
) -> MakeConnection:
    return lambda engine: AnalysisConnection(
        options, engine.next_id, lambda: supervisor.ready, quit_without_waiting=quit_without_waiting, warns=warns
    )


async def serve_client(
    settings: Settings,
    reporter: Reporter,
    kind: str,
    service: Callable[[Supervisor, ServiceOptions], MakeConnection],
    configuration: Configuration,
    *,
    may_join: bool,
) -> None:
    """Serve standard input and output until the client ends: through the running daemon's socket of this `kind` (gtp
    or analysis) where there is one and the client `may_join`, else with an engine of our own, made as the
    configuration wishes.

    Raises SettingRefused for a setting that cannot be, before anything is started, and what `serve_relay` and
    `provision` raise.
    """
    front = health.find_front(settings.state_dir) if may_join else None
    ready = ChainStep("ready", READY_LINES[kind])
    for place in front.places(kind) if front else ():
        try:
            await serve_relay(place, on_connected=lambda: reporter.report(ready))
            return
        except (ConnectionRefusedError, FileNotFoundError, PermissionError) as error:
            log.warning("the agent cannot be reached at %s: %s", place, error.strerror)
    configuration.options(ServiceOptions())
    plan = _plan_as_wished(settings, reporter, configuration.wishes())
    supervisor = supervise(plan, reporter)
    async with running(supervisor.run()) as engine, running(_tell_ready(supervisor, reporter, kind)):
        # Whoever started us may read and write these files anyway.
        options = msgspec.structs.replace(configuration.options(_defaults(plan, kind)), may_use_files=True)
        await _while_live(serve_stdio(service(supervisor, options), supervisor), [engine])


def _plan_as_wished(settings: Settings, reporter: Reporter, wishes: EngineWishes) -> Plan:
    """The plan for this machine, with what a KataGo configuration asks of the engine in the place of the profile's."""
    threads = wishes.threads(len(os.sched_getaffinity(0)))
    if settings.threads is None and threads is not None:
        settings = with_overrides(settings, threads=threads)
    plan = provision(settings, reporter)
    free = sample().memory_available_bytes
    return msgspec.structs.replace(
        plan,
        batch=wishes.batch(plan.threads, plan.batch),
        cache_positions=wishes.cache(plan.cache_positions, free if isinstance(free, int) else 0),
    )


async def _tell_ready(supervisor: Supervisor, reporter: Reporter, kind: str) -> None:
    """Clients of KataGo wait for its line on standard error before they ask."""
    if (await supervisor.settled()).ready is not None:
        reporter.report(ChainStep("ready", READY_LINES[kind]))


async def run_front(
    settings: Settings, reporter: Reporter, *, once: bool = False, patience_s: float = METRIC_S
) -> None:
    """The daemon, until SIGTERM or SIGINT; with `once`, until one move was analysed and one metric came back from the
    broker within `patience_s`.

    Raises FrontRunning, AddressTaken, BrokerUnreachable, ProofFailed, and what `provision` raises.
    """
    notifier = health.Notifier()
    asked_to_end = False
    with health.hold_front(settings.state_dir):
        serving = asyncio.ensure_future(_Front(settings, reporter, notifier).serve(once, patience_s))

        def end() -> None:
            nonlocal asked_to_end
            asked_to_end = True
            notifier.tell("STOPPING=1")
            serving.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        try:
            await serving
        except asyncio.CancelledError:
            if not asked_to_end:
                raise


class _Front:
    """The daemon's parts, in the order in which data passes them."""

    def __init__(self, settings: Settings, reporter: Reporter, notifier: health.Notifier) -> None:
        self._settings = settings
        self._reporter = reporter
        self._notifier = notifier
        self._background: list[asyncio.Future[None]] = []
        self._started_s = time.time()

    async def serve(self, once: bool, patience_s: float) -> None:
        own = OwnBroker(self._settings.mqtt) if self._settings.mqtt.host is None else None
        mqtt = own.mqtt if own else self._settings.mqtt
        async with contextlib.AsyncExitStack() as stack:
            # The slowest first: it starts while the others do. What comes last ends first.
            if own:
                await self._keep(stack, own.run())
            extending = _Extending(self._reporter, self._notifier)
            plan = await self._while_all_live(provision_apart(self._settings, extending))
            maker = Maker(self._settings.device_id, boot_id(), first_seq(), os.getpid())
            link = Link(mqtt, f"katago-agent-{maker.device_id}", will=agent_down(maker, time.time()))
            reporters = _Reporters(self._reporter)
            supervisor = supervise(plan, reporters)
            telemetry = Telemetry(link, maker, engine=lambda: supervisor.status, host=_host_reader(supervisor))
            telemetry.announce(twins(plan, self._settings.report_interval_s))
            reporters.add(telemetry)
            await self._keep(stack, supervisor.run())
            # An owner who has mended something need not wait for the next try: `systemctl reload` sends this.
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, supervisor.retry)
            await self._keep(stack, _stay_connected(link, own))
            stack.callback(telemetry.farewell)
            interval_s = min(self._settings.report_interval_s, ONCE_INTERVAL_S if once else math.inf)
            await self._keep(stack, telemetry.run(interval_s))
            front = await self._open_sockets(stack, plan, supervisor, link)
            stack.enter_context(health.published(front, self._settings.state_dir))
            await self._keep(stack, self._guard_watchdog(supervisor))
            await self._while_all_live(self._be_ready(plan, supervisor, link, maker))
            if once:
                proof = prove(maker.device_id, plan.visits, supervisor, link, self._reporter, patience_s=patience_s)
                await self._while_all_live(proof)
            else:
                await self._while_all_live(asyncio.Event().wait())

    async def _keep(self, stack: contextlib.AsyncExitStack, work: Coroutine[Any, Any, None]) -> None:
        self._background.append(await stack.enter_async_context(running(work)))

    async def _while_all_live(self, work: Coroutine[Any, Any, T]) -> T:
        return await _while_live(work, self._background)

    async def _open_sockets(
        self, stack: contextlib.AsyncExitStack, plan: Plan, supervisor: Supervisor, link: Link
    ) -> health.Front:
        gtp = gtp_service(supervisor, _defaults(plan, "gtp"))
        options = _defaults(plan, "analysis")
        doors = Doors(supervisor, read_guard(self._settings.access), stack, self._reporter)
        opened = await doors.open(
            self._settings,
            gtp=gtp,
            analysis=analysis_service(supervisor, options),
            websocket=analysis_service(supervisor, options, warns=False),
        )
        status_server = await health.serve_status(lambda: self._status(plan, supervisor, link, front, doors.clients))
        stack.callback(status_server.close)
        front = health.Front(
            pid=os.getpid(),
            start_ticks=health.start_ticks(os.getpid()),
            state_dir=str(self._settings.state_dir),
            device_id=self._settings.device_id,
            started=self._started_s,
            status_address=server_address(status_server),
            is_guarded=self._settings.access != Access(),
            gtp_address=opened.gtp_address,
            analysis_address=opened.analysis_address,
            websocket_address=opened.websocket_address,
            gtp_socket=opened.gtp_socket,
            analysis_socket=opened.analysis_socket,
            broker=link.address,
        )
        return front

    async def _be_ready(self, plan: Plan, supervisor: Supervisor, link: Link, maker: Maker) -> None:
        more_time = health.more_time(EXTEND_S)
        async with running(
            health.keep_telling(self._notifier, more_time, EXTEND_INTERVAL_S, lambda: _looks(supervisor))
        ):
            status = await supervisor.settled()
        if status.ready is not None:
            threads = status.ready.threads
            detail = f"{status.ready.network} on {status.ready.backend}, {threads} threads, {plan.visits} visits"
            link.retain(maker.twin("versions", versions() | status.ready.runtime_versions))
        else:
            detail = f"degraded: {status.reason} fix: {status.fix}"
        self._reporter.report(ChainStep("engine", detail))
        self._notifier.tell("READY=1", f"STATUS={detail}")
        with contextlib.suppress(asyncio.TimeoutError):
            await within(link.connected.wait(), BROKER_S)
        self._reporter.report(ChainStep("broker", link.trouble or f"connected to {link.address}"))

    async def _guard_watchdog(self, supervisor: Supervisor) -> None:
        interval_s = health.watchdog_interval_s()
        if interval_s is None:
            await asyncio.Event().wait()
            return
        await health.keep_telling(self._notifier, "WATCHDOG=1", interval_s, lambda: _looks(supervisor))

    def _status(
        self, plan: Plan, supervisor: Supervisor, link: Link, front: health.Front, clients: int
    ) -> health.FrontStatus:
        status = supervisor.status
        return health.FrontStatus(
            device_id=self._settings.device_id,
            pid=os.getpid(),
            uptime_s=time.time() - self._started_s,
            profile=plan.profile,
            network=status.ready.network if status.ready else plan.network,
            backend=status.ready.backend if status.ready else plan.backend,
            engine=status.state,
            engine_pid=status.pid,
            reason=status.reason,
            fix=status.fix,
            restarts=status.restarts,
            fallen_reason=status.fallen_reason,
            fallen_fix=status.fallen_fix,
            outstanding=status.outstanding,
            clients=clients,
            gtp_address=front.gtp_address,
            analysis_address=front.analysis_address,
            websocket_address=front.websocket_address,
            gtp_socket=front.gtp_socket,
            analysis_socket=front.analysis_socket,
            broker=link.address,
            broker_connected=link.connected.is_set(),
            broker_trouble=link.trouble,
            front_rss_bytes=health.rss_bytes(os.getpid()),
            worker_rss_bytes=status.heartbeat.rss_bytes if status.heartbeat else None,
        )


# ---------------------------------------------------------------- small parts


def supervise(plan: Plan, reporter: Reporter) -> Supervisor:
    """The engine of this plan, with the one that stands in for it."""
    # Its worker gives up first, and says why.
    limits = Limits(start_s=NATIVE_START_S + 10) if plan.katago else None
    return Supervisor(worker_command(plan), reporter, fallback=fallback_command(plan), limits=limits)


def _looks(supervisor: Supervisor) -> bool:
    """Whether it looks after its worker."""
    return time.monotonic() - supervisor.status.ticked_s < SUPERVISOR_S


def _defaults(plan: Plan, kind: str) -> ServiceOptions:
    """What the profile says to a protocol. A player waits for a move no longer than its time limit; who asks for an
    analysis names the visits and gets them."""
    return ServiceOptions(max_visits=plan.visits, max_time_s=plan.max_time_s if kind == "gtp" else None)


class _Reporters:
    """Passes every event on, first to the one that shows it."""

    def __init__(self, first: Reporter) -> None:
        self._all = [first]

    def add(self, reporter: Reporter) -> None:
        self._all.append(reporter)

    def report(self, event: Event) -> None:
        for reporter in self._all:
            reporter.report(event)


class _Extending:
    """Asks systemd for more time to start while there is progress."""

    def __init__(self, reporter: Reporter, notifier: health.Notifier) -> None:
        self._reporter = reporter
        self._notifier = notifier

    def report(self, event: Event) -> None:
        if isinstance(event, DownloadProgress | Converting):
            self._notifier.extend_start(EXTEND_S)
        self._reporter.report(event)


async def _while_live(work: Coroutine[Any, Any, T], background: Sequence[asyncio.Future[None]]) -> T:
    """Do the work; a background part that ends meanwhile ends it with that one's error."""
    main = asyncio.ensure_future(work)
    try:
        parts: list[asyncio.Future[Any]] = [main, *background]
        await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in background:
            if part.done():
                part.result()
                raise AgentError("a part of the agent ended by itself", fix="Report this with the service log.")
        return await main
    finally:
        main.cancel()
        await asyncio.gather(main, return_exceptions=True)


async def _stay_connected(link: Link, own: OwnBroker | None) -> None:
    if own:
        await own.listening.wait()
    await link.run()


def _host_reader(supervisor: Supervisor) -> Callable[[], HostReading]:
    """Samples of the machine, and the memory that we take of it."""
    sampler = Sampler()

    def read() -> HostReading:
        sample, beat = sampler.sample(), supervisor.status.heartbeat
        memory = {
            "front_rss_bytes": health.rss_bytes(os.getpid()),
            "worker_rss_bytes": beat.rss_bytes if beat else None,
        }
        return HostReading(values=host_values(sample) | memory, throttling=throttling_reason(sample))

    return read
