"""Writes a `Network` as an ONNX graph. Start at `emit`; docs/decisions/0013 says why the graph has this form. Other
formats take the same nodes through `describe`.

One graph serves every board: height and width are free, nothing is masked, and what depends on the size is computed
from the input's shape. This file knows how a network is put together; `layers.py` knows what a layer is in ONNX.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import BinaryIO

import msgspec
import onnx

from agent.events import Converting, Reporter
from agent.export.graph import GraphWriter
from agent.export.graph_interface import Graph
from agent.export.human_profile import AREA_CHANNEL, FULL_AREA, metadata_row, needs_profile, without_optimism
from agent.export.info import EXPORTER, GLOBAL_CHANNELS, METADATA_KEY, SPATIAL_CHANNELS, VALUE_CHANNELS
from agent.export.layers import Layers, PlainLayers, activate, matmul
from agent.export.network import (
    BatchNorm,
    Block,
    GpoolBlock,
    MatMul,
    MetadataEncoder,
    NestedBlock,
    Network,
    OrdinaryBlock,
    PolicyHead,
    RmsNorm,
    TransformerBlock,
    ValueHead,
    count_blocks,
    walk_blocks,
)
from agent.export.transformer import TransformerLayers, Transformers
from agent.export.winograd import WinogradLayers, winograd_bytes

PRODUCER = "katago-agent"

# Pooling is scaled by how far the board's side is from 14, the middle of the sizes trained on (KataGo's model code).
_MIDDLE_SIDE = 14.0


class Form(enum.Enum):
    """How 3×3 convolutions are computed: as they are, or by Winograd's method."""

    PLAIN = "plain"
    WINOGRAD = "winograd"


# Makes the layers for a graph with the named input [n, 22, y, x].
LayersOf = Callable[[Graph, str], Layers]
# The same for transformer blocks.
TransformersOf = Callable[[Graph, str], Transformers]

_LAYERS: dict[Form, LayersOf] = {Form.PLAIN: PlainLayers, Form.WINOGRAD: WinogradLayers}

# Winograd's method pays from here on. Measured on x86-64 (AVX2), 19×19, batch 1 and 8: 192 channels 1.5 and 1.8 times
# as fast, 96 channels 1.0 and 1.25; on 9×9, 192 channels 0.9 and 1.4, 96 channels 0.65 and 1.0.
_WINOGRAD_CHANNELS = 128


# Winograd's weights are four times as many. Those of b18c384nbt, 382 MB, are the most that seem worth their memory.
_MAX_WINOGRAD_BYTES = 400_000_000


def best_form(network: Network) -> Form:
    """The faster form for `network` on this kind of machine, judged by how wide its 3×3 convolutions are. Transformer
    blocks want channels last, which is how the Winograd form keeps its maps."""
    blocks = list(walk_blocks(network.trunk.blocks))
    residual = [block for block in blocks if isinstance(block, OrdinaryBlock | GpoolBlock)]
    widths = [min(block.regular_conv.in_channels, block.regular_conv.out_channels) for block in residual]
    convs = [conv for block in residual for conv in (block.regular_conv, block.final_conv)]
    size_bytes = sum(winograd_bytes(conv) for conv in convs)
    has_transformer = any(isinstance(block, TransformerBlock) for block in blocks)
    pays = has_transformer or max(widths, default=0) >= _WINOGRAD_CHANNELS
    return Form.WINOGRAD if pays and size_bytes <= _MAX_WINOGRAD_BYTES else Form.PLAIN


def emit(network: Network, form: Form, out: BinaryIO, reporter: Reporter) -> None:
    """Write the model of `network` to the empty file `out`: inputs spatial [n, 22, y, x] and global [n, 19], outputs
    as `Outputs` in `engine/backends/interface.py`, and `network.info` as JSON in the metadata.

    Raises:
        ConversionFailed: the graph is larger than an ONNX file may be.
    """
    emit_into(GraphWriter(out), network, form, reporter)


def emit_into(
    graph: GraphWriter, network: Network, form: Form, reporter: Reporter, *, layers: LayersOf | None = None
) -> None:
    """As `emit`, into a `graph` that may keep weights in its own way, with `layers` in the place of the form's own."""
    describe(network, form, graph, reporter, layers=layers)
    graph.finish(network.info.name, PRODUCER, EXPORTER, {METADATA_KEY: msgspec.json.encode(network.info).decode()})


def describe(
    network: Network,
    form: Form,
    graph: Graph,
    reporter: Reporter,
    *,
    layers: LayersOf | None = None,
    transformers: TransformersOf = TransformerLayers,
) -> None:
    """Add the inputs, nodes and outputs of `network`, as `emit` names them, to `graph`."""
    _Emitter(network, graph, reporter, layers or _LAYERS[form], transformers).emit()


class _Emitter:
    def __init__(
        self, network: Network, graph: Graph, reporter: Reporter, layers: LayersOf, transformers: TransformersOf
    ) -> None:
        self._network = network
        self._reporter = reporter
        self._done = 0
        self._total = count_blocks(network.trunk.blocks) + 2
        self._graph = graph
        self._spatial = graph.input("spatial", ["batch", SPATIAL_CHANNELS, "height", "width"])
        self._global = graph.input("global", ["batch", GLOBAL_CHANNELS])
        self._layers = layers(graph, self._spatial)
        self._transformer = transformers(graph, self._spatial)

    def emit(self) -> None:
        network = self._network
        self._pool_factors()
        x = self._trunk()
        imitates = network.trunk.metadata_encoder is not None
        self._policy(without_optimism(network.policy_head) if imitates else network.policy_head, x)
        self._progress()
        self._value(network.value_head, x)
        self._progress()

    # ------------------------------------------------------------ trunk

    def _trunk(self) -> str:
        trunk, layers = self._network.trunk, self._layers
        per_channel = matmul(self._graph, trunk.initial_matmul, self._global)
        if trunk.metadata_encoder is not None:
            players = self._players(trunk.metadata_encoder, self._network.info.human_profile)
            per_channel = self._graph.node("Add", [per_channel, players])
        x = layers.add_column(layers.enter(trunk.initial_conv, self._spatial), per_channel)
        x = self._stack(trunk.blocks, x)
        tip = trunk.tip_norm
        x = layers.rms_norm(tip, x) if isinstance(tip, RmsNorm) else layers.batch_norm(tip, x)
        return activate(self._graph, trunk.tip_act, x)

    def _players(self, encoder: MetadataEncoder, profile: str) -> str:
        """Column [1, channels]: what the players of `profile` add. It depends on the board's area and nothing else."""
        if not profile:
            raise needs_profile(self._network.info.name)
        graph = self._graph
        weights = encoder.matmul1.weights
        fixed = encoder.bias1 + metadata_row(profile) @ weights
        share = graph.node("Mul", [self._area, graph.constant(1 / FULL_AREA)])
        share = graph.node(
            "Mul", [graph.node("Log", [share]), graph.weights(encoder.matmul1.name, 0.5 * weights[[AREA_CHANNEL]])]
        )
        hidden = graph.node("Add", [share, graph.weights(f"{encoder.matmul1.name}.bias", fixed[None])])
        hidden = matmul(graph, encoder.matmul2, activate(graph, encoder.act1, hidden), encoder.bias2)
        return matmul(graph, encoder.matmul3, activate(graph, encoder.act2, hidden))

    def _stack(self, blocks: tuple[Block, ...], x: str) -> str:
        """Transformer blocks in a row keep their tokens from one to the next."""
        channels = 0  # of the tokens; 0 while x is a map
        for block in blocks:
            if isinstance(block, TransformerBlock):
                x = x if channels else self._layers.tokens(x, block.norm.channels)
                channels = block.norm.channels
                x = self._transformer.block(block, x)
            else:
                x = self._block(block, self._layers.from_tokens(x) if channels else x)
                channels = 0
            self._progress()
        return self._layers.from_tokens(x) if channels else x

    def _block(self, block: OrdinaryBlock | GpoolBlock | NestedBlock, x: str) -> str:
        graph, layers = self._graph, self._layers
        inner = activate(graph, block.pre_act, layers.batch_norm(block.pre_bn, x))
        if isinstance(block, OrdinaryBlock):
            inner = layers.conv(block.regular_conv, inner, block.mid_bn)
            inner = layers.conv(block.final_conv, activate(graph, block.mid_act, inner))
        elif isinstance(block, GpoolBlock):
            inner = self._gpool(block, inner)
        else:
            inner = self._nested(block, inner)
        return graph.node("Add", [inner, x])

    def _gpool(self, block: GpoolBlock, x: str) -> str:
        graph, layers = self._graph, self._layers
        pooled = activate(graph, block.gpool_act, layers.conv(block.gpool_conv, x, block.gpool_bn))
        bias = matmul(graph, _normalised(block.gpool_to_bias, block.mid_bn), self._pool(pooled))
        x = layers.add_column(layers.conv(block.regular_conv, x, block.mid_bn), bias)
        return layers.conv(block.final_conv, activate(graph, block.mid_act, x))

    def _nested(self, block: NestedBlock, x: str) -> str:
        layers = self._layers
        x = layers.conv(block.pre_conv, x)
        x = self._stack(block.blocks, x)
        x = activate(self._graph, block.post_act, layers.batch_norm(block.post_bn, x))
        return layers.conv(block.post_conv, x)

    # ------------------------------------------------------------ heads

    def _policy(self, head: PolicyHead, x: str) -> None:
        graph, layers, channels = self._graph, self._layers, self._network.info.policy_channels
        pooled = self._pool(activate(graph, head.g1_act, layers.conv(head.g1_conv, x, head.g1_bn)))
        bias = matmul(graph, _normalised(head.gpool_to_bias, head.p1_bn), pooled)
        points = layers.add_column(layers.conv(head.p1_conv, x, head.p1_bn), bias)
        points = layers.flat(layers.conv(head.p2_conv, activate(graph, head.p1_act, points)))
        if head.pass_head is None:
            passes = matmul(graph, head.gpool_to_pass, pooled)
        else:
            hidden = matmul(graph, head.gpool_to_pass, pooled, head.pass_head.bias)
            passes = matmul(graph, head.pass_head.matmul, activate(graph, head.pass_head.act, hidden))
        passes = graph.node("Unsqueeze", [passes, graph.constant([2])])
        graph.output(graph.node("Concat", [points, passes], axis=2), "policy", ["batch", channels, "moves"])

    def _value(self, head: ValueHead, x: str) -> None:
        graph, layers, info = self._graph, self._layers, self._network.info
        x = activate(graph, head.v1_act, layers.conv(head.v1_conv, x, head.v1_bn))
        hidden = activate(graph, head.v2_act, matmul(graph, head.v2_matmul, self._pool_value(x), head.v2_bias))
        graph.output(matmul(graph, head.v3_matmul, hidden, head.v3_bias), "value", ["batch", VALUE_CHANNELS])
        score = matmul(graph, head.score_matmul, hidden, head.score_bias)
        graph.output(score, "score", ["batch", info.score_channels])
        ownership = graph.node("Flatten", [layers.flat(layers.conv(head.ownership_conv, x))])
        graph.output(ownership, "ownership", ["batch", "area"])

    # ------------------------------------------------------------ pooling

    def _pool_factors(self) -> None:
        """Compute (side − 14)/10 and (side − 14)²/100 − 0.1 from the board's shape, side being √area."""
        graph = self._graph
        size = graph.node("Shape", [self._spatial], start=2, end=4)
        self._area = graph.node("Cast", [graph.node("ReduceProd", [size], keepdims=0)], to=onnx.TensorProto.FLOAT)
        away = graph.node("Sub", [graph.node("Sqrt", [self._area]), graph.constant(_MIDDLE_SIDE)])
        self._linear = graph.node("Mul", [away, graph.constant(0.1)])
        square = graph.node("Mul", [self._linear, self._linear])
        self._quadratic = graph.node("Sub", [square, graph.constant(0.1)])

    def _pool(self, x: str) -> str:
        """Map to column of three times the channels: mean, mean·linear, maximum."""
        mean = self._layers.mean(x)
        scaled = self._graph.node("Mul", [mean, self._linear])
        return self._graph.node("Concat", [mean, scaled, self._layers.largest(x)], axis=1)

    def _pool_value(self, x: str) -> str:
        """Map to column of three times the channels: mean, mean·linear, mean·quadratic."""
        mean = self._layers.mean(x)
        scaled = [self._graph.node("Mul", [mean, factor]) for factor in (self._linear, self._quadratic)]
        return self._graph.node("Concat", [mean, *scaled], axis=1)

    def _progress(self) -> None:
        self._done += 1
        self._reporter.report(Converting(self._network.info.name, self._done, self._total))


def _normalised(layer: MatMul, bn: BatchNorm) -> MatMul:
    """`layer` for a sum that is normalised by `bn`, where the other summand carries the bias."""
    return MatMul(layer.name, layer.weights * bn.scale)
