"""A human-style network that is told with every evaluation whom it imitates.

All profiles share one network: what its metadata encoder makes of a profile is a few hundred numbers for a size of
board, which go beside the global inputs. Networks that were converted have one profile written into them instead.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec
import numpy as np

from agent.engine.backends.interface import Array, Backend, NetworkInfo, Outputs
from agent.errors import ConfigError
from agent.export.human_profile import check_profile, encoded, metadata_row, needs_profile
from agent.export.network import MetadataEncoder


@runtime_checkable
class Imitator(Protocol):
    """A backend whose network can imitate anybody."""

    def imitating(self, profile: str) -> Backend:
        """The same network, told to imitate `profile`; it is open as long as this backend is.

        Raises:
            ConversionFailed: there is no such profile.
        """


class HumanStyle:
    """The network behind `backend`, whose global inputs have room for what `encoder` finds. Imitates nobody as long as
    `profile` is empty, and evaluates nothing then."""

    def __init__(self, backend: Backend, encoder: MetadataEncoder, profile: str = "") -> None:
        if profile:
            metadata_row(profile)
        self._backend = backend
        self._encoder = encoder
        self._profile = profile
        self._encoded: dict[int, Array] = {}
        self.name = backend.name
        self.network: NetworkInfo = msgspec.structs.replace(backend.network, human_profile=profile)

    def imitating(self, profile: str) -> HumanStyle:
        """See `Imitator`."""
        return HumanStyle(self._backend, self._encoder, profile)

    def evaluate(self, spatial: Array, global_: Array) -> Outputs:
        """See `Backend.evaluate`.

        Raises:
            ConversionFailed: it imitates nobody.
        """
        if not self._profile:
            raise needs_profile(self.network.name)
        area = spatial.shape[-2] * spatial.shape[-1]
        if area not in self._encoded:
            self._encoded[area] = encoded(self._encoder, self._profile, area)
        players = np.broadcast_to(self._encoded[area], (len(global_), len(self._encoded[area])))
        return self._backend.evaluate(spatial, np.concatenate([global_, players], axis=1))

    def versions(self) -> dict[str, str]:
        return self._backend.versions()

    def close(self) -> None:
        """Free the network, for all profiles."""
        self._backend.close()


def told(backend: Backend, profile: str) -> Backend:
    """`backend`, just opened, told whom its owner wants imitated.

    Raises:
        ConversionFailed: nobody was named for a network that could imitate anybody, or somebody for one that cannot, or
            there is no such profile.
        ConfigError: it was converted for somebody else.
    """
    written = backend.network.human_profile
    is_human = isinstance(backend, Imitator) or bool(written)
    check_profile(backend.network.name, profile or written, is_human=is_human)
    return imitating(backend, profile)


def imitating(backend: Backend, profile: str) -> Backend:
    """`backend` with its network told to imitate `profile`, where it does not already; empty asks for nobody else. Of a
    network that imitates nobody a profile has no effect, as in KataGo.

    Raises:
        ConversionFailed: there is no such profile. ConfigError: the network was converted for somebody else.
    """
    network = backend.network
    if isinstance(backend, Imitator):
        return backend.imitating(profile) if profile not in ("", network.human_profile) else backend
    if "" not in (profile, network.human_profile) and profile != network.human_profile:
        raise ConfigError(
            f"{network.name} was converted to imitate {network.human_profile}, not {profile}",
            fix="Ask for the same, or run the network's own file on backend core, which imitates anybody.",
        )
    return backend
