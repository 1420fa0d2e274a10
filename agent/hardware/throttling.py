"""Whether the board slows itself down, and for want of what. No source covers every board, so several are tried.

scaling_cur_freq is not among them: on a Pi it ignores throttling (raspberrypi/linux issue 2986).
"""

from __future__ import annotations

import re

import msgspec

from agent.hardware.board import RASPBERRY_PI
from agent.hardware.firmware import Firmware
from agent.hardware.root import Root
from agent.hardware.unknown import Probe, Unknown

# The hwmon alarm was seen up in 16 of 173 samples of one constant undervoltage, so about one in eleven. Three times
# that many quiet samples in a row mean that it is over (a constant one looks so by chance in 5 % of the cases).
QUIET_SAMPLES = 33
_HWMON = "/sys/class/hwmon"
# Deprecated; its first read logs a kernel warning, so it is asked last. Its bits since boot are cleared every 2 s by
# the hwmon driver, so only those of now count.
_SYSFS_WORDS = ("/sys/devices/platform/soc/soc:firmware/get_throttled",)
_UNDER_VOLTAGE, _CAPPED, _THROTTLED, _SOFT_LIMIT = 1, 2, 4, 8
_SINCE_BOOT = 16


class Throttling(msgspec.Struct, frozen=True):
    """`source` names where it comes from. `was_throttled` is since boot where the firmware tells, None elsewhere."""

    source: Probe[str]
    is_throttled: Probe[bool]
    is_under_voltage: Probe[bool]
    was_throttled: bool | None = None


class ThrottlingReader:
    """Keeps what it needs between samples: the debounced alarm and the counters of before."""

    def __init__(self, root: Root, family: Probe[str], firmware: Firmware) -> None:
        self._root = root
        self._family = family
        self._firmware = firmware
        self._quiet_samples = QUIET_SAMPLES
        self._counts: dict[str, int] | None = None

    def read(self) -> Throttling:
        """Never raises."""
        return self._of_pi() if self._family == RASPBERRY_PI else self._of_counters()

    def _of_pi(self) -> Throttling:
        word = self._firmware.throttle_word()
        if isinstance(word, int):
            return _of_word("firmware", word, was=bool(word >> _SINCE_BOOT & (_CAPPED | _THROTTLED | _SOFT_LIMIT)))
        alarm = self._alarm()
        if isinstance(alarm, bool):
            told = "the hwmon alarm tells of undervoltage only"
            return Throttling("hwmon rpi_volt", Unknown(f"{told}; {word.reason}"), alarm)
        reasons = [word.reason, alarm.reason]
        for path in _SYSFS_WORDS:
            line = self._root.read_line(path)
            if isinstance(line, str) and re.fullmatch(r"[0-9a-fA-F]{1,8}", line):  # hexadecimal without 0x
                return _of_word("get_throttled in sysfs", int(line, 16), was=None)
            reasons.append(line.reason if isinstance(line, Unknown) else f"{path}: holds no hexadecimal number")
        unknown = Unknown("; ".join(reasons))
        return Throttling(unknown, unknown, unknown)

    def _alarm(self) -> bool | Unknown:
        """The undervoltage alarm, debounced: up at once, down after QUIET_SAMPLES."""
        chips = self._root.list_folder(_HWMON)
        if isinstance(chips, Unknown):
            return chips
        for chip in chips:
            if self._root.read_line(f"{_HWMON}/{chip}/name") == "rpi_volt":
                value = self._root.read_int(f"{_HWMON}/{chip}/in0_lcrit_alarm")
                if isinstance(value, Unknown):
                    return value
                self._quiet_samples = 0 if value else self._quiet_samples + 1
                return self._quiet_samples < QUIET_SAMPLES
        return Unknown(f"{_HWMON}: no rpi_volt")

    def _of_counters(self) -> Throttling:
        """Counters of over-current (Jetson, soctherm) and heat (x86) events: throttled when one has grown."""
        counts = self._event_counts()
        before, self._counts = self._counts, counts
        no_voltage = Unknown("this board does not tell of undervoltage")
        if not counts:
            unknown = Unknown("no soctherm or thermal_throttle counter in /sys")
            return Throttling(unknown, unknown, no_voltage)
        source = "event counters"
        if before is None:
            return Throttling(source, Unknown("counters need two samples"), no_voltage, any(counts.values()))
        grew = any(count > before.get(path, count) for path, count in counts.items())
        return Throttling(source, grew, no_voltage, any(counts.values()))

    def _event_counts(self) -> dict[str, int]:
        paths = []
        chips = self._root.list_folder(_HWMON)
        for chip in chips if isinstance(chips, tuple) else ():
            files = self._root.list_folder(f"{_HWMON}/{chip}")
            names = files if isinstance(files, tuple) else ()
            paths += [f"{_HWMON}/{chip}/{name}" for name in names if re.fullmatch(r"oc[0-9]_event_cnt", name)]
        cores = self._root.list_folder("/sys/devices/system/cpu")
        for core in cores if isinstance(cores, tuple) else ():
            if re.fullmatch(r"cpu[0-9]+", core):
                paths.append(f"/sys/devices/system/cpu/{core}/thermal_throttle/core_throttle_count")
        values = {path: self._root.read_int(path) for path in paths}
        return {path: value for path, value in values.items() if isinstance(value, int)}


def _of_word(source: str, word: int, *, was: bool | None) -> Throttling:
    return Throttling(
        source,
        is_throttled=bool(word & (_CAPPED | _THROTTLED | _SOFT_LIMIT)),
        is_under_voltage=bool(word & _UNDER_VOLTAGE),
        was_throttled=was,
    )
