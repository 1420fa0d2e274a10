"""A backend without a network: every move is as good as any other and every game is even. For tests and for timing
what is not the network."""

from __future__ import annotations

import numpy as np

from agent.engine.backends.interface import VALUE_CHANNELS, Array, NetworkInfo, Outputs

# A logit that leaves "no result" without weight, as trained networks do under superko.
NO_RESULT_LOGIT = -20.0


class UniformBackend:
    """Answers in no time: equal policy logits, even win and loss, scores and ownership zero."""

    name = "uniform"
    network = NetworkInfo(name="uniform", version=8, precision="none")

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`."""
        del global_
        count, _, y_size, x_size = spatial.shape
        area = y_size * x_size
        value = np.zeros((count, VALUE_CHANNELS), np.float32)
        value[:, 2] = NO_RESULT_LOGIT
        return Outputs(
            policy=np.zeros((count, self.network.policy_channels, area + 1), np.float32),
            value=value,
            score=np.zeros((count, self.network.score_channels), np.float32),
            ownership=np.zeros((count, area), np.float32),
        )

    def versions(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        """Nothing to free."""
