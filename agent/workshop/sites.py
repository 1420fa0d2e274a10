"""Which convolutions static INT8 takes, and what stands before and behind each. Start at `sites_of`."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from agent.errors import ConversionFailed
from agent.export.network import Activation, BatchNorm, Conv, GpoolBlock, Network, OrdinaryBlock, walk_blocks


class Behind(enum.Enum):
    """What happens to a result: a ReLU and then the next convolution, which needs it rounded anyway; anything else."""

    NEXT = "next"
    ELSE = "else"


@dataclass(frozen=True)
class Site:
    """One 3×3 convolution of the trunk. `before` and `activation` make its input; `merged` is the normalisation that is
    folded into it, None for the last one of a block. `block` is its block's place in the trunk. `pooled` tells that a
    bias from global pooling went into its input."""

    conv: Conv
    before: BatchNorm
    activation: Activation
    merged: BatchNorm | None
    behind: Behind
    block: int
    pooled: bool = False

    @property
    def scalable(self) -> bool:
        """A ReLU passes a gain on, so that one before it costs nothing."""
        return self.activation is Activation.RELU


def sites_of(network: Network) -> dict[str, Site]:
    """By name, in the order in which they are computed. First convolution, heads, matrix products and 1×1 convolutions
    are none: they are few operations, and quantizing them is known to cost the most.

    Raises:
        ConversionFailed: two convolutions have the same name, so that nothing can be said about one of them.
    """
    found: dict[str, Site] = {}
    for place, top in enumerate(network.trunk.blocks):
        for block in walk_blocks((top,)):
            if not isinstance(block, OrdinaryBlock | GpoolBlock):
                continue
            for site in _of_block(block, place):
                if site.conv.weights.shape[2:] == (1, 1):
                    continue
                if site.conv.name in found:
                    raise ConversionFailed(
                        f"two convolutions are named {site.conv.name}", fix="Quantize its weights only."
                    )
                found[site.conv.name] = site
    return found


def kept_exact(sites: Mapping[str, Site], last_blocks: float) -> tuple[str, ...]:
    """What stays in fp32 wherever nothing better is known: the last blocks of the trunk, a share `last_blocks` of all,
    and what reads a pooled bias (docs/decisions/0023 has the measurements)."""
    blocks = 1 + max((site.block for site in sites.values()), default=0)
    first_kept = blocks - round(last_blocks * blocks)
    return tuple(name for name, site in sites.items() if site.pooled or site.block >= first_kept)


def _of_block(block: OrdinaryBlock | GpoolBlock, place: int) -> list[Site]:
    pre, mid = (block.pre_bn, block.pre_act), (block.mid_bn, block.mid_act)
    last = Site(block.final_conv, *mid, None, Behind.ELSE, place, isinstance(block, GpoolBlock))
    if isinstance(block, GpoolBlock):
        pooled = Site(block.gpool_conv, *pre, block.gpool_bn, Behind.ELSE, place)
        return [pooled, Site(block.regular_conv, *pre, block.mid_bn, Behind.ELSE, place), last]
    behind = Behind.NEXT if block.mid_act is Activation.RELU else Behind.ELSE
    return [Site(block.regular_conv, *pre, block.mid_bn, behind, place), last]
