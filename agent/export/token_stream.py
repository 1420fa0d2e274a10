"""Reads the words and float arrays that a KataGo network file is made of. Knows nothing of networks.

The file is whitespace-separated words. An array is the marker `@BIN@` and little-endian float32 in `.bin` files, and
just more words in `.txt` files. Either may be gzipped. A hostile file costs bounded memory: words and arrays have
limits, and nothing is read ahead but one chunk.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import zlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from agent.errors import NetworkFormatError

# KataGo itself allows names of 96 characters and prints floats in about 15.
MAX_WORD_CHARS = 256
# KataGo stops after 100 characters without the marker.
MAX_BLANKS = 4096
# The largest published network of these kinds, b40c768nbt, holds 0.95 GB of weights.
MAX_WEIGHT_BYTES = 1 << 30

_CHUNK_BYTES = 1 << 16
_BLANKS = b" \t\r\n\v\f"
_MARKER = b"@BIN@"
_GZIP_MAGIC = b"\x1f\x8b"


class TokenStream:
    """Words and arrays of one file, in order. Use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Open `path`; the suffix tells text from binary, as in KataGo, the first bytes tell gzip.

        Raises:
            NetworkFormatError: there is no such file, or it cannot be read.
        """
        self._text = path.name.lower().removesuffix(".gz").endswith(".txt")
        self._buffer = b""
        self._position = 0
        self._weight_bytes = 0
        try:
            with contextlib.ExitStack() as opening:
                self._file = opening.enter_context(path.open("rb"))
                zipped = self._file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
                self._file.seek(0)
                opening.pop_all()
        except OSError as error:
            raise NetworkFormatError(f"{path}: {error.strerror}", fix="Give the path of a network file.") from error
        raw = gzip.GzipFile(fileobj=self._file) if zipped else self._file
        self._stream = cast(BinaryIO, raw)

    def __enter__(self) -> TokenStream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._file.close()

    def word(self, what: str) -> str:
        """The next word. `what` names it in errors."""
        self._skip_blanks(what)
        parts = bytearray()
        while len(parts) <= MAX_WORD_CHARS:
            rest = self._buffer[self._position : self._position + MAX_WORD_CHARS + 1]
            length = next((i for i, byte in enumerate(rest) if byte in _BLANKS), len(rest))
            parts += rest[:length]
            self._position += length
            if length < len(rest) or not self._fill():
                break
        if len(parts) > MAX_WORD_CHARS or not parts.isascii():
            raise NetworkFormatError(f"{what}: no word of at most {MAX_WORD_CHARS} plain characters is here")
        return parts.decode("ascii")

    def integer(self, what: str, low: int, high: int) -> int:
        """The next word as a whole number from `low` to `high`."""
        word = self.word(what)
        try:
            value = int(word)
        except ValueError:
            raise NetworkFormatError(f"{what}: {word!r} is not a whole number") from None
        if not low <= value <= high:
            raise NetworkFormatError(f"{what}: {value} is outside {low} to {high}")
        return value

    def positive(self, what: str) -> float:
        """The next word as a finite number above zero."""
        word = self.word(what)
        try:
            value = float(word)
        except ValueError:
            raise NetworkFormatError(f"{what}: {word!r} is not a number") from None
        if not (value > 0 and math.isfinite(value)):
            raise NetworkFormatError(f"{what}: {word} is not positive and finite")
        return value

    def floats(self, what: str, *shape: int) -> NDArray[np.float32]:
        """The next array, in the file's order, all of it finite."""
        count = math.prod(shape)
        self._weight_bytes += 4 * count
        if self._weight_bytes > MAX_WEIGHT_BYTES:
            raise NetworkFormatError(
                f"{what}: with {list(shape)} more weights the network is over {MAX_WEIGHT_BYTES >> 20} MB",
                fix="Use a smaller network.",
            )
        values = self._text_floats(what, count) if self._text else self._binary_floats(what, count)
        if not np.isfinite(values).all():
            raise NetworkFormatError(f"{what}: a weight is infinite or not a number", fix="Download the file again.")
        return values.reshape(shape)

    def end(self) -> None:
        """Nothing but blanks may follow; a gzip checksum is proved here."""
        while self._position < len(self._buffer) or self._fill():
            if self._buffer[self._position :].strip(_BLANKS):
                raise NetworkFormatError("there is something behind the end of the network")
            self._position = len(self._buffer)

    def _text_floats(self, what: str, count: int) -> NDArray[np.float32]:
        values = np.empty(count, np.float32)
        for index in range(count):
            word = self.word(what)
            try:
                values[index] = float(word)
            except ValueError:
                raise NetworkFormatError(f"{what}: {word!r} is not a number") from None
        return values

    def _binary_floats(self, what: str, count: int) -> NDArray[np.float32]:
        self._skip_blanks(what)
        while len(self._buffer) - self._position < len(_MARKER) and self._fill():
            pass
        marker = self._buffer[self._position : self._position + len(_MARKER)]
        if marker != _MARKER:
            raise NetworkFormatError(f"{what}: the marker @BIN@ is missing; found {marker!r}")
        self._position += len(_MARKER)
        values = np.empty(count, "<f4")
        target = values.data.cast("B")
        have = min(len(target), len(self._buffer) - self._position)
        target[:have] = self._buffer[self._position : self._position + have]
        self._position += have
        while have < len(target):
            got = self._read_into(target[have : have + _CHUNK_BYTES * 16])
            if got == 0:
                raise self._ends_early(what)
            have += got
        return values.astype(np.float32, copy=False)

    def _skip_blanks(self, what: str) -> None:
        skipped = 0
        while skipped <= MAX_BLANKS:
            while self._position < len(self._buffer) and self._buffer[self._position] in _BLANKS:
                self._position += 1
                skipped += 1
            if self._position < len(self._buffer):
                return
            if not self._fill():
                raise self._ends_early(what)
        raise NetworkFormatError(f"{what}: more than {MAX_BLANKS} blanks")

    def _fill(self) -> bool:
        """Put another chunk behind what is left of the buffer; false at the end of the file."""
        chunk = bytearray(_CHUNK_BYTES)
        got = self._read_into(memoryview(chunk))
        self._buffer = self._buffer[self._position :] + bytes(chunk[:got])
        self._position = 0
        return got > 0

    def _read_into(self, target: memoryview) -> int:
        try:
            return cast(io.RawIOBase, self._stream).readinto(target) or 0
        except EOFError as error:
            raise self._ends_early("gzip") from error
        except (OSError, zlib.error) as error:
            raise NetworkFormatError(
                f"the compressed data is broken: {error}", fix="Download the file again."
            ) from error

    @staticmethod
    def _ends_early(what: str) -> NetworkFormatError:
        return NetworkFormatError(f"{what}: the file ends too early", fix="Download the file again.")
