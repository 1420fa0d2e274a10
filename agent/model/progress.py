"""Shows the progress of a pull and of other work to a person. Prints nothing itself: it gets a bar or a writer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import TransferSpeedColumn as SpeedColumn
from rich.text import Text

from agent.events import ChainStep, Converting, DownloadProgress, Event, Reporter, SourceFailed, WorkshopProgress

# A log gets a line at every tenth of a file.
TEXT_STEPS: Final = 10


class _AmountColumn(DownloadColumn):
    """Bytes of a file; of other work, which is no file, its steps."""

    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit")
        if unit is not None:
            return Text(f"{task.completed:.0f}/{task.total or 0:.0f}{unit}", style="progress.download")
        return super().render(task)


class _RateColumn(SpeedColumn):
    """Bytes per second of a file; of other work nothing."""

    def render(self, task: Task) -> Text:
        return Text("") if task.fields.get("unit") is not None else super().render(task)


BAR_COLUMNS: Final = (
    TextColumn("{task.description}", markup=False),
    BarColumn(),
    _AmountColumn(),
    _RateColumn(),
    TimeRemainingColumn(),
)


@contextmanager
def progress_on(stream: TextIO) -> Iterator[Reporter]:
    """A reporter that draws bars on a terminal and writes lines anywhere else."""
    with bars_on(stream, lifts_prints=True) as bars:
        yield bars or TextReporter(lambda line: stream.write(line + "\n"))


@contextmanager
def bars_on(stream: TextIO, *, lifts_prints: bool) -> Iterator[BarReporter | None]:
    """A reporter that draws bars on a terminal; None where `stream` is none. The bars go when the work is done.

    `lifts_prints` moves what is printed meanwhile above the bars; not where standard output is for another program.
    """
    if not stream.isatty():
        yield None
        return
    console = Console(file=stream)
    progress = Progress(
        *BAR_COLUMNS, console=console, transient=True, redirect_stdout=lifts_prints, redirect_stderr=lifts_prints
    )
    with progress:
        yield BarReporter(progress)


class BarReporter:
    """A bar for each file, conversion and piece of other work, and lines above them for what failed."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, int | None], TaskID] = {}

    def report(self, event: Event) -> None:
        if isinstance(event, DownloadProgress):
            # A network out of a package counts the package's bytes: another file, another bar.
            self._advance(event.name, event.done_bytes, event.total_bytes, None)
        elif isinstance(event, Converting):
            self._advance(f"converting {event.name}", event.done, event.total, " layers")
        elif isinstance(event, WorkshopProgress):
            self._advance(event.what, event.done, event.total, "", event.detail)
        elif line := sentence(event):
            self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def clear(self) -> None:
        """Take the bars away until there is progress again, so that another program may write to the terminal."""
        self._progress.stop()
        for task in self._tasks.values():
            self._progress.remove_task(task)
        self._tasks.clear()

    def _advance(self, name: str, done: int, total: int | None, unit: str | None, detail: str = "") -> None:
        """`unit` is what `total` counts where that is not bytes; `detail` follows the name of the bar."""
        key = (name, total)
        self._progress.start()
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(name, total=total, unit=unit)
        self._progress.update(self._tasks[key], completed=done, description=f"{name} {detail}".rstrip())


class TextReporter:
    """A line for what failed, and one at each tenth of a file and of other work."""

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
        elif isinstance(event, WorkshopProgress):
            step = event.done * TEXT_STEPS // max(1, event.total)
            if step != self._shown.get(event.what, 0):
                self._shown[event.what] = step
                standing = f", {event.detail}" if event.detail else ""
                self._write(f"{event.what}: {event.done} of {event.total}{standing}")
        elif line := sentence(event):
            self._write(line)


def sentence(event: Event) -> str:
    """What a person is told of the event, if anything."""
    if isinstance(event, SourceFailed):
        return f"{event.network}: {event.source} failed: {event.reason}"
    if isinstance(event, ChainStep):
        return f"{event.name}: {event.detail}"
    return ""
