"""A core that is missing or wrong is one clear error with its fix, never a crash."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.engine.library import ABI_VERSION, LIBRARY, load, open_library
from agent.errors import CoreMissing

HEADER = LIBRARY.parent / "core_api.h"


def test_the_core_is_loaded_once() -> None:
    assert load() is load()


def test_a_missing_core_tells_the_fix(tmp_path: Path) -> None:
    with pytest.raises(CoreMissing, match=r"none\.so") as missing:
        open_library(tmp_path / "none.so")
    assert "install.sh" in missing.value.fix


@pytest.mark.parametrize("content", [b"", b"not a library", b"\x7fELF" + bytes(100)])
def test_a_damaged_core_is_refused(tmp_path: Path, content: bytes) -> None:
    damaged = tmp_path / "damaged.so"
    damaged.write_bytes(content)
    with pytest.raises(CoreMissing, match="cannot be loaded"):
        open_library(damaged)


def test_another_library_is_refused() -> None:
    with pytest.raises(CoreMissing, match="ka_abi_version"):
        open_library(Path("libc.so.6"))


def test_another_builds_core_is_refused() -> None:
    with pytest.raises(CoreMissing, match=f"has interface {ABI_VERSION}, this package needs {ABI_VERSION + 1}"):
        open_library(LIBRARY, ABI_VERSION + 1)


def test_header_and_package_agree_on_the_version() -> None:
    (version,) = re.findall(r"KA_ABI_VERSION = (\d+);", HEADER.read_text(encoding="utf-8"))
    assert int(version) == ABI_VERSION
