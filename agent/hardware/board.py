"""Which board this is, from the device tree's `compatible` list (Raspberry Pi, Jetson, others) or DMI (PCs).

`compatible` is matched by prefix and suffix and `model` is only shown: NVIDIA changed the model strings between
releases ("jetson-xavier", "Jetson-AGX"), and a "-super" ending must not hide a board.
"""

from __future__ import annotations

import re

import msgspec

from agent.hardware.jetson import MODULES
from agent.hardware.root import Root, is_plain
from agent.hardware.unknown import Probe, Unknown

RASPBERRY_PI = "raspberry-pi"
JETSON = "jetson"
PC = "pc"
OTHER = "other"

# /proc/device-tree is a link to the second; containers may hide either.
_DEVICE_TREES = ("/proc/device-tree", "/sys/firmware/devicetree/base")
# Bits 12–15 of a new-style revision code (bit 23 set): raspberrypi.com documentation, "Raspberry Pi revision codes".
_REVISION_SOCS = {0: "bcm2835", 1: "bcm2836", 2: "bcm2837", 3: "bcm2711", 4: "bcm2712"}


class Board(msgspec.Struct, frozen=True):
    """`family` is raspberry-pi, jetson, pc or other. `soc` is the chip's token such as bcm2712 or tegra234; a PC has
    None. `module` is a Jetson's computer module as its device tree names it; None elsewhere. The device tree describes
    what was flashed and may list several: size by memory, never by module."""

    family: Probe[str]
    model: Probe[str]
    soc: Probe[str] | None
    module: Probe[str] | None
    compatible: Probe[tuple[str, ...]]


def read_board(root: Root, revision: str | None, architecture: Probe[str]) -> Board:
    """`revision` is the line of /proc/cpuinfo, used where the device tree is hidden. Never raises."""
    compatible = _first(root, "compatible")
    if isinstance(compatible, tuple):
        model = _first(root, "model")
        soc = _soc(compatible)
        return Board(
            family=_family(compatible, soc),
            model=model if isinstance(model, Unknown) else model[0],
            soc=soc,
            module=_module(compatible) if _family(compatible, soc) == JETSON else None,
            compatible=compatible,
        )
    by_revision = _soc_of_revision(revision)
    if by_revision:
        return Board(RASPBERRY_PI, _no_model(root), by_revision, None, compatible)
    if architecture in ("x86-64", "x86"):
        return Board(PC, _pc_model(root), None, None, compatible)
    return Board(compatible, _no_model(root), compatible, None, compatible)


def _first(root: Root, name: str) -> tuple[str, ...] | Unknown:
    """The strings of a device tree property, from the first tree that has it."""
    reasons = []
    for tree in _DEVICE_TREES:
        content = root.read(f"{tree}/{name}")
        if isinstance(content, Unknown):
            reasons.append(content.reason)
            continue
        # Each string ends in NUL, the last one too, so that splitting leaves an empty tail.
        words = tuple(part.decode("utf-8", "replace").strip() for part in content.split(b"\0") if part.strip())
        if words and all(is_plain(word) for word in words):
            return words
        reasons.append(f"{tree}/{name}: {'holds no printable text' if words else 'is empty'}")
    return Unknown("; ".join(reasons))


def _no_model(root: Root) -> Probe[str]:
    model = _first(root, "model")
    return model if isinstance(model, Unknown) else model[0]


def _soc(compatible: tuple[str, ...]) -> Probe[str]:
    """The chip's token: the most general entry, so the last one that looks like a chip."""
    for entry in reversed(compatible):
        match = re.fullmatch(r"(?:brcm,(bcm2[0-9]{3})|nvidia,(tegra[0-9]{3}))(?:-.*)?", entry)
        if match:
            return str(match[1] or match[2])
    # "nvidia,tegra23x" is a family of chips and no chip; others name theirs last.
    last = compatible[-1].rsplit(",", 1)[-1]
    if any(entry.startswith(("raspberrypi,", "nvidia,")) for entry in compatible):
        return Unknown(f"compatible names no chip that is known: {', '.join(compatible)}")
    return last


def _family(compatible: tuple[str, ...], soc: Probe[str]) -> str:
    if any(entry.startswith("raspberrypi,") for entry in compatible):
        return RASPBERRY_PI
    if any(re.match(r"nvidia,(tegra|p[0-9]{4}-|jetson)", entry) for entry in compatible):
        return JETSON
    if isinstance(soc, str) and re.fullmatch(r"bcm2(711|712|83[5-7])", soc):
        return RASPBERRY_PI
    return OTHER


def _module(compatible: tuple[str, ...]) -> Probe[str]:
    """Every known module part number in the list, with its name."""
    found: list[str] = []
    for entry in compatible:
        for part in re.findall(r"p[0-9]{4}-[0-9]{4}", entry):
            name = f"{part} {MODULES[part]}" if part in MODULES else ""
            if name and name not in found:
                found.append(name)
    return (
        " or ".join(found) if found else Unknown(f"compatible names no module that is known: {', '.join(compatible)}")
    )


def _soc_of_revision(revision: str | None) -> str | None:
    if revision is None or not re.fullmatch(r"[0-9a-fA-F]{4,8}", revision):
        return None
    code = int(revision, 16)
    return _REVISION_SOCS.get((code >> 12) & 0xF) if code & (1 << 23) else None


def _pc_model(root: Root) -> Probe[str]:
    names = [root.read_line(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name")]
    known = [name for name in names if isinstance(name, str)]
    if known:
        return " ".join(known)
    return names[1]
