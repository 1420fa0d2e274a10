"""What the broker retains of this device beside its health: its hardware, and what was chosen for it."""

from __future__ import annotations

import platform
from collections.abc import Mapping

from agent import __version__
from agent.plan import Plan


def twins(plan: Plan, interval_s: float) -> dict[str, Mapping[str, object]]:
    """The twins by name; `interval_s` is the time between two reports."""
    return {
        "hardware": {"summary": plan.hardware, **plan.hardware_facts},
        "profile": {
            "name": plan.profile,
            "why": plan.why,
            "threads": plan.threads,
            "batch": plan.batch,
            "visits": plan.visits,
            "max_time_s": plan.max_time_s,
            "cache_positions": plan.cache_positions,
        },
        "network": {"name": plan.network, "source": plan.network_source, "sha256": plan.network_sha256},
        "versions": versions(),
        # Readers tell from it when a silent device is silent for too long.
        "reporting": {"interval_s": interval_s},
    }


def versions() -> dict[str, str]:
    """Of the agent and what it stands on; what runs the network adds its own when it is ready."""
    return {"agent": __version__, "python": platform.python_version(), "kernel": platform.release()}
