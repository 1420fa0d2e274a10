"""The daemon's own process: what `agent run` turns itself into, so that no command line stays in its memory."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import NoReturn

import msgspec

from agent.errors import AgentError
from agent.events import ChainStep, Event, TextReporter
from agent.outage import fail_as_service, is_service
from agent.prove import METRIC_S
from agent.run import run_front
from agent.settings import Settings, decode_settings, encode_settings, own_command


class Order(msgspec.Struct, frozen=True):
    """What the verb asks of the daemon; goes through a pipe, so that `ps` shows none of it."""

    settings: msgspec.Raw
    once: bool
    patience_s: float


def become_daemon(settings: Settings, *, once: bool, patience_s: float | None = None) -> NoReturn:
    """Replace this process; its id stays, as systemd and terminals know it."""
    reading, writing = os.pipe()
    # A pipe holds 64 kB, far more than settings; so nobody needs to read yet.
    patience_s = METRIC_S if patience_s is None else patience_s
    order = Order(settings=msgspec.Raw(encode_settings(settings)), once=once, patience_s=patience_s)
    os.write(writing, msgspec.json.encode(order))
    os.close(writing)
    os.set_inheritable(reading, True)
    sys.stdout.flush()
    command = [*own_command(), "daemon", str(reading)]
    os.execv(command[0], command)


def main() -> None:
    """Run as `daemon FD`. Exit status: 0 ended in order, 1 failed."""
    with os.fdopen(int(sys.argv[2]), "rb") as pipe:
        order = msgspec.json.decode(pipe.read(), type=Order)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    settings = decode_settings(bytes(order.settings))
    reporter = Chain()
    try:
        asyncio.run(run_front(settings, reporter, once=order.once, patience_s=order.patience_s))
    except AgentError as error:
        if order.once or reporter.is_complete or not is_service():
            sys.exit(error.explain())
        # What served so far is to serve again soon; but what cannot even start would do so every two seconds.
        fail_as_service(settings, error)


class Chain(TextReporter):
    """Prints every event, and notes when the daemon has started."""

    def __init__(self) -> None:
        super().__init__(_say)
        self.is_complete = False

    def report(self, event: Event) -> None:
        super().report(event)
        self.is_complete = self.is_complete or (isinstance(event, ChainStep) and event.name == "engine")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
