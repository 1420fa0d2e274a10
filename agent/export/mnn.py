"""MNN files, made by the converter in MNN's wheel from the plain ONNX file. The one owner of that converter.

It runs in a process of its own: it prints what it likes, and a graph that it does not take may crash it. MNN has
Winograd kernels of its own and prepares their weights when it loads, so convolutions stay as they are.
"""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.errors import ConversionFailed, ToolMissing, install_extra
from agent.export.emit import Form, emit_into
from agent.export.graph import GraphWriter
from agent.export.int8_rounding import most_in_float, rounded
from agent.export.job import Job, Written
from agent.export.network import Array
from agent.model.disk import sha256_of

# The wheel's own script would also report each conversion to its makers; the function below it does not.
_CHILD = """
import sys
from agent.lifeline import die_with_parent
die_with_parent()
import _tools
_tools.mnnconvert(sys.argv)
"""
# b18c384nbt takes 2 s on an idle x86 core; a Pi Zero 2 that swaps is a hundred times slower.
_TIMEOUT_S = 600.0
# The converter draws a name for each file, which stands within so many bytes at its head.
_HEAD_BYTES = 256
_UUID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# Shown of what the converter said when it failed.
_LAST_LINES = 3

# One scale and one zero for each 32 input channels of an output channel. Against fp32 on 279 golden positions
# (b15c192): KL 3.0e-4 and win MAE 0.0010, with one scale for a whole output channel 6.9e-4 and 0.0017; 16 channels give
# 2.1e-4 and 0.0006, but the file is then 28.0 % of the fp32 one instead of 27.3.
_BLOCK_CHANNELS = 32
_STEPS = 255


def write_fp32(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    _convert(job.onnx(), job.out)
    return Written(form=Form.PLAIN.value)


def write_fp16(job: Job) -> Written:
    """Weights as fp16; the runtime computes in fp32. Raises ConversionFailed, ToolMissing."""
    # MNN's converter cuts the digits off instead of rounding them: KL 3.4e-6 instead of 0.5e-6 (b15c192, golden).
    _convert(_rewritten(job, _nearest_half), job.out, "--fp16")
    return Written({"weights": "fp16", "computed in": "fp32"}, form=Form.PLAIN.value)


def write_int8_weights(job: Job) -> Written:
    """Weights as INT8 in blocks, small layers in fp32; the runtime widens them while it loads and computes in fp32.

    Raises:
        ConversionFailed, ToolMissing
    """
    guide = job.out.with_name("guide.json")
    quantize = ("--weightQuantBits", "8", "--compressionParamsFile", str(guide))
    # Without a guide the converter writes one that names every layer it would quantize; with one it obeys.
    _convert(job.onnx(), job.out, *quantize)
    kept, most = _keep_small_layers(guide)
    # The same names, and large layers whose weights are where the converter's steps will be: it finds them unchanged.
    _convert(_rewritten(job, lambda values: _in_steps(values) if values.size > most else values), job.out, *quantize)
    recipe = {
        "weights": f"int8, one scale and zero for {_BLOCK_CHANNELS} input channels",
        "computed in": "fp32",
        "layers in fp32": ", ".join(kept),
    }
    return Written(recipe, form=Form.PLAIN.value)


class _RewritingGraph(GraphWriter):
    """An ONNX file with each layer's weights replaced by what `change` makes of them."""

    def __init__(self, file: BinaryIO, change: Callable[[Array], Array]) -> None:
        super().__init__(file)
        self._change = change

    def weights(self, name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        if values.dtype == np.float32 and values.ndim in (2, 4):
            values = self._change(values.astype(np.float32, copy=False))
        return super().weights(name, values)


def _rewritten(job: Job, change: Callable[[Array], Array]) -> Path:
    path = job.out.with_name("rewritten.onnx")
    with path.open("wb") as file:
        emit_into(_RewritingGraph(file, change), job.network(), Form.PLAIN, job.reporter)
    return path


def _nearest_half(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def _in_steps(values: Array) -> Array:
    """[out, in, y, x] rounded to the steps that MNN's converter counts in, from each block's smallest weight to its
    largest. Matrices are left to the converter."""
    if values.ndim != 4:
        return values
    outputs, inputs, *kernel = values.shape
    block = _BLOCK_CHANNELS if inputs % _BLOCK_CHANNELS == 0 else inputs
    blocks = values.reshape(outputs * inputs // block, block, -1)
    least, largest = (np.asarray(bound(blocks, axis=(1, 2), keepdims=True)) for bound in (np.min, np.max))
    step = np.maximum((largest - least) / np.float32(_STEPS), np.finfo(np.float32).tiny)
    steps = rounded((blocks - least) / step, 0, _STEPS)
    # The ends stay what they are, or the converter would count in other steps.
    moved = np.where((blocks == least) | (blocks == largest), blocks, least + steps * step)
    return np.ascontiguousarray(moved.reshape(outputs, inputs, *kernel), np.float32)


def _keep_small_layers(guide: Path) -> tuple[list[str], int]:
    """Say in the converter's guide how each layer is stored; returns the names of those that stay in fp32, and how many
    weights the largest of them has."""
    try:
        content = msgspec.json.decode(guide.read_bytes())
        layers: list[dict[str, Any]] = content["algo"][0]["quantParams"]["layer"]
        sizes = {layer["opName"]: _weight_count(layer["conv"]) for layer in layers}
        most = most_in_float(sizes.values())
        kept = [name for name, size in sizes.items() if size <= most]
        for layer in layers:
            bits = 0 if layer["opName"] in kept else 8
            layer["weight"][0].update(bits=bits, asymmetric=True, blockSize=_BLOCK_CHANNELS)
    except (OSError, msgspec.DecodeError, KeyError, IndexError, TypeError) as error:
        raise ConversionFailed(
            f"MNN's converter wrote no guide that we understand: {type(error).__name__}",
            fix="Install another version of the package MNN, or choose another format.",
        ) from error
    guide.write_bytes(msgspec.json.encode(content))
    return kept, most


def _weight_count(conv: dict[str, Any]) -> int:
    kernel_y, kernel_x = conv["kernelSize"]
    return int(conv["inputChannel"] * conv["outputChannel"] * kernel_y * kernel_x)


def _convert(onnx: Path, out: Path, *options: str) -> None:
    """Run the converter. Its status says nothing, so only a file is taken for success.

    Raises:
        ConversionFailed, ToolMissing
    """
    if importlib.util.find_spec("MNN") is None or importlib.util.find_spec("_tools") is None:
        raise ToolMissing(
            "the package MNN, which holds MNN's converter, is not installed",
            fix=install_extra("mnn"),
        )
    out.unlink(missing_ok=True)
    arguments = ["-f", "ONNX", "--modelFile", str(onnx.resolve()), "--MNNModel", str(out.resolve())]
    command = [sys.executable, "-c", _CHILD, *arguments, "--bizCode", "katago-agent", *options]
    try:
        # The converter leaves a temporary file of a fixed name in its working directory; this one is the writer's own.
        done = subprocess.run(
            command,
            cwd=out.parent,
            env=_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionFailed(f"MNN's converter did not end within {_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0 or not out.is_file() or out.stat().st_size == 0:
        raise ConversionFailed(f"MNN's converter {_end(done.returncode)}: {_last_lines(done.stdout, done.stderr)}")
    _name_by_content(out)


def _name_by_content(out: Path) -> None:
    """Replace the name that was drawn by one that follows from the rest: the same network gives the same file."""
    with out.open("r+b") as file:
        found = _UUID.search(file.read(_HEAD_BYTES))
        if found is None:
            return
        file.seek(found.start())
        file.write(str(uuid.UUID(int=0)).encode())
        file.flush()
        name = uuid.UUID(sha256_of(out)[:32])
        file.seek(found.start())
        file.write(str(name).encode())


def _environment() -> dict[str, str]:
    """The child must find this package, from wherever it was imported here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _end(status: int) -> str:
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}" if status else "wrote no file"


def _last_lines(*texts: str) -> str:
    lines: Sequence[str] = [line.strip() for text in texts for line in text.splitlines() if line.strip()]
    return "; ".join(lines[-_LAST_LINES:]) or "it said nothing"
