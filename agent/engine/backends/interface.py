"""What a network runtime is to the search. Start here; `__init__.py` has the table of runtimes.

A backend turns feature planes into raw network outputs: nothing is masked, normalised or turned to a colour, which is
`core/evaluation.cpp`'s work. It knows nothing of Go.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.export.info import GLOBAL_CHANNELS, SPATIAL_CHANNELS, VALUE_CHANNELS, NetworkInfo

__all__ = ["GLOBAL_CHANNELS", "SPATIAL_CHANNELS", "VALUE_CHANNELS", "Array", "Backend", "NetworkInfo", "Outputs"]

Array = NDArray[np.float32]


class Outputs(NamedTuple):
    """Raw outputs of n positions on one board size, float32 and C-contiguous, from the side to move.

    `policy` [n, channels, area + 1]: logits, points row-major, pass last. `value` [n, 3]: logits of win, loss, no
    result. `score` [n, 4 or 6]: before multipliers. `ownership` [n, area]: before tanh.
    """

    policy: Array
    value: Array
    score: Array
    ownership: Array


class Backend(Protocol):
    """One network, ready to run."""

    @property
    def network(self) -> NetworkInfo:
        """The network that runs here."""

    @property
    def name(self) -> str:
        """The backend's name in the table."""

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """Run `spatial` [n, 22, y, x] with `global_` [n, 19]; all n share one board size, any from 1 to 19 each way.

        Thread-safe; releases the GIL while the network runs; the inputs are not kept.

        Raises:
            BackendUnavailable: the runtime failed in mid-use; the backend is of no further use.
        """

    def versions(self) -> dict[str, str]:
        """Names and versions of the runtime libraries, for reports."""

    def close(self) -> None:
        """Free the network. No call may run or follow."""
