"""What cannot be had here is told, and is no failure: nothing is left out in silence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("rerun.py")


def test_what_is_not_run_is_told(tmp_path: Path) -> None:
    # An index without packages, and no checkouts.
    environment = {**os.environ, "PIP_NO_INDEX": "1", "KATAGO_AGENT_TEST_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, str(SCRIPT), "--only", "KataGoAnal", "Ogatak", "GoGui"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    rows = [line.split(" s  ", 1) for line in done.stdout.splitlines()]
    names = [row[0].split("  ")[0].strip() for row in rows]
    assert names == ["KataGoAnal", "Ogatak", "Ogatak", "GoGui TwoGTP", "GoGui TwoGTP"]
    assert all(row[1].startswith("not run: ") for row in rows), done.stdout
    assert "katagoanal==0.4.0" in rows[0][1] and "name a checkout with --ogatak" in rows[1][1]
    assert not list((tmp_path / "cache").rglob(".complete"))
