"""Core ML packages (.mlpackage) for Apple's machines, without PyTorch and without ONNX. The one owner of `coremltools`.

The network is described with the same nodes as the ONNX file (`emit.describe`), and `coreml_graph.py` makes an ML
program of them. Nothing of ours runs Core ML, which exists on Apple's systems only. What can be known elsewhere is
checked: here the package is read back, its interface and its operators compared with what iOS 16 has; the tests compute
the program that is in it. So each manifest says "Core ML: never run on Apple hardware".

Two exports of one network with the same versions are the same bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np

from agent.errors import ConversionFailed, ToolMissing, install_extra
from agent.events import Reporter
from agent.export.coreml_graph import MilGraph
from agent.export.coreml_operators import NOT_OPERATORS, OPERATORS
from agent.export.emit import Form, describe
from agent.export.info import EXPORTER, GLOBAL_CHANNELS, METADATA_KEY, SPATIAL_CHANNELS
from agent.export.job import ANY_BOARD, Job, Written
from agent.export.network import Network

NEVER_RUN = "Core ML: never run on Apple hardware"

# A search on a phone asks for one position or a few; Core ML asks for some bound. Twice the largest batch that
# `agent bench` tries.
MAX_BATCH = 64
MAX_SIDE = 19
OUTPUTS = ("policy", "value", "score", "ownership")

# Where a package keeps its program (coremltools, models/model.py).
_MODEL = "Data/com.apple.CoreML/model.mlmodel"
_MANIFEST = "Manifest.json"
# coremltools notes the day in the metadata and again in the program.
_DATE = "com.github.apple.coremltools.conversion_date"
_OF_SQUARES = ("reduce_mean", "add", "sqrt")
_NAMESPACE = uuid.UUID("6b8ce1c0-5c5c-5d0b-9d0c-2f8a3d1f1d3a")


def write_coreml(job: Job) -> Written:
    """Write the package: fp16 inside, fp32 inputs and outputs named as in the ONNX file, board and batch free.

    Raises:
        ToolMissing: coremltools is not installed.
        ConversionFailed: coremltools refuses the network, or the package is not what it should be.
    """
    coremltools = _import()
    network = job.network()
    with _reporting(f"{network.info.name} as a Core ML program"), _quiet():
        model = _convert(coremltools, _program(coremltools, network, job.reporter), job.out)
    spec = model.get_spec()
    _label(spec, network)
    _settle(job.out, spec)
    check_package(job.out)
    return Written(
        recipe={
            "compute": "fp16",
            "target": "iOS 16, macOS 13",
            "batch": f"1 to {MAX_BATCH}",
            "proved": NEVER_RUN,
        },
        form=Form.PLAIN.value,
        board_sizes=ANY_BOARD,
    )


def check_package(package: Path) -> None:
    """Read `package` back.

    Raises:
        ToolMissing: coremltools is not installed.
        ConversionFailed: its inputs or outputs are not ours, or an operator is none that iOS 16 has; names it.
    """
    coremltools = _import()
    with _reporting(package.name), _quiet():
        spec = coremltools.models.utils.load_spec(str(package))
    inputs = {each.name for each in spec.description.input}
    outputs = {each.name for each in spec.description.output}
    if inputs != {"spatial", "global"} or outputs != set(OUTPUTS):
        raise ConversionFailed(f"{package.name} takes {sorted(inputs)} and gives {sorted(outputs)}")
    if METADATA_KEY not in spec.description.metadata.userDefined:
        raise ConversionFailed(f"{package.name} does not say which network it holds")
    unknown = program_operators(spec) - OPERATORS - NOT_OPERATORS
    if unknown:
        raise ConversionFailed(f"{package.name} uses operators that iOS 16 does not have: {', '.join(sorted(unknown))}")


def program_operators(spec: Any) -> set[str]:
    """Of all blocks of a package's program."""
    return {
        operation.type
        for function in spec.mlProgram.functions.values()
        for block in function.block_specializations.values()
        for operation in block.operations
    }


# ---------------------------------------------------------------- the program


def _program(coremltools: ModuleType, network: Network, reporter: Reporter) -> Any:
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil import Function, Program, get_new_symbol

    batch, height, width = (get_new_symbol() for _ in range(3))
    placeholders = {
        "spatial": Builder.placeholder(shape=(batch, SPATIAL_CHANNELS, height, width)),
        "global": Builder.placeholder(shape=(batch, GLOBAL_CHANNELS)),
    }
    program = Program()
    with Function(placeholders, opset_version=coremltools.target.iOS16) as function:
        graph = MilGraph(Builder, function.inputs)
        describe(network, Form.PLAIN, graph, reporter)
        function.set_outputs(graph.outputs)
    program.add_function("main", function)
    return program


def _convert(coremltools: ModuleType, program: Any, out: Path) -> Any:
    batch = coremltools.RangeDim(1, MAX_BATCH, default=1)
    side = coremltools.RangeDim(1, MAX_SIDE, default=MAX_SIDE)
    shapes = {"spatial": (batch, SPATIAL_CHANNELS, side, side), "global": (batch, GLOBAL_CHANNELS)}
    return coremltools.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS16,
        compute_precision=coremltools.transform.FP16ComputePrecision(_may_be_half),
        inputs=[
            coremltools.TensorType(name, shape=coremltools.Shape(shape), dtype=np.float32)
            for name, shape in shapes.items()
        ],
        outputs=[coremltools.TensorType(name, dtype=np.float32) for name in OUTPUTS],
        skip_model_load=True,
        package_dir=str(out),
    )


def _may_be_half(operation: Any) -> bool:
    """Single numbers (how far the board's side is from 14) keep fp32: they cost nothing, and scale whole columns. So do
    squares and their means: RMSNorm squares values in the hundreds, and half precision ends at 65504."""
    return any(len(output.shape) > 1 for output in operation.outputs) and not _is_square(operation)


def _is_square(operation: Any) -> bool:
    """A square, or what is computed of squares until the root is taken."""
    if operation is None or operation.op_type == "pow":
        return operation is not None
    return operation.op_type in _OF_SQUARES and _is_square(operation.inputs["x"].op)


# ---------------------------------------------------------------- the package


def _label(spec: Any, network: Network) -> None:
    """Say what the package is, and nothing that changes from day to day."""
    about = spec.description.metadata
    about.shortDescription = f"KataGo network {network.info.name}. {NEVER_RUN}."
    about.versionString = EXPORTER
    about.userDefined[METADATA_KEY] = msgspec.json.encode(network.info).decode()
    about.userDefined.pop(_DATE, None)
    for attribute in spec.mlProgram.attributes.values():
        entries = attribute.immediateValue.dictionary.values
        for index in reversed(range(len(entries))):
            if list(entries[index].key.immediateValue.tensor.strings.values) == [_DATE]:
                del entries[index]


def _settle(package: Path, spec: Any) -> None:
    """Write the program again, in one order of keys, and give the parts names that do not change."""
    (package / _MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    manifest = json.loads((package / _MANIFEST).read_text())
    names = {old: str(uuid.uuid5(_NAMESPACE, entry["path"])) for old, entry in manifest["itemInfoEntries"].items()}
    manifest["itemInfoEntries"] = {names[old]: entry for old, entry in manifest["itemInfoEntries"].items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    (package / _MANIFEST).write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")


# ---------------------------------------------------------------- the tool


@contextlib.contextmanager
def _reporting(what: str) -> Iterator[None]:
    try:
        yield
    except (ConversionFailed, OSError):
        raise
    except Exception as error:  # coremltools raises whatever its part at hand raises: ValueError, TypeError, its own
        raise ConversionFailed(f"{what}: coremltools says: {_first_line(error)}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """coremltools draws a bar of its own for each of its passes, on the terminal where ours is."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def _import() -> ModuleType:
    # It warns of every package that it was not tested with, and that it cannot predict on this system.
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    try:
        import coremltools
    except ImportError as error:
        raise ToolMissing(f"coremltools is not installed: {_first_line(error)}", fix=install_extra("coreml")) from error
    module: ModuleType = coremltools
    return module


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
