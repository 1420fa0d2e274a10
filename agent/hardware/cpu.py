"""Processor cores: who made each, what it is called, which instruction sets it has, and how many may be used.

Every block of /proc/cpuinfo is read: a Jetson TX2 mixes two kinds of core, and other chips mix fast and slow ones.
"""

from __future__ import annotations

import re

import msgspec

from agent.hardware.root import Root, is_plain
from agent.hardware.unknown import Probe, Unknown

# 512 hardware threads at about 1.6 kB each on x86 stay under 1 MB.
CPUINFO_BYTES = 4 * 1024 * 1024
# The kernel's own limit for arm64 and x86-64 distributions (CONFIG_NR_CPUS).
MAX_CORES = 8192

# (implementer, part) of the MIDR register, as /proc/cpuinfo writes them. Arm's, NVIDIA's and others' manuals.
ARM_CORES = {
    ("0x41", "0xb76"): "ARM1176",
    ("0x41", "0xc07"): "Cortex-A7",
    ("0x41", "0xc0f"): "Cortex-A15",
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd46"): "Cortex-A510",
    ("0x41", "0xd47"): "Cortex-A710",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x41", "0xd84"): "Neoverse-V3",
    ("0x4e", "0x003"): "Denver 2",
    ("0x4e", "0x004"): "Carmel",
    ("0xc0", "0xac3"): "Ampere-1",
}

# The kernel's names of the instruction sets that network runtimes choose their code by. The rest of the flags is left
# out: a 64-core x86 machine would otherwise report ten thousand words.
_ARM_64 = "asimd asimdhp fphp asimddp atomics i8mm bf16 sve sve2 svei8mm svebf16"
_ARM_32 = "neon vfpv4"
_X86 = (
    "lm sse4_1 sse4_2 avx f16c fma avx2 avx_vnni avx512f avx512bw avx512vl avx512_vnni avx512_bf16 avx512_fp16"
    " amx_tile amx_int8 amx_bf16"
)
INSTRUCTION_SETS = frozenset(f"{_ARM_64} {_ARM_32} {_X86}".split())

_CODE = re.compile(r"0x[0-9a-f]{1,4}")


class Core(msgspec.Struct, frozen=True):
    """One hardware thread. On Arm `implementer` and `part` are register fields ("0x41", "0xd08"); on x86 the vendor
    and family/model/stepping. `instruction_sets` holds those of INSTRUCTION_SETS that the kernel lists, sorted."""

    index: int
    implementer: Probe[str]
    part: Probe[str]
    name: Probe[str]
    instruction_sets: Probe[tuple[str, ...]]


class CpuInfo(msgspec.Struct, frozen=True):
    """/proc/cpuinfo: the cores, and the lines that describe the board on a Raspberry Pi."""

    cores: Probe[tuple[Core, ...]]
    revision: str | None = None


def read_cpuinfo(root: Root) -> CpuInfo:
    """The cores that are online now. Never raises."""
    path = "/proc/cpuinfo"
    text = root.read_text(path, CPUINFO_BYTES)
    if isinstance(text, Unknown):
        return CpuInfo(text)
    cores: list[Core] = []
    revision = None
    for block in re.split(r"\n\s*\n", text):
        fields = _fields(block)
        revision = fields.get("Revision", revision)
        index = fields.get("processor", "")
        if re.fullmatch(r"[0-9]{1,4}", index):
            cores.append(_core(int(index), fields))
    if not cores:
        return CpuInfo(Unknown(f"{path}: lists no processor"), revision)
    return CpuInfo(tuple(cores), revision)


def read_offline_cores(root: Root) -> Probe[tuple[int, ...]]:
    """Cores that are present but switched off (Jetson power modes do so)."""
    present = _core_list(root, "/sys/devices/system/cpu/present")
    online = _core_list(root, "/sys/devices/system/cpu/online")
    if isinstance(present, Unknown):
        return present
    if isinstance(online, Unknown):
        return online
    return tuple(sorted(present - online))


def _fields(block: str) -> dict[str, str]:
    pairs = (line.split(":", 1) for line in block.split("\n") if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _core(index: int, fields: dict[str, str]) -> Core:
    if "vendor_id" in fields or "flags" in fields:
        numbers = [fields.get(key, "?") for key in ("cpu family", "model", "stepping")]
        return Core(
            index,
            implementer=_plain(fields, "vendor_id"),
            part="/".join(numbers) if all(re.fullmatch(r"[0-9]{1,5}", n) for n in numbers) else _missing("cpu family"),
            name=_plain(fields, "model name"),
            instruction_sets=_instruction_sets(fields, "flags"),
        )
    implementer = _code(fields, "CPU implementer")
    part = _code(fields, "CPU part")
    return Core(index, implementer, part, _arm_name(implementer, part), _instruction_sets(fields, "Features"))


def _arm_name(implementer: Probe[str], part: Probe[str]) -> Probe[str]:
    if isinstance(implementer, Unknown):
        return implementer
    if isinstance(part, Unknown):
        return part
    return ARM_CORES.get((implementer, part)) or Unknown(f"no name is known for implementer {implementer}, part {part}")


def _missing(key: str) -> Unknown:
    return Unknown(f"/proc/cpuinfo: no readable '{key}' line for this core")


def _plain(fields: dict[str, str], key: str) -> Probe[str]:
    value = fields.get(key, "")
    return value if is_plain(value) else _missing(key)


def _code(fields: dict[str, str], key: str) -> Probe[str]:
    value = fields.get(key, "").lower()
    return value if _CODE.fullmatch(value) else _missing(key)


def _instruction_sets(fields: dict[str, str], key: str) -> Probe[tuple[str, ...]]:
    words = fields.get(key)
    if words is None:
        return _missing(key)
    return tuple(sorted(INSTRUCTION_SETS.intersection(words.split())))


def _core_list(root: Root, path: str) -> frozenset[int] | Unknown:
    """A kernel core list such as "0,3-5"."""
    line = root.read_line(path)
    if isinstance(line, Unknown):
        return line
    cores: set[int] = set()
    for part in line.split(","):
        match = re.fullmatch(r"([0-9]{1,4})(?:-([0-9]{1,4}))?", part)
        if not match:
            return Unknown(f"{path}: is no list of cores")
        first, last = int(match[1]), int(match[2] or match[1])
        cores.update(range(first, min(last, MAX_CORES) + 1))
    return frozenset(cores)
