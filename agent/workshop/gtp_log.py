"""What is said to the engines of a match and by them, for whoever wants to know what went wrong. Start at `GtpLogs`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TextIO

from agent.errors import JournalUnusable

_SIDES = ("first", "second")


class GtpLog:
    """One process's file. Lines begin with ">" for a command, "<" for what the engine says and "!" for its standard
    error. A disk that is full ends the log and not the match."""

    def __init__(self, file: TextIO) -> None:
        self._file: TextIO | None = file

    def add(self, mark: str, text: str) -> None:
        """Add the lines of `text`."""
        if self._file is not None:
            try:
                for line in text.splitlines():
                    self._file.write(f"{mark} {line}\n")
            except OSError:
                self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


class GtpLogs:
    """A folder with a file for each process of a match, numbered as they start. An earlier run's files stay."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, side: int) -> GtpLog:
        """The log of a new process of the first (0) or second (1) contestant.

        Raises:
            JournalUnusable: the folder cannot be written to.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            # Somebody may have taken some of them away.
            number = 1 + max(map(_number, self._folder.glob(f"{_SIDES[side]}-*.log")), default=0)
            # Line by line: what was said last is what one wants to read after a crash.
            return GtpLog((self._folder / f"{_SIDES[side]}-{number}.log").open("x", buffering=1, errors="replace"))
        except OSError as error:
            raise JournalUnusable(f"cannot write logs to {self._folder}: {error.strerror or error}") from error


def _number(log: Path) -> int:
    digits = log.stem.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0
