"""Reads what networks have had since transformers came: attention, feed-forward blocks, the metadata encoder."""

from __future__ import annotations

import numpy as np

from agent.errors import NetworkFormatError
from agent.export.human_profile import METADATA_CHANNELS
from agent.export.layer_reader import MAX_CHANNELS, LayerReader, agree, chain
from agent.export.network import Array, AttentionBlock, FfnBlock, MetadataEncoder, Rope

# The only one there is.
METADATA_ENCODER_VERSION = 1


def read_attention(layers: LayerReader, name: str, channels: int) -> AttentionBlock:
    """The block behind its kind and name.

    Raises:
        NetworkFormatError: it does not fit together.
    """
    tokens = layers.tokens
    heads = layers.channels(f"{name}: heads")
    kv_heads = layers.channels(f"{name}: key and value heads")
    if heads % kv_heads:
        raise NetworkFormatError(f"{name}: {heads} heads cannot share {kv_heads} of keys and values")
    query_dim = layers.channels(f"{name}: channels of a query")
    value_dim = layers.channels(f"{name}: channels of a value")
    has_rope = tokens.integer(f"{name}: use RoPE", 0, 1)
    learned = tokens.integer(f"{name}: learned RoPE", 0, 1)
    if has_rope and query_dim % 2:
        raise NetworkFormatError(f"{name}: RoPE turns pairs of channels, but a query has {query_dim}")
    norm = layers.rms_norm()
    query, key, value, out = (layers.matmul() for _ in range(4))
    chain(name, channels, norm, query, heads * query_dim)
    chain(name, channels, key, kv_heads * query_dim)
    chain(name, channels, value, kv_heads * value_dim)
    chain(name, heads * value_dim, out, channels)
    rope = None
    if has_rope:
        pairs = query_dim // 2
        rope = Rope(_learned_rope(layers, kv_heads, pairs) if learned else _fixed_rope(layers, name, pairs))
    return AttentionBlock(name, norm, heads, kv_heads, query, key, value, out, rope)


def _learned_rope(layers: LayerReader, heads: int, pairs: int) -> Array:
    tokens = layers.tokens
    name = tokens.word("RoPE name")
    agree(name, "heads", tokens.integer(f"{name}: heads", 1, MAX_CHANNELS), heads)
    agree(name, "pairs of channels", tokens.integer(f"{name}: pairs", 1, MAX_CHANNELS), pairs)
    agree(name, "axes", tokens.integer(f"{name}: axes", 1, MAX_CHANNELS), 2)
    return tokens.floats(name, heads, pairs, 2)


def _fixed_rope(layers: LayerReader, name: str, pairs: int) -> Array:
    """Frequencies fall from 1 towards 1/theta, first for the rows, then again for the columns."""
    tokens = layers.tokens
    theta = tokens.positive(tokens.word("RoPE name") + ": theta")
    if not float(np.finfo(np.float32).tiny) <= theta <= float(np.finfo(np.float32).max):
        raise NetworkFormatError(f"{name}: RoPE's theta does not fit a float")
    rows = pairs // 2
    steps = np.concatenate([np.arange(rows), np.arange(pairs - rows)])
    fall = np.float32(1) / np.power(np.float32(theta), (2 * steps).astype(np.float32) / np.float32(pairs))
    frequencies = np.zeros((1, pairs, 2), np.float32)
    frequencies[0, :rows, 1] = fall[:rows]
    frequencies[0, rows:, 0] = fall[rows:]
    return frequencies


def read_ffn(layers: LayerReader, name: str, channels: int) -> FfnBlock:
    """The block behind its kind and name.

    Raises:
        NetworkFormatError: it does not fit together, or is of a kind that native KataGo does not run either.
    """
    agree(name, "channels", layers.channels(f"{name}: channels"), channels)
    hidden = layers.channels(f"{name}: hidden channels")
    if not layers.tokens.integer(f"{name}: use SwiGLU", 0, 1):
        raise NetworkFormatError(f"{name}: a feed-forward block without SwiGLU is not supported")
    norm = layers.rms_norm()
    linear, gate, out = (layers.matmul() for _ in range(3))
    chain(name, channels, norm, linear, hidden)
    chain(name, channels, gate, hidden)
    chain(name, hidden, out, channels)
    return FfnBlock(name, norm, linear, gate, out)


def read_metadata_encoder(layers: LayerReader, channels: int) -> MetadataEncoder:
    """The encoder that follows the trunk's first layers, where the header says that there is one.

    Raises:
        NetworkFormatError: it does not fit together.
    """
    name = layers.tokens.word("metadata encoder name")
    agree(name, "metadata channels", layers.channels(f"{name}: metadata channels"), METADATA_CHANNELS)
    matmul1 = layers.matmul()
    bias1, act1 = layers.bias(matmul1.out_channels), layers.activation()
    matmul2 = layers.matmul()
    bias2, act2 = layers.bias(matmul2.out_channels), layers.activation()
    matmul3 = layers.matmul()
    chain(name, METADATA_CHANNELS, matmul1, matmul2, matmul3, channels)
    return MetadataEncoder(name, matmul1, bias1, act1, matmul2, bias2, act2, matmul3)
