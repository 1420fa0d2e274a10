"""How busy processor, GPU and memory are now."""

from __future__ import annotations

import re

from agent.hardware.memory import meminfo_bytes
from agent.hardware.root import Root
from agent.hardware.unknown import Probe, Unknown

_DEVFREQ = "/sys/class/devfreq"
# JetPack 6 and 7 on Orin have the first, JetPack 4 and 5 the second; the node may appear after the service starts.
_GPU_LOADS = ("/sys/devices/platform/gpu.0/load", "/sys/devices/gpu.0/load")
# The device tree's names of Tegra GPUs.
_GPU_NODES = frozenset({"gpu", "gp10b", "gv11b", "ga10b"})
MAX_PER_MILLE = 1000


def read_available_bytes(root: Root) -> Probe[int]:
    """What can be allocated without swapping (MemAvailable)."""
    return meminfo_bytes(root.read_text("/proc/meminfo"), "MemAvailable")


def read_load_average(root: Root) -> Probe[float]:
    """Processes that ran or waited over the last minute."""
    line = root.read_line("/proc/loadavg")
    if isinstance(line, Unknown):
        return line
    match = re.match(r"([0-9]{1,6}\.[0-9]{1,4}) ", line)
    return float(match[1]) if match else Unknown("/proc/loadavg: does not start with a number")


def read_gpu_load(root: Root) -> Probe[int]:
    """Per mille (0 to 1000). Thor publishes none in a file."""
    reasons = []
    for path in (*_GPU_LOADS, *_devfreq_loads(root)):
        value = root.read_int(path)
        if isinstance(value, int) and 0 <= value <= MAX_PER_MILLE:
            return value
        reasons.append(value.reason if isinstance(value, Unknown) else f"{path}: {value} is not per mille")
    return Unknown("; ".join(reasons))


def _devfreq_loads(root: Root) -> tuple[str, ...]:
    devices = root.list_folder(_DEVFREQ)
    return tuple(
        f"{_DEVFREQ}/{device}/device/load"
        for device in (devices if isinstance(devices, tuple) else ())
        if root.read_line(f"{_DEVFREQ}/{device}/device/of_node/name") in _GPU_NODES
    )


class CpuReader:
    """Processor use between two reads, of all cores together."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._before: tuple[int, int] | None = None

    def read(self) -> Probe[float]:
        """Percent of all cores' time since the last read; the first one has nothing to compare with."""
        now = self._ticks()
        if isinstance(now, Unknown):
            return now
        before, self._before = self._before, now
        if before is None:
            return Unknown("processor use needs two samples")
        total, idle = now[0] - before[0], now[1] - before[1]
        if total <= 0:
            return Unknown("/proc/stat: no time has passed since the last sample")
        return min(100.0, max(0.0, 100.0 * (total - idle) / total))

    def _ticks(self) -> tuple[int, int] | Unknown:
        """All and idle ticks: user nice system idle iowait irq softirq steal (proc(5)); guest time is in user."""
        line = self._root.read_line("/proc/stat")
        if isinstance(line, Unknown):
            return line
        words = line.split()
        if len(words) < 5 or words[0] != "cpu" or not all(re.fullmatch(r"[0-9]{1,19}", word) for word in words[1:]):
            return Unknown("/proc/stat: does not start with the cpu line")
        ticks = [int(word) for word in words[1:9]]
        return sum(ticks), sum(ticks[3:5])
