"""The writer of static INT8 for ONNX Runtime. Start at `write_int8`; `formats.py` has its place in the table."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from agent.errors import CalibrationError
from agent.events import Reporter
from agent.export.emit import Form, emit_into
from agent.export.graph import GraphWriter, check_file
from agent.export.job import Job, Written
from agent.export.network import Network
from agent.export.onnx_packed import PackedGraph
from agent.export.publish import storage_errors
from agent.export.quantization import Quantization
from agent.export.quantized import QuantizedLayers, Unrounded
from agent.workshop.calibrate import Recipe, calibrate
from agent.workshop.forward import require_convolutional
from agent.workshop.position_set import load_position_set
from agent.workshop.sensitivity import sensitivities

# Below the folder of the artifacts: finished layers of calibrations.
CACHE: Final = ".calibration"
# Each layer costs a walk over them: a quarter of an hour for b18c384nbt with a hundred.
_SENSITIVITY_POSITIONS: Final = 12


def write_int8(job: Job) -> Written:
    """The trunk's 3×3 convolutions in integers, the rest in fp32.

    Raises:
        CalibrationError: no positions were given, or they cannot be read.
        ConversionFailed: not a convolutional network, or the graph is larger than an ONNX file may be.
        StorageFull: no room for the file.
    """
    network = job.network()
    require_convolutional(network)
    if job.calibration is None:
        raise CalibrationError(
            "static INT8 needs positions", fix="Make some with `agent positions`, then --calibration."
        )
    positions = load_position_set(job.calibration)
    cache = None if job.keeps is None else job.keeps / CACHE
    quantization = calibrate(network, positions, Recipe(), cache, job.reporter)
    with storage_errors(job.out):
        write_quantized(network, quantization, job.out, job.reporter)
    few = positions.sample(_SENSITIVITY_POSITIONS, Recipe().seed)
    told = sensitivities(network, quantization, few, job.reporter)
    return Written(recipe=quantization.recipe, form=Form.PLAIN.value, sensitivity=told)


def write_quantized(
    network: Network,
    quantization: Quantization,
    out: Path,
    reporter: Reporter,
    unrounded: Unrounded = Unrounded.CONV_INTEGER,
) -> None:
    """Write `network` as `quantization` says to the ONNX file `out`.

    Raises:
        ConversionFailed: the graph is larger than an ONNX file may be, or not valid.
    """
    with out.open("wb") as file:
        emit_into(
            PackedGraph(file, quantization.stored) if quantization.stored else GraphWriter(file),
            quantization.prepared(network),
            Form.PLAIN,
            reporter,
            layers=lambda graph, spatial: QuantizedLayers(graph, spatial, quantization, unrounded),
        )
    check_file(out)
