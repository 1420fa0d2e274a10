"""What a machine and a network have to do with each other, by counting."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.network_writer import NetworkWriter

from agent.engine.library import load
from agent.export.network import Network
from agent.export.parse import parse_network
from agent.hardware import detect
from agent.workshop.limits import Peaks, Products, count_products, limits_of, measure_peaks


def network(tmp_path: Path, blocks: list[object], **options: object) -> Network:
    return parse_network(NetworkWriter(8, blocks, channels=8, **options).write(tmp_path / "random.bin"))  # type: ignore[arg-type]


# The heads and the entry of an 8-channel network of version 8, by hand: per point, then once per board.
PER_POINT = 9 * 22 * 8 + 8 * 4 + 8 * 3 + 4 * 1 + 8 * 5 + 5 * 1
PER_BOARD = 19 * 8 + 9 * 4 + 9 * 1 + 15 * 6 + 6 * 3 + 6 * 4


def test_a_block_counts_as_its_convolutions(tmp_path: Path) -> None:
    counted = count_products(network(tmp_path, ["ordinary"]), 8, 12)
    block = 2 * 9 * 8 * 8
    assert counted.direct == 96 * (PER_POINT + block) + PER_BOARD
    # 2 × 3 tiles of 36 products instead of 96 points of 9.
    entry = 22 * 8
    by_tiles = 6 * 36 * (entry + 2 * 8 * 8)
    assert counted.winograd == by_tiles + 96 * (PER_POINT - 9 * entry) + PER_BOARD
    # 8 × 12 points as tiles of 5 and 3 by 5, 5 and 2, each with two products more than points.
    by_large_tiles = (7 + 5) * (7 + 7 + 4) * (entry + 2 * 8 * 8)
    assert counted.winograd_5 == by_large_tiles + 96 * (PER_POINT - 9 * entry) + PER_BOARD


def test_pooling_and_nested_blocks_count_too(tmp_path: Path) -> None:
    gpool = count_products(network(tmp_path, ["gpool"]), 9, 9)
    assert gpool.direct == 81 * (PER_POINT + 9 * (8 * 6 + 8 * 2 + 6 * 8)) + PER_BOARD + 6 * 6
    nested = count_products(network(tmp_path, [["ordinary"]]), 9, 9)
    assert nested.direct == 81 * (PER_POINT + 8 * 4 + 2 * 9 * 4 * 4 + 4 * 8) + PER_BOARD


def test_tiles_that_hang_over_the_edge_cost_as_much_as_whole_ones(tmp_path: Path) -> None:
    one, nine = network(tmp_path, ["ordinary"]), 9
    assert count_products(one, nine, nine).winograd > count_products(one, 8, 8).winograd * 1.7
    assert count_products(one, 19, 19).direct / count_products(one, 19, 19).winograd == pytest.approx(3.3, abs=0.4)


def test_convolutions_with_holes_are_done_directly(tmp_path: Path) -> None:
    counted = count_products(network(tmp_path, ["ordinary"], dilation=2), 9, 9)
    assert counted.direct == counted.winograd == counted.winograd_5


def test_limits_are_peaks_over_products() -> None:
    limits = limits_of(Peaks(2, 100e9, 200e9, 0.0), Products(4_000_000_000, 1_000_000_000, 800_000_000))
    assert (limits.fp32_direct, limits.fp32_winograd, limits.fp32_winograd_5) == (25.0, 100.0, 125.0)
    assert (limits.int8_direct, limits.int8_dot_direct) == (50.0, 0.0)


def test_the_meter_reads_what_this_processor_can_do() -> None:
    one = measure_peaks(1, 0.02)
    sets = detect().common_instruction_sets()
    assert isinstance(sets, frozenset)
    if "fma" in sets or "asimd" in sets:
        assert 1e9 < one.fp32 < 1e12
        assert one.fp32 < one.int8 < 1e13, "int8 without dot products is still more than fp32"
    assert (one.int8_dot > 0) == bool(sets & {"avx_vnni", "avx512_vnni", "asimddp"})
    assert load().ka_peak(99, 0.01) == 0.0
