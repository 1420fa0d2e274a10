"""Memory and processor time that this system has, and what its control group leaves of them.

Only MemTotal is memory: zram swap is the same memory, compressed. MemTotal is below the size printed on the board and
differs by firmware and release (an 8 GB Orin Nano reported 6.3, 7.2 and 7.4 GiB), so classes of size are bands.
"""

from __future__ import annotations

import re

import msgspec

from agent.hardware.root import Root
from agent.hardware.unknown import Probe, Unknown

MIB = 1024 * 1024
# Sizes that boards are sold with, in GB. A system belongs to the smallest one that holds its MemTotal.
_SOLD_SIZES_GB = (0.25, 0.5, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096)
# cgroup v1 writes "no limit" as the largest multiple of the page size below 2**63.
_V1_NO_LIMIT_BYTES = 1 << 62
# Depth of a control group; systemd nests 4 to 6, containers in containers more.
MAX_GROUP_DEPTH = 32


class Memory(msgspec.Struct, frozen=True):
    """`limit_bytes` is the tightest limit of the control groups around this process, None where there is none.
    `cma_bytes` is part of the total, shared with the display and camera. `swap_bytes` is no memory (zram)."""

    total_bytes: Probe[int]
    cma_bytes: Probe[int]
    swap_bytes: Probe[int]
    limit_bytes: Probe[int] | None

    @property
    def usable_bytes(self) -> Probe[int]:
        """What the agent and all else on this system may use together."""
        if isinstance(self.total_bytes, int) and isinstance(self.limit_bytes, int):
            return min(self.total_bytes, self.limit_bytes)
        return self.total_bytes

    @property
    def band(self) -> Probe[str]:
        """The size that the board was sold with, such as "8 GB"."""
        if isinstance(self.total_bytes, Unknown):
            return self.total_bytes
        total_gib = self.total_bytes / 1024**3
        sold = next((size for size in _SOLD_SIZES_GB if total_gib <= size), None)
        if sold is None:
            return f"{total_gib:.0f} GB"
        return f"{sold:.0f} GB" if sold >= 1 else f"{sold * 1024:.0f} MB"


def read_memory(root: Root) -> Memory:
    """Never raises; each field that is missing says why."""
    text = root.read_text("/proc/meminfo")
    return Memory(
        total_bytes=meminfo_bytes(text, "MemTotal"),
        # A kernel without CMA has no such line, and so no such memory.
        cma_bytes=_bytes_or_zero(text, "CmaTotal"),
        swap_bytes=_bytes_or_zero(text, "SwapTotal"),
        limit_bytes=_memory_limit(root),
    )


def meminfo_bytes(text: Probe[str], field: str) -> Probe[int]:
    """A line of /proc/meminfo ("MemTotal:  426068 kB") in bytes. Zero of MemTotal is garbage, and so unknown."""
    if isinstance(text, Unknown):
        return text
    match = re.search(rf"^{field}:[ \t]+([0-9]{{1,15}}) kB$", text, re.MULTILINE)
    if not match or (field == "MemTotal" and int(match[1]) == 0):
        return Unknown(f"/proc/meminfo: no readable {field} line")
    return int(match[1]) * 1024


def _bytes_or_zero(text: Probe[str], field: str) -> Probe[int]:
    if isinstance(text, str) and f"{field}:" not in text:
        return 0
    return meminfo_bytes(text, field)


def _memory_limit(root: Root) -> Probe[int] | None:
    """The smallest limit from this process' control group up to the top one."""
    groups = _groups(root, "memory")
    if isinstance(groups, Unknown):
        return groups
    limits = []
    for folder in groups:
        for name in ("memory.max", "memory.limit_in_bytes"):
            value = root.read_int(f"{folder}/{name}")  # "max" is no number and so no limit
            if isinstance(value, int) and 0 < value < _V1_NO_LIMIT_BYTES:
                limits.append(value)
    return min(limits) if limits else None


def read_core_quota(root: Root) -> Probe[float] | None:
    """Processor time that the control groups allow, in cores; None where they do not limit it."""
    groups = _groups(root, "cpu")
    if isinstance(groups, Unknown):
        return groups
    quotas = []
    for folder in groups:
        line = root.read_line(f"{folder}/cpu.max")  # v2: "200000 100000" or "max 100000"
        words = line.split() if isinstance(line, str) else []
        if isinstance(line, Unknown):
            v1 = [root.read_int(f"{folder}/cpu.cfs_{name}_us") for name in ("quota", "period")]
            words = [str(number) for number in v1 if isinstance(number, int)]
        if len(words) == 2 and all(re.fullmatch(r"[0-9]{1,12}", word) for word in words) and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas) if quotas else None


def _groups(root: Root, controller: str) -> tuple[str, ...] | Unknown:
    """Folders of this process' control group and those above it, of version 2 or of version 1's `controller`."""
    text = root.read_text("/proc/self/cgroup")
    if isinstance(text, Unknown):
        return text
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and controller in parts[1].split(","):
            return _upwards(f"/sys/fs/cgroup/{controller}", parts[2])
    for line in text.splitlines():
        if line.startswith("0::/"):
            return _upwards("/sys/fs/cgroup", line[3:])
    return Unknown("/proc/self/cgroup: names no control group")


def _upwards(top: str, group: str) -> tuple[str, ...]:
    names = [name for name in group.split("/") if name not in ("", ".", "..")][:MAX_GROUP_DEPTH]
    return tuple("/".join([top, *names[:depth]]) for depth in range(len(names), -1, -1))
