"""Everything that is found out once about a machine, as one frozen `Hardware`. Start reading at `detect`."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec

from agent.hardware.board import JETSON, Board, read_board
from agent.hardware.cpu import Core, read_cpuinfo, read_offline_cores
from agent.hardware.gpu import Gpu, read_gpu
from agent.hardware.jetson import L4t, read_l4t
from agent.hardware.memory import Memory, read_core_quota, read_memory
from agent.hardware.platform import Platform
from agent.hardware.root import Root, is_plain
from agent.hardware.unknown import Probe, Unknown


class OperatingSystem(msgspec.Struct, frozen=True):
    """os-release's fields: `name` is PRETTY_NAME, `id` such as debian or ubuntu, `version` such as 12 or 22.04."""

    name: Probe[str]
    id: Probe[str]
    version: Probe[str]
    kernel: Probe[str]


class Hardware(msgspec.Struct, frozen=True):
    """A machine as detected: each fact is a value, None where there is known to be none, or an Unknown with its reason.

    `cores` are those online; `usable_cores` counts the ones that scheduler and control group leave to this process.
    `l4t` is None on everything but a Jetson.
    """

    board: Board
    cores: Probe[tuple[Core, ...]]
    offline_cores: Probe[tuple[int, ...]]
    usable_cores: Probe[int]
    memory: Memory
    gpu: Gpu
    l4t: L4t | None
    os: OperatingSystem
    platform: Platform

    def common_instruction_sets(self) -> Probe[frozenset[str]]:
        """What every core can do, so that a thread may run on any of them."""
        if isinstance(self.cores, Unknown):
            return self.cores
        common: frozenset[str] | None = None
        for core in self.cores:
            if isinstance(core.instruction_sets, Unknown):
                return core.instruction_sets
            sets = frozenset(core.instruction_sets)
            common = sets if common is None else common & sets
        return common or frozenset()


def detect(root: Path = Path("/"), platform: Platform | None = None) -> Hardware:
    """Look at the machine whose filesystem is at `root`. Never raises: what fails becomes Unknown.

    `platform` replaces what the running interpreter (or, for another root, its installed one) tells.
    """
    files = Root(root)
    if platform is None:
        platform = Platform.current() if files.is_running_system else Platform.from_root(files)
    cpuinfo = read_cpuinfo(files)
    if isinstance(platform.architecture, Unknown):
        platform = _with_architecture_of(cpuinfo.cores, platform)
    board = read_board(files, cpuinfo.revision, platform.architecture)
    return Hardware(
        board=board,
        cores=cpuinfo.cores,
        offline_cores=read_offline_cores(files),
        usable_cores=_usable_cores(cpuinfo.cores, platform.schedulable_cores, read_core_quota(files)),
        memory=read_memory(files),
        gpu=read_gpu(files, board),
        l4t=read_l4t(files) if board.family == JETSON or files.exists("/etc/nv_tegra_release") else None,
        os=_read_os(files),
        platform=platform,
    )


def _with_architecture_of(cores: Probe[tuple[Core, ...]], platform: Platform) -> Platform:
    """Where no program tells: a kernel whose cpuinfo is 32-bit has a 32-bit userland, and x86 words are those of x86.

    A 64-bit Arm kernel may run either userland, so its pointer size stays unknown.
    """
    sets = cores[0].instruction_sets if isinstance(cores, tuple) else ()
    words = sets if isinstance(sets, tuple) else ()
    if "asimd" in words:
        return msgspec.structs.replace(platform, architecture="arm64")
    if "neon" in words or "vfpv4" in words:
        return msgspec.structs.replace(platform, architecture="arm", pointer_bits=32)
    if "lm" in words:
        return msgspec.structs.replace(platform, architecture="x86-64")
    return platform


def _usable_cores(cores: Probe[tuple[Core, ...]], schedulable: Probe[int], quota: Probe[float] | None) -> Probe[int]:
    """The least of what is online, what the scheduler allows and what the control group pays for."""
    known = [len(cores)] if isinstance(cores, tuple) else []
    if isinstance(schedulable, int):
        known.append(schedulable)
    if isinstance(quota, float):
        known.append(max(1, math.ceil(quota)))
    if known:
        return min(known)
    return cores if isinstance(cores, Unknown) else Unknown("no core is listed")


def _read_os(root: Root) -> OperatingSystem:
    text = root.read_text("/etc/os-release")
    if isinstance(text, Unknown):
        other = root.read_text("/usr/lib/os-release")
        text = text if isinstance(other, Unknown) else other
    return OperatingSystem(
        name=_os_field(text, "PRETTY_NAME"),
        id=_os_field(text, "ID"),
        version=_os_field(text, "VERSION_ID"),
        kernel=root.read_line("/proc/sys/kernel/osrelease"),
    )


def _os_field(text: Probe[str], key: str) -> Probe[str]:
    """A field of os-release(5), without its quotes. Rolling distributions have no VERSION_ID."""
    if isinstance(text, Unknown):
        return text
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        value = value.strip().strip("\"'")
        if name.strip() == key and equals and is_plain(value):
            return value
    return Unknown(f"/etc/os-release: no readable {key}")
