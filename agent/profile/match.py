"""Whether a machine meets a rule's conditions, and if not, why, in sentences with the figures. Pure."""

from __future__ import annotations

from agent.hardware import Hardware, Probe, Unknown
from agent.profile.schema import Match

MIB = 1024 * 1024


def find_misses(match: Match, hardware: Hardware) -> tuple[str, ...]:
    """A clause for each condition that does not hold, or that cannot be judged; empty where all hold.

    What kind of machine it is comes first: on another kind the rest would only be noise.
    """
    l4t = hardware.l4t
    jetpack: Probe[int] | None = None if l4t is None else l4t.jetpack
    kind = (
        _one_of("board family", match.family, hardware.board.family),
        _one_of("architecture", match.architecture, hardware.platform.architecture),
        _one_of("chip", match.soc, hardware.board.soc),
    )
    for miss in kind:
        if miss:
            return (miss,)
    figures = (
        _one_of("JetPack", tuple(str(number) for number in match.jetpack), _text(jetpack)),
        _instruction_sets(match.instruction_sets, hardware),
        _at_least("usable cores", match.min_cores, hardware.usable_cores),
        _at_least("MiB of usable memory", match.min_memory_mb, _mebibytes(hardware.memory.usable_bytes)),
    )
    return tuple(miss for miss in figures if miss)


def _text(value: Probe[int] | None) -> Probe[str] | None:
    return str(value) if isinstance(value, int) else value


def _mebibytes(value: Probe[int]) -> Probe[int]:
    return value if isinstance(value, Unknown) else value // MIB


def _one_of(what: str, wanted: tuple[str, ...], found: Probe[str] | None) -> str | None:
    if not wanted or found in wanted:
        return None
    needs = f"needs {what} {' or '.join(wanted)}"
    if isinstance(found, Unknown):
        return f"{needs}, which is unknown here ({found.reason})"
    return f"{needs}, not {found}" if found else f"{needs}, and this machine has none"


def _instruction_sets(wanted: tuple[str, ...], hardware: Hardware) -> str | None:
    if not wanted:
        return None
    found = hardware.common_instruction_sets()
    if isinstance(found, Unknown):
        return f"needs instruction sets {', '.join(wanted)}, which are unknown here ({found.reason})"
    missing = [name for name in wanted if name not in found]
    return f"needs {', '.join(missing)}, which not every core has" if missing else None


def _at_least(what: str, least: int | None, found: Probe[int]) -> str | None:
    if least is None:
        return None
    if isinstance(found, Unknown):
        return f"needs {least} {what}, and how many there are is unknown ({found.reason})"
    return None if found >= least else f"needs {least} {what}, not {found}"
