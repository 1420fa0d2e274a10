"""Detection of recorded boards, of machines that hide things, and of this one."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from agent.hardware import Hardware, Platform, Unknown, detect
from agent.hardware.root import Root
from tests.boards.table import detect_fixture
from tests.boards.tree import build, find_fixture


def board(name: str, root: Path) -> Hardware:
    fixture = find_fixture(name)
    build(fixture, root)
    return detect_fixture(fixture, root)


def test_pi_5(tmp_path: Path) -> None:
    pi = board("pi-5-b 8GB trixie", tmp_path)
    assert (pi.board.family, pi.board.soc, pi.board.module) == ("raspberry-pi", "bcm2712", None)
    assert pi.board.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert pi.board.compatible == ("raspberrypi,5-model-b", "brcm,bcm2712")
    assert isinstance(pi.cores, tuple)
    assert [core.name for core in pi.cores] == ["Cortex-A76"] * 4
    assert pi.common_instruction_sets() == {"asimd", "asimdhp", "fphp", "asimddp", "atomics"}
    assert (pi.offline_cores, pi.usable_cores) == ((), 4)
    assert pi.memory.band == "8 GB"
    assert (pi.gpu.name, pi.gpu.architecture) == ("VideoCore (graphics and Vulkan only)", None)
    assert pi.l4t is None
    assert (pi.os.name, pi.os.kernel) == ("Debian GNU/Linux 13 (trixie)", "6.18.50+rpt-rpi-2712")
    assert pi.platform.architecture == "arm64"
    assert (pi.platform.pointer_bits, pi.platform.page_bytes) == (64, 16384)
    assert (pi.platform.python, pi.platform.libc) == ("3.13", "glibc 2.41")


def test_tx2_shows_both_kinds_of_core(tmp_path: Path) -> None:
    tx2 = board("jetson-tx2 8GB jp4-r32.7.6", tmp_path)
    assert isinstance(tx2.cores, tuple)
    assert [core.name for core in tx2.cores] == ["Cortex-A57", "Denver 2", "Denver 2"] + ["Cortex-A57"] * 3
    assert (tx2.board.module, tx2.gpu.name, tx2.gpu.architecture) == ("p3310-1000 TX2", "GP10B", "6.2")
    assert tx2.l4t is not None
    assert (tx2.l4t.release, tx2.l4t.jetpack, tx2.l4t.jetpack_version) == ("32.7.6", 4, "4.6.6")


def test_tx2_with_its_denver_cores_switched_off(tmp_path: Path) -> None:
    board("jetson-tx2 8GB jp4-r32.7.6", tmp_path)
    (tmp_path / "sys/devices/system/cpu/online").write_text("0,3-5\n")
    cpuinfo = tmp_path / "proc/cpuinfo"
    blocks = cpuinfo.read_text().split("\n\n")
    cpuinfo.write_text("\n\n".join([blocks[0], *blocks[3:]]))
    tx2 = detect(tmp_path)
    assert isinstance(tx2.cores, tuple)
    assert [core.index for core in tx2.cores] == [0, 3, 4, 5]
    assert (tx2.offline_cores, tx2.usable_cores) == ((1, 2), 4)


def test_orin_nano_of_r35_may_be_two_modules(tmp_path: Path) -> None:
    orin = board("jetson-orin-nano-devkit 8GB jp5-r35.3.1", tmp_path)
    assert orin.board.module == "p3767-0003 Orin Nano 8GB or p3767-0005 Orin Nano devkit 8GB"
    assert orin.memory.band == "8 GB"  # 6.3 GiB with an early firmware
    assert orin.board.soc == "tegra234"


def test_super_suffix_hides_nothing(tmp_path: Path) -> None:
    orin = board("jetson-orin-nano-super 8GB jp7-r39.2.1", tmp_path)
    assert orin.board.module == "p3767-0005 Orin Nano devkit 8GB"
    assert orin.l4t is not None
    assert (orin.l4t.jetpack, orin.l4t.jetpack_version) == (7, "7.2.1")  # 39 is JetPack 7, as 38 is


def test_thor(tmp_path: Path) -> None:
    thor = board("jetson-agx-thor 128GB jp7-r38.2.2", tmp_path)
    assert (thor.gpu.architecture, thor.memory.band) == ("11.0", "128 GB")
    sets = thor.common_instruction_sets()
    assert isinstance(sets, frozenset)
    assert {"sve2", "i8mm", "bf16", "asimddp"} <= sets
    assert thor.l4t is not None
    assert thor.l4t.jetpack == 7
    assert thor.l4t.jetpack_version == Unknown("L4T 38.2.2 is not in our table")


@pytest.mark.parametrize("system", ["bookworm-armhf", "bookworm-armhf-kernel64"])
def test_32_bit_userland_is_told_by_its_programs(tmp_path: Path, system: str) -> None:
    pi = board(f"pi-4-b 4GB {system}", tmp_path)
    assert (pi.platform.architecture, pi.platform.pointer_bits) == ("arm", 32)


@pytest.mark.parametrize("hidden", [["usr"], ["usr", "var"], ["usr", "var", "etc"]])
def test_32_bit_userland_without_programs(tmp_path: Path, hidden: list[str]) -> None:
    """The package database, then Raspbian's name, then a 32-bit kernel's own words."""
    fixture = find_fixture("pi-4-b 4GB bookworm-armhf")
    build(fixture, tmp_path)
    for name in hidden:
        (tmp_path / name).rename(tmp_path / f"hidden-{name}")
    assert detect(tmp_path).platform.pointer_bits == 32


def test_pc(tmp_path: Path) -> None:
    pc = board("odroid-h4 16GB ubuntu-22.04", tmp_path)
    assert (pc.board.family, pc.board.model, pc.board.soc) == ("pc", "HARDKERNEL ODROID-H4", None)
    sets = pc.common_instruction_sets()
    assert isinstance(sets, frozenset)
    assert {"avx2", "avx_vnni", "fma"} <= sets
    assert "avx512f" not in sets
    assert isinstance(pc.cores, tuple)
    assert (pc.cores[0].implementer, pc.cores[0].part) == ("GenuineIntel", "6/190/0")


def test_container_that_hides_the_device_tree(tmp_path: Path) -> None:
    """Docker masks /sys/firmware; the revision code of /proc/cpuinfo still names the chip."""
    fixture = find_fixture("pi-4-b 4GB bookworm")
    build(fixture, tmp_path)
    (tmp_path / "sys/firmware").rename(tmp_path / "hidden")
    pi = detect(tmp_path)
    assert (pi.board.family, pi.board.soc) == ("raspberry-pi", "bcm2711")
    assert isinstance(pi.board.compatible, Unknown)


@pytest.mark.parametrize(
    ("groups", "files", "limit", "cores"),
    [
        ("0::/\n", {"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, 4),
        ("0::/\n", {"memory.max": "536870912\n", "cpu.max": "150000 100000\n"}, 536870912, 2),
        ("0::/a/b\n", {"memory.max": "900\n", "a/memory.max": "700\n", "a/b/memory.max": "800\n"}, 700, 4),
        ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "4096\n"}, 4096, 4),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, None, 4),
        ("3:cpu,cpuacct:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, None, 1),
        ("3:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, 4),
        ("0::/../../etc\n", {"etc/memory.max": "5000\n"}, 5000, 4),
    ],
)
def test_control_groups(tmp_path: Path, groups: str, files: dict[str, str], limit: int | None, cores: int) -> None:
    build(find_fixture("pi-4-b 4GB bookworm"), tmp_path)
    (tmp_path / "proc/self").mkdir()
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    pi = detect(tmp_path)
    assert pi.memory.limit_bytes == limit
    assert pi.usable_cores == cores
    if limit is not None:
        assert pi.memory.usable_bytes == limit


def test_scheduler_leaves_fewer_cores(tmp_path: Path) -> None:
    build(find_fixture("pi-4-b 4GB bookworm"), tmp_path)
    platform = msgspec.structs.replace(Platform.from_root(Root(tmp_path)), schedulable_cores=3)
    assert detect(tmp_path, platform).usable_cores == 3


@pytest.mark.parametrize(
    ("mebibytes", "band"), [(200, "256 MB"), (416, "512 MB"), (909, "1 GB"), (6451, "8 GB"), (24105, "24 GB")]
)
def test_bands_of_memory(tmp_path: Path, mebibytes: int, band: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text(f"MemTotal: {mebibytes * 1024} kB\nSwapTotal: 999999 kB\n")
    memory = detect(tmp_path).memory
    assert memory.band == band
    assert memory.usable_bytes == mebibytes * 1024 * 1024  # swap, which may be zram, adds nothing


@pytest.mark.parametrize(
    ("line", "release", "jetpack"),
    [
        ("# R35 (release), REVISION: 3.1, GCID: 1", "35.3.1", 5),
        ("# R34 (release), REVISION: 1.0, GCID: 1", "34.1.0", 5),
        ("# R36 (release), REVISION: 5.0, DATE: Mon Jun  1 09:28:48 PM UTC 2026", "36.5.0", 6),
        ("# R40 (release), REVISION: 1.0, GCID: 1", "40.1.0", Unknown("no JetPack is known for L4T 40")),
    ],
)
def test_l4t_lines(tmp_path: Path, line: str, release: str, jetpack: object) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(f"{line}\n# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n")
    l4t = detect(tmp_path).l4t
    assert l4t is not None
    assert (l4t.release, l4t.jetpack) == (release, jetpack)


def test_nvidia_card_of_a_pc(tmp_path: Path) -> None:
    build(find_fixture("odroid-h4 16GB ubuntu-22.04"), tmp_path)
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "class").write_text("0x030000\n")
    (device / "vendor").write_text("0x10de\n")
    assert detect(tmp_path).gpu.name == "NVIDIA, without its driver"
    driver = tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0"
    driver.mkdir(parents=True)
    (driver / "information").write_text("Model: \t\t NVIDIA GeForce RTX 3060\nIRQ: 150\n")
    gpu = detect(tmp_path).gpu
    assert gpu.name == "NVIDIA GeForce RTX 3060"
    assert isinstance(gpu.architecture, Unknown)


def test_no_root_at_all(tmp_path: Path) -> None:
    nothing = detect(tmp_path / "nowhere")
    assert nothing.board.family == Unknown(
        "/proc/device-tree/compatible: no such file or directory; "
        "/sys/firmware/devicetree/base/compatible: no such file or directory"
    )
    assert nothing.usable_cores == Unknown("/proc/cpuinfo: no such file or directory")
    assert nothing.memory.total_bytes == Unknown("/proc/meminfo: no such file or directory")


def test_json_says_what_is_unknown_and_reads_back(tmp_path: Path) -> None:
    for hardware in (board("cm4 any trixie", tmp_path), detect(tmp_path / "nowhere"), detect()):
        encoded = msgspec.json.encode(hardware)
        assert msgspec.json.decode(encoded, type=Hardware) == hardware
    assert json.loads(msgspec.json.encode(detect(tmp_path / "nowhere")))["usable_cores"] == {
        "unknown": "/proc/cpuinfo: no such file or directory"
    }


def test_this_machine() -> None:
    """Whatever runs the tests has cores, memory and an interpreter."""
    here = detect()
    assert isinstance(here.cores, tuple)
    assert isinstance(here.memory.total_bytes, int)
    assert here.platform == Platform.current() or here.platform.python == Platform.current().python
    assert not isinstance(here.platform.pointer_bits, Unknown)


def test_nothing_private_is_reported(tmp_path: Path) -> None:
    """Hardware is published over MQTT: no serial number."""
    build(find_fixture("pi-4-b 4GB bookworm"), tmp_path)
    cpuinfo = tmp_path / "proc/cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text().replace("0000000000000000", "10000000deadbeef"))
    assert b"deadbeef" not in msgspec.json.encode(detect(tmp_path))
