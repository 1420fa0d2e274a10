"""Ties a child process to its parent, even when it is stopped or stuck: the kernel kills it when the parent dies.

A worker also ends when its socket closes, but only one that still runs can read that; pip reads nothing of ours.
"""

from __future__ import annotations

import ctypes
import signal
from typing import Final

# <linux/prctl.h>
_PR_SET_PDEATHSIG: Final = 1


def die_with_parent() -> None:
    """From now on SIGKILL comes when the parent's thread that started us ends. Where the kernel refuses, nothing
    changes: the socket's end remains."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
