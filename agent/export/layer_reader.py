"""Reads the layers that networks are put together from. `parse.py` and `parse_transformer.py` say what follows what."""

from __future__ import annotations

import numpy as np

from agent.errors import NetworkFormatError
from agent.export.network import Activation, Array, BatchNorm, Conv, MatMul, RmsNorm
from agent.export.token_stream import TokenStream

# The widest published networks have 768 channels.
MAX_CHANNELS = 8192
MAX_KERNEL = 19


class LayerReader:
    """Layers of one file, in the file's order. Until `version` is set, none can be read."""

    def __init__(self, tokens: TokenStream) -> None:
        self.tokens = tokens
        self.version = 0

    def conv(self) -> Conv:
        name = self.tokens.word("convolution name")
        y, x = (self.tokens.integer(f"{name}: kernel {axis} size", 1, MAX_KERNEL) for axis in "yx")
        if y % 2 == 0 or x % 2 == 0:
            raise NetworkFormatError(f"{name}: a kernel of {y}×{x} has no middle")
        inputs = self.channels(f"{name}: input channels")
        outputs = self.channels(f"{name}: output channels")
        dilation_y, dilation_x = (self.tokens.integer(f"{name}: dilation {axis}", 1, MAX_KERNEL) for axis in "yx")
        weights = self.tokens.floats(name, y, x, inputs, outputs)
        return Conv(name, weights.transpose(3, 2, 0, 1), (dilation_y, dilation_x))

    def batch_norm(self) -> BatchNorm:
        name = self.tokens.word("normalisation name")
        channels = self.channels(f"{name}: channels")
        epsilon = np.float32(self.tokens.positive(f"{name}: epsilon"))
        has_scale = self.tokens.integer(f"{name}: hasScale", 0, 1)
        has_bias = self.tokens.integer(f"{name}: hasBias", 0, 1)
        mean = self.tokens.floats(f"{name}: mean", channels)
        variance = self.tokens.floats(f"{name}: variance", channels)
        scale = self.tokens.floats(f"{name}: scale", channels) if has_scale else np.ones(channels, np.float32)
        bias = self.tokens.floats(f"{name}: bias", channels) if has_bias else np.zeros(channels, np.float32)
        if not (variance + epsilon > 0).all():
            raise NetworkFormatError(f"{name}: a variance is negative")
        merged = scale / np.sqrt(variance + epsilon)
        return BatchNorm(name, merged, bias - merged * mean)

    def tip_rms_norm(self) -> RmsNorm:
        """The trunk's last, with a bias and a choice of what the mean runs over."""
        name = self.tokens.word("normalisation name")
        channels = self.channels(f"{name}: channels")
        epsilon = self._rms_epsilon(name)
        spatial = self.tokens.integer(f"{name}: spatial", 0, 1)
        group = self.tokens.integer(f"{name}: group size", 0, MAX_CHANNELS)
        if group:
            raise NetworkFormatError(f"{name}: RMSNorm over groups of {group} channels is not supported")
        scale = self.tokens.floats(f"{name}: scale", channels)
        return RmsNorm(name, scale, self.tokens.floats(f"{name}: bias", channels), epsilon, bool(spatial))

    def rms_norm(self) -> RmsNorm:
        """One inside a transformer block."""
        name = self.tokens.word("normalisation name")
        channels = self.channels(f"{name}: channels")
        epsilon = self._rms_epsilon(name)
        scale = self.tokens.floats(f"{name}: scale", channels)
        return RmsNorm(name, scale, np.zeros(channels, np.float32), epsilon, spatial=False)

    def activation(self) -> Activation:
        name = self.tokens.word("activation name")
        if self.version < 11:
            return Activation.RELU
        kind = self.tokens.word(f"{name}: kind")
        try:
            return Activation(kind)
        except ValueError:
            raise NetworkFormatError(f"{name}: activation {kind} is not supported") from None

    def matmul(self) -> MatMul:
        name = self.tokens.word("matrix name")
        inputs = self.channels(f"{name}: input channels")
        outputs = self.channels(f"{name}: output channels")
        return MatMul(name, self.tokens.floats(name, inputs, outputs))

    def bias(self, channels: int) -> Array:
        name = self.tokens.word("bias name")
        agree(name, "channels", self.channels(f"{name}: channels"), channels)
        return self.tokens.floats(name, channels)

    def channels(self, what: str) -> int:
        return self.tokens.integer(what, 1, MAX_CHANNELS)

    def zeros(self, what: str, count: int) -> None:
        """Options of the format that nothing uses yet."""
        for letter in "ABCDEF"[:count]:
            value = self.tokens.integer(f"{what} {letter}", -(1 << 30), 1 << 30)
            if value:
                raise NetworkFormatError(f"{what} {letter} is {value}; only 0 is known")

    def _rms_epsilon(self, name: str) -> float:
        epsilon = self.tokens.positive(f"{name}: epsilon")
        if epsilon > 1:
            raise NetworkFormatError(f"{name}: an epsilon of {epsilon:g} is too large")
        return epsilon


def agree(name: str, what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise NetworkFormatError(f"{name}: {found} {what}, but {wanted} are needed here")


def chain(name: str, channels: int, *steps: Conv | MatMul | BatchNorm | RmsNorm | int) -> None:
    """Each step must take the channels that the one before gives."""
    for step in steps:
        if isinstance(step, int):
            agree(name, "output channels", channels, step)
        elif isinstance(step, BatchNorm | RmsNorm):
            agree(step.name, "channels", step.channels, channels)
        else:
            agree(step.name, "input channels", step.in_channels, channels)
            channels = step.out_channels
