"""What this machine runs: the outcome of `provision.py`, and how its worker is started. Pure."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from agent.settings import own_command

PRECISION: Final = "fp32"


class Plan(msgspec.Struct, frozen=True, tag=True):
    """What this machine runs, and why. `model` is the converted network, None for a backend without one. `max_time_s`
    ends the search for a move in a game that its visits have not ended; None where the owner set the visits.
    `precision` is the model's, `sessions` how many of the backend the threads share, `tuning` where backend, model,
    threads and batch come from: what was measured here, or why the profile's were taken.

    Where the owner's `katago` serves, `backend` is "native", `cfg` the profile's configuration of KataGo, `home` where
    katago keeps what it tunes, and `fallback` the plan of the engine that serves when katago fails."""

    hardware: str
    hardware_facts: dict[str, Any]
    profile: str
    why: str
    network: str
    network_source: str
    network_sha256: str
    model: str | None
    backend: str
    threads: int
    batch: int
    visits: int
    max_time_s: float | None
    cache_positions: int
    precision: str = PRECISION
    sessions: int = 1
    tuning: str = ""
    katago: str | None = None
    cfg: str | None = None
    home: str = ""
    human_profile: str = ""
    fallback: Plan | None = None


def worker_command(plan: Plan) -> list[str]:
    """How the worker of this plan is started; the supervisor adds its end of the socket pair."""
    if plan.katago is not None:
        return _native_command(plan)
    model = ["--model", plan.model] if plan.model else []
    numbers = {
        "--threads": plan.threads,
        "--sessions": plan.sessions,
        "--batch": plan.batch,
        "--cache-positions": plan.cache_positions,
    }
    options = [text for name, value in numbers.items() for text in (name, str(value))]
    if plan.human_profile:
        options += ["--human-profile", plan.human_profile]
    return [*own_command(), "engine", "--backend", plan.backend, *model, *options]


def fallback_command(plan: Plan) -> list[str]:
    """How the worker is started that serves when the plan's own fails; empty where there is none."""
    return worker_command(plan.fallback) if plan.fallback else []


def _native_command(plan: Plan) -> list[str]:
    values = {
        "--katago": plan.katago,
        "--model": plan.model,
        "--network-sha256": plan.network_sha256,
        "--cfg": plan.cfg,
        "--home": plan.home,
        "--threads": plan.threads,
        "--batch": plan.batch,
        "--cache-positions": plan.cache_positions,
        "--human-profile": plan.human_profile,
    }
    return [*own_command(), "engine-native", *(text for name, value in values.items() for text in (name, str(value)))]
