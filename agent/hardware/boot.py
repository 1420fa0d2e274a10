"""Which boot of the machine this is."""

from __future__ import annotations

import uuid
from pathlib import Path


def boot_id() -> str:
    """The kernel's name of this boot; a random one where it does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return str(uuid.uuid4())
