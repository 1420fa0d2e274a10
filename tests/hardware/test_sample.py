"""Live samples: sensors that do not answer, flapping alarms, counters, per-mille loads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from agent.hardware import Sample, Sampler, Unknown, sample
from agent.hardware.firmware import Mailbox, parse_throttled
from agent.hardware.heat import HeatReader, SkippedZone, Zone
from agent.hardware.root import Root
from agent.hardware.throttling import QUIET_SAMPLES, Throttling, ThrottlingReader
from tests.boards.tree import GPU_PER_MILLE, build, find_fixture


class ScriptedFirmware:
    """A Raspberry Pi's firmware that gives these answers, the last one for ever."""

    def __init__(self, answers: Iterable[int | Unknown]) -> None:
        self._answers = list(answers)

    def throttle_word(self) -> int | Unknown:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


SILENT = ScriptedFirmware([Unknown("/dev/vcio: permission denied")])


def write(root: Path, path: str, content: str) -> Path:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content)
    return target


def add_zone(root: Path, index: int, name: str, content: str) -> Path:
    write(root, f"/sys/class/thermal/thermal_zone{index}/type", f"{name}\n")
    return write(root, f"/sys/class/thermal/thermal_zone{index}/temp", content)


# ---------------------------------------------------------------- heat


def test_nano_leaves_out_what_is_no_measurement(tmp_path: Path) -> None:
    build(find_fixture("jetson-nano 4GB jp4-r32.7.6"), tmp_path)
    heat = HeatReader(Root(tmp_path)).read()
    assert [zone.name for zone in heat.zones] == ["AO-therm", "CPU-therm", "GPU-therm", "PLL-therm"]
    assert heat.zones[1] == Zone("CPU-therm", 46.0)
    assert [zone.name for zone in heat.skipped] == ["PMIC-Die", "thermal-fan-est"]
    assert heat.hottest_celsius == 48.0


def test_zones_that_do_not_answer_are_skipped_with_reasons(tmp_path: Path) -> None:
    add_zone(tmp_path, 0, "cpu-thermal", "51500\n")
    add_zone(tmp_path, 1, "cv0-thermal", "").unlink()
    add_zone(tmp_path, 2, "gpu-thermal", "-256000\n")
    add_zone(tmp_path, 3, "tj-thermal", "hot\n")
    add_zone(tmp_path, 10, "soc0-thermal", "49000\n")
    heat = HeatReader(Root(tmp_path)).read()
    assert heat.zones == (Zone("cpu-thermal", 51.5), Zone("soc0-thermal", 49.0))
    zones = "/sys/class/thermal/thermal_zone"
    assert heat.skipped == (
        SkippedZone("cv0-thermal", f"{zones}1/temp: no such file or directory"),
        SkippedZone("gpu-thermal", f"{zones}2/temp: -256000 is no temperature in thousandths of a degree"),
        SkippedZone("tj-thermal", f"{zones}3/temp: holds no number"),
    )


def test_zone_stuck_at_100_counts_once_it_has_moved(tmp_path: Path) -> None:
    temp = add_zone(tmp_path, 0, "board", "100000\n")
    reader = HeatReader(Root(tmp_path))
    assert reader.read().hottest_celsius == Unknown("board: stuck at 100 °C since the start")
    temp.write_text("99000\n")
    assert reader.read().hottest_celsius == 99.0
    temp.write_text("100000\n")
    assert reader.read().hottest_celsius == 100.0


def test_hwmon_serves_where_there_is_no_zone(tmp_path: Path) -> None:
    write(tmp_path, "/sys/class/hwmon/hwmon0/name", "nvme\n")
    write(tmp_path, "/sys/class/hwmon/hwmon0/temp1_input", "70000\n")
    write(tmp_path, "/sys/class/hwmon/hwmon1/name", "k10temp\n")
    write(tmp_path, "/sys/class/hwmon/hwmon1/temp1_input", "55125\n")
    heat = HeatReader(Root(tmp_path)).read()
    assert heat.zones == (Zone("k10temp temp1", 55.125),)


def test_no_sensor_at_all(tmp_path: Path) -> None:
    heat = HeatReader(Root(tmp_path)).read()
    assert heat.hottest_celsius == Unknown("/sys/class/thermal: no such file or directory")


# ---------------------------------------------------------------- throttling


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (0x0, Throttling("firmware", False, False, False)),
        (0x50000, Throttling("firmware", False, False, True)),
        (0x50005, Throttling("firmware", True, True, True)),
        (0x1, Throttling("firmware", False, True, False)),
        (0x2, Throttling("firmware", True, False, False)),
        (0x80008, Throttling("firmware", True, False, True)),
        (0x10000, Throttling("firmware", False, False, False)),
    ],
)
def test_firmware_word(tmp_path: Path, word: int, expected: Throttling) -> None:
    reader = ThrottlingReader(Root(tmp_path), "raspberry-pi", ScriptedFirmware([word]))
    assert reader.read() == expected


@pytest.mark.parametrize(
    ("answer", "word"), [(b"throttled=0x50005", 0x50005), (b"throttled=0x0\n", 0), (b"", None), (b"error=1", None)]
)
def test_firmware_text(answer: bytes, word: int | None) -> None:
    parsed = parse_throttled(answer)
    assert parsed == word if word is not None else isinstance(parsed, Unknown)


def test_firmware_of_another_root_is_not_asked(tmp_path: Path) -> None:
    assert isinstance(Mailbox(Root(tmp_path)).throttle_word(), Unknown)


def test_firmware_without_its_device() -> None:
    """This machine has no mailbox, or one that answers; either way no exception."""
    word = Mailbox(Root()).throttle_word()
    assert isinstance(word, int) or "/dev/vcio" in word.reason


def test_flapping_alarm_is_debounced(tmp_path: Path) -> None:
    """Up at once; down only when it has been quiet for long."""
    build(find_fixture("pi-5-b 8GB bookworm"), tmp_path)
    alarm = tmp_path / "sys/class/hwmon/hwmon3/in0_lcrit_alarm"
    reader = ThrottlingReader(Root(tmp_path), "raspberry-pi", SILENT)
    assert reader.read().is_under_voltage is False
    for _ in range(3):
        alarm.write_text("1\n")
        assert reader.read().is_under_voltage is True
        alarm.write_text("0\n")
        assert [reader.read().is_under_voltage for _ in range(QUIET_SAMPLES - 1)] == [True] * (QUIET_SAMPLES - 1)
    assert reader.read().is_under_voltage is False
    assert reader.read().source == "hwmon rpi_volt"
    assert isinstance(reader.read().is_throttled, Unknown)


@pytest.mark.parametrize(
    ("content", "throttled", "under_voltage"), [("80008\n", True, False), ("0\n", False, False), ("50005", True, True)]
)
def test_sysfs_word_has_no_prefix(tmp_path: Path, content: str, throttled: bool, under_voltage: bool) -> None:
    write(tmp_path, "/sys/devices/platform/soc/soc:firmware/get_throttled", content)
    found = ThrottlingReader(Root(tmp_path), "raspberry-pi", SILENT).read()
    assert found == Throttling("get_throttled in sysfs", throttled, under_voltage, None)


def test_pi_without_any_source_names_them_all(tmp_path: Path) -> None:
    write(tmp_path, "/sys/devices/platform/soc/soc:firmware/get_throttled", "bad!")
    source = ThrottlingReader(Root(tmp_path), "raspberry-pi", SILENT).read().source
    assert isinstance(source, Unknown)
    assert source.reason == (
        "/dev/vcio: permission denied; /sys/class/hwmon: no such file or directory; "
        "/sys/devices/platform/soc/soc:firmware/get_throttled: holds no hexadecimal number"
    )


@pytest.mark.parametrize(
    "path",
    ["/sys/class/hwmon/hwmon4/oc3_event_cnt", "/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"],
)
def test_counters_that_grow_mean_throttling(tmp_path: Path, path: str) -> None:
    counter = write(tmp_path, path, "7\n")
    reader = ThrottlingReader(Root(tmp_path), "jetson", SILENT)
    assert reader.read().is_throttled == Unknown("counters need two samples")
    assert reader.read().is_throttled is False
    counter.write_text("8\n")
    assert reader.read().is_throttled is True
    assert reader.read() == Throttling(
        "event counters", False, Unknown("this board does not tell of undervoltage"), True
    )


# ---------------------------------------------------------------- load


def test_whole_sample_of_a_pi(tmp_path: Path) -> None:
    build(find_fixture("pi-zero-2-w 512MB trixie"), tmp_path)
    sampler = Sampler(tmp_path, SILENT)
    first = sampler.sample()
    assert first.heat.hottest_celsius == 45.0
    assert first.memory_available_bytes == 426068 // 2 * 1024
    assert first.load_average == 0.25
    assert first.cpu_percent == Unknown("processor use needs two samples")
    # 60 ticks later, 45 of them idle or waiting for the disk.
    write(tmp_path, "/proc/stat", "cpu  110 0 55 840 25 0 5 0 0 0\ncpu0 110 0 55 840 25 0 5 0 0 0\n")
    assert sampler.sample().cpu_percent == 25.0
    assert sampler.sample().cpu_percent == Unknown("/proc/stat: no time has passed since the last sample")


@pytest.mark.parametrize(
    "name",
    ["jetson-nano 4GB jp4-r32.7.6", "jetson-agx-orin 64GB jp6-r36.4.3", "jetson-orin-nano-super 8GB jp7-r39.2.1"],
)
def test_gpu_load_wherever_the_release_has_it(tmp_path: Path, name: str) -> None:
    build(find_fixture(name), tmp_path)
    assert sample(tmp_path).gpu_load_per_mille == GPU_PER_MILLE


def test_gpu_load_by_its_devfreq_node_which_may_come_late(tmp_path: Path) -> None:
    sampler = Sampler(tmp_path)
    assert isinstance(sampler.sample().gpu_load_per_mille, Unknown)
    write(tmp_path, "/sys/class/devfreq/17000000.gpu/device/of_node/name", "gpu\0")
    write(tmp_path, "/sys/class/devfreq/17000000.gpu/device/load", "999\n")
    assert sampler.sample().gpu_load_per_mille == 999


def test_gpu_load_that_is_no_per_mille(tmp_path: Path) -> None:
    write(tmp_path, "/sys/devices/gpu.0/load", "1001\n")
    load = sample(tmp_path).gpu_load_per_mille
    assert isinstance(load, Unknown)
    assert "/sys/devices/gpu.0/load: 1001 is not per mille" in load.reason


def test_thor_publishes_no_gpu_load(tmp_path: Path) -> None:
    build(find_fixture("jetson-agx-thor 128GB jp7-r38.2.2"), tmp_path)
    assert isinstance(sample(tmp_path).gpu_load_per_mille, Unknown)


@pytest.mark.parametrize("content", ["cpu  1 2 3\n", "intr 1 2 3 4 5\n", "cpu  1 2 3 x 5 6\n"])
def test_stat_that_is_none(tmp_path: Path, content: str) -> None:
    write(tmp_path, "/proc/stat", content)
    assert sample(tmp_path).cpu_percent == Unknown("/proc/stat: does not start with the cpu line")


def test_this_machine_as_json() -> None:
    sampler = Sampler()
    sampler.sample()
    now = sampler.sample()
    assert isinstance(now.memory_available_bytes, int)
    assert isinstance(now.load_average, float)
    assert msgspec.json.decode(msgspec.json.encode(now), type=Sample) == now
