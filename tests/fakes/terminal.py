"""What a child process has of a terminal, however the tests themselves were started."""

from __future__ import annotations

import signal


def hear_ctrl_c() -> None:
    """For `preexec_fn`: what a shell starts in the background ignores SIGINT, and hands that on to its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def hear_hangup() -> None:
    """For `preexec_fn`: what nohup starts ignores SIGHUP, and a shell that began so cannot hear it again."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
