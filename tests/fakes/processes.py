"""Processes that are not this one's children: whether they ended."""

from __future__ import annotations

import os
import select
from typing import Final

# Who was killed needs a processor once more to be gone.
PATIENCE_S: Final = 60.0


def wait_until_gone(pid: int) -> None:
    """Returns when the process has ended; nobody need have waited for it yet."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone, _, _ = select.select([process], [], [], PATIENCE_S)
    os.close(process)
    assert gone, f"{pid} is still there"
