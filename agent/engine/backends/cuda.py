"""ONNX Runtime on an NVIDIA GPU, where the installed package has the providers: JetPack's wheels, or onnxruntime-gpu.

ONNX Runtime takes the CPU without a word when a provider does not start (a missing library, a GPU that the package
holds no code for). That would be measured, and chosen, as a GPU that is as slow as the CPU; so it is refused.
"""

from __future__ import annotations

from pathlib import Path

from agent.engine.backends.onnxruntime import OnnxRuntimeBackend, require_model
from agent.export.session import Provider


class CudaBackend(OnnxRuntimeBackend):
    """As on the CPU, on CUDA's own kernels."""

    name = "cuda"

    def __init__(self, model: Path) -> None:
        """Raises BackendUnavailable: the package has no CUDA provider, or it does not start here."""
        super().__init__(model, provider=Provider.CUDA)


class CudaTensorRtBackend(OnnxRuntimeBackend):
    """Through ONNX Runtime's own TensorRT provider, which builds its engines when the network is loaded."""

    name = "cuda-tensorrt"

    def __init__(self, model: Path) -> None:
        """Raises BackendUnavailable: the package has no TensorRT provider, or it does not start here."""
        super().__init__(model, provider=Provider.TENSORRT)


def open_cuda(model: Path | None, threads: int) -> CudaBackend:
    """For the table."""
    del threads  # one session serves any number
    return CudaBackend(require_model(model))


def open_cuda_tensorrt(model: Path | None, threads: int) -> CudaTensorRtBackend:
    """For the table."""
    del threads  # one session serves any number
    return CudaTensorRtBackend(require_model(model))
