"""A `Network` as a PyTorch module that computes what its ONNX graph does. Needs the extra "qat".

Start at `TorchNetwork`. As in the graph (`export/emit.py`), a normalisation behind a convolution is folded into its
weights, height and width are free, and nothing is masked: all positions of a batch are on one board size. So what is
trained here is exactly what a graph holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from agent.errors import ConversionFailed
from agent.export.network import (
    BatchNorm,
    Block,
    GpoolBlock,
    NestedBlock,
    Network,
    OrdinaryBlock,
    PolicyHead,
    ValueHead,
)
from agent.workshop.torch_layers import Convolution, Linear, Normalisation, activation_of, pool, pool_value


class TorchOutputs(NamedTuple):
    """As `Outputs` in `engine/backends/interface.py`."""

    policy: Tensor
    value: Tensor
    score: Tensor
    ownership: Tensor


class TorchNetwork(nn.Module):
    """`forward` takes spatial [n, 22, y, x] and global [n, 19], both float32, and answers as `Outputs`."""

    def __init__(self, network: Network) -> None:
        """Raises ConversionFailed for a kind of layer that cannot be trained."""
        super().__init__()
        trunk = network.trunk
        if trunk.metadata_encoder is not None:
            raise _not_trainable(trunk.metadata_encoder.name)
        self.initial_conv = Convolution(trunk.initial_conv)
        self.initial_matmul = Linear(trunk.initial_matmul)
        self.blocks = nn.ModuleList(_block(block) for block in trunk.blocks)
        if not isinstance(trunk.tip_norm, BatchNorm):
            raise _not_trainable(trunk.tip_norm.name)
        self.tip_norm, self.tip_act = Normalisation(trunk.tip_norm), activation_of(trunk.tip_act)
        self.policy_head, self.value_head = _Policy(network.policy_head), _Value(network.value_head)

    def forward(self, spatial: Tensor, global_: Tensor) -> TorchOutputs:
        x = self.initial_conv(spatial) + self.initial_matmul(global_)[:, :, None, None]
        for block in self.blocks:
            x = block(x)
        x = self.tip_act(self.tip_norm(x))
        return TorchOutputs(self.policy_head(x), *self.value_head(x))

    def convolutions(self) -> Iterator[Convolution]:
        """In the order of the data's way."""
        return (module for module in self.modules() if isinstance(module, Convolution))


# -------------------------------------------------------------------- blocks


class _Ordinary(nn.Module):
    def __init__(self, block: OrdinaryBlock) -> None:
        super().__init__()
        self.pre_bn, self.pre_act = Normalisation(block.pre_bn), activation_of(block.pre_act)
        self.regular_conv = Convolution(block.regular_conv, block.mid_bn)
        self.mid_act = activation_of(block.mid_act)
        self.final_conv = Convolution(block.final_conv)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.regular_conv(self.pre_act(self.pre_bn(x)))
        added: Tensor = x + self.final_conv(self.mid_act(inner))
        return added


class _Gpool(nn.Module):
    def __init__(self, block: GpoolBlock) -> None:
        super().__init__()
        self.pre_bn, self.pre_act = Normalisation(block.pre_bn), activation_of(block.pre_act)
        self.regular_conv = Convolution(block.regular_conv, block.mid_bn)
        self.gpool_conv = Convolution(block.gpool_conv, block.gpool_bn)
        self.gpool_act = activation_of(block.gpool_act)
        self.gpool_to_bias = Linear(block.gpool_to_bias, scale=block.mid_bn.scale)
        self.mid_act = activation_of(block.mid_act)
        self.final_conv = Convolution(block.final_conv)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.pre_act(self.pre_bn(x))
        bias = self.gpool_to_bias(pool(self.gpool_act(self.gpool_conv(inner))))
        inner = self.regular_conv(inner) + bias[:, :, None, None]
        added: Tensor = x + self.final_conv(self.mid_act(inner))
        return added


class _Nested(nn.Module):
    def __init__(self, block: NestedBlock) -> None:
        super().__init__()
        self.pre_bn, self.pre_act = Normalisation(block.pre_bn), activation_of(block.pre_act)
        self.pre_conv = Convolution(block.pre_conv)
        self.blocks = nn.ModuleList(_block(inside) for inside in block.blocks)
        self.post_bn, self.post_act = Normalisation(block.post_bn), activation_of(block.post_act)
        self.post_conv = Convolution(block.post_conv)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.pre_conv(self.pre_act(self.pre_bn(x)))
        for block in self.blocks:
            inner = block(inner)
        added: Tensor = x + self.post_conv(self.post_act(self.post_bn(inner)))
        return added


def _block(block: Block) -> nn.Module:
    if isinstance(block, OrdinaryBlock):
        return _Ordinary(block)
    if isinstance(block, GpoolBlock):
        return _Gpool(block)
    if isinstance(block, NestedBlock):
        return _Nested(block)
    raise _not_trainable(block.name)


def _not_trainable(layer: str) -> ConversionFailed:
    return ConversionFailed(
        f"{layer}: layers of this kind cannot be trained yet",
        fix="Quantize this network without training: `agent export NET --to onnx-int8`.",
    )


# -------------------------------------------------------------------- heads


class _Policy(nn.Module):
    def __init__(self, head: PolicyHead) -> None:
        super().__init__()
        self.g1_conv, self.g1_act = Convolution(head.g1_conv, head.g1_bn), activation_of(head.g1_act)
        self.gpool_to_bias = Linear(head.gpool_to_bias, scale=head.p1_bn.scale)
        self.p1_conv, self.p1_act = Convolution(head.p1_conv, head.p1_bn), activation_of(head.p1_act)
        self.p2_conv = Convolution(head.p2_conv)
        last = head.pass_head
        self.gpool_to_pass = Linear(head.gpool_to_pass, None if last is None else last.bias)
        self.pass_act = None if last is None else activation_of(last.act)
        self.pass_matmul = None if last is None else Linear(last.matmul)

    def forward(self, x: Tensor) -> Tensor:
        pooled = pool(self.g1_act(self.g1_conv(x)))
        points = self.p1_conv(x) + self.gpool_to_bias(pooled)[:, :, None, None]
        points = self.p2_conv(self.p1_act(points)).flatten(2)
        passes = self.gpool_to_pass(pooled)
        if self.pass_act is not None and self.pass_matmul is not None:
            passes = self.pass_matmul(self.pass_act(passes))
        return torch.cat([points, passes[:, :, None]], dim=2)


class _Value(nn.Module):
    def __init__(self, head: ValueHead) -> None:
        super().__init__()
        self.v1_conv, self.v1_act = Convolution(head.v1_conv, head.v1_bn), activation_of(head.v1_act)
        self.v2, self.v2_act = Linear(head.v2_matmul, head.v2_bias), activation_of(head.v2_act)
        self.v3, self.score = Linear(head.v3_matmul, head.v3_bias), Linear(head.score_matmul, head.score_bias)
        self.ownership = Convolution(head.ownership_conv)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.v1_act(self.v1_conv(x))
        hidden = self.v2_act(self.v2(pool_value(x)))
        return self.v3(hidden), self.score(hidden), self.ownership(x).flatten(1)
