"""ONNX Runtime's GPU providers: refused by name where the installed package lacks them, never replaced by the CPU."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from agent.engine.backends import BACKENDS, open_backend
from agent.errors import BackendUnavailable
from agent.export.artifact import ArtifactManifest, digest, size_bytes, write_manifest
from agent.export.convert import convert
from agent.export.info import NetworkInfo
from agent.export.session import Provider, open_session, require_started, tensorrt_options
from tests.fakes.network_writer import NetworkWriter


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cuda")
    convert(NetworkWriter(8, ["ordinary"]).write(folder / "n.bin.gz"), folder / "n.onnx")
    return folder / "n.onnx"


@pytest.mark.parametrize(
    ("backend", "provider"), [("cuda", "CUDAExecutionProvider"), ("cuda-tensorrt", "TensorrtExecutionProvider")]
)
def test_a_provider_that_the_package_lacks_is_named(backend: str, provider: str, network: Path) -> None:
    assert provider not in onnxruntime.get_available_providers()
    assert BACKENDS[backend].priority == 0
    with pytest.raises(BackendUnavailable, match=f"has no {provider}, only .*CPUExecutionProvider"):
        open_backend(backend, network, threads=1)
    with pytest.raises(BackendUnavailable, match="no network was given"):
        open_backend(backend, None, threads=1)


def test_the_processor_needs_no_provider_of_a_gpu(network: Path) -> None:
    assert open_session(network, provider=Provider.CPU).network.version == 8


def test_a_provider_that_did_not_start_is_refused() -> None:
    with pytest.raises(BackendUnavailable, match=r"CUDAExecutionProvider does not start here.*on CPUExecutionProvider"):
        require_started(Provider.CUDA, ["CPUExecutionProvider"])
    require_started(Provider.TENSORRT, ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"])


@pytest.mark.parametrize(("precision", "fp16", "int8"), [("fp32", "0", "0"), ("fp16", "1", "0"), ("int8", "1", "1")])
def test_engines_of_the_tensorrt_provider_are_kept_beside_the_network(
    precision: str, fp16: str, int8: str, tmp_path: Path
) -> None:
    model = tmp_path / "n.onnx"
    model.write_bytes(b"a network")
    info = NetworkInfo(name="n", version=8, precision=precision)
    write_manifest(
        model, ArtifactManifest(model.name, "onnx-fp32", size_bytes(model), digest(model), info, "1x1 to 19x19", {})
    )
    options = tensorrt_options(model)
    assert (options["trt_fp16_enable"], options["trt_int8_enable"]) == (fp16, int8)
    assert options["trt_engine_cache_path"] == str(tmp_path / f".n.onnx.{digest(model)[:16]}.tensorrt")
    assert options["trt_timing_cache_path"] == options["trt_engine_cache_path"]
    assert set(options["trt_profile_max_shapes"].split(",")) == {"spatial:32x22x19x19", "global:32x19"}


def test_an_engine_is_not_taken_for_that_of_other_weights(tmp_path: Path) -> None:
    """The provider's own key knows the file's name and the graph's structure, not what was trained."""
    model = tmp_path / "n.qat.int8.onnx"

    def cache(weights: bytes) -> Path:
        model.write_bytes(weights)
        folder = Path(tensorrt_options(model)["trt_engine_cache_path"])
        folder.mkdir(exist_ok=True)
        return folder

    bystanders = [tmp_path / name for name in (".other.onnx.tensorrt", ".n.qat.int8.onnx.old.tensorrt", "n.tensorrt")]
    for each in (*bystanders, tmp_path / ".n.qat.int8.onnx.tensorrt"):
        each.mkdir()
    first = cache(b"run A")
    (first / "engine").write_bytes(b"A")
    assert cache(b"run A") == first and (first / "engine").exists()
    second = cache(b"run B")
    assert second != first
    assert {each for each in tmp_path.iterdir() if each.is_dir()} == {second, *bystanders}, "older ones take much room"
