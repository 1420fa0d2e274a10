"""How much disk a first start of these settings still takes: the chosen network, its source and, where the backend
needs one, its converted form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.errors import AgentError
from agent.export.info import EXPORTER
from agent.hardware import detect
from agent.model.catalogue import NetworkEntry, load_catalogue
from agent.model.sources import CONVERTED_RATIO
from agent.model.store import Store
from agent.model.wheel_source import WHEEL_COPIES
from agent.plan import PRECISION
from agent.profile import choose, load_profiles
from agent.provision import RUN_SOURCE, WITHOUT_NETWORK, backend_of
from agent.settings import Settings, data_folder

# State, locks, logs of the runtime and the file system's own blocks; what a running agent writes is below 1 MB.
SLACK_BYTES: Final = 16_000_000


def needed_bytes(settings: Settings) -> int:
    """For the network that would be taken first. Where no network can be named (no profile fits, a wrong name), or the
    path of a file is given that is not there, only slack: other links of the doctor tell of that."""
    if settings.engine.backend in WITHOUT_NETWORK:
        return SLACK_BYTES
    try:
        return SLACK_BYTES + _network_bytes(settings)
    except (AgentError, OSError):
        return SLACK_BYTES


def _network_bytes(settings: Settings) -> int:
    profile = choose(detect(), load_profiles(data_folder("profiles"))).require()
    converts = backend_of(settings, profile) not in RUN_SOURCE
    path = Path(settings.network or "")
    if settings.network and (path.is_file() or path.name != settings.network):
        size_bytes = path.stat().st_size
        return size_bytes + int(size_bytes * CONVERTED_RATIO if converts else 0)
    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    names = [settings.network] if settings.network else [candidate.network for candidate in profile.networks]
    return missing_bytes([catalogue.find(name) for name in names], Store(settings.state_dir), converts=converts)


def missing_bytes(candidates: Sequence[NetworkEntry], store: Store, *, converts: bool = True) -> int:
    """What is still to be written until one of the candidates is there and, where it `converts`, converted, as
    provisioning tries them: what the store has goes first, else the first with the largest of its sources."""
    entry = next((each for each in candidates if store.find(each.sha256)), candidates[0])
    converted_bytes = int(entry.size_bytes * CONVERTED_RATIO) if converts else 0
    if store.find(entry.sha256):
        return 0 if store.find_converted(entry.sha256, PRECISION, EXPORTER) else converted_bytes
    wheels = [WHEEL_COPIES * source.wheel.size_bytes for source in entry.sources if source.wheel]
    return entry.size_bytes + converted_bytes + max(wheels, default=0)
