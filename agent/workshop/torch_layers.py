"""The layers of a network as PyTorch modules; `torch_network.py` puts them together. Needs the extra "qat"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from agent.export.network import Activation, Array, BatchNorm, Conv, MatMul

# As in `export/emit.py`.
_MIDDLE_SIDE = 14.0


class Convolution(nn.Module):
    """`conv` with `bn`, which follows it, folded in. `weight` is [out, in, y, x], `bias` [out] or None.

    The three hooks are where quantization takes hold: of what comes in, of the weights, and of what goes out."""

    def __init__(self, conv: Conv, bn: BatchNorm | None = None) -> None:
        super().__init__()
        self.conv, self.bn = conv, bn
        weights = conv.weights if bn is None else conv.weights * bn.scale[:, None, None, None]
        self.weight = to_parameter(weights)
        self.bias = None if bn is None else to_parameter(bn.bias)
        self.quantize_input: nn.Module = nn.Identity()
        self.quantize_weight: nn.Module = nn.Identity()
        self.quantize_output: nn.Module = nn.Identity()
        self._padding = [
            dilation * (size // 2) for dilation, size in zip(conv.dilation, weights.shape[2:], strict=True)
        ]

    def forward(self, x: Tensor) -> Tensor:
        weight = self.quantize_weight(self.weight)
        y = functional.conv2d(
            self.quantize_input(x), weight, self.bias, padding=self._padding, dilation=self.conv.dilation
        )
        quantized: Tensor = self.quantize_output(y)
        return quantized


class Normalisation(nn.Module):
    """A normalisation that follows a sum and so cannot be folded."""

    def __init__(self, bn: BatchNorm) -> None:
        super().__init__()
        self.bn = bn
        self.scale, self.bias = to_parameter(bn.scale), to_parameter(bn.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None] + self.bias[:, None, None]


class Linear(nn.Module):
    """Column to column; `scale` [out] is folded into the weights."""

    def __init__(self, matmul: MatMul, bias: Array | None = None, scale: Array | None = None) -> None:
        super().__init__()
        self.matmul = matmul
        self.weight = to_parameter(matmul.weights if scale is None else matmul.weights * scale)
        self.bias = None if bias is None else to_parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


_ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    Activation.IDENTITY: nn.Identity,
    Activation.RELU: nn.ReLU,
    Activation.MISH: nn.Mish,
    Activation.SILU: nn.SiLU,
}


def activation_of(activation: Activation) -> nn.Module:
    return _ACTIVATIONS[activation]()


def pool(x: Tensor) -> Tensor:
    """Map to column of three times the channels: mean, mean·(side − 14)/10, maximum."""
    mean = x.mean((2, 3))
    return torch.cat([mean, mean * (_away(x) / 10), x.amax((2, 3))], dim=1)


def pool_value(x: Tensor) -> Tensor:
    """Map to column of three times the channels: mean, mean·(side − 14)/10, mean·((side − 14)²/100 − 0.1)."""
    mean, away = x.mean((2, 3)), _away(x)
    return torch.cat([mean, mean * (away / 10), mean * (away * away / 100 - 0.1)], dim=1)


def _away(x: Tensor) -> float:
    return float((x.shape[2] * x.shape[3]) ** 0.5) - _MIDDLE_SIDE


def to_parameter(values: Array) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(values, np.float32, order="C")))


def to_array(parameter: Tensor) -> Array:
    return np.array(parameter.detach().cpu().numpy(), np.float32)
