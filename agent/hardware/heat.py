"""Temperatures from thermal zones, and from hwmon where a kernel has no zone.

A Jetson's zones answer EAGAIN while their unit is unpowered, a Pi's may answer EINVAL; such a zone is left out with its
reason, and the others count. psutil is not used: it raises on such zones (psutil issue 2477) and can only read /sys.
"""

from __future__ import annotations

import msgspec

from agent.hardware.root import Root
from agent.hardware.unknown import Probe, Unknown

_ZONES = "/sys/class/thermal"
_HWMON = "/sys/class/hwmon"
# PMIC-Die is a constant 100 °C on Nano and TX2; thermal-fan-est is an estimate that steers the fan, of no place.
_NOT_MEASURED = {"PMIC-Die": "a constant, not a measurement", "thermal-fan-est": "an estimate for the fan"}
# hwmon chips whose temperature is that of the processor (kernel documentation: coretemp, k10temp; a Pi's cpu_thermal).
_PROCESSOR_CHIPS = frozenset({"coretemp", "k10temp", "zenpower", "cpu_thermal"})
# Below and above, silicon does not run: an unpowered sensor's -256 °C or a garbled number.
_MIN_MILLIDEGREES = -55_000
_MAX_MILLIDEGREES = 150_000
_CONSTANT_MILLIDEGREES = 100_000


class Zone(msgspec.Struct, frozen=True):
    """One sensor, such as "cpu-thermal" at 51.2 °C."""

    name: str
    celsius: float


class SkippedZone(msgspec.Struct, frozen=True):
    """A sensor that does not count, and why."""

    name: str
    reason: str


class Heat(msgspec.Struct, frozen=True):
    zones: tuple[Zone, ...]
    skipped: tuple[SkippedZone, ...]
    hottest_celsius: Probe[float]


class HeatReader:
    """Reads every zone anew each time: zones appear and vanish with their units' power.

    A zone counts once it has shown anything but 100.000 °C: boards publish sensors that are stuck there.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._moving: set[str] = set()

    def read(self) -> Heat:
        """Never raises."""
        zones: list[Zone] = []
        skipped: list[SkippedZone] = []
        folders = self._root.list_folder(_ZONES)
        for folder in folders if isinstance(folders, tuple) else ():
            if folder.startswith("thermal_zone"):
                name = self._root.read_line(f"{_ZONES}/{folder}/type")
                self._take(name if isinstance(name, str) else folder, f"{_ZONES}/{folder}/temp", zones, skipped)
        if not zones:
            self._take_hwmon(zones, skipped)
        if zones:
            return Heat(tuple(zones), tuple(skipped), max(zone.celsius for zone in zones))
        if skipped:
            reason = "; ".join(f"{zone.name}: {zone.reason}" for zone in skipped)
        else:
            reason = folders.reason if isinstance(folders, Unknown) else f"{_ZONES}: no thermal zone"
        return Heat((), tuple(skipped), Unknown(reason))

    def _take_hwmon(self, zones: list[Zone], skipped: list[SkippedZone]) -> None:
        chips = self._root.list_folder(_HWMON)
        for chip in chips if isinstance(chips, tuple) else ():
            name = self._root.read_line(f"{_HWMON}/{chip}/name")
            if name in _PROCESSOR_CHIPS:
                inputs = self._root.list_folder(f"{_HWMON}/{chip}")
                for file in inputs if isinstance(inputs, tuple) else ():
                    if file.startswith("temp") and file.endswith("_input"):
                        self._take(f"{name} {file.removesuffix('_input')}", f"{_HWMON}/{chip}/{file}", zones, skipped)

    def _take(self, name: str, path: str, zones: list[Zone], skipped: list[SkippedZone]) -> None:
        if name in _NOT_MEASURED:
            skipped.append(SkippedZone(name, _NOT_MEASURED[name]))
            return
        value = self._root.read_int(path)
        if isinstance(value, Unknown):
            skipped.append(SkippedZone(name, value.reason))
            return
        if not _MIN_MILLIDEGREES <= value <= _MAX_MILLIDEGREES:
            skipped.append(SkippedZone(name, f"{path}: {value} is no temperature in thousandths of a degree"))
            return
        if value != _CONSTANT_MILLIDEGREES:
            self._moving.add(path)
        if path in self._moving:
            zones.append(Zone(name, value / 1000))
        else:
            skipped.append(SkippedZone(name, "stuck at 100 °C since the start"))
