"""The graphics processor, where it could run networks. Nothing here opens a device or loads a driver's library."""

from __future__ import annotations

import re

import msgspec

from agent.hardware.board import JETSON, RASPBERRY_PI, Board
from agent.hardware.jetson import GPUS
from agent.hardware.root import Root
from agent.hardware.unknown import Probe, Unknown

_NVIDIA_DRIVER = "/proc/driver/nvidia/gpus"
# PCI class 0x03 is a display controller; ids from the PCI SIG.
_PCI_VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


class Gpu(msgspec.Struct, frozen=True):
    """`architecture` is CUDA's compute capability ("8.7"), None for a GPU without CUDA. Both None: there is no GPU."""

    name: Probe[str] | None
    architecture: Probe[str] | None


def read_gpu(root: Root, board: Board) -> Gpu:
    """Never raises."""
    if board.family == JETSON:
        if not isinstance(board.soc, str):
            return Gpu(board.soc, board.soc)
        known = GPUS.get(board.soc)
        unknown = Unknown(f"no GPU is known for {board.soc}")
        return Gpu(*known) if known else Gpu(unknown, unknown)
    if board.family == RASPBERRY_PI:
        return Gpu("VideoCore (graphics and Vulkan only)", None)
    return _driven_by_nvidia(root) or _on_pci(root)


def _driven_by_nvidia(root: Root) -> Gpu | None:
    folders = root.list_folder(_NVIDIA_DRIVER)
    for folder in folders if isinstance(folders, tuple) else ():
        text = root.read_text(f"{_NVIDIA_DRIVER}/{folder}/information")
        if isinstance(text, Unknown):
            return Gpu(text, text)
        model = re.search(r"^Model:[ \t]+([ -~]{1,100}?)[ \t]*$", text, re.MULTILINE)
        name: Probe[str] = model[1] if model else Unknown(f"{_NVIDIA_DRIVER}/{folder}/information: no Model line")
        return Gpu(name, Unknown("the NVIDIA driver does not publish the compute capability in a file"))
    return None


def _on_pci(root: Root) -> Gpu:
    devices = root.list_folder("/sys/bus/pci/devices")
    if isinstance(devices, Unknown):
        return Gpu(devices, devices)
    vendors = []
    for device in devices:
        kind = root.read_line(f"/sys/bus/pci/devices/{device}/class")
        if isinstance(kind, str) and kind.startswith("0x03"):
            vendor = root.read_line(f"/sys/bus/pci/devices/{device}/vendor")
            vendors.append(_PCI_VENDORS.get(vendor, f"PCI vendor {vendor}") if isinstance(vendor, str) else "unnamed")
    if not vendors:
        return Gpu(None, None)
    if "NVIDIA" in vendors:
        return Gpu("NVIDIA, without its driver", Unknown(f"{_NVIDIA_DRIVER}: the NVIDIA driver is not loaded"))
    return Gpu(f"{vendors[0]} (not used)", None)
