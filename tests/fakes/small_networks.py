"""Small made-up networks for tests, and what a store's folder holds."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from agent.events import Event
from agent.model.catalogue import Licence, NetworkEntry, Source
from agent.model.disk import git_blob_of
from agent.model.store import Manifest

LICENCE = Licence("CC0-1.0", "https://example.org/licence", True)


class Listener:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def report(self, event: Event) -> None:
        self.events.append(event)


def content_of(name: str, size_bytes: int) -> bytes:
    """Bytes that no other name has."""
    return random.Random(name).randbytes(size_bytes)


def entry_of(name: str, content: bytes, *sources: Source, git_blob: str | None = None) -> NetworkEntry:
    return NetworkEntry(
        name=name,
        aliases=(),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        version=8,
        blocks=("ordinary",),
        licence=LICENCE,
        sources=sources,
        git_blob=git_blob,
    )


def manifest_of(name: str, content: bytes) -> Manifest:
    sha256 = hashlib.sha256(content).hexdigest()
    return Manifest(name, f"{name}.bin.gz", len(content), sha256, "a test", LICENCE)


def git_blob(content: bytes, folder: Path) -> str:
    path = folder / "blob"
    path.write_bytes(content)
    return git_blob_of(path)


def tree(root: Path) -> dict[str, str]:
    """Every file and link below `root` that readers may see: its path and a hash of it, or where it points."""
    found: dict[str, str] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file() and not name.startswith("locks/"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return found
