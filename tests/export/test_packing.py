"""Weights as INT8 with scales."""

from __future__ import annotations

import numpy as np
import pytest

from agent.export.network import Array
from agent.export.packing import GROUP, LARGEST, Packed, pack


def wide(packed: Packed, shape: tuple[int, ...]) -> Array:
    return np.asarray((packed.values.astype(np.float32) * packed.scales).reshape(shape), np.float32)


def kernels(inputs: int, outputs: int, seed: int = 0) -> Array:
    """As trained ones: the middle tap is larger, and outputs differ in size."""
    random = np.random.default_rng(seed)
    taps = np.array([[0.3, 0.6, 0.3], [0.6, 2.0, 0.6], [0.3, 0.6, 0.3]], np.float32)[None, :, :, None]
    sizes = random.uniform(0.1, 3, outputs).astype(np.float32)
    return random.standard_normal((inputs, 3, 3, outputs)).astype(np.float32) * taps * sizes


@pytest.mark.parametrize("shape", [(GROUP, 5), (2 * GROUP, 7), (22, 4), (GROUP + 1, 3), (1, 1)])
def test_products(shape: tuple[int, int]) -> None:
    weights = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    packed = pack(weights)
    groups = shape[0] // GROUP if shape[0] % GROUP == 0 else 1
    assert packed.values.dtype == np.int8 and np.abs(packed.values.astype(int)).max() <= LARGEST
    assert packed.values.shape == (groups, shape[0] // groups, shape[1])
    assert packed.scales.shape == (groups, 1, shape[1])
    assert np.abs(wide(packed, shape) - weights).max() <= np.abs(weights).max() * 0.3
    assert np.square(wide(packed, shape) - weights).mean() < 1e-4


def test_each_tap_has_its_own_scale() -> None:
    packed = pack(kernels(2 * GROUP, 4))
    assert packed.values.shape == (2, GROUP, 3, 3, 4)
    assert packed.scales.shape == (2, 1, 3, 3, 4)
    assert (packed.scales[:, 0, 1, 1] > 2 * packed.scales[:, 0, 0, 0]).all()


def test_scales_are_no_worse_than_the_one_that_fits_the_largest() -> None:
    weights = np.random.default_rng(2).standard_t(4, (GROUP, 40)).astype(np.float32)
    fits = np.abs(weights).max(axis=0) / LARGEST
    naive = np.square(np.rint(weights / fits) * fits - weights).sum(axis=0)
    assert (np.square(wide(pack(weights), weights.shape) - weights).sum(axis=0) <= naive * (1 + 1e-6)).all()


def test_kernels_keep_what_they_add_up_to() -> None:
    """On a map that is the same everywhere, a kernel's error is the sum of its taps' errors."""
    weights = kernels(GROUP, 32)
    together = wide(pack(weights), weights.shape) - weights
    alone = wide(pack(weights.reshape(GROUP, -1)), weights.shape) - weights
    assert np.abs(together.sum(axis=(1, 2))).mean() < 0.5 * np.abs(alone.sum(axis=(1, 2))).mean()
    assert np.square(together).mean() < 2 * np.square(alone).mean(), "and each one stays close"


def test_weights_that_are_all_zero() -> None:
    packed = pack(np.zeros((GROUP, 3, 3, 2), np.float32))
    assert not packed.values.any() and np.isfinite(packed.scales).all()


def test_the_same_weights_are_packed_the_same() -> None:
    first, second = pack(kernels(GROUP, 8)), pack(kernels(GROUP, 8))
    assert (first.values == second.values).all() and (first.scales == second.scales).all()
