"""Computes what a network of `network_writer.py` says, slowly and plainly, in float64 and one position at a time.

Written from KataGo's description of the layers, sharing nothing with `agent/export`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]  # [channels, y, x]


def evaluate(tree: dict[str, Any], spatial: Map, global_: Map, metadata: Map | None = None) -> dict[str, Map]:
    """policy [channels, area + 1], value [3], score [4 or 6], ownership [area]."""
    x = _conv(tree["conv"], spatial) + (global_ @ tree["global"])[:, None, None]
    if metadata is not None:
        x = x + _encoded(tree["metadata"], metadata)[:, None, None]
    for block in tree["blocks"]:
        x = x + _block(block, x)
    x = _bn(tree["tip_bn"], x) if "tip_bn" in tree else _rms(tree["tip_rms"], x)
    x = _act(tree["tip_act"], x)
    return {**_policy(tree["policy"], x), **_value(tree["value"], x)}


def _encoded(encoder: dict[str, Any], metadata: Map) -> Map:
    hidden = _act(encoder["act1"], metadata @ encoder["m1"] + encoder["b1"])
    return np.asarray(_act(encoder["act2"], hidden @ encoder["m2"] + encoder["b2"]) @ encoder["m3"])


def _block(block: dict[str, Any], x: Map) -> Map:
    if block["kind"] == "ffn":
        return _ffn(block, _rms(block["norm"], x))
    if block["kind"] == "attention":
        return _attention(block, _rms(block["norm"], x))
    x = _act(block["pre_act"], _bn(block["pre_bn"], x))
    if block["kind"] == "nested":
        x = _conv(block["pre_conv"], x)
        for inside in block["blocks"]:
            x = x + _block(inside, x)
        return _conv(block["post_conv"], _act(block["post_act"], _bn(block["post_bn"], x)))
    middle = _conv(block["conv1"], x)
    if block["kind"] == "gpool":
        pooled = _act(block["gact"], _bn(block["gbn"], _conv(block["gconv"], x)))
        middle = middle + (_pool(pooled) @ block["gmul"])[:, None, None]
    return _conv(block["conv2"], _act(block["mid_act"], _bn(block["mid_bn"], middle)))


def _ffn(block: dict[str, Any], x: Map) -> Map:
    tokens = _tokens(x)
    hidden = _act("ACTIVATION_SILU", tokens @ block["linear"]) * (tokens @ block["gate"])
    return _map(hidden @ block["out"], x)


def _attention(block: dict[str, Any], x: Map) -> Map:
    heads, kv_heads = block["heads"], block["kv_heads"]
    tokens = _tokens(x)
    queries, keys, values = (
        np.split(tokens @ block[name], count, axis=1)
        for name, count in (("q", heads), ("k", kv_heads), ("v", kv_heads))
    )
    found = []
    for head in range(heads):
        shared = head // (heads // kv_heads)
        query, key = (_turned(block, shared, part, x.shape[2]) for part in (queries[head], keys[shared]))
        scores = (query @ key.conj().T).real / math.sqrt(queries[head].shape[1])
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        found.append(weights / weights.sum(axis=1, keepdims=True) @ values[shared])
    return _map(np.concatenate(found, axis=1) @ block["out"], x)


def _turned(block: dict[str, Any], head: int, tokens: Map, width: int) -> NDArray[np.complex128]:
    """The rotary encoding as what it is: pairs of channels are complex numbers, turned by the point's angle."""
    if "frequencies" not in block and "theta" not in block:
        return tokens.astype(np.complex128)
    pairs = tokens.shape[1] // 2
    turned = np.zeros((len(tokens), pairs), np.complex128)
    for point in range(len(tokens)):
        y, x = divmod(point, width)
        for pair in range(pairs):
            if "frequencies" in block:
                by_x, by_y = block["frequencies"][head, pair]
                angle = x * by_x + y * by_y
            elif pair < pairs // 2:
                angle = y * block["theta"] ** (-2 * pair / pairs)
            else:
                angle = x * block["theta"] ** (-2 * (pair - pairs // 2) / pairs)
            number = complex(tokens[point, 2 * pair], tokens[point, 2 * pair + 1])
            turned[point, pair] = number * complex(math.cos(angle), math.sin(angle))
    return turned


def _tokens(x: Map) -> Map:
    return x.reshape(len(x), -1).T


def _map(tokens: Map, like: Map) -> Map:
    return np.ascontiguousarray(tokens.T).reshape(-1, *like.shape[1:])


def _policy(head: dict[str, Any], x: Map) -> dict[str, Map]:
    pooled = _pool(_act(head["gact"], _bn(head["gbn"], _conv(head["g1"], x))))
    points = _conv(head["p1"], x) + (pooled @ head["gmul"])[:, None, None]
    points = _conv(head["p2"], _act(head["pact"], _bn(head["pbn"], points)))
    passes = pooled @ head["pass"]
    if "pass2" in head:
        passes = _act(head["pass_act"], passes + head["pass_bias"]) @ head["pass2"]
    return {"policy": np.concatenate([points.reshape(len(points), -1), passes[:, None]], axis=1)}


def _value(head: dict[str, Any], x: Map) -> dict[str, Map]:
    x = _act(head["act1"], _bn(head["bn1"], _conv(head["v1"], x)))
    mean, away = x.mean(axis=(1, 2)), _side(x) - 14
    pooled = np.concatenate([mean, mean * away / 10, mean * (away * away / 100 - 0.1)])
    hidden = _act(head["act2"], pooled @ head["v2"] + head["b2"])
    return {
        "value": hidden @ head["v3"] + head["b3"],
        "score": hidden @ head["sv3"] + head["sb3"],
        "ownership": _conv(head["own"], x).ravel(),
    }


def _pool(x: Map) -> Map:
    mean = x.mean(axis=(1, 2))
    return np.concatenate([mean, mean * (_side(x) - 14) / 10, x.max(axis=(1, 2))])


def _side(x: Map) -> float:
    return math.sqrt(x.shape[1] * x.shape[2])


def _conv(layer: dict[str, Any], x: Map) -> Map:
    weights, dilation = layer["weights"], layer["dilation"]
    kernel, _, _, outputs = weights.shape
    _, height, width = x.shape
    result = np.zeros((outputs, height, width))
    for ky in range(kernel):
        for kx in range(kernel):
            dy, dx = dilation * (ky - kernel // 2), dilation * (kx - kernel // 2)
            for y in range(max(0, -dy), min(height, height - dy)):
                for column in range(max(0, -dx), min(width, width - dx)):
                    result[:, y, column] += x[:, y + dy, column + dx] @ weights[ky, kx]
    return result


def _bn(layer: dict[str, Any], x: Map) -> Map:
    normal = (x - layer["mean"][:, None, None]) / np.sqrt(layer["variance"] + layer["epsilon"])[:, None, None]
    return np.asarray(normal * layer["scale"][:, None, None] + layer["bias"][:, None, None])


def _rms(layer: dict[str, Any], x: Map) -> Map:
    square = (x * x).mean() if layer["spatial"] else (x * x).mean(axis=0)
    normal = x / np.sqrt(square + layer["epsilon"]) * layer["scale"][:, None, None]
    return np.asarray(normal + layer.get("bias", np.zeros(len(x)))[:, None, None])


def _act(kind: str, x: Map) -> Map:
    if kind == "ACTIVATION_RELU":
        return np.maximum(x, 0)
    if kind == "ACTIVATION_MISH":
        return np.asarray(x * np.tanh(np.logaddexp(0, x)))
    if kind == "ACTIVATION_SILU":
        return np.asarray(x / (1 + np.exp(-x)))
    return x
