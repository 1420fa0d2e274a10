"""Reads a KataGo network file (.bin.gz, .bin, .txt.gz, .txt) into a `Network`.

Start at `parse_network`. The definition is KataGo's `cpp/neuralnet/desc.cpp`; what it would refuse is refused here, and
so is what we cannot run: block kinds and norm kinds are looked at by name, never guessed from the version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.errors import NetworkFormatError
from agent.export.info import GLOBAL_CHANNELS, SPATIAL_CHANNELS, VALUE_CHANNELS, NetworkInfo
from agent.export.layer_reader import MAX_CHANNELS, LayerReader, agree, chain
from agent.export.network import (
    BatchNorm,
    Block,
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
from agent.export.parse_transformer import (
    METADATA_ENCODER_VERSION,
    read_attention,
    read_ffn,
    read_metadata_encoder,
)
from agent.export.token_stream import TokenStream

# Files from 8 on take V7 features; 17 is the last that KataGo 1.17 knows.
OLDEST_VERSION = 8
LATEST_VERSION = 17
# The deepest published networks have 60 blocks.
MAX_BLOCKS = 1024
# Published networks nest once.
MAX_NESTING = 4

_NAME = re.compile(r"[A-Za-z0-9_-]{1,96}")
# desc.h: TRUNK_NORM_KIND_STANDARD and TRUNK_NORM_KIND_RMSNORM.
_BATCH_NORM, _RMS_NORM = 0, 1


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


def is_human_style(path: Path) -> bool:
    """Whether the network in `path` imitates players. Reads its header alone.

    Raises:
        NetworkFormatError: as `parse_network`.
    """
    try:
        with TokenStream(path) as tokens:
            return _Parser(tokens).has_metadata_encoder()
    except NetworkFormatError as error:
        raise NetworkFormatError(f"{path.name}: {error}", fix=error.fix) from error


class _Parser:
    def __init__(self, tokens: TokenStream) -> None:
        self._tokens = tokens
        self._layers = LayerReader(tokens)
        self._metadata_encoder = False
        self._blocks_read = 0

    # ------------------------------------------------------------ the whole

    def network(self) -> Network:
        info = self._header()
        trunk = self._trunk()
        policy = self._policy_head()
        value = self._value_head()
        channels = trunk.tip_norm.channels
        for conv in (policy.p1_conv, policy.g1_conv, value.v1_conv):
            agree(conv.name, "input channels", conv.in_channels, channels)
        info = msgspec.structs.replace(
            info, policy_channels=policy.p2_conv.out_channels, score_channels=value.score_matmul.out_channels
        )
        return Network(info, trunk, policy, value)

    def has_metadata_encoder(self) -> bool:
        self._header()
        return self._metadata_encoder

    def _header(self) -> NetworkInfo:
        name = self._tokens.word("network name")
        if not _NAME.fullmatch(name):
            raise NetworkFormatError("this is no KataGo network: it does not begin with a network's name")
        self._layers.version = self._tokens.integer("file version", 0, 1 << 30)
        if not OLDEST_VERSION <= self._layers.version <= LATEST_VERSION:
            raise NetworkFormatError(f"file version {self._layers.version} is not supported")
        spatial = self._tokens.integer("spatial channels", 1, MAX_CHANNELS)
        agree("network", "spatial input channels", spatial, SPATIAL_CHANNELS)
        global_ = self._tokens.integer("global channels", 1, MAX_CHANNELS)
        agree("network", "global input channels", global_, GLOBAL_CHANNELS)
        info = NetworkInfo(name=name, version=self._layers.version)
        if self._layers.version >= 13:
            fields = [field for field in NetworkInfo.__struct_fields__ if field.endswith("_multiplier")]
            info = msgspec.structs.replace(info, **{field: self._tokens.positive(field) for field in fields})
        if self._layers.version >= 15:
            encoder = self._tokens.integer("metadata encoder version", 0, 1 << 30)
            if encoder not in (0, METADATA_ENCODER_VERSION):
                raise NetworkFormatError(f"metadata encoder version {encoder} is not supported")
            self._metadata_encoder = encoder > 0
            prefer = self._tokens.integer("preferPassAlive", 0, 1)
            info = msgspec.structs.replace(info, prefer_pass_alive=bool(prefer))
            self._layers.zeros("network option", 6)
        return info

    def _trunk(self) -> Trunk:
        name = self._tokens.word("trunk name")
        count = self._tokens.integer(f"{name}: number of blocks", 1, MAX_BLOCKS)
        channels = self._layers.channels(f"{name}: trunk channels")
        for width in ("mid", "regular", "dilated", "gpool"):
            self._tokens.integer(f"{name}: {width} channels", 0 if width == "dilated" else 1, MAX_CHANNELS)
        norm_kind = _BATCH_NORM
        if self._layers.version >= 15:
            norm_kind = self._tokens.integer(f"{name}: norm kind", 0, 1 << 30)
            if norm_kind not in (_BATCH_NORM, _RMS_NORM):
                raise NetworkFormatError(f"{name}: trunk norm kind {norm_kind} is not supported")
            self._layers.zeros(f"{name}: trunk option", 5)
        conv = self._layers.conv()
        agree(conv.name, "input channels", conv.in_channels, SPATIAL_CHANNELS)
        agree(conv.name, "output channels", conv.out_channels, channels)
        matmul = self._layers.matmul()
        agree(matmul.name, "input channels", matmul.in_channels, GLOBAL_CHANNELS)
        agree(matmul.name, "output channels", matmul.out_channels, channels)
        encoder = read_metadata_encoder(self._layers, channels) if self._metadata_encoder else None
        blocks = self._block_stack(name, count, channels, 0)
        tip = self._layers.tip_rms_norm() if norm_kind == _RMS_NORM else self._layers.batch_norm()
        agree(tip.name, "channels", tip.channels, channels)
        return Trunk(name, conv, matmul, encoder, blocks, tip, self._layers.activation())

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
            "transformer_attention_block": lambda name, width: read_attention(self._layers, name, width),
            "transformer_ffn_block": lambda name, width: read_ffn(self._layers, name, width),
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
            self._layers.batch_norm(),
            self._layers.activation(),
            self._layers.conv(),
            self._layers.batch_norm(),
            self._layers.activation(),
            self._layers.conv(),
        )
        chain(name, channels, block.pre_bn, block.regular_conv, block.mid_bn, block.final_conv, channels)
        return block

    def _gpool(self, name: str, channels: int) -> GpoolBlock:
        block = GpoolBlock(
            name,
            pre_bn=self._layers.batch_norm(),
            pre_act=self._layers.activation(),
            regular_conv=self._layers.conv(),
            gpool_conv=self._layers.conv(),
            gpool_bn=self._layers.batch_norm(),
            gpool_act=self._layers.activation(),
            gpool_to_bias=self._layers.matmul(),
            mid_bn=self._layers.batch_norm(),
            mid_act=self._layers.activation(),
            final_conv=self._layers.conv(),
        )
        chain(name, channels, block.pre_bn, block.regular_conv, block.mid_bn, block.final_conv, channels)
        chain(name, channels, block.gpool_conv, block.gpool_bn)
        _pooled(name, block.gpool_bn, block.gpool_to_bias, block.mid_bn.channels)
        return block

    def _nested(self, name: str, channels: int, depth: int) -> NestedBlock:
        count = self._tokens.integer(f"{name}: number of blocks", 1, MAX_BLOCKS)
        pre_bn, pre_act, pre_conv = self._layers.batch_norm(), self._layers.activation(), self._layers.conv()
        blocks = self._block_stack(name, count, pre_conv.out_channels, depth + 1)
        post_bn, post_act, post_conv = self._layers.batch_norm(), self._layers.activation(), self._layers.conv()
        chain(name, channels, pre_bn, pre_conv, post_bn, post_conv, channels)
        return NestedBlock(name, pre_bn, pre_act, pre_conv, blocks, post_bn, post_act, post_conv)

    # ------------------------------------------------------------ heads

    def _policy_head(self) -> PolicyHead:
        name = self._tokens.word("policy head name")
        outputs = 1 if self._layers.version < 12 else 4 if self._layers.version == 16 else 2
        if self._layers.version >= 17:
            outputs = self._tokens.integer(f"{name}: output channels", 2, 4)
            if outputs == 3:
                raise NetworkFormatError(f"{name}: 3 output channels are neither 2 nor 4")
            self._layers.zeros(f"{name}: policy option", 3)
        p1_conv, g1_conv, g1_bn, g1_act = (
            self._layers.conv(),
            self._layers.conv(),
            self._layers.batch_norm(),
            self._layers.activation(),
        )
        to_bias, p1_bn, p1_act, p2_conv = (
            self._layers.matmul(),
            self._layers.batch_norm(),
            self._layers.activation(),
            self._layers.conv(),
        )
        to_pass = self._layers.matmul()
        pass_head = None
        pass_width = outputs
        if self._layers.version >= 15:
            pass_width = p1_conv.out_channels
            pass_head = PassHead(self._layers.bias(pass_width), self._layers.activation(), self._layers.matmul())
            agree(name, "pass channels", pass_head.matmul.in_channels, pass_width)
            agree(name, "pass outputs", pass_head.matmul.out_channels, outputs)
        chain(name, p1_conv.in_channels, p1_conv, p1_bn, p2_conv, outputs)
        chain(name, g1_conv.in_channels, g1_conv, g1_bn)
        _pooled(name, g1_bn, to_bias, p1_bn.channels)
        _pooled(name, g1_bn, to_pass, pass_width)
        return PolicyHead(name, p1_conv, g1_conv, g1_bn, g1_act, to_bias, p1_bn, p1_act, p2_conv, to_pass, pass_head)

    def _value_head(self) -> ValueHead:
        name = self._tokens.word("value head name")
        if self._layers.version >= 17:
            self._layers.zeros(f"{name}: value option", 3)
        v1_conv, v1_bn, v1_act = self._layers.conv(), self._layers.batch_norm(), self._layers.activation()
        v2 = self._layers.matmul()
        v2_bias, v2_act = self._layers.bias(v2.out_channels), self._layers.activation()
        v3 = self._layers.matmul()
        v3_bias = self._layers.bias(VALUE_CHANNELS)
        score = self._layers.matmul()
        score_bias = self._layers.bias(4 if self._layers.version == 8 else 6)
        ownership = self._layers.conv()
        chain(name, v1_conv.in_channels, v1_conv, v1_bn, ownership, 1)
        _pooled(name, v1_bn, v2, v2.out_channels)
        agree(v3.name, "input channels", v3.in_channels, v2.out_channels)
        agree(v3.name, "output channels", v3.out_channels, VALUE_CHANNELS)
        agree(score.name, "input channels", score.in_channels, v2.out_channels)
        agree(score.name, "output channels", score.out_channels, len(score_bias))
        return ValueHead(name, v1_conv, v1_bn, v1_act, v2, v2_bias, v2_act, v3, v3_bias, score, score_bias, ownership)


def _pooled(name: str, source: BatchNorm, matmul: MatMul, outputs: int) -> None:
    """Pooling gives three numbers a channel."""
    agree(matmul.name, "input channels", matmul.in_channels, 3 * source.channels)
    agree(f"{name}: {matmul.name}", "output channels", matmul.out_channels, outputs)
