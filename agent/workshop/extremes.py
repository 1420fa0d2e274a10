"""Finds the positions in which a network's activations are largest. Start at `extreme_positions`.

A lead of a hundred points drives what global pooling adds to every point far beyond what most positions show. A scale
that was chosen without such a position cuts it off, and the policy there is lost: six of 640 held-out positions of
b15c192 had a divergence of up to 1, the others of 0.001. So calibration looks for them among all positions it has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.events import Reporter, WorkshopProgress
from agent.export.network import BatchNorm, Conv, Network
from agent.workshop.forward import ExactConvolutions, Forward, Signal, inputs_of
from agent.workshop.position_set import Group, PositionSet
from agent.workshop.sites import Site

# Positions that walk through the network together; memory is all that it costs.
_AT_ONCE = 32


class _Watching:
    """Exact, and remembers how large each position's inputs are at every site: root mean square over its points."""

    def __init__(self, sites: dict[str, Site]) -> None:
        self._sites = sites
        self._exact = ExactConvolutions()
        self.sizes: list[NDArray[np.float64]] = []

    def conv(self, conv: Conv, x: Signal, bn: BatchNorm | None) -> Signal:
        if conv.name in self._sites:
            self.sizes.append(np.sqrt(np.square(x[0][0], dtype=np.float64).mean(axis=(1, 2, 3))))
        return self._exact.conv(conv, x, bn)


def extreme_positions(
    network: Network, sites: dict[str, Site], positions: PositionSet, count: int, reporter: Reporter
) -> PositionSet:
    """The `count` positions whose inputs are largest at some site, next to what is usual there."""
    sizes, done = [], 0
    for group in positions.groups:
        sizes.append(_sizes(network, sites, group, _Count(reporter, network.info.name, done, len(positions))))
        done += len(group)
    usual = np.median(np.concatenate(sizes), axis=0)
    scores = [(size / np.maximum(usual, np.finfo(np.float32).tiny)).max(axis=1) for size in sizes]
    every = np.sort(np.concatenate(scores))
    least = every[-min(count, len(every))] if count else np.inf
    groups = [group.take(score >= least) for group, score in zip(positions.groups, scores, strict=True)]
    return PositionSet(tuple(group for group in groups if len(group)), positions.source)


@dataclass(frozen=True)
class _Count:
    """Tells how many of all positions are done; `before` are those of other boards."""

    reporter: Reporter
    name: str
    before: int
    total: int

    def tell(self, done: int) -> None:
        what = f"looking for large activations of {self.name}"
        self.reporter.report(WorkshopProgress(what, self.before + done, self.total))


def _sizes(network: Network, sites: dict[str, Site], group: Group, count: _Count) -> NDArray[np.float64]:
    """[positions, sites]"""
    parts = []
    for start in range(0, len(group), _AT_ONCE):
        count.tell(start)
        part = group.take(np.arange(start, min(start + _AT_ONCE, len(group))))
        watching = _Watching(sites)
        spatial, global_ = inputs_of(PositionSet((part,), ""))
        Forward(network, watching).run((spatial,), (global_,))
        parts.append(np.stack(watching.sizes, axis=1))
    return np.concatenate(parts)
