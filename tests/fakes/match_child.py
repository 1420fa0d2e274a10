"""A process that plays a match, so that a test can kill it. `python -m fakes.match_child JOURNAL` says each step of its
progress as a line; from `KILLED_AT` games on it waits to be killed."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from fakes.opinions import OpinionsBackend

from agent.export.progress import LineReporter
from agent.workshop.match import MatchOptions, play_match

OPTIONS = MatchOptions(games=8, visits=4, size=5, seed=2, games_at_once=3)
KEY = "one against two"
KILLED_AT = 3


def main(journal: Path) -> None:
    play_match(OpinionsBackend(1), OpinionsBackend(2), OPTIONS, journal, KEY, LineReporter(say))


def say(line: str) -> None:
    print(line, flush=True)
    if json.loads(line)["done"] >= KILLED_AT:
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
