"""Builds fixture trees: the files of a recorded board under a recorded system, as kernel and distribution write them.

`python -m tests.boards.tree BOARD SIZE SYSTEM FOLDER` writes one; tests write them into temporary folders. Only files
whose content was recorded appear. Temperatures and loads are not facts of a board; they are set to plain test values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

HERE = Path(__file__).parent
UNKNOWN = "unknown"
# Test values, not captures.
ZONE_MILLIDEGREES = 45_000
PMIC_DIE_MILLIDEGREES = 100_000  # captured: a constant on Nano and TX2
GPU_PER_MILLE = 250

_UNIT_KB = {"kB": 1, "MiB": 1024, "GiB": 1024 * 1024}
# e_machine and EI_CLASS of the ELF specification.
_ELF = {"arm64": (0xB7, 2), "armhf": (0x28, 1), "amd64": (0x3E, 2)}


class Fixture(NamedTuple):
    """One row of the table: a board with a memory size (as sold) under a system."""

    board: dict[str, Any]
    size: str
    system_name: str
    system: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.board['id']} {self.size} {self.system_name}"

    @property
    def page_bytes(self) -> int | None:
        page: int | None = self.board.get("page_bytes")
        return page


def fixtures() -> Iterator[Fixture]:
    """Every board × size × system of the two files."""
    boards = yaml.safe_load((HERE / "boards.yaml").read_text(encoding="utf-8"))["boards"]
    systems = yaml.safe_load((HERE / "systems.yaml").read_text(encoding="utf-8"))["systems"]
    for board in boards:
        for size in board["memory"]:
            for system in board["systems"]:
                yield Fixture(board, size, system, systems[system])


def find_fixture(name: str) -> Fixture:
    """The fixture called "BOARD SIZE SYSTEM"."""
    return next(fixture for fixture in fixtures() if fixture.name == name)


def build(fixture: Fixture, root: Path) -> None:
    """Write the tree below `root`, which must not have it yet."""
    for path, content in _files(fixture).items():
        target = root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())
    (root / "usr/bin/python3").symlink_to(f"python{_minor(fixture.system['python'])}")
    if "compatible" in fixture.board:
        (root / "proc/device-tree").symlink_to("/sys/firmware/devicetree/base")


def _files(fixture: Fixture) -> dict[str, str | bytes]:
    board, system = fixture.board, fixture.system
    files: dict[str, str | bytes] = {
        "/etc/os-release": system["os_release"],
        "/var/lib/dpkg/status": _packages(system, _architecture(fixture)),
        f"/usr/bin/python{_minor(system['python'])}": _elf(_architecture(fixture)),
        "/proc/cpuinfo": _cpuinfo(fixture),
        "/proc/stat": "cpu  100 0 50 800 20 0 5 0 0 0\ncpu0 100 0 50 800 20 0 5 0 0 0\n",
        "/proc/loadavg": "0.25 0.10 0.05 1/150 1234\n",
        **_cores(board),
        **_device_tree(fixture),
        **_thermal(fixture),
    }
    total = _by_kernel(fixture, board["memory"][fixture.size])
    if total != UNKNOWN:
        files["/proc/meminfo"] = _meminfo(board, _kilobytes(total))
    if fixture.system_name in board.get("kernels", {}):
        files["/proc/sys/kernel/osrelease"] = board["kernels"][fixture.system_name] + "\n"
    if "l4t" in system:
        files["/etc/nv_tegra_release"] = system["l4t"] + "\n"
    for key, value in board.get("dmi", {}).items():
        files[f"/sys/class/dmi/id/{key}"] = value + "\n"
    return files


def _by_kernel(fixture: Fixture, table: Any) -> Any:
    """The entry of a table for the fixture's kernel, or the value where there is no table."""
    if not isinstance(table, dict):
        return table
    kernel = fixture.system["kernel"]
    if kernel in table:
        return table[kernel]
    return table["all"] if "all" in table else next(iter(table.values()))


def _architecture(fixture: Fixture) -> str:
    named: str = fixture.system["architecture"]
    if named != "native":
        return named
    return "amd64" if "vendor" in fixture.board["cores"][0] else "arm64"


def _minor(python: str) -> str:
    return ".".join(python.split(".")[:2])


def _elf(architecture: str) -> bytes:
    machine, width = _ELF[architecture]
    return b"\x7fELF" + bytes([width, 1, 1]) + bytes(9) + (3).to_bytes(2, "little") + machine.to_bytes(2, "little")


def _packages(system: dict[str, Any], architecture: str) -> str:
    stanzas = [
        ("dpkg", architecture, ""),
        ("libc6", architecture, system["glibc"]),
        (f"python{_minor(system['python'])}", architecture, system["python"]),
    ]
    return "\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\n"
        + (f"Version: {version}-1\n" if version else "")
        for name, arch, version in stanzas
    )


def _cpuinfo(fixture: Fixture) -> str:
    features = _by_kernel(fixture, fixture.board["features"])
    blocks = []
    for core in (core for kind in fixture.board["cores"] for core in [kind] * kind["count"]):
        lines = [f"processor\t: {len(blocks)}"]
        if "vendor" in core:
            lines += [
                f"vendor_id\t: {core['vendor']}",
                f"cpu family\t: {core['family']}",
                f"model\t\t: {core['model']}",
                f"model name\t: {core['name']}",
                f"stepping\t: {core['stepping']}",
                f"flags\t\t: {features}",
            ]
        else:
            lines += [f"BogoMIPS\t: {core['bogomips']}"] if "bogomips" in core else []
            lines += [f"Features\t: {features} ", f"CPU implementer\t: {core['implementer']}", "CPU architecture: 8"]
            lines += [f"CPU variant\t: {core['variant']}"] if "variant" in core else []
            lines += [f"CPU part\t: {core['part']}"]
            lines += [f"CPU revision\t: {core['revision']}"] if "revision" in core else []
        blocks.append("\n".join(lines) + "\n")
    board = fixture.board
    if "revision" in board:
        blocks.append(f"Revision\t: {board['revision']}\nSerial\t\t: 0000000000000000\nModel\t\t: {board['model']}\n")
    return "\n".join(blocks)


def _cores(board: dict[str, Any]) -> dict[str, str]:
    last = sum(kind["count"] for kind in board["cores"]) - 1
    return {f"/sys/devices/system/cpu/{name}": f"0-{last}\n" for name in ("possible", "present", "online")}


def _meminfo(board: dict[str, Any], total: int) -> str:
    lines = [f"MemTotal:       {total:>8} kB", f"MemAvailable:   {total // 2:>8} kB"]
    if "cma" in board:
        lines.append(f"CmaTotal:       {_kilobytes(board['cma']):>8} kB")
    return "\n".join(lines) + "\n"


def _kilobytes(text: str) -> int:
    number, unit = text.split()
    return int(float(number) * _UNIT_KB[unit])


def _device_tree(fixture: Fixture) -> dict[str, bytes]:
    board = fixture.board
    if "compatible" not in board:
        return {}
    base = "/sys/firmware/devicetree/base"
    entries = _by_kernel(fixture, board["compatible"])
    files = {f"{base}/compatible": b"".join(entry.encode() + b"\0" for entry in entries)}
    if "model" in board:
        files[f"{base}/model"] = board["model"].encode() + b"\0"
    return files


def _thermal(fixture: Fixture) -> dict[str, str]:
    board = fixture.board
    files = {}
    for index, name in enumerate(_by_kernel(fixture, board["zones"]) if "zones" in board else ()):
        heat = PMIC_DIE_MILLIDEGREES if name == "PMIC-Die" else ZONE_MILLIDEGREES + index * 1000
        files[f"/sys/class/thermal/thermal_zone{index}/type"] = f"{name}\n"
        files[f"/sys/class/thermal/thermal_zone{index}/temp"] = f"{heat}\n"
    for index, name in enumerate(board.get("hwmon", ())):
        files[f"/sys/class/hwmon/hwmon{index}/name"] = f"{name}\n"
        if name == "rpi_volt":
            files[f"/sys/class/hwmon/hwmon{index}/in0_lcrit_alarm"] = "0\n"
    for path in _by_kernel(fixture, board["gpu_load"]) if "gpu_load" in board else ():
        files[path] = f"{GPU_PER_MILLE}\n"
    return files


if __name__ == "__main__":
    build(find_fixture(" ".join(sys.argv[1:4])), Path(sys.argv[4]))
