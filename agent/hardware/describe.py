"""Hardware and samples in words: the rows of `agent detect`, one line of the start-up chain. Pure; prints nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import msgspec

from agent.hardware.cpu import Core
from agent.hardware.detect import Hardware
from agent.hardware.memory import MIB
from agent.hardware.sample import Sample
from agent.hardware.unknown import Probe, Unknown


class Row(msgspec.Struct, frozen=True):
    """One line of the table. `is_known` is false where `text` is the reason why the fact is missing."""

    label: str
    text: str
    is_known: bool = True


def rows(hardware: Hardware) -> tuple[Row, ...]:
    """Every fact, the missing ones too."""
    board, memory, system, platform = hardware.board, hardware.memory, hardware.os, hardware.platform
    found = [
        _row("Board family", board.family),
        _row("Model", board.model),
        _row("Chip", board.soc),
        _row("Module", board.module),
        _row("Compatible", _joined(board.compatible)),
        *_core_rows(hardware.cores),
        _row("Cores switched off", _joined(hardware.offline_cores)),
        _row("Usable cores", hardware.usable_cores),
        _row("Memory", _mebibytes(memory.total_bytes)),
        _row("Memory class", memory.band),
        _row("of it CMA", _mebibytes(memory.cma_bytes)),
        _row("Control group's limit", None if memory.limit_bytes is None else _mebibytes(memory.limit_bytes)),
        _row("Swap (no memory)", _mebibytes(memory.swap_bytes)),
        _row("GPU", hardware.gpu.name),
        _row("CUDA architecture", hardware.gpu.architecture),
    ]
    if hardware.l4t is not None:
        found.append(_row("L4T", hardware.l4t.release))
        found.append(_row("JetPack", hardware.l4t.jetpack))
        found.append(_row("JetPack version", hardware.l4t.jetpack_version))
    found += [
        _row("System", system.name),
        _row("Kernel", system.kernel),
        _row("Architecture", platform.architecture),
        _row("Pointer size", _with_unit(platform.pointer_bits, " bits")),
        _row("Page size", _with_unit(platform.page_bytes, " bytes")),
        _row("Python", platform.python),
        _row("C library", platform.libc),
        _row("Free disk", _mebibytes(platform.storage_free_bytes)),
    ]
    return tuple(found)


def live_rows(sample: Sample) -> tuple[Row, ...]:
    """The rows of one moment. Sensors that do not count are left out; `--json` has them with their reasons."""
    heat, throttling = sample.heat, sample.throttling
    gpu = sample.gpu_load_per_mille
    return (
        _row("Hottest sensor", _with_unit(heat.hottest_celsius, " °C")),
        *(_row(f"  {zone.name}", f"{zone.celsius} °C") for zone in heat.zones),
        _row("Throttled now", _yes_or_no(throttling.is_throttled)),
        _row("Undervoltage now", _yes_or_no(throttling.is_under_voltage)),
        _row("Load average", _with_unit(sample.load_average, "")),
        _row("Memory available", _mebibytes(sample.memory_available_bytes)),
        _row("GPU load", gpu if isinstance(gpu, Unknown) else f"{gpu / 10:.1f} %"),
    )


def summary(hardware: Hardware) -> str:
    """One line: "Raspberry Pi 5 Model B Rev 1.0, 4 × Cortex-A76, 7.9 GiB, Debian GNU/Linux 12 (bookworm)"."""
    total = hardware.memory.total_bytes
    names = [
        hardware.board.model if isinstance(hardware.board.model, str) else None,
        "; ".join(_kinds(hardware.cores)) if isinstance(hardware.cores, tuple) else None,
        f"{total / 1024**3:.1f} GiB" if isinstance(total, int) else None,
        hardware.os.name if isinstance(hardware.os.name, str) else None,
    ]
    return ", ".join(name for name in names if name) or "nothing is known of this machine"


def _row(label: str, value: Probe[str] | Probe[int] | None) -> Row:
    if isinstance(value, Unknown):
        return Row(label, value.reason, is_known=False)
    return Row(label, "none" if value is None else str(value))


def _joined(values: Probe[tuple[str, ...]] | Probe[tuple[int, ...]]) -> Probe[str]:
    return values if isinstance(values, Unknown) else ", ".join(str(value) for value in values) or "none"


def _mebibytes(value: Probe[int]) -> Probe[str]:
    return value if isinstance(value, Unknown) else f"{value // MIB} MiB"


def _yes_or_no(value: Probe[bool]) -> Probe[str]:
    return value if isinstance(value, Unknown) else ("yes" if value else "no")


def _with_unit(value: Probe[int] | Probe[float], unit: str) -> Probe[str]:
    return value if isinstance(value, Unknown) else f"{value}{unit}"


def _core_rows(cores: Probe[tuple[Core, ...]]) -> Iterable[Row]:
    """Cores of one kind that follow each other share a row, so that mixed chips show their mixture."""
    if isinstance(cores, Unknown):
        return [_row("Cores", cores)]
    found = []
    for _, group in itertools.groupby(cores, key=lambda core: msgspec.structs.replace(core, index=0)):
        members = list(group)
        first, last = members[0], members[-1]
        label = f"Core {first.index}" if len(members) == 1 else f"Cores {first.index}–{last.index}"
        found.append(_row(label, _named(first)))
        found.append(_row("  instruction sets", _joined(first.instruction_sets)))
    return found


def _named(core: Core) -> Probe[str]:
    if isinstance(core.name, Unknown):
        return core.name
    return f"{core.name} ({core.implementer} {core.part})"


def _kinds(cores: tuple[Core, ...]) -> list[str]:
    counts: dict[str, int] = {}
    for core in cores:
        name = core.name if isinstance(core.name, str) else "unknown core"
        counts[name] = counts.get(name, 0) + 1
    return [f"{count} × {name}" for name, count in counts.items()]
