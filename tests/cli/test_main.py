"""What holds for every verb."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(("verb", "imported"), [("version", "typer"), ("daemon", "msgspec")])
def test_ctrl_c_while_modules_are_imported_ends_quietly(tmp_path: Path, verb: str, imported: str) -> None:
    (tmp_path / f"{imported}.py").write_text("raise KeyboardInterrupt\n")
    done = subprocess.run(
        [*own_command(), verb],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
