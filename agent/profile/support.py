"""Machines that no profile can serve, and what their owner can do. Pure rules; an Unknown never refuses a machine."""

from __future__ import annotations

import re

import msgspec

from agent.hardware import Hardware

MIB = 1024 * 1024
# onnxruntime, numpy and our own typing need it; JetPack 6 brings it.
MIN_PYTHON = (3, 10)
# onnxruntime's wheels for Python 3.10 and newer are tagged manylinux_2_27 and 2_28 (Debian 10's glibc).
MIN_GLIBC = (2, 28)
# The worker with the smallest network (120 MiB), the front (40) and a small Debian (150). The smallest board that is
# served, a Zero 2 W, has 416 MiB, of which our unit's MemoryMax=90% leaves 374.
MIN_MEMORY_MIB = 320

_LAST_JETPACK = {"tegra210": 4, "tegra186": 4, "tegra194": 5}
_PYTHON_OF_JETPACK = {4: "3.6", 5: "3.8"}


class Unsupported(msgspec.Struct, frozen=True):
    """Why a machine is refused, and the fix, each a sentence."""

    reason: str
    fix: str


def find_unsupported(hardware: Hardware) -> Unsupported | None:
    """The first thing that no profile could get around, or None."""
    for rule in (_jetpack, _word_size, _architecture, _python, _libc, _memory):
        refused = rule(hardware)
        if refused:
            return refused
    return None


def _jetpack(hardware: Hardware) -> Unsupported | None:
    l4t = hardware.l4t
    if l4t is None or not isinstance(l4t.jetpack, int) or l4t.jetpack >= 6:
        return None
    soc = hardware.board.soc if isinstance(hardware.board.soc, str) else ""
    last = _LAST_JETPACK.get(soc)
    python = _PYTHON_OF_JETPACK[l4t.jetpack]
    return Unsupported(
        f"JetPack {l4t.jetpack} (L4T {l4t.release}) is built on Python {python}; the agent needs 3.10, "
        "which JetPack 6 brings.",
        f"NVIDIA ends this board ({soc}) at JetPack {last}: use a Jetson Orin or Thor, a Raspberry Pi 3 or newer, "
        "or any 64-bit Linux machine."
        if last
        else "Flash JetPack 6 or 7.",
    )


def _word_size(hardware: Hardware) -> Unsupported | None:
    if hardware.platform.pointer_bits != 32:
        return None
    sets = hardware.common_instruction_sets()
    known_32_only = hardware.board.soc in ("bcm2835", "bcm2836")
    capable = isinstance(sets, frozenset) and bool(sets & {"asimd", "lm"})
    board = hardware.board.family == "raspberry-pi"
    if known_32_only:
        fix = "This processor has no 64-bit mode: use a Raspberry Pi Zero 2 W, 3 or newer."
    elif board:
        fix = "Write the 64-bit Raspberry Pi OS (bookworm or trixie) to the card."
    else:
        fix = "Install a 64-bit Linux."
    kernel = " on a 64-bit kernel" if capable else ""
    return Unsupported(f"The userland is 32-bit{kernel}; network runtimes exist for 64 bits only.", fix)


def _architecture(hardware: Hardware) -> Unsupported | None:
    architecture = hardware.platform.architecture
    if not isinstance(architecture, str) or architecture in ("x86-64", "arm64"):
        return None
    return Unsupported(
        f"The processor architecture is {architecture}; network runtimes exist for x86-64 and arm64.",
        "Use a 64-bit x86 or Arm machine.",
    )


def _python(hardware: Hardware) -> Unsupported | None:
    version = _version(hardware.platform.python)
    if version is None or version >= MIN_PYTHON:
        return None
    return Unsupported(
        f"Python is {hardware.platform.python}; the agent needs 3.10 or newer.",
        "Upgrade to Debian 12, Raspberry Pi OS bookworm, Ubuntu 22.04 or newer.",
    )


def _libc(hardware: Hardware) -> Unsupported | None:
    libc = hardware.platform.libc
    if not isinstance(libc, str):
        return None
    version = _version(libc.removeprefix("glibc ")) if libc.startswith("glibc ") else None
    if version is not None and version >= MIN_GLIBC:
        return None
    return Unsupported(
        f"The C library is {libc}; network runtimes need glibc {MIN_GLIBC[0]}.{MIN_GLIBC[1]} or newer.",
        "Use a distribution with glibc, such as Debian 12 or Ubuntu 22.04.",
    )


def _memory(hardware: Hardware) -> Unsupported | None:
    usable = hardware.memory.usable_bytes
    if not isinstance(usable, int) or usable >= MIN_MEMORY_MIB * MIB:
        return None
    limited = isinstance(hardware.memory.limit_bytes, int) and usable == hardware.memory.limit_bytes
    what = "The control group's memory limit" if limited else "Memory"
    return Unsupported(
        f"{what} is {usable // MIB} MiB; the smallest network needs a machine of {MIN_MEMORY_MIB} MiB.",
        "Raise the limit (MemoryMax= or the container's)." if limited else "Use a board with 512 MB or more.",
    )


def _version(text: object) -> tuple[int, int] | None:
    match = re.match(r"([0-9]{1,3})\.([0-9]{1,3})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None
