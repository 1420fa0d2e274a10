"""Shows a pull's progress to a person. Prints nothing itself: it is given a bar or a writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from agent.events import ChainStep, DownloadProgress, Event, Reporter, SourceFailed

# A log gets a line at every tenth of a file.
TEXT_STEPS: Final = 10

BAR_COLUMNS: Final = (
    TextColumn("{task.description}"),
    BarColumn(),
    DownloadColumn(),
    SpeedColumn(),
    TimeRemainingColumn(),
)


@contextmanager
def progress_on(stream: TextIO) -> Iterator[Reporter]:
    """A reporter that draws bars on a terminal and writes lines anywhere else."""
    if stream.isatty():
        with Progress(*BAR_COLUMNS, console=Console(file=stream)) as progress:
            yield BarReporter(progress)
    else:
        yield TextReporter(lambda line: stream.write(line + "\n"))


class BarReporter:
    """A bar for each file, and lines above it for what failed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, int | None], TaskID] = {}

    def report(self, event: Event) -> None:
        if isinstance(event, DownloadProgress):
            # A network out of a package counts the package's bytes: another file, another bar.
            key = (event.name, event.total_bytes)
            if key not in self._tasks:
                self._tasks[key] = self._progress.add_task(event.name, total=event.total_bytes)
            self._progress.update(self._tasks[key], completed=event.done_bytes)
        elif line := sentence(event):
            self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)


class TextReporter:
    """A line for what failed, and one at each tenth of a file."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._shown: dict[str, int] = {}

    def report(self, event: Event) -> None:
        if isinstance(event, DownloadProgress):
            if not event.total_bytes:
                return
            step = event.done_bytes * TEXT_STEPS // event.total_bytes
            if step != self._shown.get(event.name, 0):
                self._shown[event.name] = step
                self._write(f"{event.name}: {event.done_bytes / 1e6:.1f} of {event.total_bytes / 1e6:.1f} MB")
        elif line := sentence(event):
            self._write(line)


def sentence(event: Event) -> str:
    """What a person is told of the event, if anything."""
    if isinstance(event, SourceFailed):
        return f"{event.network}: {event.source} failed: {event.reason}"
    if isinstance(event, ChainStep):
        return f"{event.name}: {event.detail}"
    return ""
