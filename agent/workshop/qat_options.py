"""What a training run is told. No PyTorch here."""

from __future__ import annotations

import msgspec


class QatOptions(msgspec.Struct, frozen=True):
    """Everything that decides what comes out of a run, apart from network, quantization and positions.

    Each position is learned from under `symmetries` (1 to 8) of the board's; to a network these are other positions.

    Learning rates are the highest, after `warmup` steps; from there they fall to zero along a cosine. Adam moves every
    number by about its learning rate in a step: `weight_rate` counts in steps of the weight's own scale, `bias_rate` in
    what a bias is measured in, `map_scale_rate` and `weight_scale_rate` are shares of the scale."""

    steps: int = 1000
    batch: int = 8
    symmetries: int = 4
    seed: int = 1
    warmup: int = 20
    weight_rate: float = 5e-3
    bias_rate: float = 1e-5
    map_scale_rate: float = 2e-3
    weight_scale_rate: float = 1e-4
    device: str = "cpu"
    threads: int = 1
