"""What long work has done so far, one JSON line for each piece, so that a killed run goes on. Start at `open_journal`.

A journal belongs to one piece of work, named by its `key`. A line that a kill cut short is dropped, and with it the
piece that it told of.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from agent.errors import JournalUnusable

Piece = TypeVar("Piece")


class _Head(msgspec.Struct, frozen=True):
    journal_of: str


class Journal(Generic[Piece]):
    """`pieces` are those that were done when the journal was opened."""

    def __init__(self, path: Path, file: io.FileIO, pieces: tuple[Piece, ...]) -> None:
        self.pieces = pieces
        self._path, self._file = path, file

    def add(self, piece: Piece) -> None:
        """Have `piece` on the disk before this returns.

        Raises:
            JournalUnusable: the disk is full or gone; what stood there before is all that stands there.
        """
        rest = _line(piece)
        before = os.fstat(self._file.fileno()).st_size
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(before)
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
        # Without a buffer, which would be written once more, and fail once more, while a file on a full disk is closed.
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise JournalUnusable(f"cannot write {path}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JournalUnusable(f"another process writes {path}") from error
        except OSError as error:
            raise JournalUnusable(f"cannot lock {path}: {error.strerror}") from error
        try:
            file.seek(0)
            content = file.readall()
            pieces, good_bytes = _read(content, key, kind)
            # A journal that was just begun may hold a part of its head.
            if not (good_bytes or replace or _line(_Head(key)).startswith(content)):
                raise JournalUnusable(
                    f"{path} is of other work than {key}", fix="Name another file, or remove this one."
                )
            file.truncate(good_bytes)
        except OSError as error:
            raise JournalUnusable(f"cannot use {path}: {error.strerror}") from error
        journal = Journal(path, file, pieces)
        if not good_bytes:
            journal.add(_Head(key))  # type: ignore[arg-type]  # the head is no piece
        yield journal


def _line(content: object) -> bytes:
    return msgspec.json.encode(content) + b"\n"


def _read(content: bytes, key: str, kind: type[Piece]) -> tuple[tuple[Piece, ...], int]:
    """The whole pieces, and where they end; 0 for the journal of other work."""
    pieces: list[Piece] = []
    good_bytes = 0
    for number, line in enumerate(io.BytesIO(content)):
        try:
            if not line.endswith(b"\n"):
                break
            if number == 0:
                if msgspec.json.decode(line, type=_Head).journal_of != key:
                    break
            else:
                pieces.append(msgspec.json.decode(line, type=kind))
        except (msgspec.DecodeError, UnicodeDecodeError):
            # The second is msgspec's for a text that is no UTF-8, and not one of the first.
            break
        good_bytes += len(line)
    return tuple(pieces), good_bytes
