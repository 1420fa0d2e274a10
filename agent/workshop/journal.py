"""What long work has done so far, one JSON line for each piece, so that a killed run goes on. Start at `open_journal`.

A journal belongs to one piece of work, named by its `key`. A line that a kill
cut short is dropped, and with it the piece that it told of.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Generic, TypeVar

import msgspec

from agent.errors import JournalUnusable

Piece = TypeVar("Piece")


class _Head(msgspec.Struct, frozen=True):
    journal_of: str


class Journal(Generic[Piece]):
    """`pieces` are those that were done when the journal was opened."""

    def __init__(self, path: Path, file: IO[bytes], pieces: tuple[Piece, ...]) -> None:
        self.pieces = pieces
        self._path, self._file = path, file

    def add(self, piece: Piece) -> None:
        """Have `piece` on the disk before this returns.

        Raises:
            JournalUnusable: the disk is full or gone.
        """
        try:
            self._file.write(msgspec.json.encode(piece) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise JournalUnusable(f"cannot write {self._path}: {error.strerror}") from error

    def remove(self) -> None:
        """The work is done and kept elsewhere."""
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def open_journal(path: Path, key: str, kind: type[Piece], *, replace: bool = True) -> Iterator[Journal[Piece]]:
    """The journal at `path` of the work that `key` names, locked against other processes. Its folder is made. Without
    `replace` a journal of other work stays.

    Raises:
        JournalUnusable: it cannot be written, another process writes it, or it may not be replaced.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b")
    except OSError as error:
        raise JournalUnusable(f"cannot write {path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JournalUnusable(f"another process writes {path}") from error
        pieces, good_bytes = _read(file, key, kind)
        if not (good_bytes or replace) and path.stat().st_size:
            raise JournalUnusable(f"{path} is of other work than {key}", fix="Name another file, or remove this one.")
        file.truncate(good_bytes)
        journal = Journal(path, file, pieces)
        if not good_bytes:
            journal.add(_Head(key))  # type: ignore[arg-type]  # the head is no piece
        yield journal


def _read(file: IO[bytes], key: str, kind: type[Piece]) -> tuple[tuple[Piece, ...], int]:
    """The whole pieces, and where they end; 0 for the journal of other work."""
    file.seek(0)
    pieces: list[Piece] = []
    good_bytes = 0
    for number, line in enumerate(file):
        try:
            if not line.endswith(b"\n"):
                break
            if number == 0:
                if msgspec.json.decode(line, type=_Head).journal_of != key:
                    break
            else:
                pieces.append(msgspec.json.decode(line, type=kind))
        except msgspec.DecodeError:
            break
        good_bytes += len(line)
    return tuple(pieces), good_bytes
