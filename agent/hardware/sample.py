"""Live samples of a machine: heat, throttling, memory, load. Start reading at `Sampler`."""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.hardware.board import read_board
from agent.hardware.cpu import read_cpuinfo
from agent.hardware.firmware import Firmware, Mailbox
from agent.hardware.heat import Heat, HeatReader
from agent.hardware.load import CpuReader, read_available_bytes, read_gpu_load, read_load_average
from agent.hardware.root import Root
from agent.hardware.throttling import Throttling, ThrottlingReader
from agent.hardware.unknown import Probe, Unknown


class Sample(msgspec.Struct, frozen=True):
    """One moment. `gpu_load_per_mille` is 0 to 1000, `cpu_percent` 0 to 100 over all cores since the last sample."""

    heat: Heat
    throttling: Throttling
    memory_available_bytes: Probe[int]
    load_average: Probe[float]
    cpu_percent: Probe[float]
    gpu_load_per_mille: Probe[int]


class Sampler:
    """Takes samples of one machine. Keeps what lies between two of them: ticks, counters, the debounced alarm.

    Reads files only, and asks a Raspberry Pi's firmware; about 2 ms on a PC. Not thread-safe.
    """

    def __init__(self, root: Path = Path("/"), firmware: Firmware | None = None) -> None:
        self._root = Root(root)
        board = read_board(self._root, read_cpuinfo(self._root).revision, Unknown("not asked"))
        self._heat = HeatReader(self._root)
        self._throttling = ThrottlingReader(self._root, board.family, firmware or Mailbox(self._root))
        self._cpu = CpuReader(self._root)

    def sample(self) -> Sample:
        """Never raises; what cannot be read is Unknown with its reason."""
        return Sample(
            heat=self._heat.read(),
            throttling=self._throttling.read(),
            memory_available_bytes=read_available_bytes(self._root),
            load_average=read_load_average(self._root),
            cpu_percent=self._cpu.read(),
            gpu_load_per_mille=read_gpu_load(self._root),
        )


def sample(root: Path = Path("/")) -> Sample:
    """One sample on its own: what needs two is Unknown."""
    return Sampler(root).sample()
