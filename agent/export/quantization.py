"""What static INT8 makes of a network: for each quantized convolution its integers and scales. Start at `Quantization`.

Pure values; `workshop/calibrate.py` and quantization-aware training make them, `quantized.py` writes them as a graph.
With q = clip(round(gain·x / input_scale) + input_zero_point, 0, 255), a quantized convolution is

    y = input_scale · weight_scale[o] · Σ weights[o, …]·(q − input_zero_point) + bias[o]

and, where the result is itself stored in eight bits,  y = output gain[o] · dequantized(quantized(y)).
Rounding is to the nearest, ties to even, as in ONNX.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.errors import CalibrationError
from agent.export.network import (
    Array,
    BatchNorm,
    Block,
    Conv,
    GpoolBlock,
    NestedBlock,
    Network,
    OrdinaryBlock,
)
from agent.model import disk

LEVELS = 255  # of an eight-bit activation, besides zero


@dataclass(frozen=True)
class Scale:
    """Real number = scale · (integer − zero_point), the integer 0 to 255. Zero itself is always exact."""

    scale: float
    zero_point: int

    def rounded(self, x: Array) -> Array:
        """`x` as it comes back from eight bits."""
        q: Array = np.rint(x * np.float32(1 / self.scale))
        np.clip(q, -self.zero_point, LEVELS - self.zero_point, out=q)
        q *= np.float32(self.scale)
        return q


@dataclass(frozen=True)
class Output:
    """How a result is stored: divided by `gain` [out] (which is folded into weights and bias), eight bits, and
    multiplied again."""

    scale: Scale
    gain: Array


@dataclass(frozen=True)
class QuantizedConv:
    """`weights` int8 [out, in, y, x] with `weight_scale` [out]; the normalisation behind the convolution is folded in,
    `bias` [out] is all that is added. `gain` [in] multiplies the input before it is rounded; the weights are already
    divided by it. None for no gain. `output` is None where the result is not rounded; where it is `chained`, a ReLU and
    the rounding of the next convolution's input follow at once, which an integer convolution does by itself."""

    weights: NDArray[np.int8]
    weight_scale: Array
    bias: Array
    input: Scale
    gain: Array | None = None
    output: Output | None = None
    chained: bool = False

    @property
    def real_weights(self) -> Array:
        """[out, in, y, x] as the integers stand for them (for the input with its gain)."""
        return np.asarray(self.weights * self.weight_scale[:, None, None, None], np.float32)


@dataclass(frozen=True)
class Quantization:
    """`convs` by the convolution's name. `gains` [channels] by the name of a normalisation before a ReLU: its scale and
    bias are multiplied, the weights of what reads the result divided, which changes nothing but how even the channels
    are (`prepared`). `biases` replaces that of a normalisation or of the last layers, by name. `stored` names
    convolutions that compute in fp32 with weights stored as int8. `recipe` tells a manifest how it was made."""

    convs: Mapping[str, QuantizedConv]
    gains: Mapping[str, Array] = field(default_factory=dict)
    biases: Mapping[str, Array] = field(default_factory=dict)
    stored: frozenset[str] = frozenset()
    recipe: Mapping[str, str] = field(default_factory=dict)

    def prepared(self, network: Network) -> Network:
        """`network` with the gains and the corrected biases in it: what the layers left in fp32 are, and what the
        quantized convolutions stand for."""
        trunk, policy, value = network.trunk, network.policy_head, network.value_head
        blocks = tuple(self._block(block) for block in trunk.blocks)
        tip = self._norm(trunk.tip_norm) if isinstance(trunk.tip_norm, BatchNorm) else trunk.tip_norm
        return dataclasses.replace(
            network,
            trunk=dataclasses.replace(trunk, blocks=blocks, tip_norm=tip),
            policy_head=dataclasses.replace(policy, g1_bn=self._norm(policy.g1_bn), p1_bn=self._norm(policy.p1_bn)),
            value_head=dataclasses.replace(
                value,
                v1_bn=self._norm(value.v1_bn),
                v2_bias=self.biases.get(value.v2_matmul.name, value.v2_bias),
                v3_bias=self.biases.get(value.v3_matmul.name, value.v3_bias),
                score_bias=self.biases.get(value.score_matmul.name, value.score_bias),
            ),
        )

    def _block(self, block: Block) -> Block:
        if isinstance(block, NestedBlock):
            return dataclasses.replace(
                block,
                pre_bn=self._norm(block.pre_bn),
                blocks=tuple(self._block(inside) for inside in block.blocks),
                post_bn=self._norm(block.post_bn),
            )
        if not isinstance(block, OrdinaryBlock | GpoolBlock):
            return block
        before, between = self.gains.get(block.pre_bn.name), self.gains.get(block.mid_bn.name)
        changed = dataclasses.replace(
            block,
            pre_bn=self._norm(block.pre_bn),
            regular_conv=_divided(block.regular_conv, before),
            mid_bn=self._norm(block.mid_bn),
            final_conv=_divided(block.final_conv, between),
        )
        if isinstance(changed, GpoolBlock):
            return dataclasses.replace(
                changed, gpool_conv=_divided(changed.gpool_conv, before), gpool_bn=self._norm(changed.gpool_bn)
            )
        return changed

    def _norm(self, bn: BatchNorm) -> BatchNorm:
        gain = self.gains.get(bn.name, np.ones(1, np.float32))
        return BatchNorm(bn.name, bn.scale * gain, self.biases.get(bn.name, bn.bias) * gain)

    def sha256(self) -> str:
        """Of all integers, scales and texts, whatever the file around them looks like."""
        total = hashlib.sha256()
        for name, values in sorted(_arrays(self).items()):
            total.update(f"{name} {values.dtype.str} {values.shape};".encode())
            total.update(np.ascontiguousarray(values).tobytes())
        return total.hexdigest()

    def save(self, path: Path) -> None:
        """Write it in one step.

        Raises:
            CalibrationError: `path` cannot be written; what was there is still there.
        """
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **_arrays(self))
        try:
            disk.write_atomically(path, buffer.getvalue())
        except OSError as error:
            raise CalibrationError(f"cannot write {path}: {error.strerror}") from error


def _divided(conv: Conv, gain: Array | None) -> Conv:
    return conv if gain is None else Conv(conv.name, conv.weights / gain[None, :, None, None], conv.dilation)


# ---------------------------------------------------------------- the file

_SEPARATOR = "|"  # between what an entry is and the name in the network's file


def _arrays(quantization: Quantization) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {
        "stored": np.array(sorted(quantization.stored), np.str_),
        "recipe": np.array([f"{key}={value}" for key, value in quantization.recipe.items()], np.str_),
    }
    for kind, table in (("gain", quantization.gains), ("bias", quantization.biases)):
        arrays |= {f"{kind}{_SEPARATOR}{name}": values for name, values in table.items()}
    for name, conv in quantization.convs.items():
        parts: dict[str, NDArray[Any]] = {
            "weights": conv.weights,
            "scale": conv.weight_scale,
            "offset": conv.bias,
            "input": _pair(conv.input),
            "chained": np.array(conv.chained),
        }
        if conv.gain is not None:
            parts["input_gain"] = conv.gain
        if conv.output is not None:
            parts |= {"output": _pair(conv.output.scale), "output_gain": conv.output.gain}
        arrays |= {f"conv.{part}{_SEPARATOR}{name}": values for part, values in parts.items()}
    return arrays


# What numpy raises for files of arrays that are none; one of a single array comes back as that, which is no context
# manager.
UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    TypeError,
    AttributeError,
    MemoryError,  # a header may claim any size
    zlib.error,
    zipfile.BadZipFile,
)


def load_quantization(path: Path) -> Quantization:
    """Raises CalibrationError: not there, or not what `Quantization.save` wrote."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return _read({name: file[name] for name in file.files})
    except UNREADABLE as error:
        raise CalibrationError(f"{path} is no quantization: {error}", fix="Export the network again.") from error


def _read(arrays: Mapping[str, NDArray[Any]]) -> Quantization:
    tables: dict[str, dict[str, NDArray[Any]]] = {}
    for key, values in arrays.items():
        kind, _, name = key.partition(_SEPARATOR)
        tables.setdefault(kind, {})[name] = values
    convs = {name: _read_conv(tables, name) for name in tables.get("conv.weights", {})}
    recipe = dict(str(line).split("=", 1) for line in arrays["recipe"])
    stored = frozenset(str(name) for name in arrays["stored"])
    return Quantization(convs, tables.get("gain", {}), tables.get("bias", {}), stored, recipe)


def _read_conv(tables: Mapping[str, Mapping[str, NDArray[Any]]], name: str) -> QuantizedConv:
    def part(kind: str) -> NDArray[Any] | None:
        return tables.get(f"conv.{kind}", {}).get(name)

    def needed(kind: str) -> NDArray[Any]:
        return tables[f"conv.{kind}"][name]

    output = part("output")
    return QuantizedConv(
        weights=needed("weights"),
        weight_scale=needed("scale"),
        bias=needed("offset"),
        input=_scale(needed("input")),
        gain=part("input_gain"),
        output=None if output is None else Output(_scale(output), needed("output_gain")),
        chained=bool(needed("chained")),
    )


def _pair(scale: Scale) -> NDArray[np.float64]:
    return np.array([scale.scale, scale.zero_point], np.float64)


def _scale(pair: NDArray[Any]) -> Scale:
    return Scale(float(pair[0]), int(pair[1]))
