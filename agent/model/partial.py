"""A download in progress: the bytes so far and, beside them, of which version of which address they are.

`<sha256>-<address>.part` and `.json` in the store's `partial/`. Both outlive the process, so that no byte that reached
the disk is fetched again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import msgspec

from agent.errors import DownloadCorrupt
from agent.model import disk
from agent.model.answers import Validator


class Partial:
    """One partial download. Use as a context manager around `append`."""

    def __init__(self, folder: Path, sha256: str, url: str, size_bytes: int) -> None:
        key = hashlib.sha256(url.encode()).hexdigest()[:12]
        self.path = folder / f"{sha256}-{key}.part"
        self.size_bytes = size_bytes
        self._version = self.path.with_suffix(".json")
        self._file: BinaryIO | None = None

    @property
    def have_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def validator(self) -> Validator:
        """The version that the bytes so far are of."""
        try:
            return msgspec.json.decode(self._version.read_bytes(), type=Validator)
        except (OSError, msgspec.DecodeError):
            return Validator()

    def start(self, validator: Validator) -> None:
        """Throws away what is here and notes the version of what will come."""
        # In this order: a new version beside old bytes would let two files be mixed after a crash.
        self.discard()
        with disk.storage_errors(self._version):
            disk.write_atomically(self._version, msgspec.json.encode(validator))

    def append(self, chunk: bytes) -> None:
        """Raises DownloadCorrupt rather than write one byte more than the network has, StorageFull, StoreUnwritable."""
        if self.have_bytes + len(chunk) > self.size_bytes:
            raise DownloadCorrupt(f"the server sends more than the network's {self.size_bytes} bytes")
        with disk.storage_errors(self.path):
            if self._file is None:
                # Unbuffered: what was received is in the file even if this process is killed with the next chunk.
                self._file = self.path.open("ab", buffering=0)
            while chunk:
                chunk = chunk[self._file.write(chunk) :]

    def discard(self) -> None:
        self.close()
        with disk.storage_errors(self.path):
            self.path.unlink(missing_ok=True)
            self._version.unlink(missing_ok=True)

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
