"""Rounds a layer's weights to integers so that its results change least. Pure numbers; knows no network.

A layer is a matrix [in, out] that rows of inputs are multiplied with; `moments` is the mean of xᵀ·x over those rows,
which is all that decides how much an error of the weights matters. Computed in float64.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]

LARGEST: Final = 127
# Scales tried, as shares of the one with which a column's largest weight still fits.
_SHARES: Final = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
# Added to the diagonal, as a share of its mean, before it is inverted; Frantar and others use the same.
_DAMPING: Final = 0.01
# Columns whose errors are passed on together; only a matter of speed.
_BLOCK: Final = 128


def weight_scales(matrix: Real, importance: Real) -> Real:
    """For each column the scale with the least squared error of those tried, `importance` [in] weighing each row's."""
    largest = np.abs(matrix).max(axis=0)
    fits = np.where(largest > 0, largest, 1.0) / LARGEST
    best, least = fits, np.full(matrix.shape[1], np.inf)
    for share in _SHARES:
        scales = fits * share
        error = np.clip(np.rint(matrix / scales), -LARGEST, LARGEST) * scales - matrix
        cost = importance @ np.square(error)
        best, least = np.where(cost < least, scales, best), np.minimum(cost, least)
    return best


def round_with_feedback(matrix: Real, moments: Real, scales: Real) -> NDArray[np.int8]:
    """Integers that times `scales` [out] stand for `matrix`. Row by row, the most active input first, each weight is
    rounded, and the rows that are still free are changed to make up for its error (Frantar and others, "GPTQ", 2023,
    arXiv 2210.17323)."""
    order = np.argsort(-np.diag(moments), kind="stable")
    free = np.asarray(matrix, np.float64)[order].copy()
    damped = moments[np.ix_(order, order)].astype(np.float64)
    damped[np.diag_indices_from(damped)] += _DAMPING * float(np.trace(damped)) / len(damped) + np.finfo(np.float32).tiny
    inverse = np.linalg.inv(damped)
    passing = np.linalg.cholesky((inverse + inverse.T) / 2).T
    integers = np.empty(free.shape, np.int8)
    for start in range(0, len(free), _BLOCK):
        stop = min(start + _BLOCK, len(free))
        block, errors = free[start:stop], np.empty((stop - start, free.shape[1]))
        for row in range(stop - start):
            weights, factors = block[row], passing[start + row, start:stop]
            rounded = np.clip(np.rint(weights / scales), -LARGEST, LARGEST)
            integers[start + row] = rounded
            errors[row] = (weights - rounded * scales) / factors[row]
            block[row + 1 :] -= factors[row + 1 :, None] * errors[row]
        free[stop:] -= passing[start:stop, stop:].T @ errors
    return integers[np.argsort(order, kind="stable")]
