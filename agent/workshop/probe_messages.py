"""What a probe and its child say to each other, one JSON line each. No numpy and no runtime here."""

from __future__ import annotations

import msgspec


class Open(msgspec.Struct, frozen=True, tag=True):
    """Load `model` (empty: none) in `backend` for `threads` callers."""

    backend: str
    model: str
    threads: int


class Opened(msgspec.Struct, frozen=True, tag=True):
    """`versions` are the runtime's; `form` is how the file writes its convolutions, where it says so."""

    versions: dict[str, str]
    form: str


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Run the check's positions (`check_positions.py`)."""


class Answer(msgspec.Struct, frozen=True):
    """Of one position on `board`: probabilities of win, loss and no result, and of each move with pass last."""

    board: str
    value: tuple[float, ...]
    policy: tuple[float, ...]


class Answers(msgspec.Struct, frozen=True, tag=True):
    answers: tuple[Answer, ...]


class Prove(msgspec.Struct, frozen=True, tag=True):
    """Run positions on each of `boards` (columns, rows)."""

    boards: tuple[tuple[int, int], ...]


class Proved(msgspec.Struct, frozen=True, tag=True):
    """They ran, and every output was a finite number."""


class Measure(msgspec.Struct, frozen=True, tag=True):
    """Call the network for about `seconds` on a board of `side`² points. With `undisturbed`, time that a caller spent
    waiting for a core that another process had does not count, as far as the kernel tells it."""

    threads: int
    sessions: int
    batch: int
    side: int
    seconds: float
    undisturbed: bool


class Measured(msgspec.Struct, frozen=True, tag=True):
    """`peak_rss_bytes` is the process's highest resident memory since the measurement began, 0 where the kernel does
    not tell."""

    evaluations: int
    seconds: float
    peak_rss_bytes: int


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The child could not do it, and says why; it is still there."""

    reason: str


Request = Open | Ask | Prove | Measure
Reply = Opened | Answers | Proved | Measured | Refused
