"""A worker that speaks the real protocol and misbehaves as its script says; needs no core, no network, no numpy.

    python scripted_worker.py SCRIPT.json [options of `agent engine`] --fd N

`SCRIPT.json` is a `Script`. What is asked of a request is told by its position's komi, so that a test can send several
kinds side by side. Each start adds a line to the script's `lives` file.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

import msgspec

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.engine.messages import (
    HEARTBEAT_S,
    EngineFailed,
    EngineReady,
    FrontMessage,
    Heartbeat,
    RawReport,
    RawRequest,
    SearchReport,
    SearchRequest,
    SearchStats,
    StopRequest,
    WorkerMessage,
)


class Script(msgspec.Struct):
    """`komi` maps a komi to crash, hang (no heartbeat), stall (heartbeats, no work), garbage, partial (one partial
    report, then work until stopped) or crash_after_partial; others are answered at once. `at_start`: ready, fail,
    exit, silent or garbage. With `only_lives`, the worker misbehaves in those starts only (the first is 1)."""

    lives: str
    komi: dict[str, str] = {}
    at_start: str = "ready"
    only_lives: list[int] = []


class Worker:
    def __init__(self, script: Script, fd: int) -> None:
        self.socket = socket.socket(fileno=fd)
        self.script = script
        self.buffer = b""
        self.running: list[SearchRequest] = []
        self.visits = 0
        lives = Path(script.lives)
        with lives.open("a", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        self.life = len(lives.read_text(encoding="ascii").splitlines())
        self.bad = not script.only_lives or self.life in script.only_lives

    def say(self, message: WorkerMessage) -> None:
        payload = msgspec.msgpack.encode(message)
        self.socket.sendall(len(payload).to_bytes(4, "big") + payload)

    def begin(self) -> None:
        how = self.script.at_start if self.bad else "ready"
        if how == "fail":
            self.say(EngineFailed(reason="no runtime here", fix="Install one."))
            sys.exit(1)
        if how == "exit":
            sys.exit(7)
        if how == "garbage":
            self.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if how != "silent":
            ready = EngineReady(
                pid=os.getpid(),
                network="scripted",
                network_version=8,
                network_sha256="",
                precision="fp32",
                backend="scripted",
                threads=1,
                batch=1,
            )
            self.say(ready)

    def serve(self) -> None:
        beat = 0.0
        while True:
            if time.monotonic() >= beat:
                self.visits += len(self.running)
                self.say(
                    Heartbeat(
                        queued=0,
                        searching=len(self.running),
                        visits_total=self.visits,
                        evaluations_total=self.visits,
                        cache_hits_total=0,
                        rss_bytes=0,
                    )
                )
                beat = time.monotonic() + HEARTBEAT_S / 10
            if not select.select([self.socket], [], [], HEARTBEAT_S / 10)[0]:
                continue
            received = self.socket.recv(65536)
            if not received:
                return
            self.buffer += received
            while len(self.buffer) >= 4 and len(self.buffer) >= 4 + (size := int.from_bytes(self.buffer[:4], "big")):
                payload, self.buffer = self.buffer[4 : 4 + size], self.buffer[4 + size :]
                self.hear(msgspec.msgpack.decode(payload, type=FrontMessage))

    def hear(self, message: FrontMessage) -> None:
        if isinstance(message, StopRequest):
            for request in [request for request in self.running if request.id == message.id]:
                self.running.remove(request)
                self.answer(request)
        elif isinstance(message, SearchRequest | RawRequest):
            how = self.script.komi.get(str(message.position.komi), "answer") if self.bad else "answer"
            self.misbehave(how, message)

    def misbehave(self, how: str, request: SearchRequest | RawRequest) -> None:
        if how == "crash_after_partial":
            self.say(SearchReport(id=request.id, final=False, chosen=1))
            how = "crash"
        if how == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif how == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif how == "garbage":
            self.socket.sendall(b"\x00\x00\x00\x04\xc1\xc1\xc1\xc1")
        elif how == "partial" and isinstance(request, SearchRequest):
            self.running.append(request)
            self.say(SearchReport(id=request.id, final=False, chosen=1))
        elif how == "answer":
            self.answer(request)

    def answer(self, request: SearchRequest | RawRequest) -> None:
        if isinstance(request, RawRequest):
            self.say(RawReport(id=request.id, white_win=0.5, white_loss=0.5))
            return
        stats = SearchStats(visits=10, evaluations=9, cache_hits=1, terminal=0, duration_s=0.01)
        self.say(SearchReport(id=request.id, final=True, chosen=self.life, stats=stats))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("script", type=Path)
    parser.add_argument("--fd", type=int, required=True)
    options, _ = parser.parse_known_args()
    worker = Worker(msgspec.json.decode(options.script.read_bytes(), type=Script), options.fd)
    worker.begin()
    worker.serve()


if __name__ == "__main__":
    main()
