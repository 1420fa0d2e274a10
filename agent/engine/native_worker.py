"""The worker of an owner's katago: what `agent engine` is for our own search, around a native `katago analysis`.

Start at `run_native_worker`. One thread hands on what front and katago say; `native_player.py` knows what it means. To
the front this worker looks like any other: it says that it is ready, beats, answers, and ends with a reason. katago has
no heartbeat, so this process asks it every `ping_s` for its version, which it answers at once while it searches.
"""

from __future__ import annotations

import logging
import os
import secrets
import selectors
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from agent.engine import native_death
from agent.engine.messages import (
    HEARTBEAT_S,
    NATIVE_START_S,
    EngineFailed,
    EngineReady,
    Heartbeat,
    Ping,
    WorkerMessage,
)
from agent.engine.native_child import NativeChild
from agent.engine.native_player import ANALYSIS_THREADS, NativePlayer, Outgoing
from agent.engine.worker_socket import Connection, Frames, FrontGarbage, resident_bytes
from agent.errors import NativeFailed, NativeGarbage
from agent.lifeline import die_with_parent

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """Seconds after which katago is taken for hung. Tests shorten them."""

    # Often enough to see a hang soon; each question costs katago microseconds.
    ping_s: float = 2.0
    # As long as the front waits for a heartbeat.
    silent_s: float = 10.0
    # While it starts it answers nothing: it hangs when it is stopped, or computes nothing for so long.
    idle_start_s: float = 60.0
    start_s: float = NATIVE_START_S
    # Looks at the clock further apart than this mean that we slept, not katago.
    slept_s: float = 5.0


@dataclass(frozen=True)
class NativeOptions:
    """What the command line says. `program` is a path, or a name on PATH. `cfg` is the profile's, `home` where katago
    keeps what it tunes. `human_profile` is whom a human-style network imitates."""

    program: Path
    cfg: Path | None
    model: Path
    network_sha256: str
    threads: int
    batch: int
    cache_positions: int
    home: Path
    seed: int
    human_profile: str = ""


def run_native_worker(
    end: socket.socket,
    options: NativeOptions,
    clock: Callable[[], float] = time.monotonic,
    patience: Patience | None = None,
) -> int:
    """Start katago, serve until the socket closes, and return the exit status: 0, or 1 after `EngineFailed`."""
    connection = Connection(end)
    try:
        with NativeChild(
            options.program, options.model, settings(options), base=options.cfg, preexec=die_with_parent
        ) as child:
            _Service(connection, child, options, clock, patience or Patience()).serve()
    except (NativeFailed, NativeGarbage, FrontGarbage) as error:
        log.error("the worker ends: %s", error)
        hopeless = isinstance(error, NativeFailed) and error.is_hopeless
        connection.send(EngineFailed(reason=str(error), fix=error.fix, hopeless=hopeless))
        return 1
    return 0


def settings(options: NativeOptions) -> dict[str, object]:
    """What katago is told over its .cfg: this machine's numbers, and what the protocols count on."""
    chosen: dict[str, object] = {
        "numAnalysisThreads": ANALYSIS_THREADS,
        "numSearchThreads": options.threads,
        # As many as one search keeps busy; KataGo would take all cores. Other backends pass it over.
        "numEigenThreadsPerModel": options.threads,
        "nnMaxBatchSize": options.batch,
        "nnCacheSizePowerOfTwo": max(1, options.cache_positions.bit_length() - 1),
        "homeDataDir": options.home,
        # Its log is where the reason stands when it fails.
        "logToStderr": "true",
        # Every answer from the side to move, every query with the parameters that its request names over GTP's own.
        "reportAnalysisWinratesAs": "SIDETOMOVE",
        "wideRootNoise": 0.0,
        "ignorePreRootHistory": "false",
    }
    if options.human_profile:
        chosen["humanSLProfile"] = options.human_profile
    return chosen


class _Service:
    """One katago's life between front and pipes."""

    def __init__(
        self,
        connection: Connection,
        child: NativeChild,
        options: NativeOptions,
        clock: Callable[[], float],
        patience: Patience,
    ) -> None:
        self._front = connection
        self._child = child
        self._options = options
        self._clock = clock
        self._patience = patience
        self._player = NativePlayer(cache_positions=options.cache_positions, seed=options.seed)
        self._frames = Frames()
        self._is_ready = False
        now_s = clock()
        self._started_s = self._alive_s = self._looked_s = now_s
        self._next_beat_s = self._next_ping_s = now_s
        self._ticks, self._rss_bytes = 0, 0

    def serve(self) -> None:
        """Until the front is gone. Raises NativeFailed, NativeGarbage, FrontGarbage."""
        self._say(self._player.hello())
        self._next_ping_s = self._clock() + self._patience.ping_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._front, selectors.EVENT_READ)
            selector.register(self._child.stdout, selectors.EVENT_READ)
            selector.register(self._child.stderr, selectors.EVENT_READ)
            while not self._front.closed:
                self._tick(self._clock())
                self._watch_input(selector)
                wait_s = max(0.0, min(self._next_beat_s, self._next_ping_s) - self._clock())
                ready = [key.fileobj for key, _ in selector.select(wait_s)]
                if self._child.stderr in ready and not self._child.listen_to_errors():
                    selector.unregister(self._child.stderr)
                if self._child.stdout in ready:
                    self._hear_katago()
                if self._child.has_unsent:
                    self._child.flush()
                if self._front in ready and not self._hear_front():
                    return

    def _watch_input(self, selector: selectors.BaseSelector) -> None:
        """Wake up when katago takes more, where it has not taken everything."""
        is_watched = self._child.stdin in selector.get_map()
        if self._child.has_unsent and not is_watched:
            selector.register(self._child.stdin, selectors.EVENT_WRITE)
        elif is_watched and not self._child.has_unsent:
            selector.unregister(self._child.stdin)

    # ------------------------------------------------------------ hearing and saying

    def _hear_front(self) -> bool:
        data = self._front.receive()
        for message in self._frames.feed(data):
            if isinstance(message, Ping):
                self._front.send(self._heartbeat())
            else:
                self._say(self._player.receive(message, self._clock()))
        return bool(data)

    def _hear_katago(self) -> None:
        lines = self._child.lines()
        if lines is None:
            raise self._child.ended(was_ready=self._is_ready)
        for line in lines:
            self._say(self._player.hear(line, self._clock()))
        if lines:
            self._alive_s = self._clock()
        if not self._is_ready and self._player.standing.is_ready:
            self._is_ready = True
            self._front.send(self._ready())

    def _say(self, outgoing: list[Outgoing]) -> None:
        for each in outgoing:
            if isinstance(each, bytes):
                self._child.send(each)
            else:
                self._front.send(each)

    # ------------------------------------------------------------ the clock

    def _tick(self, now_s: float) -> None:
        if now_s - self._looked_s > self._patience.slept_s:
            # We were stopped or starved ourselves; what katago said meanwhile is not read yet.
            self._alive_s = now_s
        self._looked_s = now_s
        if now_s >= self._next_beat_s:
            self._front.send(self._heartbeat())
            self._next_beat_s = now_s + HEARTBEAT_S
        if now_s >= self._next_ping_s:
            self._next_ping_s = now_s + self._patience.ping_s
            if self._is_ready:
                self._say(self._player.ping())
            self._judge(now_s)

    def _judge(self, now_s: float) -> None:
        """Raises NativeFailed for a katago that hangs."""
        child, patience = self._child, self._patience
        # Looking through all processes takes milliseconds, so not for each beat.
        self._rss_bytes = child.rss_bytes()
        silent_s = now_s - self._alive_s
        stopped = "it is stopped (SIGSTOP)" if silent_s > patience.silent_s and child.is_stopped() else ""
        if self._is_ready:
            if silent_s > patience.silent_s:
                why = stopped or "though its process runs"
                raise native_death.hung(f"no answer to anything for {silent_s:.0f} s, {why}", ())
            return
        ticks = child.cpu_ticks()
        if ticks != self._ticks:
            self._ticks, self._alive_s = ticks, now_s
        if stopped:
            raise native_death.hung(f"{stopped} before it was ready", child.said)
        if silent_s > patience.idle_start_s:
            raise native_death.hung(f"before it was ready it computed nothing for {silent_s:.0f} s", child.said)
        if now_s - self._started_s > patience.start_s:
            raise native_death.hung(f"it was not ready after {patience.start_s:.0f} s", child.said)

    def _heartbeat(self) -> WorkerMessage:
        player = self._player
        return Heartbeat(
            queued=player.waiting,
            searching=player.running,
            visits_total=player.visits_total,
            # katago does not tell how many of its visits ran the network.
            evaluations_total=0,
            cache_hits_total=0,
            rss_bytes=resident_bytes() + self._rss_bytes,
        )

    def _ready(self) -> EngineReady:
        standing, options = self._player.standing, self._options
        model = standing.models[0]
        backend = f", {self._child.backend}" if self._child.backend else ""
        has_human_sl = self._player.standing.has_human_sl
        return EngineReady(
            pid=os.getpid(),
            network=str(model.get("internalName") or model.get("name") or ""),
            network_version=int(model.get("version") or 0),
            network_sha256=options.network_sha256,
            precision="fp16" if str(model.get("usingFP16")) == "true" else "fp32",
            backend=f"katago {standing.version}{backend}",
            threads=options.threads,
            batch=options.batch,
            has_human_sl=has_human_sl,
            # KataGo takes a profile for any network; only one that imitates players has it.
            human_profile=options.human_profile if has_human_sl else "",
            imitates_anybody=has_human_sl,
            imitates_pairs=has_human_sl,
            runtime_versions={"katago": standing.version},
        )


def main() -> NoReturn:
    """Run as `engine-native OPTIONS --fd N`: `plan.worker_command` writes that line and the supervisor adds the end. No
    person does, so nothing explains it."""
    die_with_parent()
    given = dict(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    options = NativeOptions(
        program=Path(given["--katago"]),
        cfg=Path(given["--cfg"]),
        model=Path(given["--model"]),
        network_sha256=given["--network-sha256"],
        threads=int(given["--threads"]),
        batch=int(given["--batch"]),
        cache_positions=int(given["--cache-positions"]),
        home=Path(given["--home"]),
        seed=secrets.randbits(63),
        human_profile=given["--human-profile"],
    )
    with socket.socket(fileno=int(given["--fd"])) as end:
        sys.exit(run_native_worker(end, options))
