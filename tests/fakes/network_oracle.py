"""Computes what a network of `network_writer.py` says, slowly and plainly, in float64 and one position at a time.

Written from KataGo's description of the layers, sharing nothing with `agent/export`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]  # [channels, y, x]


def evaluate(tree: dict[str, Any], spatial: Map, global_: Map) -> dict[str, Map]:
    """policy [channels, area + 1], value [3], score [4 or 6], ownership [area]."""
    x = _conv(tree["conv"], spatial) + (global_ @ tree["global"])[:, None, None]
    for block in tree["blocks"]:
        x = x + _block(block, x)
    x = _act(tree["tip_act"], _bn(tree["tip_bn"], x))
    return {**_policy(tree["policy"], x), **_value(tree["value"], x)}


def _block(block: dict[str, Any], x: Map) -> Map:
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


def _act(kind: str, x: Map) -> Map:
    if kind == "ACTIVATION_RELU":
        return np.maximum(x, 0)
    if kind == "ACTIVATION_MISH":
        return np.asarray(x * np.tanh(np.logaddexp(0, x)))
    if kind == "ACTIVATION_SILU":
        return np.asarray(x / (1 + np.exp(-x)))
    return x
