"""The CUDA driver, as far as a network's inputs and outputs need it: the one owner of `libcuda`.

The driver's library is on every machine that has an NVIDIA GPU in use, toolkit or not, and its functions keep their
signatures; so nothing is installed for this. Sources: CUDA Driver API reference manual (docs.nvidia.com/cuda/
cuda-driver-api), sections Initialization, Device, Primary Context, Memory and Stream Management; names with `_v2` are
what cuda.h defines the plain names as. Every call releases the GIL.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.errors import BackendUnavailable

LIBRARY = "libcuda.so.1"

# cuda.h: CUdevice_attribute.
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_NAME_BYTES = 256
_FIX = "Check that the NVIDIA driver runs (`nvidia-smi`, or `tegrastats` on a Jetson); the agent runs on the CPU, too."


class Cuda(Protocol):
    """One device and its memory. Addresses and streams are the driver's own numbers."""

    @property
    def device_name(self) -> str:
        """As the driver says it, with the compute capability: "Orin (sm_87)"."""

    @property
    def driver_version(self) -> str:
        """The newest CUDA version that the driver serves, such as "12.6"."""

    def enter(self) -> None:
        """Make the device current for this thread. Each thread calls it before anything else."""

    def allocate(self, size_bytes: int) -> int:
        """An address on the device."""

    def free(self, address: int) -> None:
        """Give memory back."""

    def stream(self) -> int:
        """A queue of work."""

    def end_stream(self, stream: int) -> None:
        """Its work must be done."""

    def upload(self, address: int, values: NDArray[Any], stream: int) -> None:
        """Queue the copy of `values`, C-contiguous, to `address`. `values` must live until `wait` returns."""

    def download(self, values: NDArray[Any], address: int, stream: int) -> None:
        """Queue the copy from `address` into `values`."""

    def wait(self, stream: int) -> None:
        """Return when all that is queued is done.

        Raises (as all methods here): BackendUnavailable: the driver refused; says what it says.
        """

    def close(self) -> None:
        """Give the device back."""


class CudaDriver:
    """The first device, through `library`."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Raises BackendUnavailable: no driver, or no device."""
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError as error:
            raise BackendUnavailable(f"there is no CUDA driver here: {error}", fix=_FIX) from error
        self._call("cuInit", ctypes.c_uint(0))
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._device = device
        self._context = ctypes.c_void_p()
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.enter()

    @property
    def device_name(self) -> str:
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES), self._device)
        major, minor = (self._attribute(each) for each in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR))
        return f"{name.value.decode(errors='replace')} (sm_{major}{minor})"

    @property
    def driver_version(self) -> str:
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return f"{version.value // 1000}.{version.value % 1000 // 10}"

    def enter(self) -> None:
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size_bytes: int) -> int:
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(size_bytes))
        return address.value

    def free(self, address: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def stream(self) -> int:
        stream = ctypes.c_void_p()
        # CU_STREAM_NON_BLOCKING: no waiting for whoever uses the device's default stream.
        self._call("cuStreamCreate", ctypes.byref(stream), ctypes.c_uint(1))
        return stream.value or 0

    def end_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def upload(self, address: int, values: NDArray[Any], stream: int) -> None:
        self._call(
            "cuMemcpyHtoDAsync_v2",
            ctypes.c_uint64(address),
            ctypes.c_void_p(_address(values)),
            ctypes.c_size_t(values.nbytes),
            ctypes.c_void_p(stream),
        )

    def download(self, values: NDArray[Any], address: int, stream: int) -> None:
        self._call(
            "cuMemcpyDtoHAsync_v2",
            ctypes.c_void_p(_address(values)),
            ctypes.c_uint64(address),
            ctypes.c_size_t(values.nbytes),
            ctypes.c_void_p(stream),
        )

    def wait(self, stream: int) -> None:
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def close(self) -> None:
        self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def _attribute(self, number: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), ctypes.c_int(number), self._device)
        return value.value

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._cuda, function)(*arguments)
        if status == 0:
            return
        text = ctypes.c_char_p()
        self._cuda.cuGetErrorString(ctypes.c_int(status), ctypes.byref(text))
        said = text.value.decode(errors="replace") if text.value else f"error {status}"
        raise BackendUnavailable(f"CUDA's {function} failed: {said}", fix=_FIX)


def _address(values: NDArray[Any]) -> int:
    if not values.flags.c_contiguous:
        raise ValueError("only contiguous memory can be copied")
    return values.ctypes.data


def room_bytes(shape: Sequence[int], item_bytes: int = 4) -> int:
    """What an array of `shape` takes; at least one item, for nothing can be allocated as nothing."""
    return max(1, int(np.prod(shape, dtype=np.int64))) * item_bytes
