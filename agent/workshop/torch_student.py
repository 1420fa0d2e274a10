"""A network that computes as its quantization says and can be trained to do it better. Needs the extra "qat".

Start at `Student`. Trained is what a `Quantization` holds, and nothing else: the quantized convolutions' weights,
biases and scales, and the biases of the layers in fp32. So every format of static INT8 takes what comes out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from torch import nn

from agent.errors import CalibrationError
from agent.export.network import Array, Network
from agent.export.quantization import Quantization, QuantizedConv
from agent.workshop.torch_layers import Convolution, Linear, Normalisation, to_array
from agent.workshop.torch_network import TorchNetwork
from agent.workshop.torch_quantizers import QuantizedConvolution


class Trained(NamedTuple):
    """What is trained, by kind: weights, each with the logarithms of its scales; biases; logarithms of scales."""

    weights: list[tuple[nn.Parameter, nn.Parameter]]
    biases: list[nn.Parameter]
    map_scales: list[nn.Parameter]
    weight_scales: list[nn.Parameter]


class Student:
    """`module` answers as the quantized network does."""

    def __init__(self, network: Network, quantization: Quantization) -> None:
        """Raises:
        CalibrationError: `quantization` is of another network.
        ConversionFailed: see `TorchNetwork`.
        """
        self._start = quantization
        self.module = TorchNetwork(quantization.prepared(network))
        self.module.requires_grad_(False)
        by_name = {convolution.conv.name: convolution for convolution in self.module.convolutions()}
        _require_same_layers(quantization.convs, by_name)
        largest = _largest(quantization)
        self.convs = {
            name: QuantizedConvolution(by_name[name], start, largest) for name, start in quantization.convs.items()
        }
        self.biases = self._fp32_biases()
        kinds = self.groups()
        for parameter in [
            *(weights for weights, _ in kinds.weights),
            *kinds.biases,
            *kinds.map_scales,
            *kinds.weight_scales,
        ]:
            parameter.requires_grad_(True)

    def groups(self) -> Trained:
        convs = self.convs.values()
        return Trained(
            weights=[(conv.weights, conv.weight_scales) for conv in convs],
            biases=[*(conv.bias for conv in convs), *self.biases.values()],
            map_scales=[scale for conv in convs for scale in conv.map_scales],
            weight_scales=[conv.weight_scales for conv in convs],
        )

    def value(self, recipe: Mapping[str, str]) -> Quantization:
        """As it is now; `recipe` is added to that of the start."""
        gains = self._start.gains
        biases: dict[str, Array] = {}
        for name, parameter in self.biases.items():
            # The bias is multiplied by the gain wherever a quantization is applied.
            biases[name] = np.asarray(to_array(parameter) / gains.get(name, np.float32(1)), np.float32)
        return dataclasses.replace(
            self._start,
            convs={name: conv.value() for name, conv in self.convs.items()},
            biases=biases,
            recipe={**self._start.recipe, **recipe},
        )

    def _fp32_biases(self) -> dict[str, nn.Parameter]:
        """By the name that `Quantization.biases` knows them by."""
        found: dict[str, nn.Parameter] = {}
        for module in self.module.modules():
            if isinstance(module, Normalisation):
                found[module.bn.name] = module.bias
            elif isinstance(module, Convolution) and module.bn is not None and module.conv.name not in self.convs:
                assert module.bias is not None
                found[module.bn.name] = module.bias
        head = self.module.value_head
        for each in (head.v2, head.v3, head.score):
            assert isinstance(each, Linear) and each.bias is not None
            found[each.matmul.name] = each.bias
        return found


def _largest(quantization: Quantization) -> int:
    """Of the integers that weights may be: calibration may have kept to seven bits, for kernels that saturate."""
    used = max(int(np.abs(conv.weights.astype(np.int16)).max()) for conv in quantization.convs.values())
    return 127 if used > 64 else 64 if used == 64 else 63


def _require_same_layers(convs: Mapping[str, QuantizedConv], by_name: Mapping[str, Convolution]) -> None:
    for name, conv in convs.items():
        if name not in by_name or by_name[name].weight.shape != conv.weights.shape:
            raise CalibrationError(
                f"the quantization has a layer {name} that the network has not",
                fix="Give the quantization that was made of this network.",
            )
