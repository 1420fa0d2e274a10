"""What QuantizeLinear and DequantizeLinear do to a tensor, with gradients. Needs the extra "qat".

Rounding has no gradient worth the name, so it is passed over ("straight through") where the number was within range,
and the step size has the gradient of learned step size quantization (Esser et al., 2020, arXiv 1902.08153): how far
rounding moved each number, and the bound where it was cut off. Steps are trained as logarithms: they stay positive, and
one learning rate fits steps of every size.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from agent.export.network import Array
from agent.export.quantization import LEVELS, Output, QuantizedConv, Scale
from agent.workshop.torch_layers import Convolution, to_array


class _FakeQuantize(torch.autograd.Function):
    """x → clamp(round(x / scale), low, high) · scale; ties to even, as ONNX has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        steps = x / scale
        rounded = steps.round()
        inside = (rounded >= low) & (rounded <= high)
        rounded.clamp_(low, high)
        ctx.save_for_backward(torch.where(inside, rounded - steps, rounded), inside, scale)
        return rounded * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor | None, None, None]:
        moved, inside, scale = ctx.saved_tensors
        (gradient,) = gradients
        to_scale = (gradient * moved).sum_to_size(scale.shape) if ctx.needs_input_grad[1] else None
        return gradient * inside, to_scale, None, None


def fake_quantize(x: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
    """`x` as it comes back from integers `low` to `high` (0 stands for 0) of `scale`, which broadcasts."""
    quantized: Tensor = _FakeQuantize.apply(x, scale, low, high)  # type: ignore[no-untyped-call]  # torch has no types
    return quantized


class MapQuantizer(nn.Module):
    """A map as it comes back from uint8, one scale for all of it. It is multiplied by `before` [channels] first and by
    `after` at last; None for neither. The integer that stands for 0 stays as it is."""

    def __init__(self, scale: Scale, *, before: Array | None = None, after: Array | None = None) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(float(np.log(scale.scale))))
        self.zero_point = scale.zero_point
        self.before: Tensor | None
        self.after: Tensor | None
        self.register_buffer("before", _per_channel(before))
        self.register_buffer("after", _per_channel(after))

    def forward(self, x: Tensor) -> Tensor:
        if self.before is not None:
            x = x * self.before
        x = fake_quantize(x, self.log_scale.exp(), -self.zero_point, LEVELS - self.zero_point)
        return x if self.after is None else x * self.after

    def value(self) -> Scale:
        return Scale(float(self.log_scale.detach().exp()), self.zero_point)


class WeightQuantizer(nn.Module):
    """Weights as they come back from int8, −`largest` to `largest`, with a scale for each output channel."""

    def __init__(self, scales: Array, largest: int) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.from_numpy(np.log(scales).astype(np.float32))[:, None, None, None])
        self.largest = largest

    def forward(self, weight: Tensor) -> Tensor:
        return fake_quantize(weight, self.log_scales.exp(), -self.largest, self.largest)

    def value(self, weight: Tensor) -> tuple[NDArray[np.int8], Array]:
        """Integers and scales [out]."""
        scales = self.log_scales.detach().exp()
        integers = (weight.detach() / scales).round().clamp(-self.largest, self.largest)
        return integers.cpu().numpy().astype(np.int8), to_array(scales.flatten())


class QuantizedConvolution:
    """Has `convolution` compute as `start` says; afterwards it starts there and can be trained. `value` reads it."""

    def __init__(self, convolution: Convolution, start: QuantizedConv, largest: int) -> None:
        self._convolution, self._start = convolution, start
        # In the middle of what rounds to calibration's integers: only what gradients agree on for long leaves them.
        convolution.weight.data.copy_(torch.from_numpy(start.real_weights))
        convolution.bias = nn.Parameter(torch.from_numpy(np.array(start.bias, np.float32)))
        self._input = MapQuantizer(start.input, before=start.gain)
        self._weight = WeightQuantizer(start.weight_scale, largest)
        convolution.quantize_input, convolution.quantize_weight = self._input, self._weight
        self._output: MapQuantizer | None = None
        if start.output is not None:
            self._output = MapQuantizer(start.output.scale, after=start.output.gain)
            convolution.quantize_output = self._output

    @property
    def weights(self) -> nn.Parameter:
        return self._convolution.weight

    @property
    def bias(self) -> nn.Parameter:
        assert self._convolution.bias is not None
        return self._convolution.bias

    @property
    def weight_scales(self) -> nn.Parameter:
        """Logarithms, [out, 1, 1, 1]."""
        return self._weight.log_scales

    @property
    def map_scales(self) -> list[nn.Parameter]:
        """Logarithms, of what comes in and, where it is rounded, of what goes out."""
        maps = [self._input] if self._output is None else [self._input, self._output]
        return [each.log_scale for each in maps]

    def value(self) -> QuantizedConv:
        integers, scales = self._weight.value(self._convolution.weight)
        output = self._start.output
        if output is not None and self._output is not None:
            output = Output(self._output.value(), output.gain)
        return dataclasses.replace(
            self._start,
            weights=integers,
            weight_scale=scales,
            bias=to_array(self.bias),
            input=self._input.value(),
            output=output,
        )


def _per_channel(values: Array | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(np.array(values, np.float32))[:, None, None]
