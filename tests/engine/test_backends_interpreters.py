"""MNN and LiteRT as backends: batches, boards, threads, standard output, and files that are not what they should be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from agent.engine.backends import Backend, open_backend
from agent.errors import BackendUnavailable
from agent.export.artifact import Artifact, Format, manifest_path
from tests.fakes.callers import asked_at_once
from tests.fakes.exported_network import exported, random_inputs
from tests.fakes.network_writer import NetworkWriter


@dataclass(frozen=True)
class Runtime:
    """Names of a backend, for people, pip's extra and of the distribution that says its version."""

    backend: str
    spoken: str
    extra: str
    distribution: str
    format: Format
    other: tuple[str, str] = ("", "")

    def open(self, model: Path | None, threads: int = 1) -> Backend:
        return open_backend(self.backend, model, threads=threads)


RUNTIMES = [
    Runtime("mnn", "MNN", "mnn", "MNN", Format.MNN_FP32, ("tflite-fp32", "litert")),
    Runtime("litert", "LiteRT", "litert", "ai-edge-litert", Format.TFLITE_FP32, ("mnn-fp32", "mnn")),
]


@pytest.fixture(scope="module", params=RUNTIMES, ids=lambda runtime: runtime.backend)
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found: Runtime = request.param
    return found


@pytest.fixture(scope="module")
def artifact(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("network")
    source = NetworkWriter(14, ["ordinary", "gpool"], channels=16).write(folder / "n.bin.gz")
    return exported(source, runtime.format, folder / "out")


@pytest.fixture(scope="module")
def transformer(runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("transformer")
    source = NetworkWriter(15, ["attention", "ffn"], channels=16).write(folder / "n.bin.gz")
    return exported(source, runtime.format, folder / "out")


@pytest.mark.parametrize("network", ["artifact", "transformer"])
def test_shapes_follow_the_board_and_the_batch(network: str, runtime: Runtime, request: pytest.FixtureRequest) -> None:
    backend = runtime.open(request.getfixturevalue(network).path, threads=2)
    for count, y_size, x_size in ((1, 19, 19), (5, 9, 13), (8, 7, 9), (2, 1, 1), (1, 19, 19)):
        outputs = backend.evaluate(*random_inputs(count, y_size, x_size))
        area = y_size * x_size
        assert [part.shape for part in outputs] == [(count, 2, area + 1), (count, 3), (count, 6), (count, area)]
        assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in outputs)
    assert backend.name == runtime.backend
    assert backend.network.name.startswith("random-v")
    assert runtime.distribution in backend.versions()
    backend.close()


@pytest.mark.parametrize("network", ["artifact", "transformer"])
def test_an_answer_depends_neither_on_the_batch_around_it_nor_on_later_calls(
    network: str, runtime: Runtime, request: pytest.FixtureRequest
) -> None:
    backend = runtime.open(request.getfixturevalue(network).path)
    spatial, global_ = random_inputs(4, 9, 9)
    together = backend.evaluate(spatial, global_)
    kept = [part.copy() for part in together]
    alone = backend.evaluate(spatial[2:3], global_[2:3])
    backend.evaluate(*random_inputs(4, 9, 9, seed=1))
    for one, many, before in zip(alone, together, kept, strict=True):
        np.testing.assert_array_equal(many, before)
        np.testing.assert_allclose(one[0], many[2], atol=1e-5)


def test_inputs_that_are_views_are_taken(artifact: Artifact, runtime: Runtime) -> None:
    backend = runtime.open(artifact.path)
    spatial, global_ = random_inputs(2, 5, 5)
    expected = backend.evaluate(spatial[::-1].copy(), global_[::-1].copy())
    np.testing.assert_array_equal(backend.evaluate(spatial[::-1], global_[::-1]).policy, expected.policy)


def test_more_threads_than_interpreters_take_turns(artifact: Artifact, runtime: Runtime) -> None:
    backend = runtime.open(artifact.path, 2)
    cases = [random_inputs(1 + index % 3, 5 + index, 7, seed=index) for index in range(4)]
    assert asked_at_once(backend, cases, tolerance=1e-5) == []


def test_a_closed_network_is_refused_not_waited_for(artifact: Artifact, runtime: Runtime) -> None:
    backend = runtime.open(artifact.path)
    backend.close()
    backend.close()
    with pytest.raises(BackendUnavailable, match="was closed"):
        backend.evaluate(*random_inputs(1, 9, 9))


def test_the_interpreter_runs_without_the_lock_of_python(tmp_path: Path, runtime: Runtime) -> None:
    source = NetworkWriter(14, ["ordinary"] * 4, channels=128).write(tmp_path / "n.bin.gz")
    backend = runtime.open(exported(source, runtime.format, tmp_path / "out").path)
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


def test_nothing_is_written_to_standard_output(artifact: Artifact, runtime: Runtime) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom agent.engine.backends import Backend, open_backend\n"
        "open_backend(sys.argv[2], Path(sys.argv[1]), threads=1)\nprint('ours')"
    )
    words = [sys.executable, "-c", code, str(artifact.path), runtime.backend]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "ours\n")


# ---------------------------------------------------------------- what goes wrong


def copy_of(artifact: Artifact, folder: Path) -> Path:
    path = folder / artifact.path.name
    shutil.copy(artifact.path, path)
    shutil.copy(manifest_path(artifact.path), manifest_path(path))
    return path


def refused(runtime: Runtime, path: Path | None) -> BackendUnavailable:
    with pytest.raises(BackendUnavailable) as error:
        runtime.open(path)
    assert error.value.fix
    return error.value


def test_no_network_and_no_file(tmp_path: Path, runtime: Runtime) -> None:
    assert "no network was given" in str(refused(runtime, None))
    assert "there is no file" in str(refused(runtime, tmp_path / "n.model"))


def test_a_file_without_its_manifest(artifact: Artifact, runtime: Runtime, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    manifest_path(path).unlink()
    assert "has no manifest" in str(refused(runtime, path))


def test_a_truncated_file_never_reaches_the_runtime(artifact: Artifact, runtime: Runtime, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    assert "has no manifest" in str(refused(runtime, path))


def test_a_changed_byte_never_reaches_the_runtime(artifact: Artifact, runtime: Runtime, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert "is damaged" in str(refused(runtime, path))


def test_garbage_that_a_manifest_vouches_for(artifact: Artifact, runtime: Runtime, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    path.write_bytes(b"garbage" * 100)
    write_honest_manifest(path)
    assert f"{runtime.spoken} cannot load" in str(refused(runtime, path))


def test_another_format_names_its_backend(artifact: Artifact, runtime: Runtime, tmp_path: Path) -> None:
    path = copy_of(artifact, tmp_path)
    content = json.loads(manifest_path(path).read_bytes())
    manifest_path(path).write_text(json.dumps({**content, "format": runtime.other[0]}))
    assert f"the backend {runtime.other[1]} runs" in str(refused(runtime, path))
    manifest_path(path).write_text(json.dumps({**content, "format": "coreml-fp16"}))
    assert "no backend of ours runs" in str(refused(runtime, path))


def test_wrong_inputs_are_the_backend_s_error(artifact: Artifact, runtime: Runtime) -> None:
    backend = runtime.open(artifact.path)
    shapes = (((1, 3, 9, 9), (1, 19)), ((1, 22, 9, 9), (2, 19)), ((0, 22, 9, 9), (0, 19)), ((22, 9), (22, 19)))
    for spatial, global_ in shapes:
        with pytest.raises(BackendUnavailable, match=f"{runtime.spoken} cannot run inputs of"):
            backend.evaluate(np.zeros(spatial, np.float32), np.zeros(global_, np.float32))
    whole = np.zeros((1, 22, 9, 9), np.int32)
    with pytest.raises(BackendUnavailable, match="only in float32"):
        backend.evaluate(whole, np.zeros((1, 19), np.float32))  # type: ignore[arg-type]  # what must not be given


def write_honest_manifest(path: Path) -> None:
    """The manifest of what the file is now."""
    import hashlib

    content = json.loads(manifest_path(path).read_bytes())
    data = path.read_bytes()
    content |= {"size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest_path(path).write_text(json.dumps(content))
