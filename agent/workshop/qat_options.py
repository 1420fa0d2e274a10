"""What a training run is told. No PyTorch here."""

from __future__ import annotations

from typing import Final

import msgspec

# In steps of a weight's scale. With 0.019 b15c192 got worse for 70 steps (KL threefold on other positions): what single
# batches want makes other integers before more of them agree. 0.01 did b6c96 good in 518 steps.
MOST_WEIGHT_RATE: Final = 0.01


class QatOptions(msgspec.Struct, frozen=True):
    """Everything that decides what comes out of a run, apart from network, quantization and positions.

    Each position is learned from under `symmetries` (1 to 8) of the board's; to a network these are other positions.

    The learning rate rises for `warmup` steps and falls to zero along a cosine. How far a number can get in the whole
    run, were all gradients to agree on where it should go, is what the options tell: `weight_travel` in steps of the
    weight's own scale (half of one makes it another integer), `bias_travel` in what a bias is measured in (behind a
    normalisation that is about 1), `map_scale_travel` and `weight_scale_travel` in logarithms of scales. With more
    steps the rates are lower, and only what more positions agree on counts. Chosen on b6c96: a travel of 2.6 on 4144
    positions took 37 % off the KL on others; 0.75 and 3.0 on 616 positions 23 % and 20 %."""

    steps: int = 1000
    batch: int = 8
    symmetries: int = 4
    seed: int = 1
    warmup: int = 20
    weight_travel: float = 2.5
    bias_travel: float = 2.5e-3
    map_scale_travel: float = 0.5
    weight_scale_travel: float = 2.5e-2
    device: str = "cpu"
    threads: int = 1

    def rate(self, travel: float) -> float:
        """The highest learning rate: Adam moves a number by about it in a step, the cosine halves the sum."""
        return 2 * travel / self.steps

    @property
    def weight_rate(self) -> float:
        """As `rate`, but a run of few steps must not hurry."""
        return min(self.rate(self.weight_travel), MOST_WEIGHT_RATE)
