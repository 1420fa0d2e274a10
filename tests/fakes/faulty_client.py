"""`agent gtp` with a fault: the one who is told raises when the engine dies.

python faulty_client.py CONFIG
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.events import EngineGone, Event, TextReporter
from agent.run import gtp_service, serve_client
from agent.service.config_keys import configure
from agent.settings import load_settings


class Faulty(TextReporter):
    def report(self, event: Event) -> None:
        super().report(event)
        if isinstance(event, EngineGone):
            raise ZeroDivisionError


def main() -> None:
    settings = load_settings(Path(sys.argv[1]))
    reporter = Faulty(lambda line: print(line, file=sys.stderr, flush=True))
    asyncio.run(serve_client(settings, reporter, "gtp", gtp_service, configure("gtp"), may_join=False))


if __name__ == "__main__":
    main()
