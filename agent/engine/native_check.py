"""Whether an owner's katago runs a network here: it is started as the worker starts it, and asked for one visit."""

from __future__ import annotations

import os
import selectors
import time
from pathlib import Path
from typing import Final

from agent.engine.messages import NATIVE_START_S, Position, SearchReport, SearchRequest
from agent.engine.native_child import NativeChild
from agent.engine.native_death import hung
from agent.engine.native_player import NativePlayer
from agent.engine.points import BLACK
from agent.engine.rules import Rules
from agent.errors import NativeFailed

_REQUEST: Final = SearchRequest(id=1, position=Position(9, 9, Rules(), 7.0), player=BLACK, max_visits=2)


def check_native(program: Path, network: Path, home: Path) -> str:
    """What it is, in a sentence, once it has searched an empty 9×9 board. `home` is where it keeps what it tunes, so
    that a first start may take minutes here and none at the next one.

    Raises NativeFailed, NativeGarbage.
    """
    config = {
        "numAnalysisThreads": 1,
        "numSearchThreads": 1,
        "nnMaxBatchSize": 1,
        "nnCacheSizePowerOfTwo": 10,
        "nnMutexPoolSizePowerOfTwo": 8,
        "homeDataDir": home if os.access(home.parent, os.W_OK) else "katago",
        "logToStderr": "true",
        "reportAnalysisWinratesAs": "SIDETOMOVE",
    }
    player = NativePlayer(cache_positions=1000, seed=0)
    with NativeChild(program, network, config, base=None) as child, selectors.DefaultSelector() as selector:
        for end in (child.stdout, child.stderr):
            selector.register(end, selectors.EVENT_READ)
        for line in (*player.hello(), *player.receive(_REQUEST, 0.0)):
            assert isinstance(line, bytes)
            child.send(line)
        deadline = time.monotonic() + NATIVE_START_S
        while time.monotonic() < deadline:
            ready = [key.fileobj for key, _ in selector.select(1.0)]
            if child.stderr in ready and not child.listen_to_errors():
                selector.unregister(child.stderr)
            lines = child.lines() if child.stdout in ready else []
            if lines is None:
                raise child.ended(was_ready=False)
            reports = [said for line in lines for said in player.hear(line, 0.0) if isinstance(said, SearchReport)]
            if any(report.error for report in reports):
                # Such as an old build that does not know one of our rules: it would refuse all that it is ever asked.
                raise NativeFailed(
                    f"{child.program}, KataGo {player.standing.version}: {reports[0].error}",
                    fix="Use a newer KataGo.",
                )
            if reports:
                backend = f", {child.backend}" if child.backend else ""
                return f"{child.program}: KataGo {player.standing.version}{backend}, runs {network.name}"
        raise hung(f"no answer for {NATIVE_START_S:.0f} s", child.said)
