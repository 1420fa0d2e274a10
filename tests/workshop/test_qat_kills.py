"""A training run that is killed again and again ends with the same bytes, and shows nothing half-written meanwhile."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'katago-agent[qat]', or ./install.sh dev")

from fakes.network_writer import NetworkWriter
from fakes.tiny_qat import STEPS, run_of

from agent.events import SilentReporter
from agent.export.artifact import read_artifact
from agent.workshop.proof import prove
from agent.workshop.qat import WORK, train

KILLED = -9


def test_killed_at_random_moments_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    network = NetworkWriter(14, ["ordinary", "gpool"], seed=3).write(tmp_path / "net.bin.gz")
    whole = train(run_of(network), tmp_path / "whole", prove, SilentReporter())

    moments = random.Random(4)
    # Events: two of the teacher for each board, one for each step, one for each part of the file.
    kills = [str(moments.randint(1, 4)), *(str(moments.randint(1, STEPS // 2)) for _ in range(5))]
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join(map(str, (tests.parent, tests)))
    done = subprocess.run(
        [sys.executable, str(tests / "fakes" / "qat_child.py"), str(network), str(tmp_path / "parts"), *kills],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    attempts = done.stdout.splitlines()
    assert sum(line.startswith(f"{KILLED} ") for line in attempts) >= 4, attempts
    for line in attempts[:-1]:
        status, _, seen = line.partition(" ")
        if int(status) == KILLED:
            assert not set(ast.literal_eval(seen)) - {WORK, ".export", f"{run_of(network).network.info.name}.qat.npz"}
    assert attempts[-1].startswith("0 ")
    made = read_artifact(tmp_path / "parts" / whole.path.name)
    assert made is not None and made.manifest == whole.manifest
