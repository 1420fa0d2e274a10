"""Starts `gtp_engine.py` as a contestant of a match."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.workshop.contestant import Contestant

# -S and -E: it needs nothing that is installed, and starts in half the time.
ENGINE = (sys.executable, "-S", "-E", str(Path(__file__).with_name("gtp_engine.py")))


def contestant(*options: str, name: str = "", visits: int | None = None, setup: tuple[str, ...] = ()) -> Contestant:
    return Contestant((*ENGINE, *options), name, setup, visits)
