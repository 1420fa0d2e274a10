"""Shows the progress of long work to a person or a program. Prints nothing itself: it is given a bar or a writer."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from rich.progress import Progress

from agent.events import Benchmarking, Converting, Event, WorkshopProgress


class BarReporter:
    """Turns `Converting`, `Benchmarking` and `WorkshopProgress` into a progress bar that the caller shows."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("starting", total=None)

    def report(self, event: Event) -> None:
        if isinstance(event, Converting):
            self._progress.update(
                self._task, description=f"converting {event.name}", total=event.total, completed=event.done
            )
        elif isinstance(event, Benchmarking | WorkshopProgress):
            what = f"{event.what} {event.detail}".rstrip() if isinstance(event, WorkshopProgress) else event.what
            self._progress.update(self._task, description=what, total=event.total, completed=event.done)


class LineReporter:
    """Gives every event to `write` as one line of JSON, so that a parent process can show it its own way."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def report(self, event: Event) -> None:
        self._write(msgspec.json.encode(event).decode())
