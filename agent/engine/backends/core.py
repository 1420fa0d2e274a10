"""The core's own runtime: a network file as KataGo publishes it, without conversion and without a further package.

Start at `_Builder`, which knows how a network is put together and writes it as the steps of `core/network_api.h`. Every
3×3 convolution runs by Winograd's method, with normalisation, activation and the residual sum done while its results
are at hand; docs/decisions/0017 has the measurements.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import msgspec
import numpy as np

from agent.engine.backends.human_style import HumanStyle
from agent.engine.backends.interface import (
    GLOBAL_CHANNELS,
    SPATIAL_CHANNELS,
    VALUE_CHANNELS,
    Array,
    Backend,
    NetworkInfo,
    Outputs,
)
from agent.engine.library import CAttention, CConvolution, CFinish, load
from agent.errors import BackendUnavailable, NetworkFormatError
from agent.export.human_profile import without_optimism
from agent.export.network import (
    Activation,
    AttentionBlock,
    BatchNorm,
    Block,
    Conv,
    FfnBlock,
    GpoolBlock,
    MatMul,
    MetadataEncoder,
    NestedBlock,
    Network,
    OrdinaryBlock,
    PolicyHead,
    RmsNorm,
    TransformerBlock,
)
from agent.export.parse import parse_network
from agent.model.disk import sha256_of

# core/kernels.h: Activation.
_ACTIVATIONS = {Activation.IDENTITY: 0, Activation.RELU: 1, Activation.MISH: 2, Activation.SILU: 3}
# core/network.h: PoolKind.
_POLICY_POOL, _VALUE_POOL = 0, 1
_SPATIAL, _GLOBAL = 0, 1
_NONE = -1

# What the step before normalises for: where to, and how. Only lines and activations are done on the way.
_Following = tuple[int, BatchNorm, Activation] | None


class CoreBackend:
    """One network's weights, shared by all threads that call; each call takes buffers of its own, and keeps them for
    the next. A human-style network runs behind `HumanStyle`, which writes what its metadata encoder finds beside the
    global inputs."""

    name = "core"

    def __init__(self, source: Path, *, generic: bool = False) -> None:
        """Load the network file `source`. `generic` takes the kernels that run on every processor of this kind.

        Raises:
            BackendUnavailable: not a network file, or memory ran out.
        """
        try:
            network = parse_network(source)
            # The file does not hold its own hash, which tells its games from those of another network of its name.
            info = msgspec.structs.replace(network.info, sha256=sha256_of(source))
        except NetworkFormatError as error:
            raise BackendUnavailable(str(error), fix=error.fix) from error
        except OSError as error:
            raise BackendUnavailable(f"cannot read {source}: {error.strerror}") from error
        self._core = load()
        self._kernels = self._core.ka_network_kernels(generic).decode()
        self._handle: int | None = _Builder(network, self._core.ka_network_new(generic)).handle
        self.network: NetworkInfo = info
        self.metadata_encoder: MetadataEncoder | None = network.trunk.metadata_encoder
        beside = self.metadata_encoder.matmul3.in_channels if self.metadata_encoder else 0
        self._global_channels = GLOBAL_CHANNELS + beside

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`.

        Raises:
            BackendUnavailable: closed, inputs of another shape, or memory ran out.
        """
        channels = self._global_channels
        if not self._handle:
            raise BackendUnavailable("this network was closed", fix="Open the backend again.")
        count = len(spatial)
        if spatial.shape[1:2] != (SPATIAL_CHANNELS,) or spatial.ndim != 4 or global_.shape != (count, channels):
            raise BackendUnavailable(
                f"a batch is [n, {SPATIAL_CHANNELS}, y, x] planes and [n, {channels}] numbers, not "
                f"{list(spatial.shape)} and {list(global_.shape)}"
            )
        y_size, x_size = spatial.shape[2:]
        area = y_size * x_size
        outputs = Outputs(
            policy=np.empty((count, self.network.policy_channels, area + 1), np.float32),
            value=np.empty((count, VALUE_CHANNELS), np.float32),
            score=np.empty((count, self.network.score_channels), np.float32),
            ownership=np.empty((count, area), np.float32),
        )
        inputs = [np.ascontiguousarray(part, np.float32) for part in (spatial, global_)]
        addresses = [part.ctypes.data for part in (*inputs, *outputs)]
        if not self._core.ka_network_run(self._handle, count, y_size, x_size, *addresses):
            raise BackendUnavailable(
                f"the memory for {count} boards of {x_size}×{y_size} ran out, or they are longer than 64 points",
                fix="Use a smaller batch, or fewer threads.",
            )
        return outputs

    def versions(self) -> dict[str, str]:
        from agent import __version__

        return {"core": f"{__version__} {self._kernels}"}

    def close(self) -> None:
        """Free the network once no call is running; later calls fail."""
        if self._handle:
            self._core.ka_network_free(self._handle)
            self._handle = None


def open_core(model: Path | None, threads: int) -> Backend:
    """For the table."""
    del threads  # any number may call
    if model is None:
        raise BackendUnavailable("no network was given", fix="Give a network file (.bin.gz).")
    core = CoreBackend(model)
    return core if core.metadata_encoder is None else HumanStyle(core, core.metadata_encoder)


class _Builder:
    """Writes the steps of one network. A map that a step normalises for the next one is called `ready`."""

    def __init__(self, network: Network, handle: int | None) -> None:
        self._core = load()
        self.handle = self._taken(handle)
        self._buffers: dict[tuple[str, int, bool], int] = {}
        try:
            self._build(network)
        except BaseException:
            self._core.ka_network_free(self.handle)
            raise

    def _build(self, network: Network) -> None:
        trunk, info = network.trunk, network.info
        first = trunk.initial_matmul
        if trunk.metadata_encoder is not None:
            first = MatMul(first.name, np.vstack([first.weights, trunk.metadata_encoder.matmul3.weights]))
        spatial = self._buffer("spatial", trunk.initial_conv.in_channels, is_map=True)
        global_ = self._buffer("global", first.in_channels, is_map=False)
        assert (spatial, global_) == (_SPATIAL, _GLOBAL)
        channels = trunk.initial_conv.out_channels
        column = self._buffer("initial", channels, is_map=False)
        self._product(first, global_, column)
        x, ready = self._buffer("trunk", channels), self._buffer("ready", channels)
        after = (ready, trunk.tip_norm, trunk.tip_act) if isinstance(trunk.tip_norm, BatchNorm) else None
        self._conv(trunk.initial_conv, spatial, x, column=column, following=self._entry(trunk.blocks, ready, after))
        self._blocks(trunk.blocks, x, ready, after)
        if isinstance(trunk.tip_norm, RmsNorm):
            self._rms(trunk.tip_norm, x, ready, trunk.tip_act)
        head = network.policy_head if trunk.metadata_encoder is None else without_optimism(network.policy_head)
        policy, passes = self._policy(head, info.policy_channels, ready)
        value, score, ownership = self._value(network, ready)
        self._check(self._core.ka_network_outputs(self.handle, policy, passes, value, score, ownership), info.name)

    # ------------------------------------------------------------ trunk

    def _entry(self, blocks: tuple[Block, ...], ready: int, after: _Following) -> _Following:
        """The normalisation that `blocks` begin with, or what comes after them where there are none."""
        if not blocks:
            return after
        block = blocks[0]
        return None if isinstance(block, TransformerBlock) else (ready, block.pre_bn, block.pre_act)

    def _blocks(self, blocks: tuple[Block, ...], x: int, ready: int, after: _Following) -> None:
        """`ready` holds what the first block reads, where the block before could put it there; in the end it holds what
        `after` makes of the sum `x`."""
        for place, block in enumerate(blocks):
            following = self._entry(blocks[place + 1 :], ready, after)
            if isinstance(block, OrdinaryBlock):
                inner = self._buffer("inner", block.regular_conv.out_channels)
                self._conv(block.regular_conv, ready, inner, bn=block.mid_bn, act=block.mid_act)
                self._conv(block.final_conv, inner, x, accumulate=True, following=following)
            elif isinstance(block, GpoolBlock):
                self._gpool(block, x, ready, following)
            elif isinstance(block, NestedBlock):
                channels = block.pre_conv.out_channels
                nested, nested_ready = self._buffer("nested", channels), self._buffer("nested ready", channels)
                post = (nested_ready, block.post_bn, block.post_act)
                self._conv(block.pre_conv, ready, nested, following=self._entry(block.blocks, nested_ready, post))
                self._blocks(block.blocks, nested, nested_ready, post)
                self._conv(block.post_conv, nested_ready, x, accumulate=True, following=following)
            else:
                self._rms(block.norm, x, ready, Activation.IDENTITY)
                found = self._attention(block, ready) if isinstance(block, AttentionBlock) else self._ffn(block, ready)
                self._product(block.out, found, x, accumulate=True, following=following)

    def _attention(self, block: AttentionBlock, ready: int) -> int:
        """The buffer of what the heads found."""
        # A query's channels, after a division that the scores would need.
        scaled = block.query.weights * np.float32(1 / np.sqrt(np.float32(block.query_dim)))
        layers = {"query": MatMul(block.query.name, scaled), "key": block.key, "value": block.value}
        parts = [self._buffer(role, layer.out_channels) for role, layer in layers.items()]
        for layer, part in zip(layers.values(), parts, strict=True):
            self._product(layer, ready, part)
        found = self._buffer("found", block.out.in_channels)
        attention = CAttention(*parts, block.heads, block.kv_heads, block.query_dim, block.value_dim)
        turns = None
        if block.rope is not None:
            turns = _plain(np.repeat(block.rope.frequencies, block.kv_heads // block.rope.heads, axis=0))
            attention.frequencies = turns.ctypes.data
        self._check(self._core.ka_network_attention(self.handle, found, ctypes.byref(attention)), block.name)
        del turns  # the core copies; the array only has to live through the call
        return found

    def _ffn(self, block: FfnBlock, ready: int) -> int:
        """The buffer of the hidden channels."""
        hidden = self._buffer("hidden", block.linear.out_channels)
        gate = self._buffer("gate", block.gate.out_channels)
        self._product(block.linear, ready, hidden, act=Activation.SILU)
        self._product(block.gate, ready, gate)
        self._check(self._core.ka_network_times(self.handle, hidden, gate), block.name)
        return hidden

    def _rms(self, norm: RmsNorm, source: int, to: int, act: Activation) -> None:
        scale, bias = _plain(norm.scale), _plain(norm.bias)
        addresses = scale.ctypes.data, bias.ctypes.data
        done = self._core.ka_network_rms(
            self.handle, source, to, norm.epsilon, norm.spatial, *addresses, _ACTIVATIONS[act]
        )
        self._check(done, norm.name)

    def _gpool(self, block: GpoolBlock, x: int, ready: int, following: _Following) -> None:
        channels, pooling = block.regular_conv.out_channels, block.gpool_conv.out_channels
        inner, pooled = self._buffer("inner", channels), self._buffer("pooling", pooling)
        means, bias = self._buffer("pooled", 3 * pooling, is_map=False), self._buffer("bias", channels, is_map=False)
        self._conv(block.gpool_conv, ready, pooled, bn=block.gpool_bn, act=block.gpool_act)
        self._check(self._core.ka_network_pool(self.handle, pooled, means, _POLICY_POOL), block.name)
        self._product(_scaled(block.gpool_to_bias, block.mid_bn), means, bias)
        self._conv(block.regular_conv, ready, inner, bn=block.mid_bn, act=block.mid_act, column=bias)
        self._conv(block.final_conv, inner, x, accumulate=True, following=following)

    # ------------------------------------------------------------ heads

    def _policy(self, head: PolicyHead, outputs: int, ready: int) -> tuple[int, int]:
        channels, pooling = head.p1_conv.out_channels, head.g1_conv.out_channels
        pooled, points = self._buffer("g1", pooling), self._buffer("p1", channels)
        means = self._buffer("g1 pooled", 3 * pooling, is_map=False)
        bias = self._buffer("p1 bias", channels, is_map=False)
        self._conv(head.g1_conv, ready, pooled, bn=head.g1_bn, act=head.g1_act)
        self._check(self._core.ka_network_pool(self.handle, pooled, means, _POLICY_POOL), head.name)
        self._product(_scaled(head.gpool_to_bias, head.p1_bn), means, bias)
        self._conv(head.p1_conv, ready, points, bn=head.p1_bn, act=head.p1_act, column=bias)
        policy, passes = self._buffer("policy", outputs), self._buffer("pass", outputs, is_map=False)
        self._conv(head.p2_conv, points, policy)
        if head.pass_head is None:
            self._product(head.gpool_to_pass, means, passes)
        else:
            hidden = self._buffer("pass hidden", head.gpool_to_pass.out_channels, is_map=False)
            self._product(head.gpool_to_pass, means, hidden, bias=head.pass_head.bias, act=head.pass_head.act)
            self._product(head.pass_head.matmul, hidden, passes)
        return policy, passes

    def _value(self, network: Network, ready: int) -> tuple[int, int, int]:
        head = network.value_head
        v1 = self._buffer("v1", head.v1_conv.out_channels)
        means = self._buffer("v1 pooled", 3 * head.v1_conv.out_channels, is_map=False)
        hidden = self._buffer("v2", head.v2_matmul.out_channels, is_map=False)
        value = self._buffer("value", head.v3_matmul.out_channels, is_map=False)
        score = self._buffer("score", head.score_matmul.out_channels, is_map=False)
        ownership = self._buffer("ownership", head.ownership_conv.out_channels)
        self._conv(head.v1_conv, ready, v1, bn=head.v1_bn, act=head.v1_act)
        self._check(self._core.ka_network_pool(self.handle, v1, means, _VALUE_POOL), head.name)
        self._product(head.v2_matmul, means, hidden, bias=head.v2_bias, act=head.v2_act)
        self._product(head.v3_matmul, hidden, value, bias=head.v3_bias)
        self._product(head.score_matmul, hidden, score, bias=head.score_bias)
        self._conv(head.ownership_conv, v1, ownership)
        return value, score, ownership

    # ------------------------------------------------------------ steps

    def _buffer(self, role: str, channels: int, *, is_map: bool = True) -> int:
        """The buffer of that role and width: blocks one after another share theirs."""
        key = (role, channels, is_map)
        if key not in self._buffers:
            buffer = self._core.ka_network_buffer(self.handle, channels, is_map)
            self._check(buffer >= 0, role)
            self._buffers[key] = buffer
        return self._buffers[key]

    def _conv(
        self,
        conv: Conv,
        source: int,
        to: int,
        *,
        bn: BatchNorm | None = None,
        act: Activation = Activation.IDENTITY,
        column: int = _NONE,
        accumulate: bool = False,
        following: _Following = None,
    ) -> None:
        """The core copies the weights; the arrays only have to live through the call."""
        weights = _plain(conv.weights if bn is None else conv.weights * bn.scale[:, None, None, None])
        bias = None if bn is None else _plain(bn.bias)
        finish, kept = _finish(bias, act, following, column=column, accumulate=accumulate)
        out, into, y_size, x_size = weights.shape
        window = CConvolution(weights.ctypes.data, into, out, y_size, x_size, *conv.dilation)
        done = self._core.ka_network_convolution(self.handle, source, to, ctypes.byref(window), ctypes.byref(finish))
        self._check(done, conv.name)
        del kept

    def _product(
        self,
        layer: MatMul,
        source: int,
        to: int,
        *,
        bias: Array | None = None,
        act: Activation = Activation.IDENTITY,
        accumulate: bool = False,
        following: _Following = None,
    ) -> None:
        weights = _plain(layer.weights)
        finish, kept = _finish(None if bias is None else _plain(bias), act, following, accumulate=accumulate)
        done = self._core.ka_network_product(
            self.handle, source, to, *weights.shape, weights.ctypes.data, ctypes.byref(finish)
        )
        self._check(done, layer.name)
        del kept

    def _taken(self, handle: int | None) -> int:
        if not handle:
            raise BackendUnavailable("no memory for a network", fix="Use a smaller network.")
        return handle

    def _check(self, done: bool, part: str) -> None:
        if not done:
            raise BackendUnavailable(
                f"{part} could not be added: memory ran out, or its channels do not fit its neighbours",
                fix="Use a smaller network, or another backend.",
            )


def _plain(values: Array) -> Array:
    return np.ascontiguousarray(values, np.float32)


def _finish(
    bias: Array | None, act: Activation, following: _Following, *, column: int = _NONE, accumulate: bool = False
) -> tuple[CFinish, list[Array]]:
    """And the arrays that it points to."""
    finish = CFinish(None, None, None, column, _ACTIVATIONS[act], accumulate, _NONE)
    kept = [] if bias is None else [bias]
    if bias is not None:
        finish.bias = bias.ctypes.data
    if following is not None:
        finish.next, norm, next_act = following
        scale, shift = _plain(norm.scale), _plain(norm.bias)
        finish.next_scale, finish.next_bias = scale.ctypes.data, shift.ctypes.data
        finish.next_activation = _ACTIVATIONS[next_act]
        kept += [scale, shift]
    return finish, kept


def _scaled(layer: MatMul, bn: BatchNorm) -> MatMul:
    """`layer` for a sum that is normalised by `bn`, where the other summand carries the bias."""
    return MatMul(layer.name, layer.weights * bn.scale)
