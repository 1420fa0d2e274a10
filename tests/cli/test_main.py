"""What holds for every verb."""

from __future__ import annotations

import os
import subprocess

from agent.settings import own_command


def test_a_terminal_that_is_not_set_to_utf_8_is_no_reason_to_fail() -> None:
    done = subprocess.run(
        [*own_command(), "why"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert r"\xd7" in done.stdout, "so many cores × of such a kind"
