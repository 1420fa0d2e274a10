"""A process that plays games for a set of positions, so that a test can kill it. `python -m fakes.positions_child OUT
GAMES` says each step of its progress as a line."""

from __future__ import annotations

import sys
from pathlib import Path

from fakes.opinions import OpinionsBackend

from agent.export.progress import LineReporter
from agent.workshop.positions import self_play_set

POSITIONS, SEED = 60, 3


def main(out: Path, games: int) -> None:
    reporter = LineReporter(lambda line: print(line, flush=True))
    self_play_set(OpinionsBackend(), out, reporter, positions=POSITIONS, games=games, seed=SEED)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
