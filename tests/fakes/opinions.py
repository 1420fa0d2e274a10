"""A network that is a formula: quick, deterministic, with opinions that depend on the stones. Real interface."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from agent.engine.backends.interface import SPATIAL_CHANNELS, Array, NetworkInfo, Outputs

SHA256 = "5" * 64
INFO = NetworkInfo(name="opinions", version=8, sha256=SHA256)

Change = Callable[[Outputs, Array, Array], Outputs]


class OpinionsBackend:
    """Weights the planes of each point and of its neighbours with numbers drawn from `seed`. `change` may spoil the
    outputs; `precision` is what the network says of itself."""

    name = "opinions"

    def __init__(self, seed: int = 1, *, change: Change | None = None, precision: str = "fp32") -> None:
        random = np.random.default_rng(seed)
        self.network = msgspec.structs.replace(INFO, precision=precision)
        self._here = random.normal(0, 1.0, SPATIAL_CHANNELS).astype(np.float32)
        self._near = random.normal(0, 0.5, SPATIAL_CHANNELS).astype(np.float32)
        self._change = change
        self.batches: list[int] = []

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        count = len(spatial)
        self.batches.append(count)
        here = np.einsum("nchw,c->nhw", spatial, self._here)
        near = np.einsum("nchw,c->nhw", spatial, self._near)
        spread = np.zeros_like(near)
        spread[:, 1:] += near[:, :-1]
        spread[:, :-1] += near[:, 1:]
        spread[:, :, 1:] += near[:, :, :-1]
        spread[:, :, :-1] += near[:, :, 1:]
        points = (here + spread).reshape(count, -1)
        mean = points.mean(axis=1, keepdims=True)
        passing = 4.0 * np.tanh(3 * spatial[:, 1:3].mean(axis=(1, 2, 3)) - 1.0)
        value = np.concatenate([mean, -mean, np.full_like(mean, -5.0)], axis=1)
        outputs = Outputs(
            policy=np.concatenate([points, passing[:, None]], axis=1)[:, None].astype(np.float32),
            value=(value + global_[:, 5:6] * np.array([[1.0, -1.0, 0.0]])).astype(np.float32),
            score=np.repeat(mean, 4, axis=1).astype(np.float32),
            ownership=np.tanh(points).astype(np.float32),
        )
        return self._change(outputs, spatial, global_) if self._change else outputs

    def versions(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        """Nothing to free."""
