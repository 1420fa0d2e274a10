"""Reads a KataGo network file (.bin.gz, .bin, .txt.gz, .txt) into a `Network`.

Start at `parse_network`. The definition is KataGo's `cpp/neuralnet/desc.cpp`; what it would refuse is refused here, and
so is what we cannot run: block kinds and norm kinds are looked at by name, never guessed from the version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from agent.errors import NetworkFormatError
from agent.export.info import GLOBAL_CHANNELS, SPATIAL_CHANNELS, VALUE_CHANNELS, NetworkInfo
from agent.export.network import (
    Activation,
    Array,
    BatchNorm,
    Block,
    Conv,
    GpoolBlock,
    MatMul,
    NestedBlock,
    Network,
    OrdinaryBlock,
    PassHead,
    PolicyHead,
    Trunk,
    ValueHead,
)
from agent.export.token_stream import TokenStream

# Files from 8 on take V7 features; 17 is the last that KataGo 1.17 knows.
OLDEST_VERSION = 8
LATEST_VERSION = 17
# The widest published networks have 768 channels and 60 blocks.
MAX_CHANNELS = 8192
MAX_BLOCKS = 1024
# Published networks nest once.
MAX_NESTING = 4
MAX_KERNEL = 19

_NAME = re.compile(r"[A-Za-z0-9_-]{1,96}")
_NORM_KINDS = {1: "RMSNorm"}


def parse_network(path: Path) -> Network:
    """The network in `path`, without the file's hash in its `info`.

    Raises:
        NetworkFormatError: the file is damaged, of another version, or has a part that we cannot run; names the part.
    """
    try:
        with TokenStream(path) as tokens:
            network = _Parser(tokens).network()
            tokens.end()
            return network
    except NetworkFormatError as error:
        raise NetworkFormatError(f"{path.name}: {error}", fix=error.fix) from error


class _Parser:
    def __init__(self, tokens: TokenStream) -> None:
        self._tokens = tokens
        self._version = 0
        self._blocks_read = 0

    # ------------------------------------------------------------ the whole

    def network(self) -> Network:
        info = self._header()
        trunk = self._trunk()
        policy = self._policy_head()
        value = self._value_head()
        channels = trunk.tip_bn.channels
        for conv in (policy.p1_conv, policy.g1_conv, value.v1_conv):
            _agree(conv.name, "input channels", conv.in_channels, channels)
        info = msgspec.structs.replace(
            info, policy_channels=policy.p2_conv.out_channels, score_channels=value.score_matmul.out_channels
        )
        return Network(info, trunk, policy, value)

    def _header(self) -> NetworkInfo:
        name = self._tokens.word("network name")
        if not _NAME.fullmatch(name):
            raise NetworkFormatError("this is no KataGo network: it does not begin with a network's name")
        self._version = self._tokens.integer("file version", 0, 1 << 30)
        if not OLDEST_VERSION <= self._version <= LATEST_VERSION:
            raise NetworkFormatError(f"file version {self._version} is not supported")
        spatial = self._tokens.integer("spatial channels", 1, MAX_CHANNELS)
        _agree("network", "spatial input channels", spatial, SPATIAL_CHANNELS)
        global_ = self._tokens.integer("global channels", 1, MAX_CHANNELS)
        _agree("network", "global input channels", global_, GLOBAL_CHANNELS)
        info = NetworkInfo(name=name, version=self._version)
        if self._version >= 13:
            fields = [field for field in NetworkInfo.__struct_fields__ if field.endswith("_multiplier")]
            info = msgspec.structs.replace(info, **{field: self._tokens.positive(field) for field in fields})
        if self._version >= 15:
            encoder = self._tokens.integer("metadata encoder version", 0, 1 << 30)
            if encoder:
                raise NetworkFormatError(
                    f"metadata encoder version {encoder} (a human-style network) is not supported",
                    fix="Use a network without a metadata encoder.",
                )
            prefer = self._tokens.integer("preferPassAlive", 0, 1)
            info = msgspec.structs.replace(info, prefer_pass_alive=bool(prefer))
            self._zeros("network option", 6)
        return info

    def _trunk(self) -> Trunk:
        name = self._tokens.word("trunk name")
        count = self._tokens.integer(f"{name}: number of blocks", 1, MAX_BLOCKS)
        channels = self._channels(f"{name}: trunk channels")
        for width in ("mid", "regular", "dilated", "gpool"):
            self._tokens.integer(f"{name}: {width} channels", 0 if width == "dilated" else 1, MAX_CHANNELS)
        if self._version >= 15:
            kind = self._tokens.integer(f"{name}: norm kind", 0, 1 << 30)
            if kind:
                raise NetworkFormatError(
                    f"{name}: trunk norm kind {kind} ({_NORM_KINDS.get(kind, 'unknown')}) is not supported"
                )
            self._zeros(f"{name}: trunk option", 5)
        conv = self._conv()
        _agree(conv.name, "input channels", conv.in_channels, SPATIAL_CHANNELS)
        _agree(conv.name, "output channels", conv.out_channels, channels)
        matmul = self._matmul()
        _agree(matmul.name, "input channels", matmul.in_channels, GLOBAL_CHANNELS)
        _agree(matmul.name, "output channels", matmul.out_channels, channels)
        blocks = self._block_stack(name, count, channels, 0)
        tip = self._batch_norm()
        _agree(tip.name, "channels", tip.channels, channels)
        return Trunk(name, conv, matmul, blocks, tip, self._activation())

    # ------------------------------------------------------------ blocks

    def _block_stack(self, where: str, count: int, channels: int, depth: int) -> tuple[Block, ...]:
        if depth > MAX_NESTING:
            raise NetworkFormatError(f"{where}: blocks are nested deeper than {MAX_NESTING}")
        self._blocks_read += count
        if self._blocks_read > MAX_BLOCKS:
            raise NetworkFormatError(f"{where}: there are more than {MAX_BLOCKS} blocks")
        readers: dict[str, Callable[[str, int], Block]] = {
            "ordinary_block": self._ordinary,
            "gpool_block": self._gpool,
            "nested_bottleneck_block": lambda name, width: self._nested(name, width, depth),
        }
        blocks = []
        for index in range(count):
            kind = self._tokens.word(f"{where}: kind of block {index}")
            reader = readers.get(kind)
            name = self._tokens.word(f"{where}: name of block {index}")
            if reader is None:
                raise NetworkFormatError(f"{where}: block {index} ({name}) is of kind {kind}, which is not supported")
            blocks.append(reader(name, channels))
        return tuple(blocks)

    def _ordinary(self, name: str, channels: int) -> OrdinaryBlock:
        block = OrdinaryBlock(
            name,
            self._batch_norm(),
            self._activation(),
            self._conv(),
            self._batch_norm(),
            self._activation(),
            self._conv(),
        )
        _chain(name, channels, block.pre_bn, block.regular_conv, block.mid_bn, block.final_conv, channels)
        return block

    def _gpool(self, name: str, channels: int) -> GpoolBlock:
        block = GpoolBlock(
            name,
            pre_bn=self._batch_norm(),
            pre_act=self._activation(),
            regular_conv=self._conv(),
            gpool_conv=self._conv(),
            gpool_bn=self._batch_norm(),
            gpool_act=self._activation(),
            gpool_to_bias=self._matmul(),
            mid_bn=self._batch_norm(),
            mid_act=self._activation(),
            final_conv=self._conv(),
        )
        _chain(name, channels, block.pre_bn, block.regular_conv, block.mid_bn, block.final_conv, channels)
        _chain(name, channels, block.gpool_conv, block.gpool_bn)
        _pooled(name, block.gpool_bn, block.gpool_to_bias, block.mid_bn.channels)
        return block

    def _nested(self, name: str, channels: int, depth: int) -> NestedBlock:
        count = self._tokens.integer(f"{name}: number of blocks", 1, MAX_BLOCKS)
        pre_bn, pre_act, pre_conv = self._batch_norm(), self._activation(), self._conv()
        blocks = self._block_stack(name, count, pre_conv.out_channels, depth + 1)
        post_bn, post_act, post_conv = self._batch_norm(), self._activation(), self._conv()
        _chain(name, channels, pre_bn, pre_conv, post_bn, post_conv, channels)
        return NestedBlock(name, pre_bn, pre_act, pre_conv, blocks, post_bn, post_act, post_conv)

    # ------------------------------------------------------------ heads

    def _policy_head(self) -> PolicyHead:
        name = self._tokens.word("policy head name")
        outputs = 1 if self._version < 12 else 4 if self._version == 16 else 2
        if self._version >= 17:
            outputs = self._tokens.integer(f"{name}: output channels", 2, 4)
            if outputs == 3:
                raise NetworkFormatError(f"{name}: 3 output channels are neither 2 nor 4")
            self._zeros(f"{name}: policy option", 3)
        p1_conv, g1_conv, g1_bn, g1_act = self._conv(), self._conv(), self._batch_norm(), self._activation()
        to_bias, p1_bn, p1_act, p2_conv = self._matmul(), self._batch_norm(), self._activation(), self._conv()
        to_pass = self._matmul()
        pass_head = None
        pass_width = outputs
        if self._version >= 15:
            pass_width = p1_conv.out_channels
            pass_head = PassHead(self._bias(pass_width), self._activation(), self._matmul())
            _agree(name, "pass channels", pass_head.matmul.in_channels, pass_width)
            _agree(name, "pass outputs", pass_head.matmul.out_channels, outputs)
        _chain(name, p1_conv.in_channels, p1_conv, p1_bn, p2_conv, outputs)
        _chain(name, g1_conv.in_channels, g1_conv, g1_bn)
        _pooled(name, g1_bn, to_bias, p1_bn.channels)
        _pooled(name, g1_bn, to_pass, pass_width)
        return PolicyHead(name, p1_conv, g1_conv, g1_bn, g1_act, to_bias, p1_bn, p1_act, p2_conv, to_pass, pass_head)

    def _value_head(self) -> ValueHead:
        name = self._tokens.word("value head name")
        if self._version >= 17:
            self._zeros(f"{name}: value option", 3)
        v1_conv, v1_bn, v1_act = self._conv(), self._batch_norm(), self._activation()
        v2 = self._matmul()
        v2_bias, v2_act = self._bias(v2.out_channels), self._activation()
        v3 = self._matmul()
        v3_bias = self._bias(VALUE_CHANNELS)
        score = self._matmul()
        score_bias = self._bias(4 if self._version == 8 else 6)
        ownership = self._conv()
        _chain(name, v1_conv.in_channels, v1_conv, v1_bn, ownership, 1)
        _pooled(name, v1_bn, v2, v2.out_channels)
        _agree(v3.name, "input channels", v3.in_channels, v2.out_channels)
        _agree(v3.name, "output channels", v3.out_channels, VALUE_CHANNELS)
        _agree(score.name, "input channels", score.in_channels, v2.out_channels)
        _agree(score.name, "output channels", score.out_channels, len(score_bias))
        return ValueHead(name, v1_conv, v1_bn, v1_act, v2, v2_bias, v2_act, v3, v3_bias, score, score_bias, ownership)

    # ------------------------------------------------------------ layers

    def _conv(self) -> Conv:
        name = self._tokens.word("convolution name")
        y, x = (self._tokens.integer(f"{name}: kernel {axis} size", 1, MAX_KERNEL) for axis in "yx")
        if y % 2 == 0 or x % 2 == 0:
            raise NetworkFormatError(f"{name}: a kernel of {y}×{x} has no middle")
        inputs = self._channels(f"{name}: input channels")
        outputs = self._channels(f"{name}: output channels")
        dilation_y, dilation_x = (self._tokens.integer(f"{name}: dilation {axis}", 1, MAX_KERNEL) for axis in "yx")
        weights = self._tokens.floats(name, y, x, inputs, outputs)
        return Conv(name, weights.transpose(3, 2, 0, 1), (dilation_y, dilation_x))

    def _batch_norm(self) -> BatchNorm:
        name = self._tokens.word("normalisation name")
        channels = self._channels(f"{name}: channels")
        epsilon = np.float32(self._tokens.positive(f"{name}: epsilon"))
        has_scale = self._tokens.integer(f"{name}: hasScale", 0, 1)
        has_bias = self._tokens.integer(f"{name}: hasBias", 0, 1)
        mean = self._tokens.floats(f"{name}: mean", channels)
        variance = self._tokens.floats(f"{name}: variance", channels)
        scale = self._tokens.floats(f"{name}: scale", channels) if has_scale else np.ones(channels, np.float32)
        bias = self._tokens.floats(f"{name}: bias", channels) if has_bias else np.zeros(channels, np.float32)
        if not (variance + epsilon > 0).all():
            raise NetworkFormatError(f"{name}: a variance is negative")
        merged = scale / np.sqrt(variance + epsilon)
        return BatchNorm(name, merged, bias - merged * mean)

    def _activation(self) -> Activation:
        name = self._tokens.word("activation name")
        if self._version < 11:
            return Activation.RELU
        kind = self._tokens.word(f"{name}: kind")
        try:
            return Activation(kind)
        except ValueError:
            raise NetworkFormatError(f"{name}: activation {kind} is not supported") from None

    def _matmul(self) -> MatMul:
        name = self._tokens.word("matrix name")
        inputs = self._channels(f"{name}: input channels")
        outputs = self._channels(f"{name}: output channels")
        return MatMul(name, self._tokens.floats(name, inputs, outputs))

    def _bias(self, channels: int) -> Array:
        name = self._tokens.word("bias name")
        _agree(name, "channels", self._channels(f"{name}: channels"), channels)
        return self._tokens.floats(name, channels)

    def _channels(self, what: str) -> int:
        return self._tokens.integer(what, 1, MAX_CHANNELS)

    def _zeros(self, what: str, count: int) -> None:
        for letter in "ABCDEF"[:count]:
            value = self._tokens.integer(f"{what} {letter}", -(1 << 30), 1 << 30)
            if value:
                raise NetworkFormatError(f"{what} {letter} is {value}; only 0 is known")


def _agree(name: str, what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise NetworkFormatError(f"{name}: {found} {what}, but {wanted} are needed here")


def _chain(name: str, channels: int, *steps: Conv | BatchNorm | int) -> None:
    """Each step must take the channels that the one before gives."""
    for step in steps:
        if isinstance(step, int):
            _agree(name, "output channels", channels, step)
        elif isinstance(step, BatchNorm):
            _agree(step.name, "channels", step.channels, channels)
        else:
            _agree(step.name, "input channels", step.in_channels, channels)
            channels = step.out_channels


def _pooled(name: str, source: BatchNorm, matmul: MatMul, outputs: int) -> None:
    """Pooling gives three numbers a channel."""
    _agree(matmul.name, "input channels", matmul.in_channels, 3 * source.channels)
    _agree(f"{name}: {matmul.name}", "output channels", matmul.out_channels, outputs)
