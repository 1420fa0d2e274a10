"""LiteRT as a backend: batches, boards, threads, standard output, and files that are not what they should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from agent.engine.backends import open_backend
from agent.engine.backends.litert import LiteRtBackend
from agent.errors import BackendUnavailable
from agent.export.artifact import Artifact, Format, manifest_path
from tests.fakes.exported_network import exported, random_inputs
from tests.fakes.network_writer import NetworkWriter


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("network")
    source = NetworkWriter(14, ["ordinary", "gpool"], channels=16).write(folder / "n.bin.gz")
    return exported(source, Format.TFLITE_FP32, folder / "out")


def test_shapes_follow_the_board_and_the_batch(artifact: Artifact) -> None:
    backend = open_backend("litert", artifact.path, threads=2)
    for count, y_size, x_size in ((1, 19, 19), (5, 9, 13), (8, 7, 9), (2, 1, 1), (1, 19, 19)):
        outputs = backend.evaluate(*random_inputs(count, y_size, x_size))
        area = y_size * x_size
        assert [part.shape for part in outputs] == [(count, 2, area + 1), (count, 3), (count, 6), (count, area)]
        assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in outputs)
    assert backend.name == "litert"
    assert backend.network.name == "random-v14"
    assert "ai-edge-litert" in backend.versions()
    backend.close()


def test_an_answer_depends_neither_on_the_batch_around_it_nor_on_later_calls(artifact: Artifact) -> None:
    backend = LiteRtBackend(artifact.path, 1)
    spatial, global_ = random_inputs(4, 9, 9)
    together = backend.evaluate(spatial, global_)
    kept = [part.copy() for part in together]
    alone = backend.evaluate(spatial[2:3], global_[2:3])
    backend.evaluate(*random_inputs(4, 9, 9, seed=1))
    for one, many, before in zip(alone, together, kept, strict=True):
        np.testing.assert_array_equal(many, before)
        np.testing.assert_allclose(one[0], many[2], atol=1e-5)


def test_inputs_that_are_views_are_taken(artifact: Artifact) -> None:
    backend = LiteRtBackend(artifact.path, 1)
    spatial, global_ = random_inputs(2, 5, 5)
    expected = backend.evaluate(spatial[::-1].copy(), global_[::-1].copy())
    np.testing.assert_array_equal(backend.evaluate(spatial[::-1], global_[::-1]).policy, expected.policy)


def test_more_threads_than_interpreters_take_turns(artifact: Artifact) -> None:
    backend = LiteRtBackend(artifact.path, 2)
    cases = [random_inputs(1 + index % 3, 5 + index, 7, seed=index) for index in range(4)]
    expected = [backend.evaluate(*case).policy for case in cases]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            if not np.allclose(backend.evaluate(*cases[index]).policy, expected[index], atol=1e-5):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_interpreter_runs_without_the_lock_of_python(tmp_path: Path) -> None:
    source = NetworkWriter(14, ["ordinary"] * 4, channels=128).write(tmp_path / "n.bin.gz")
    backend = LiteRtBackend(exported(source, Format.TFLITE_FP32, tmp_path / "out").path, 1)
    case = random_inputs(16, 19, 19)
    backend.evaluate(*case)
    done = threading.Event()

    def work() -> None:
        backend.evaluate(*case)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    turns = 0
    while not done.is_set():
        turns += 1
    thread.join()
    # With the lock held the loop would come to its turn at most a few times, at the interpreter's switch interval.
    assert turns > 1000


def test_nothing_is_written_to_standard_output(artifact: Artifact) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom agent.engine.backends import open_backend\n"
        "open_backend('litert', Path(sys.argv[1]), threads=1)\nprint('ours')"
    )
    done = subprocess.run([sys.executable, "-c", code, artifact.path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ours\n")


# ---------------------------------------------------------------- what goes wrong


def copy_of(artifact: Artifact, folder: Path) -> Path:
    path = folder / artifact.path.name
    shutil.copy(artifact.path, path)
    shutil.copy(manifest_path(artifact.path), manifest_path(path))
    return path


def refused(path: Path | None) -> BackendUnavailable:
    with pytest.raises(BackendUnavailable) as error:
        open_backend("litert", path, threads=1)
    assert error.value.fix
    return error.value


def test_no_network_and_no_file(tmp_path: Path) -> None:
    assert "no network was given" in str(refused(None))
    assert "there is no file" in str(refused(tmp_path / "n.tflite"))


def test_a_file_without_its_manifest(artifact: Artifact, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    manifest_path(path).unlink()
    assert "has no manifest" in str(refused(path))


def test_a_truncated_file_never_reaches_the_runtime(artifact: Artifact, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "has no manifest" in str(refused(path))


def test_a_changed_byte_never_reaches_the_runtime(artifact: Artifact, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "is damaged" in str(refused(path))


def test_garbage_that_a_manifest_vouches_for(artifact: Artifact, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    path.write_bytes(b"garbage" * 100)
    write_honest_manifest(path)
    assert "LiteRT cannot load" in str(refused(path))


def test_another_format_names_its_backend(artifact: Artifact, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    content = json.loads(manifest_path(path).read_bytes())
    manifest_path(path).write_text(json.dumps({**content, "format": "mnn-fp32"}))
    assert "the backend mnn runs" in str(refused(path))
    manifest_path(path).write_text(json.dumps({**content, "format": "coreml-fp16"}))
    assert "no backend of ours runs" in str(refused(path))


def test_wrong_shapes_are_the_backend_s_error(artifact: Artifact) -> None:
    backend = LiteRtBackend(artifact.path, 1)
    for spatial, global_ in (((1, 3, 9, 9), (1, 19)), ((1, 22, 9, 9), (2, 19)), ((0, 22, 9, 9), (0, 19))):
        with pytest.raises(BackendUnavailable, match="LiteRT cannot run inputs"):
            backend.evaluate(np.zeros(spatial, np.float32), np.zeros(global_, np.float32))


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


def write_honest_manifest(path: Path) -> None:
    """The manifest of what the file is now."""
    import hashlib

    content = json.loads(manifest_path(path).read_bytes())
    data = path.read_bytes()
    content |= {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest_path(path).write_text(json.dumps(content))
