"""NVIDIA Jetson: its L4T release, the JetPack that belongs to it, its modules and its GPU.

The JetPack generation follows from L4T's major number; tables of exact versions age, so they only refine it.
"""

from __future__ import annotations

import re

import msgspec

from agent.hardware.root import Root
from agent.hardware.unknown import Probe, Unknown

# L4T major → JetPack generation. Two majors belong to 5, and two to 7.
JETPACK_OF_L4T = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7, 39: 7}
# Exact versions, for people (jetson-stats' table, and NVIDIA's release notes for the newer ones).
_JETPACK_VERSIONS = {
    "32.5.1": "4.5.1",
    "32.6.1": "4.6",
    "32.7.1": "4.6.1",
    "32.7.6": "4.6.6",
    "35.1.0": "5.0.2",
    "35.3.1": "5.1.1",
    "35.4.1": "5.1.2",
    "35.5.0": "5.1.3",
    "35.6.0": "5.1.4",
    "35.6.4": "5.1.6",
    "36.2.0": "6.0 DP",
    "36.3.0": "6.0",
    "36.4.0": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "36.5.0": "6.2.2",
    "38.2.0": "7.0",
    "38.4.0": "7.1",
    "39.2.0": "7.2",
    "39.2.1": "7.2.1",
}
# Part numbers in `compatible` and what they are called.
MODULES = {
    "p3448-0000": "Nano 4GB",
    "p3448-0002": "Nano eMMC",
    "p3448-0003": "Nano 2GB",
    "p3310-1000": "TX2",
    "p3489-0000": "TX2i",
    "p3489-0888": "TX2 4GB",
    "p3636-0001": "TX2 NX",
    "p3668-0000": "Xavier NX devkit",
    "p3668-0001": "Xavier NX",
    "p3668-0003": "Xavier NX 16GB",
    "p2888-0001": "AGX Xavier",
    "p2888-0004": "AGX Xavier 32GB",
    "p2888-0005": "AGX Xavier 64GB",
    "p3767-0000": "Orin NX 16GB",
    "p3767-0001": "Orin NX 8GB",
    "p3767-0003": "Orin Nano 8GB",
    "p3767-0004": "Orin Nano 4GB",
    "p3767-0005": "Orin Nano devkit 8GB",
    "p3701-0000": "AGX Orin devkit",
    "p3701-0001": "AGX Orin",
    "p3701-0004": "AGX Orin 32GB",
    "p3701-0005": "AGX Orin 64GB",
    "p3701-0008": "AGX Orin Industrial",
    "p3834-0008": "AGX Thor T5000",
}
# Chip → GPU and its compute capability. CUDA 12.8 called Thor's 10.1; CUDA 13 calls it 11.0.
GPUS = {
    "tegra210": ("GM20B", "5.3"),
    "tegra186": ("GP10B", "6.2"),
    "tegra194": ("GV11B", "7.2"),
    "tegra234": ("GA10B", "8.7"),
    "tegra264": ("Thor", "11.0"),
}


class L4t(msgspec.Struct, frozen=True):
    """NVIDIA's Linux for Tegra. `release` is "36.4.3", `jetpack` its generation (6), `jetpack_version` "6.2"."""

    release: Probe[str]
    jetpack: Probe[int]
    jetpack_version: Probe[str]


def read_l4t(root: Root) -> L4t:
    """From /etc/nv_tegra_release. Never raises."""
    path = "/etc/nv_tegra_release"
    line = root.read_line(path)
    if isinstance(line, Unknown):
        return L4t(line, line, line)
    match = re.match(r"# R([0-9]{1,3}) \(release\), REVISION: ([0-9]{1,3}(?:\.[0-9]{1,3}){0,2})\b", line)
    if not match:
        unknown = Unknown(f"{path}: does not start with '# R<major> (release), REVISION:'")
        return L4t(unknown, unknown, unknown)
    major, release = int(match[1]), f"{match[1]}.{match[2]}"
    generation = JETPACK_OF_L4T.get(major)
    no_generation = Unknown(f"no JetPack is known for L4T {major}")
    return L4t(
        release=release,
        jetpack=generation or no_generation,
        jetpack_version=_JETPACK_VERSIONS.get(release) or Unknown(f"L4T {release} is not in our table"),
    )
