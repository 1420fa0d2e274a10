"""Machines that are refused: the exact reason and fix, and that doubt alone refuses nobody."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.errors import HardwareUnsupported
from agent.hardware import Hardware, Unknown, detect
from agent.profile import choose, load_profiles
from agent.profile.support import MIN_GLIBC, MIN_MEMORY_MIB, MIN_PYTHON, find_unsupported
from tests.boards.table import PROFILES, detect_fixture
from tests.boards.tree import build, find_fixture


@pytest.fixture
def pi(tmp_path: Path) -> Hardware:
    fixture = find_fixture("pi-4-b 4GB bookworm")
    build(fixture, tmp_path)
    return detect_fixture(fixture, tmp_path)


def with_platform(hardware: Hardware, **facts: object) -> Hardware:
    return msgspec.structs.replace(hardware, platform=msgspec.structs.replace(hardware.platform, **facts))


def test_supported_machine(pi: Hardware) -> None:
    assert find_unsupported(pi) is None


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"python": "3.9.18"}, "Python is 3.9.18; the agent needs 3.10 or newer."),
        ({"libc": "not glibc"}, "The C library is not glibc; network runtimes need glibc 2.28 or newer."),
        ({"libc": "glibc 2.27"}, "The C library is glibc 2.27; network runtimes need glibc 2.28 or newer."),
        (
            {"architecture": "riscv64"},
            "The processor architecture is riscv64; network runtimes exist for x86-64 and arm64.",
        ),
        ({"pointer_bits": 32}, "The userland is 32-bit on a 64-bit kernel; network runtimes exist for 64 bits only."),
    ],
)
def test_refused_with_reason_and_fix(pi: Hardware, facts: dict[str, object], reason: str) -> None:
    choice = choose(with_platform(pi, **facts), load_profiles(PROFILES))
    assert choice.unsupported is not None
    assert choice.unsupported.reason == reason
    with pytest.raises(HardwareUnsupported) as caught:
        choice.require()
    assert str(caught.value) == f"unsupported: {reason}"
    assert caught.value.fix


@pytest.mark.parametrize("python", ["3.10", "3.10.12", "3.13.1", "3.14.0"])
def test_pythons_that_serve(pi: Hardware, python: str) -> None:
    assert find_unsupported(with_platform(pi, python=python)) is None


def test_first_raspberry_pi_has_no_64_bits(pi: Hardware) -> None:
    old = with_platform(pi, architecture="arm", pointer_bits=32)
    old = msgspec.structs.replace(old, board=msgspec.structs.replace(old.board, soc="bcm2835"))
    refused = find_unsupported(old)
    assert refused is not None
    assert "Zero 2 W, 3 or newer" in refused.fix


def test_too_little_memory(pi: Hardware) -> None:
    small = msgspec.structs.replace(pi, memory=msgspec.structs.replace(pi.memory, total_bytes=240 * 1024 * 1024))
    refused = find_unsupported(small)
    assert refused is not None
    assert refused.reason == "Memory is 240 MiB; the smallest network needs a machine of 320 MiB."


def test_doubt_alone_refuses_nobody(tmp_path: Path) -> None:
    nothing = detect(tmp_path / "nowhere")
    assert find_unsupported(nothing) is None
    choice = choose(nothing, load_profiles(PROFILES))
    assert choice.profile is None
    assert all("unknown" in lost.reason for lost in choice.rejected if not lost.name.endswith("native"))
    assert len(choice.assumed) == 4


def test_damaged_release_file_of_an_orin_gets_the_generic_profile(tmp_path: Path) -> None:
    """Without a word of JetPack an Orin is an arm64 machine, and the reason says what is missing."""
    fixture = find_fixture("jetson-agx-orin 64GB jp6-r36.4.3")
    build(fixture, tmp_path)
    (tmp_path / "etc/nv_tegra_release").write_bytes(b"\x00\x01")
    choice = choose(detect_fixture(fixture, tmp_path), load_profiles(PROFILES))
    assert choice.require().name == "arm64"
    lost = next(lost for lost in choice.rejected if lost.name == "jetson-agx-orin")
    assert lost.reason == (
        "Needs JetPack 6 or 7, which is unknown here (/etc/nv_tegra_release: holds no printable text)."
    )


def test_future_unknown_is_a_reason_too(pi: Hardware) -> None:
    assert find_unsupported(with_platform(pi, python=Unknown("no link"), libc=Unknown("no database"))) is None


def test_limits_agree_with_what_they_are_for() -> None:
    zero_2_w_mib = 426068 // 1024
    assert zero_2_w_mib * 9 // 10 > MIN_MEMORY_MIB
    assert MIN_PYTHON == (3, 10)
    assert MIN_GLIBC <= (2, 31)
