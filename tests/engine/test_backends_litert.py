"""What is LiteRT's own as a backend; `test_backends_interpreters.py` has what it shares with MNN."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.export.artifact import Artifact, Format
from tests.fakes.exported_network import exported
from tests.fakes.network_writer import NetworkWriter


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("network")
    source = NetworkWriter(14, ["ordinary", "gpool"], channels=16).write(folder / "n.bin.gz")
    return exported(source, Format.TFLITE_FP32, folder / "out")


def backend_without(packages: tuple[str, ...], artifact: Artifact) -> str:
    """What opening says where these packages cannot be imported."""
    gone = "".join(f"sys.modules[{package!r}] = None\n" for package in packages)
    code = (
        f"import sys\n{gone}from pathlib import Path\nfrom agent.engine.backends import open_backend\n"
        "from agent.errors import BackendUnavailable\n"
        "try:\n    print(open_backend('litert', Path(sys.argv[1]), threads=1).versions())\n"
        "except BackendUnavailable as error:\n    print(error.explain())"
    )
    done = subprocess.run([sys.executable, "-c", code, artifact.path], capture_output=True, text=True, timeout=60)
    return done.stdout


def test_without_the_packages_the_extra_is_named(artifact: Artifact) -> None:
    said = backend_without(("ai_edge_litert", "tflite_runtime"), artifact)
    assert "neither ai-edge-litert nor tflite-runtime loads" in said
    assert "katago-agent[litert]" in said


def test_tflite_runtime_serves_where_it_is_all_there_is(artifact: Artifact, tmp_path: Path) -> None:
    package, info = tmp_path / "tflite_runtime", tmp_path / "tflite_runtime-2.14.0.dist-info"
    package.mkdir()
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tflite-runtime\nVersion: 2.14.0\n")
    (package / "__init__.py").touch()
    # The interpreter of the newer package behind the older one's name, which is the same class.
    (package / "interpreter.py").write_text(
        "import importlib.util, sys\nsys.modules.pop('ai_edge_litert', None)\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
    )
    code = (
        "import sys\nsys.path.insert(0, sys.argv[2])\nsys.modules['ai_edge_litert'] = None\nfrom pathlib import Path\n"
        "from agent.engine.backends import open_backend\nfrom tests.fakes.exported_network import random_inputs\n"
        "backend = open_backend('litert', Path(sys.argv[1]), threads=1)\n"
        "print(backend.versions(), backend.evaluate(*random_inputs(1, 9, 9)).policy.shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, artifact.path, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "{'tflite-runtime': '2.14.0'} (1, 2, 82)\n", done.stderr
