"""What is MNN's own as a backend; `test_backends_interpreters.py` has what it shares with LiteRT."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from agent.engine.backends import open_backend
from agent.export.artifact import Artifact, Format
from tests.fakes.exported_network import exported, random_inputs
from tests.fakes.network_writer import NetworkWriter


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("network")
    source = NetworkWriter(14, ["ordinary", "gpool"], channels=16).write(folder / "n.bin.gz")
    return exported(source, Format.MNN_FP32, folder / "out")


def test_the_lean_way_gives_the_same_answers(artifact: Artifact) -> None:
    lean, fast = (open_backend(name, artifact.path, threads=1) for name in ("mnn-lean", "mnn"))
    assert (lean.name, fast.name) == ("mnn-lean", "mnn")
    for case in (random_inputs(3, 9, 13), random_inputs(1, 19, 19)):
        for one, other in zip(lean.evaluate(*case), fast.evaluate(*case), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)


def test_without_the_package_the_extra_is_named(artifact: Artifact) -> None:
    code = (
        "import sys\nsys.modules['MNN'] = None\nfrom pathlib import Path\n"
        "from agent.engine.backends import open_backend\nfrom agent.errors import BackendUnavailable\n"
        "try:\n    open_backend('mnn', Path(sys.argv[1]), threads=1)\n"
        "except BackendUnavailable as error:\n    print(error.explain())"
    )
    done = subprocess.run([sys.executable, "-c", code, artifact.path], capture_output=True, text=True, timeout=60)
    assert "the package MNN does not load" in done.stdout
    assert "katago-agent[mnn]" in done.stdout
