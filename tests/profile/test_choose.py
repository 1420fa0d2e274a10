"""The choice and its sentences: why a profile was taken, why each other lost, what was left out or assumed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import HardwareUnsupported, NoProfileFits
from agent.hardware import Hardware, Unknown, detect
from agent.profile import Choice, Limits, Rejected, Rule, choose, kept_positions, load_profiles
from agent.profile.choose import BYTES_PER_POSITION
from agent.profile.describe import lines, summary
from tests.boards.table import PROFILES, detect_fixture
from tests.boards.tree import build, find_fixture

MIB = 1024 * 1024
RULES = load_profiles(PROFILES)
RULES_BY_NAME = {rule.name: rule for rule in RULES}


@pytest.fixture
def pi(tmp_path: Path) -> Hardware:
    fixture = find_fixture("pi-4-b 4GB bookworm")
    build(fixture, tmp_path)
    return detect_fixture(fixture, tmp_path)


def with_memory(hardware: Hardware, mebibytes: int | None) -> Hardware:
    total = Unknown("/proc/meminfo: is empty") if mebibytes is None else mebibytes * MIB
    memory = msgspec.structs.replace(hardware.memory, total_bytes=total, limit_bytes=None)
    return msgspec.structs.replace(hardware, memory=memory)


def with_platform(hardware: Hardware, **facts: object) -> Hardware:
    return msgspec.structs.replace(hardware, platform=msgspec.structs.replace(hardware.platform, **facts))


def reason_of(choice: Choice, name: str) -> str:
    return next(lost.reason for lost in choice.rejected if lost.name == name)


def test_choice_says_why(pi: Hardware) -> None:
    choice = choose(pi, RULES)
    assert choice.require().name == "rpi-4"
    assert choice.reason == (
        "Four Cortex-A72: the board is a raspberry-pi; its chip is bcm2711; the architecture is arm64."
    )


def test_every_other_profile_has_a_reason(pi: Hardware) -> None:
    choice = choose(pi, RULES)
    assert {lost.name for lost in choice.rejected} == {rule.name for rule in RULES} - {"rpi-4"}
    assert reason_of(choice, "rpi-5") == "Needs chip bcm2712, not bcm2711."
    assert reason_of(choice, "jetson-orin") == "Needs board family jetson, not raspberry-pi."
    assert reason_of(choice, "rpi-native") == "Needs a native katago, and the built-in engine is what runs here."
    assert reason_of(choice, "arm64") == "Needs asimddp, which not every core has."
    assert reason_of(choice, "arm64-small") == "Fits too, but rpi-4 goes before it: 430 > 140."


def test_figures_in_reasons(tmp_path: Path) -> None:
    fixture = find_fixture("pi-zero-2-w 512MB trixie")
    build(fixture, tmp_path)
    choice = choose(detect_fixture(fixture, tmp_path), RULES)
    assert choice.require().name == "rpi-zero-2-w"
    assert reason_of(choice, "rpi-3") == "Needs 700 MiB of usable memory, not 416."


@pytest.mark.parametrize(
    ("name", "profile"),
    [
        ("pi-zero-2-w 512MB trixie", "rpi-zero-2-w"),
        ("pi-3-b-plus 1GB bookworm", "rpi-3"),
        ("jetson-agx-orin 32GB jp6-r36.4.3", "jetson-agx-orin"),
        ("odroid-h4 16GB ubuntu-22.04", "x86-64-large"),
    ],
)
def test_the_service_under_its_memory_limit_gets_what_the_shell_gets(tmp_path: Path, name: str, profile: str) -> None:
    """Our unit has MemoryMax=90%, and systemd makes that a limit of the control group."""
    fixture = find_fixture(name)
    build(fixture, tmp_path)
    shell = detect_fixture(fixture, tmp_path)
    assert isinstance(shell.memory.total_bytes, int)
    memory = msgspec.structs.replace(shell.memory, limit_bytes=shell.memory.total_bytes * 9 // 10)
    service = msgspec.structs.replace(shell, memory=memory)
    assert choose(shell, RULES).require().name == choose(service, RULES).require().name == profile


def test_unknown_facts_lose_with_their_reason(pi: Hardware) -> None:
    hidden = msgspec.structs.replace(pi, board=msgspec.structs.replace(pi.board, soc=Unknown("compatible is empty")))
    choice = choose(hidden, RULES)
    assert choice.require().name == "arm64-small"
    assert reason_of(choice, "rpi-4") == "Needs chip bcm2711, which is unknown here (compatible is empty)."


def test_native_only_where_it_is_asked_for(pi: Hardware) -> None:
    assert choose(pi, RULES).require().engine == "builtin"
    native = choose(pi, RULES, native=True).require()
    assert (native.engine, native.cfg, native.networks[0].network) == ("native", "rpi.cfg", "b10c128")


def test_network_without_room_is_left_out_with_figures(pi: Hardware) -> None:
    choice = choose(with_memory(pi, 330), RULES)
    assert [network.network for network in choice.require().networks] == ["b10c128"]
    assert choice.left_out == (Rejected("b15c192", "needs 250 MiB, more than 70 % of the 330 MiB of usable memory"),)


def test_network_whose_conversion_has_no_room(pi: Hardware) -> None:
    rule = RULES_BY_NAME["rpi-4"]
    greedy = msgspec.structs.replace(rule.networks[1], conversion_mb=520)
    choice = choose(with_memory(pi, 450), [msgspec.structs.replace(rule, networks=(rule.networks[0], greedy))])
    assert choice.left_out == (
        Rejected("b15c192", "needs 520 MiB to be converted, more than the 450 MiB of usable memory"),
    )


def test_profile_without_room_for_any_network_loses(pi: Hardware) -> None:
    none = choose(with_memory(pi, 390), [msgspec.structs.replace(RULES_BY_NAME["rpi-4"], limits=Limits(1.0, 1.0))])
    assert reason_of(none, "rpi-4") == (
        "Has no room: b10c128 needs 120 MiB, more than 1 % of the 390 MiB of usable memory; "
        "has no room: b15c192 needs 250 MiB, more than 1 % of the 390 MiB of usable memory."
    )
    with pytest.raises(NoProfileFits, match="No profile fits"):
        none.require()


def test_full_disk_is_for_the_one_who_pulls(pi: Hardware) -> None:
    """The network may be in the store already; a device with a full disk must go on playing."""
    assert choose(with_platform(pi, storage_free_bytes=0), RULES) == choose(pi, RULES)


def test_unknown_memory_takes_the_smallest_cache(pi: Hardware) -> None:
    choice = choose(with_memory(pi, None), RULES)
    assert choice.require().cache_positions == 5000
    assert choice.assumed[0] == "Memory suffices for the smallest network (/proc/meminfo: is empty)."


@pytest.mark.parametrize(
    ("mebibytes", "wanted", "kept"),
    [
        (None, None, 5000),
        (None, 10**6, 5000),
        (4096, 100, 100),
        (4096, 0, 0),
        (4096, 400_000, 400_000),
        # A quarter of 4096 MiB.
        (4096, 10**9, 631_612),
    ],
)
def test_the_owners_cache_is_as_large_as_memory_allows(
    pi: Hardware, mebibytes: int | None, wanted: int | None, kept: int
) -> None:
    hardware = with_memory(pi, mebibytes)
    assert kept_positions(choose(hardware, RULES).require(), wanted, hardware) == kept


def test_control_group_counts_as_memory(pi: Hardware) -> None:
    limited = msgspec.structs.replace(pi, memory=msgspec.structs.replace(pi.memory, limit_bytes=256 * MIB))
    with pytest.raises(HardwareUnsupported, match="control group's memory limit is 256 MiB") as caught:
        choose(limited, RULES).require()
    assert "MemoryMax=" in caught.value.fix


@given(st.integers(min_value=320, max_value=1 << 21))
def test_cache_follows_memory_within_bounds(mebibytes: int) -> None:
    rule = next(rule for rule in RULES if rule.name == "x86-64")
    hardware = with_memory(TWO_CORES, mebibytes)
    chosen = choose(
        hardware, [msgspec.structs.replace(rule, match=msgspec.structs.replace(rule.match, min_memory_mb=1))]
    )
    positions = chosen.require().cache_positions
    share = mebibytes * MIB * rule.cache.memory_percent / 100
    assert rule.cache.min_positions <= positions <= rule.cache.max_positions
    assert positions in (rule.cache.min_positions, rule.cache.max_positions) or (
        share - BYTES_PER_POSITION < positions * BYTES_PER_POSITION <= share
    )


@given(st.permutations(RULES))
def test_order_of_rules_does_not_matter(rules: list[Rule]) -> None:
    assert choose(TWO_CORES, rules) == choose(TWO_CORES, RULES)


@given(st.integers(min_value=1, max_value=256))
def test_threads_follow_cores(cores: int) -> None:
    profile = choose(msgspec.structs.replace(TWO_CORES, usable_cores=cores), RULES).require()
    rule = next(rule for rule in RULES if rule.name == profile.name)
    assert 1 <= profile.threads <= min(rule.threads.max, cores)


def test_two_cores_get_the_small_download() -> None:
    """b15c192 comes in 64 MB; b18c384nbt would be 125 MB and a minute a move."""
    profile = choose(TWO_CORES, RULES).require()
    assert (profile.name, profile.networks[0].network, profile.threads) == ("x86-64", "b15c192", 2)


def test_choice_in_words(pi: Hardware) -> None:
    choice = choose(pi, RULES)
    text = dict(lines(choice))
    assert text["Profile"] == "rpi-4"
    assert text["Networks"] == "b10c128 (fp32, onnxruntime), then b15c192 (fp32, onnxruntime)"
    assert text["Not rpi-5"] == "Needs chip bcm2712, not bcm2711."
    assert summary(choice).startswith("rpi-4: Four Cortex-A72")


def test_choice_as_json_reads_back(pi: Hardware) -> None:
    for choice in (choose(pi, RULES), choose(with_memory(pi, 128), RULES)):
        assert msgspec.json.decode(msgspec.json.encode(choice), type=Choice) == choice


def two_cores() -> Hardware:
    """The recorded virtual machine, without a word of the disk of this one."""
    fixture = find_fixture("x86-vm 24GB debian-12")
    with tempfile.TemporaryDirectory() as folder:
        build(fixture, Path(folder))
        return detect_fixture(fixture, Path(folder))


TWO_CORES = two_cores()


def test_this_machine_gets_an_answer() -> None:
    choice = choose(detect(), RULES)
    assert choice.profile is not None or choice.unsupported is not None
