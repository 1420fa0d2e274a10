"""A process that plays a match, so that a test can kill it. `python -m fakes.match_child JOURNAL` says each step of its
progress as a line."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.opinions import OpinionsBackend

from agent.export.progress import LineReporter
from agent.workshop.match import MatchOptions, play_match

OPTIONS = MatchOptions(games=8, visits=4, size=5, seed=2, games_at_once=3)
KEY = "one against two"


def main(journal: Path) -> None:
    reporter = LineReporter(lambda line: print(line, flush=True))
    play_match(OpinionsBackend(1), OpinionsBackend(2), OPTIONS, journal, KEY, reporter)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
