"""The machine as telemetry tells it: live samples as numbers with a name, one sentence about throttling, the time."""

from __future__ import annotations

import time

from agent.hardware import Sample, Unknown


def host_values(sample: Sample) -> dict[str, float | None]:
    """What is measured of the host; None where the machine does not tell."""
    throttling = sample.throttling
    return {
        "temperature_c": _number(sample.heat.hottest_celsius),
        "cpu_percent": _number(sample.cpu_percent),
        "load_average": _number(sample.load_average),
        "memory_available_bytes": _number(sample.memory_available_bytes),
        "gpu_percent": None if isinstance(sample.gpu_load_per_mille, Unknown) else sample.gpu_load_per_mille / 10,
        # Numbers, not booleans: thin-edge refuses those in measurements.
        "throttled": _number(throttling.is_throttled),
        "under_voltage": _number(throttling.is_under_voltage),
    }


def throttling_reason(sample: Sample) -> str:
    """Why the machine runs slower than it could; empty while it does not, or does not tell."""
    reasons = []
    if sample.throttling.is_under_voltage is True:
        reasons.append("the power supply gives too little voltage")
    if sample.throttling.is_throttled is True:
        reasons.append("the processor is throttled")
    return " and ".join(reasons)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def first_seq() -> int:
    """Milliseconds since boot: it grows over the daemon's restarts, as it sends fewer messages than that."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
