"""TFLite files, written from the network itself. Start at the writers; `tflite_graph.py` says what an operator becomes,
`tflite_layers.py` what a layer, `tflite_weights.py` how weights are kept.

INT8 comes in two kinds. `tflite-int8-weights` widens its weights while it loads and computes in fp32, as fp16 does.
`tflite-int8` multiplies in INT8: the runtime rounds the inputs of each convolution, by a scale of their own for each
position, while it runs (TensorFlow calls it dynamic range quantization), so nothing is calibrated.
"""

from __future__ import annotations

import functools

import msgspec

from agent.events import Reporter, SilentReporter
from agent.export.emit import Form, describe
from agent.export.int8_rounding import most_in_float
from agent.export.job import Job, Written
from agent.export.network import Array, Network, TransformerBlock, walk_blocks
from agent.export.tflite_file import TfliteFile
from agent.export.tflite_graph import TfliteGraph
from agent.export.tflite_layers import TfliteLayers, TfliteTransformers
from agent.export.tflite_weights import Store, Stored, as_fp16, as_fp32, as_int8, widened

FORM = "channels-last"


def write_fp32(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    return _write(job, as_fp32, {})


def write_fp16(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    return _write(job, as_fp16, {"weights": "fp16", "computed in": "fp32"})


def write_int8_weights(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    most = _most_in_float(job.network())
    weights = "int8, a scale for each output; in 3x3 kernels for its centre, edges (two each way) and corners"
    recipe = {"weights": weights, "computed in": "fp32", "layers in fp32": _kept(most)}
    return _write(job, functools.partial(widened, most), recipe)


def write_int8(job: Job) -> Written:
    """Raises ConversionFailed, ToolMissing."""
    most = _most_in_float(job.network())
    activations = "int8 before 3x3 convolutions, scaled for each position while running; fp32 before 1x1"
    weights = "int8, one scale for each output channel"
    recipe = {"weights": weights, "activations": activations, "layers in fp32": _kept(most)}
    return _write(job, functools.partial(as_int8, most), recipe)


def _kept(most: int) -> str:
    return f"matrices on columns, and what has up to {most} weights"


def _most_in_float(network: Network) -> int:
    """How many weights a layer may have and stay in fp32."""
    sizes: list[int] = []

    def count(file: TfliteFile, name: str, values: Array) -> tuple[Stored, ...]:
        sizes.append(values.size)
        return (Stored(file.tensor(name, values.shape), 1),)

    _described(network, count, SilentReporter())
    return most_in_float(sizes)


def _write(job: Job, store: Store, recipe: dict[str, str]) -> Written:
    graph = _described(job.network(), store, job.reporter)
    description = msgspec.json.encode(job.info).decode()
    with job.out.open("wb") as out:
        graph.file.finish(graph.inputs, graph.outputs, job.info.name, description, out)
    return Written(recipe, form=FORM)


def _described(network: Network, store: Store, reporter: Reporter) -> TfliteGraph:
    """`TfliteTransformers` says why a network with such blocks takes one position at a time."""
    single = any(isinstance(block, TransformerBlock) for block in walk_blocks(network.trunk.blocks))
    graph = TfliteGraph(TfliteFile(), store, single=single)
    describe(
        network,
        Form.PLAIN,
        graph,
        reporter,
        layers=lambda _, __: TfliteLayers(graph),
        transformers=lambda _, spatial: TfliteTransformers(graph, spatial),
    )
    return graph
