"""What a machine could do at most, and what a network needs: the physical limit of evaluations per second.

Start at `limits_of`. The machine's side is measured on registers alone (`core/peak_meter.h`); the network's is counted.
Only multiplications and additions of the convolutions and matrix products count: what Winograd's method spends on
transforming tiles, and all that moves memory, is overhead, so no runtime reaches 100 %.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Final

import msgspec

from agent.engine.library import load
from agent.export.network import (
    AttentionBlock,
    Block,
    Conv,
    FfnBlock,
    GpoolBlock,
    MatMul,
    NestedBlock,
    Network,
    OrdinaryBlock,
    walk_blocks,
)

# core/peak_meter.h
_FP32: Final = 0
_INT8: Final = 1
_INT8_DOT: Final = 2
# A stretch of the meter is a millisecond; of so many at least one is not interrupted, also on a busy machine.
METER_S: Final = 0.25

# F(4×4, 3×3): 36 products make 16 outputs of a 3×3 convolution.
_TILE: Final = 4
_TILE_PRODUCTS: Final = 36
# F(5×5, 3×3) with shorter tiles at the edge, as `core` does it: two products more than points, each way, for each tile.
_LARGE_TILE: Final = 5


class Peaks(msgspec.Struct, frozen=True):
    """Multiply-adds per second of all `cores` together, each at its best: fp32; int8 without and with dot-product
    instructions. 0 where the processor has none of the kind."""

    cores: int
    fp32: float
    int8: float
    int8_dot: float


class Products(msgspec.Struct, frozen=True):
    """Multiply-adds of one evaluation: with every convolution done directly, with the 3×3 ones by F(4×4, 3×3), and with
    these by F(5×5, 3×3) and shorter tiles at the edge (0 in a table of before that was counted)."""

    direct: int
    winograd: int
    winograd_5: int = 0


class Limits(msgspec.Struct, frozen=True):
    """Evaluations/s that no runtime on this machine can exceed with that arithmetic; 0 where the machine lacks it, or
    a table is older than the figure."""

    fp32_direct: float
    fp32_winograd: float
    int8_direct: float
    int8_dot_direct: float
    fp32_winograd_5: float = 0.0


def measure_peaks(cores: int, seconds: float = METER_S) -> Peaks:
    """All cores at once, for `seconds` a kind."""
    fp32, int8, dot = (_together(kind, cores, seconds) for kind in (_FP32, _INT8, _INT8_DOT))
    return Peaks(cores, fp32, int8, dot)


def limits_of(peaks: Peaks, products: Products) -> Limits:
    return Limits(
        fp32_direct=peaks.fp32 / products.direct,
        fp32_winograd=peaks.fp32 / products.winograd,
        int8_direct=peaks.int8 / products.direct,
        int8_dot_direct=peaks.int8_dot / products.direct,
        fp32_winograd_5=peaks.fp32 / products.winograd_5,
    )


def count_products(network: Network, y_size: int, x_size: int) -> Products:
    """Of one position on a board of that size."""
    area = y_size * x_size
    tiles = -(-y_size // _TILE) * -(-x_size // _TILE)
    large = (y_size + 2 * -(-y_size // _LARGE_TILE)) * (x_size + 2 * -(-x_size // _LARGE_TILE))
    direct = winograd = winograd_5 = 0
    for conv in _convolutions(network):
        outputs, inputs, height, width = conv.weights.shape
        own = outputs * inputs * height * width * area
        direct += own
        by_tiles = (height, width) == (3, 3) and conv.dilation == (1, 1)
        winograd += outputs * inputs * _TILE_PRODUCTS * tiles if by_tiles else own
        winograd_5 += outputs * inputs * large if by_tiles else own
    other = sum(times * matmul.weights.size for matmul, times in _products(network, area))
    other += sum(_attention(block, area) for block in walk_blocks(network.trunk.blocks))
    return Products(int(direct + other), int(winograd + other), int(winograd_5 + other))


def _together(kind: int, cores: int, seconds: float) -> float:
    core, found = load(), [0.0] * cores

    def measure(index: int) -> None:
        found[index] = core.ka_peak(kind, seconds)

    threads = [threading.Thread(target=measure, args=(index,)) for index in range(cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(found)


def _convolutions(network: Network) -> Iterator[Conv]:
    yield network.trunk.initial_conv
    for block in walk_blocks(network.trunk.blocks):
        match block:
            case OrdinaryBlock():
                yield from (block.regular_conv, block.final_conv)
            case GpoolBlock():
                yield from (block.regular_conv, block.gpool_conv, block.final_conv)
            case NestedBlock():
                yield from (block.pre_conv, block.post_conv)
            case AttentionBlock() | FfnBlock():
                pass
    policy, value = network.policy_head, network.value_head
    yield from (policy.p1_conv, policy.g1_conv, policy.p2_conv, value.v1_conv, value.ownership_conv)


def _products(network: Network, area: int) -> Iterator[tuple[MatMul, int]]:
    """Each matrix and how often it is multiplied with: once for the board, or once for each point."""
    yield network.trunk.initial_matmul, 1
    for block in walk_blocks(network.trunk.blocks):
        match block:
            case GpoolBlock():
                yield block.gpool_to_bias, 1
            case AttentionBlock():
                yield from ((matmul, area) for matmul in (block.query, block.key, block.value, block.out))
            case FfnBlock():
                yield from ((matmul, area) for matmul in (block.linear, block.gate, block.out))
            case OrdinaryBlock() | NestedBlock():
                pass
    policy, value = network.policy_head, network.value_head
    yield from ((matmul, 1) for matmul in (policy.gpool_to_bias, policy.gpool_to_pass))
    yield from ((matmul, 1) for matmul in (value.v2_matmul, value.v3_matmul, value.score_matmul))


def _attention(block: Block, area: int) -> int:
    """Scores of every point for every point, and the values they weigh."""
    if not isinstance(block, AttentionBlock):
        return 0
    return area * area * block.heads * (block.query_dim + block.value_dim)
