from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from agent.engine.backends import BACKENDS, open_backend
from agent.engine.backends.check import Bounds, CheckBackend, compare
from agent.engine.backends.interface import Array, Outputs
from agent.engine.backends.onnxruntime import OnnxRuntimeBackend
from agent.engine.backends.uniform import UniformBackend
from agent.errors import BackendUnavailable
from agent.export.convert import convert
from tests.fakes.callers import asked_at_once
from tests.fakes.network_writer import NetworkWriter


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("network")
    convert(NetworkWriter(14, ["ordinary", "gpool"]).write(folder / "n.bin.gz"), folder / "n.onnx")
    return folder / "n.onnx"


def inputs(count: int, y_size: int, x_size: int, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    spatial = (random.random((count, 22, y_size, x_size)) < 0.3).astype(np.float32)
    spatial[:, 0] = 1
    return spatial, random.standard_normal((count, 19)).astype(np.float32)


def test_shapes_follow_the_board_and_the_batch(model: Path) -> None:
    backend = open_backend("onnxruntime", model, threads=2)
    for count, y_size, x_size in ((1, 19, 19), (5, 9, 13), (2, 1, 1)):
        outputs = backend.evaluate(*inputs(count, y_size, x_size))
        area = y_size * x_size
        assert [part.shape for part in outputs] == [(count, 2, area + 1), (count, 3), (count, 6), (count, area)]
        assert all(part.dtype == np.float32 and part.flags.c_contiguous for part in outputs)
    assert backend.network.name == "random-v14"
    assert "onnxruntime" in backend.versions()
    backend.close()


def test_an_answer_does_not_depend_on_the_batch_around_it(model: Path) -> None:
    backend = OnnxRuntimeBackend(model)
    spatial, global_ = inputs(4, 9, 9)
    together = backend.evaluate(spatial, global_)
    alone = backend.evaluate(spatial[2:3], global_[2:3])
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_allclose(one[0], many[2], atol=1e-5)


def test_inputs_that_are_views_are_taken(model: Path) -> None:
    backend = OnnxRuntimeBackend(model)
    spatial, global_ = inputs(2, 5, 5)
    expected = backend.evaluate(spatial[::-1].copy(), global_[::-1].copy())
    np.testing.assert_array_equal(backend.evaluate(spatial[::-1], global_[::-1]).policy, expected.policy)


def test_threads_share_one_session(model: Path) -> None:
    backend = OnnxRuntimeBackend(model)
    cases = [inputs(1 + index % 3, 5 + index, 7, seed=index) for index in range(4)]
    assert asked_at_once(backend, cases) == []


@pytest.mark.parametrize("name", ["onnxruntime", "check"])
def test_no_network(name: str) -> None:
    with pytest.raises(BackendUnavailable, match="no network was given"):
        open_backend(name, None, threads=1)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_files_that_are_no_network(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BackendUnavailable) as error:
        open_backend("onnxruntime", path, threads=1)
    assert str(path) in str(error.value)
    assert error.value.fix


def test_wrong_shapes_are_the_backend_s_error(model: Path) -> None:
    with pytest.raises(BackendUnavailable, match="ONNX Runtime failed"):
        OnnxRuntimeBackend(model).evaluate(np.zeros((1, 3, 9, 9), np.float32), np.zeros((1, 19), np.float32))


# They need a GPU, and have tests of their own.
GPU_BACKENDS = {"cuda", "cuda-tensorrt", "tensorrt"}
# They take what `agent export` writes and have tests of their own.
ARTIFACT_BACKENDS = {"mnn", "mnn-lean", "litert"}


def test_every_backend_of_the_table_opens(model: Path) -> None:
    for name in BACKENDS.keys() - GPU_BACKENDS - ARTIFACT_BACKENDS:
        # The core's kernels read the network file itself.
        backend = open_backend(name, model.with_name("n.bin.gz") if name == "core" else model, threads=1)
        assert backend.name == name
        assert backend.evaluate(*inputs(1, 9, 9)).value.shape == (1, 3)
        backend.close()


# ---------------------------------------------------------------- check


class Tilted(UniformBackend):
    """As uniform, but one number is wrong."""

    def __init__(self, output: str, by: float) -> None:
        self._output, self._by = output, by

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        outputs = super().evaluate(spatial, global_)
        getattr(outputs, self._output)[0, ..., -1] += self._by
        return outputs


def test_check_gives_the_first_one_s_answer() -> None:
    backend = CheckBackend(UniformBackend(), Tilted("ownership", 1e-4))
    np.testing.assert_array_equal(backend.evaluate(*inputs(2, 9, 9)).ownership, 0)
    backend.close()


@pytest.mark.parametrize(
    ("output", "by", "place"),
    [
        ("policy", 2.0, "policy[0, 0, 81] 0.0121951 and 0.083597, more than 0.0001 apart"),
        ("value", 20.0, "value[0, 2] "),
        ("score", 0.001, "score[0, 3] 0 and 0.001, more than 0.0005 apart"),
        ("ownership", 0.01, "ownership[0, 80] 0 and 0.00999967, more than 0.001 apart"),
        ("score", float("nan"), "score[0, 3] 0 and nan"),
    ],
)
def test_check_names_the_worst_place_with_its_figures(output: str, by: float, place: str) -> None:
    backend = CheckBackend(UniformBackend(), Tilted(output, by))
    with pytest.raises(BackendUnavailable) as error:
        backend.evaluate(*inputs(1, 9, 9))
    assert place in str(error.value)
    assert "on 9×9" in str(error.value)


def test_outputs_of_other_shapes_do_not_compare() -> None:
    first = UniformBackend().evaluate(*inputs(1, 9, 9))
    second = UniformBackend().evaluate(*inputs(1, 5, 5))
    assert "policy has shapes" in compare(first, second, Bounds())[0]
