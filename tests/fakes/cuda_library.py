"""Compiles `libcuda.c`, the CUDA driver whose device is this process, and looks into it."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path


class CudaLibrary:
    """The compiled library at `path`, for `CudaDriver`."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "libcuda_of_the_tests.so")
        source = Path(__file__).with_name("libcuda.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self.path, str(source)], check=True, timeout=60)
        self._library = ctypes.CDLL(self.path)

    @property
    def outstanding(self) -> int:
        """What was allocated on the device, or retained of it, and not given back."""
        return int(self._library.fake_outstanding())

    def fail_next_copy(self) -> None:
        self._library.fake_fail_next()
