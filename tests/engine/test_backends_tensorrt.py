"""The TensorRT backend over stand-ins for NVIDIA's module and its driver: shapes, memory, threads, refusals."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.engine.backends import BACKENDS, open_backend
from agent.engine.backends.onnxruntime import OnnxRuntimeBackend
from agent.engine.backends.tensorrt import TensorRtBackend
from agent.errors import BackendUnavailable
from agent.events import SilentReporter
from agent.export.artifact import ArtifactManifest, Format, digest, size_bytes, write_manifest
from agent.export.convert import convert
from agent.export.cuda_driver import CudaDriver
from agent.export.emit import Form
from agent.export.info import NetworkInfo
from agent.export.job import Job
from agent.export.tensorrt import MAX_BATCH, write_engine
from tests.fakes.cuda_library import CudaLibrary
from tests.fakes.network_writer import NetworkWriter
from tests.fakes.tensorrt import FakeTensorRT


@dataclasses.dataclass(frozen=True)
class Built:
    engine: Path
    onnx: Path
    library: CudaLibrary

    def open(self, module: FakeTensorRT | None = None, threads: int = 1) -> TensorRtBackend:
        cuda = CudaDriver(self.library.path)
        try:
            return TensorRtBackend(self.engine, threads, module or FakeTensorRT(), cuda)
        except BaseException:  # as `open_tensorrt` does
            cuda.close()
            raise


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("tensorrt")
    library = CudaLibrary(folder)
    source = NetworkWriter(16, ["ordinary", "gpool"], seed=2).write(folder / "n.bin.gz")
    info = convert(source, folder / "n.onnx", form=Form.PLAIN)
    network = OnnxRuntimeBackend(folder / "n.onnx").network
    engine = folder / "n.fp16.engine"
    cuda = CudaDriver(library.path)
    job = Job(source, info, engine, lambda: pytest.fail("not needed"), lambda: engine, None, SilentReporter())
    write_engine(job, folder / "n.onnx", FakeTensorRT(), cuda)
    recipe = {"tensorrt": "10.3.0.30", "device": cuda.device_name}
    describe(engine, network, recipe)
    cuda.close()
    return Built(engine, folder / "n.onnx", library)


def describe(engine: Path, network: NetworkInfo, recipe: dict[str, str], format: Format = Format.TENSORRT_FP16) -> None:
    manifest = ArtifactManifest(
        engine.name, format.value, size_bytes(engine), digest(engine), network, "1x1 to 19x19", {}, recipe
    )
    write_manifest(engine, manifest)


@pytest.fixture
def backend(built: Built) -> Iterator[TensorRtBackend]:
    opened = built.open()
    yield opened
    opened.close()


def positions(count: int, y_size: int, x_size: int, seed: int = 7) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    spatial = (random.random((count, 22, y_size, x_size)) < 0.3).astype(np.float32)
    spatial[:, 0] = 1
    return spatial, random.standard_normal((count, 19)).astype(np.float32)


def assert_same(found: Any, expected: Any) -> None:
    for name, values in expected._asdict().items():
        np.testing.assert_allclose(getattr(found, name), values, atol=1e-5, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("count", "y_size", "x_size"),
    [(1, 19, 19), (3, 13, 13), (2, 9, 9), (1, 7, 11), (1, 1, 1), (MAX_BATCH + 3, 5, 5)],
)
def test_every_board_and_batch(backend: TensorRtBackend, built: Built, count: int, y_size: int, x_size: int) -> None:
    spatial, global_ = positions(count, y_size, x_size)
    assert_same(backend.evaluate(spatial, global_), OnnxRuntimeBackend(built.onnx).evaluate(spatial, global_))


def test_inputs_need_not_be_contiguous(backend: TensorRtBackend, built: Built) -> None:
    spatial, global_ = positions(4, 9, 9)
    found = backend.evaluate(spatial[::2], global_[::2])
    assert_same(found, OnnxRuntimeBackend(built.onnx).evaluate(spatial[::2].copy(), global_[::2].copy()))


def test_threads_have_lanes_of_their_own(built: Built) -> None:
    backend, exact = built.open(threads=2), OnnxRuntimeBackend(built.onnx)
    wrong: list[str] = []

    def run(seed: int) -> None:
        for turn in range(10):
            spatial, global_ = positions(2, 9, 9, seed * 100 + turn)
            if not np.allclose(
                backend.evaluate(spatial, global_).policy, exact.evaluate(spatial, global_).policy, atol=1e-4
            ):
                wrong.append(f"{seed} {turn}")

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    backend.close()
    assert wrong == []


def test_closing_gives_all_memory_back(built: Built) -> None:
    before = built.library.outstanding
    backend = built.open(threads=3)
    backend.evaluate(*positions(1, 9, 9))
    assert built.library.outstanding > before
    backend.close()
    assert built.library.outstanding == before


def test_versions(backend: TensorRtBackend) -> None:
    assert backend.versions() == {"tensorrt": "10.3.0.30", "cuda": "12.6"}
    assert backend.network.version == 16


def test_an_engine_of_another_release_or_device_is_refused(built: Built, tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match=r"was built for tensorrt 10\.3\.0\.30; this is 11\.1\.0\.106"):
        built.open(FakeTensorRT("11.1.0.106"))
    engine = tmp_path / "n.fp16.engine"
    engine.write_bytes(built.engine.read_bytes())
    network = OnnxRuntimeBackend(built.onnx).network
    describe(engine, network, {"tensorrt": "10.3.0.30", "device": "Orin (sm_87)"})
    with pytest.raises(BackendUnavailable, match=r"device Orin \(sm_87\); this is Fake Orin \(sm_87\)"):
        dataclasses.replace(built, engine=engine).open()
    # The manifest lies, and TensorRT itself refuses.
    describe(engine, network, {"tensorrt": "11.1.0.106", "device": "Fake Orin (sm_87)"})
    with pytest.raises(BackendUnavailable, match="TensorRT does not load"):
        dataclasses.replace(built, engine=engine).open(FakeTensorRT("11.1.0.106"))


def test_what_is_no_engine_of_ours_is_refused(built: Built, tmp_path: Path) -> None:
    engine = tmp_path / "n.fp16.engine"
    engine.write_bytes(built.engine.read_bytes())
    with pytest.raises(BackendUnavailable, match="no manifest"):
        dataclasses.replace(built, engine=engine).open()
    describe(engine, OnnxRuntimeBackend(built.onnx).network, {}, Format.ONNX_FP16)
    with pytest.raises(BackendUnavailable, match="which the backend onnxruntime runs"):
        dataclasses.replace(built, engine=engine).open()


@pytest.mark.parametrize(
    ("flags", "says"),
    [({"no_memory": True}, "no memory for another"), ({"cannot_run": True}, "failed in mid-use")],
)
def test_what_tensorrt_refuses_in_use(built: Built, flags: dict[str, bool], says: str) -> None:
    module = FakeTensorRT()
    vars(module).update(flags)
    before = built.library.outstanding
    backend = built.open(module)
    with pytest.raises(BackendUnavailable, match=says):
        backend.evaluate(*positions(1, 9, 9))
    backend.close()
    assert built.library.outstanding == before


def test_an_engine_with_other_types_is_refused(built: Built) -> None:
    module = FakeTensorRT()
    module.half_tensors = {"policy"}
    before = built.library.outstanding
    with pytest.raises(BackendUnavailable, match="policy is not in fp32"):
        built.open(module)
    assert built.library.outstanding == before


def test_the_driver_says_what_went_wrong(built: Built) -> None:
    backend = built.open()
    built.library.fail_next_copy()
    with pytest.raises(BackendUnavailable, match="cuMemcpyHtoDAsync_v2 failed: an illegal memory access"):
        backend.evaluate(*positions(1, 9, 9))
    backend.evaluate(*positions(1, 9, 9))
    backend.close()


def test_inputs_that_would_not_fit_the_device_s_memory_never_reach_it(backend: TensorRtBackend) -> None:
    for spatial, global_ in (((1, 23, 19, 19), (1, 19)), ((1, 22, 9, 9), (2, 19)), ((0, 22, 9, 9), (0, 19))):
        with pytest.raises(BackendUnavailable, match="TensorRT cannot run inputs of"):
            backend.evaluate(np.zeros(spatial, np.float32), np.zeros(global_, np.float32))


def test_where_the_libraries_are_absent_the_table_says_so(built: Built) -> None:
    assert BACKENDS["tensorrt"].priority == 0
    with pytest.raises(BackendUnavailable, match="TensorRT: never run") as raised:
        open_backend("tensorrt", built.engine, threads=1)
    assert "JetPack" in raised.value.fix
