"""Writes small networks of random weights in KataGo's file format, versions 8 to 17, with any kinds of blocks.

Independent of `agent/export`: a file is a list of words and arrays, written down in the order of KataGo's
`cpp/neuralnet/desc.cpp`. What is written is also kept as a tree of dicts, for `network_oracle.py` to compute with.
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np

ACTIVATIONS = ("ACTIVATION_IDENTITY", "ACTIVATION_RELU", "ACTIVATION_MISH", "ACTIVATION_SILU")
# Kind of attention → heads, heads of keys and values, channels of a query, of a value, the rotary encoding.
ATTENTION = {
    "attention": (2, 2, 6, 4, "learned"),
    "shared keys": (6, 2, 4, 3, "learned"),
    "one key": (3, 1, 4, 5, "fixed"),
    "fixed": (2, 2, 10, 4, "fixed"),
    "placeless": (2, 1, 5, 4, "none"),
}
METADATA_CHANNELS = 192


class NetworkWriter:
    """One random network. `blocks` are kinds: "ordinary", "gpool", "ffn", one of `ATTENTION`, or a list for a nested
    bottleneck of such. `tip` is how the trunk ends: "batch", "rms" or "spatial rms"; `metadata` gives it an encoder for
    a human profile."""

    def __init__(
        self,
        version: int,
        blocks: list[Any],
        *,
        channels: int = 8,
        seed: int = 0,
        activation: str = "ACTIVATION_RELU",
        first_kernel: int = 3,
        dilation: int = 1,
        text: bool = False,
        policy_channels: int = 2,
        tip: str = "batch",
        metadata: bool = False,
    ) -> None:
        self.version = version
        self._random = np.random.default_rng(seed)
        self._activation = activation if version >= 11 else "ACTIVATION_RELU"
        self._dilation = dilation
        self._text = text
        self._tip = tip
        self._metadata = metadata
        self._out = bytearray()
        self.tree = self._network(blocks, channels, first_kernel, policy_channels)

    @property
    def data(self) -> bytes:
        return bytes(self._out)

    def write(self, path: Path) -> Path:
        """Write the file, gzipped where its name ends in .gz."""
        path.write_bytes(gzip.compress(self.data, 1) if path.suffix == ".gz" else self.data)
        return path

    # ------------------------------------------------------------ structure

    def _network(self, blocks: list[Any], channels: int, first_kernel: int, policy_channels: int) -> dict[str, Any]:
        version = self.version
        outputs = 1 if version < 12 else 2 if version < 16 else 4 if version == 16 else policy_channels
        self._words(f"random-v{version}", version, 22, 19)
        if version >= 13:
            self._words(20.0, 20.0, 20.0, 20.0, 40.0, 0.25, 150.0)
        if version >= 15:
            self._words(int(self._metadata), 1, *[0] * 6)
        self._words("trunk", len(blocks), channels, channels, channels, channels, channels)
        if version >= 15:
            self._words(int(self._tip != "batch"), *[0] * 5)
        tree: dict[str, Any] = {"version": version}
        tree["conv"] = self._conv("first", first_kernel, 22, channels)
        tree["global"] = self._matmul("global", 19, channels)
        if self._metadata:
            tree["metadata"] = self._encoder(channels)
        tree["blocks"] = self._blocks(blocks, channels, "b")
        if self._tip == "batch":
            tree["tip_bn"] = self._bn("tip", channels)
        else:
            tree["tip_rms"] = self._rms("tip", channels, 0.1, int(self._tip == "spatial rms"), 0)
            tree["tip_rms"]["bias"] = self._floats((channels,), 0.3)
        tree["tip_act"] = self._act("tip")
        tree["policy"] = self._policy(channels, outputs)
        tree["value"] = self._value(channels)
        return tree

    def _blocks(self, kinds: list[Any], channels: int, prefix: str) -> list[dict[str, Any]]:
        return [self._block(kind, channels, f"{prefix}{index}") for index, kind in enumerate(kinds)]

    def _block(self, kind: Any, channels: int, name: str) -> dict[str, Any]:
        if isinstance(kind, list):
            inner = max(2, channels // 2)
            self._words("nested_bottleneck_block", name, len(kind))
            return {
                "kind": "nested",
                **self._pre(name, channels),
                "pre_conv": self._conv(f"{name}.in", 1, channels, inner),
                "blocks": self._blocks(kind, inner, f"{name}."),
                "post_bn": self._bn(f"{name}.post", inner),
                "post_act": self._act(f"{name}.post"),
                "post_conv": self._conv(f"{name}.out", 1, inner, channels),
            }
        if kind == "ffn":
            return self._ffn(channels, name)
        if kind in ATTENTION:
            return self._attention(kind, channels, name)
        self._words(f"{kind}_block", name)
        block = {"kind": kind, **self._pre(name, channels)}
        middle = channels
        if kind == "gpool":
            pooled = max(2, channels // 4)
            middle = channels - pooled
            block["conv1"] = self._conv(f"{name}.1", 3, channels, middle)
            block["gconv"] = self._conv(f"{name}.g", 3, channels, pooled)
            block["gbn"], block["gact"] = self._bn(f"{name}.g", pooled), self._act(f"{name}.g")
            block["gmul"] = self._matmul(f"{name}.g", 3 * pooled, middle)
        else:
            block["conv1"] = self._conv(f"{name}.1", 3, channels, middle)
        block["mid_bn"], block["mid_act"] = self._bn(f"{name}.mid", middle), self._act(f"{name}.mid")
        block["conv2"] = self._conv(f"{name}.2", 3, middle, channels)
        return block

    def _pre(self, name: str, channels: int) -> dict[str, Any]:
        return {"pre_bn": self._bn(f"{name}.pre", channels), "pre_act": self._act(f"{name}.pre")}

    def _attention(self, kind: str, channels: int, name: str) -> dict[str, Any]:
        heads, kv_heads, query_dim, value_dim, rope = ATTENTION[kind]
        self._words("transformer_attention_block", name, heads, kv_heads, query_dim, value_dim)
        self._words(int(rope != "none"), int(rope == "learned"))
        block: dict[str, Any] = {"kind": "attention", "heads": heads, "kv_heads": kv_heads}
        block["norm"] = self._rms(f"{name}.norm", channels, 1e-6)
        block["q"] = self._matmul(f"{name}.q", channels, heads * query_dim)
        block["k"] = self._matmul(f"{name}.k", channels, kv_heads * query_dim)
        block["v"] = self._matmul(f"{name}.v", channels, kv_heads * value_dim)
        block["out"] = self._matmul(f"{name}.out", heads * value_dim, channels)
        if rope == "learned":
            self._words(f"{name}.rope", kv_heads, query_dim // 2, 2)
            block["frequencies"] = self._floats((kv_heads, query_dim // 2, 2), 0.5)
        elif rope == "fixed":
            self._words(f"{name}.rope", 50.0)
            block["theta"] = 50.0
        return block

    def _ffn(self, channels: int, name: str) -> dict[str, Any]:
        hidden = 2 * channels + 1
        self._words("transformer_ffn_block", name, channels, hidden, 1)
        return {
            "kind": "ffn",
            "norm": self._rms(f"{name}.norm", channels, 1e-6),
            "linear": self._matmul(f"{name}.linear", channels, hidden),
            "gate": self._matmul(f"{name}.gate", channels, hidden),
            "out": self._matmul(f"{name}.out", hidden, channels),
        }

    def _encoder(self, channels: int) -> dict[str, Any]:
        self._words("encoder", METADATA_CHANNELS)
        encoder: dict[str, Any] = {"m1": self._matmul("e1", METADATA_CHANNELS, 7), "b1": self._bias("e1", 7)}
        encoder["act1"] = self._act("e1")
        encoder["m2"], encoder["b2"] = self._matmul("e2", 7, 6), self._bias("e2", 6)
        encoder["act2"], encoder["m3"] = self._act("e2"), self._matmul("e3", 6, channels)
        return encoder

    def _policy(self, channels: int, outputs: int) -> dict[str, Any]:
        self._words("policy")
        if self.version >= 17:
            self._words(outputs, 0, 0, 0)
        head: dict[str, Any] = {"p1": self._conv("p1", 1, channels, 4), "g1": self._conv("g1", 1, channels, 3)}
        head["gbn"], head["gact"] = self._bn("g1", 3), self._act("g1")
        head["gmul"] = self._matmul("g2p", 9, 4)
        head["pbn"], head["pact"] = self._bn("p1", 4), self._act("p1")
        head["p2"] = self._conv("p2", 1, 4, outputs)
        head["pass"] = self._matmul("pass", 9, 4 if self.version >= 15 else outputs)
        if self.version >= 15:
            head["pass_bias"], head["pass_act"] = self._bias("pass", 4), self._act("pass")
            head["pass2"] = self._matmul("pass2", 4, outputs)
        return head

    def _value(self, channels: int) -> dict[str, Any]:
        self._words("value")
        if self.version >= 17:
            self._words(0, 0, 0)
        scores = 4 if self.version == 8 else 6
        head: dict[str, Any] = {"v1": self._conv("v1", 1, channels, 5)}
        head["bn1"], head["act1"] = self._bn("v1", 5), self._act("v1")
        head["v2"], head["b2"], head["act2"] = self._matmul("v2", 15, 6), self._bias("v2", 6), self._act("v2")
        head["v3"], head["b3"] = self._matmul("v3", 6, 3), self._bias("v3", 3)
        head["sv3"], head["sb3"] = self._matmul("sv3", 6, scores), self._bias("sv3", scores)
        head["own"] = self._conv("own", 1, 5, 1)
        return head

    # ------------------------------------------------------------ layers

    def _conv(self, name: str, kernel: int, inputs: int, outputs: int) -> dict[str, Any]:
        dilation = self._dilation if kernel > 1 else 1
        self._words(name, kernel, kernel, inputs, outputs, dilation, dilation)
        weights = self._floats((kernel, kernel, inputs, outputs), (2 / (kernel**2 * inputs)) ** 0.5)
        return {"weights": weights, "dilation": dilation}

    def _bn(self, name: str, channels: int) -> dict[str, Any]:
        has_scale, has_bias = bool(self._random.integers(2)), bool(self._random.integers(2))
        self._words(name, channels, 1e-3, int(has_scale), int(has_bias))
        mean, variance = self._floats((channels,), 0.2), self._floats((channels,), 0.3, above=1.0)
        scale = self._floats((channels,), 0.3, above=1.0) if has_scale else np.ones(channels)
        bias = self._floats((channels,), 0.3) if has_bias else np.zeros(channels)
        return {"mean": mean, "variance": variance, "scale": scale, "bias": bias, "epsilon": 1e-3}

    def _rms(self, name: str, channels: int, epsilon: float, *options: int) -> dict[str, Any]:
        self._words(name, channels, epsilon, *options)
        return {"scale": self._floats((channels,), 0.3, above=0.7), "epsilon": epsilon, "spatial": any(options)}

    def _act(self, name: str) -> str:
        self._words(name, *([self._activation] if self.version >= 11 else []))
        return self._activation

    def _matmul(self, name: str, inputs: int, outputs: int) -> Any:
        self._words(name, inputs, outputs)
        return self._floats((inputs, outputs), (1 / inputs) ** 0.5)

    def _bias(self, name: str, channels: int) -> Any:
        self._words(name, channels)
        return self._floats((channels,), 0.3)

    def _words(self, *words: object) -> None:
        for word in words:
            self._out += f"{word}\n".encode()

    def _floats(self, shape: tuple[int, ...], spread: float, above: float = 0.0) -> Any:
        values = self._random.standard_normal(shape).astype(np.float32) * np.float32(spread)
        if above:
            values = np.abs(values) + np.float32(above)
        if self._text:
            self._words(" ".join(repr(float(value)) for value in values.ravel()))
        else:
            self._out += b"@BIN@" + values.astype("<f4").tobytes() + b"\n"
        return values.astype(np.float64)
