"""Every file of every board, broken in every way: no exception, no hang, no garbage on the terminal, and reasons."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.hardware import Hardware, Platform, Unknown, detect, sample
from agent.hardware.describe import live_rows, rows, summary
from agent.hardware.root import Root
from agent.profile import Rule, choose, load_profiles
from agent.profile.describe import lines
from tests.boards.table import PROFILES
from tests.boards.tree import Fixture, build, fixtures


def one_of_each_board() -> list[Fixture]:
    """The last system of each board."""
    return list({fixture.board["id"]: fixture for fixture in fixtures()}.values())


# ---------------------------------------------------------------- ways to break a file


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(str(path.name)).randbytes(997))


def flipped(path: Path) -> None:
    """The right content with bytes changed here and there."""
    content = bytearray(path.read_bytes())
    chance = random.Random(str(path.name))
    for _ in range(max(1, len(content) // 20)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)


def huge(path: Path) -> None:
    """More than any limit, without taking the disk for it."""
    with path.open("wb") as file:
        file.truncate(1 << 30)


def missing(path: Path) -> None:
    path.unlink()


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def circling(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


UNREADABLE: tuple[Callable[[Path], None], ...] = (missing, folder, fifo, dangling, circling)
WRONG: tuple[Callable[[Path], None], ...] = (empty, truncated, garbage, flipped, huge)

# What becomes unknown with a file, where nothing else can tell.
DEPENDENTS: dict[str, Callable[[Hardware], Any]] = {
    "/proc/cpuinfo": lambda h: h.cores,
    "/proc/meminfo": lambda h: h.memory.total_bytes,
    "/etc/os-release": lambda h: h.os.name,
    "/etc/nv_tegra_release": lambda h: h.l4t.release if h.l4t else Unknown("/etc/nv_tegra_release: a Jetson no more"),
    "/sys/firmware/devicetree/base/compatible": lambda h: h.board.compatible,
    "/sys/firmware/devicetree/base/model": lambda h: h.board.model,
    "/sys/devices/system/cpu/present": lambda h: h.offline_cores,
    "/sys/devices/system/cpu/online": lambda h: h.offline_cores,
    "/proc/sys/kernel/osrelease": lambda h: h.os.kernel,
    "/var/lib/dpkg/status": lambda h: h.platform.libc,
}


def unknowns(value: object) -> Iterator[Unknown]:
    """Every Unknown inside."""
    if isinstance(value, Unknown):
        yield value
    elif isinstance(value, msgspec.Struct):
        for field in value.__struct_fields__:
            yield from unknowns(getattr(value, field))
    elif isinstance(value, tuple):
        for item in value:
            yield from unknowns(item)


def detect_with_room(root: Path) -> Hardware:
    """Detect as `agent detect --root` does, but for the disk of this machine, which changes as tests run."""
    platform = Platform.from_root(Root(root))
    return detect(root, msgspec.structs.replace(platform, storage_free_bytes=1 << 40))


def look(root: Path, profiles: tuple[Rule, ...]) -> Hardware:
    """Detect, choose, sample and describe; all of it must come through and give printable text with reasons."""
    hardware = detect_with_room(root)
    choice = choose(hardware, profiles)
    live = sample(root)
    for unknown in (*unknowns(hardware), *unknowns(live)):
        assert unknown.reason.isprintable()
        assert len(unknown.reason) > 10
    for row in (*rows(hardware), *live_rows(live)):
        assert row.text.isprintable()
        assert row.text
    for label, text in lines(choice):
        assert (label + text).isprintable()
    assert summary(hardware).isprintable()
    assert choice.profile is not None or choice.unsupported is not None or len(choice.rejected) == len(profiles)
    msgspec.json.encode((hardware, choice, live))
    return hardware


@pytest.fixture(scope="module")
def profiles() -> tuple[Rule, ...]:
    return load_profiles(PROFILES)


def files_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def restore(path: Path, content: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("fixture", one_of_each_board(), ids=lambda fixture: fixture.name)
def test_each_file_broken_alone(tmp_path: Path, profiles: tuple[Rule, ...], fixture: Fixture) -> None:
    build(fixture, tmp_path)
    intact = look(tmp_path, profiles)
    for path in files_of(tmp_path):
        content = path.read_bytes()
        name = "/" + str(path.relative_to(tmp_path))
        for break_it in (*UNREADABLE, *WRONG):
            break_it(path)
            broken = look(tmp_path, profiles)
            if name in DEPENDENTS and break_it in (*UNREADABLE, empty, huge):
                fact = DEPENDENTS[name](broken)
                assert isinstance(fact, Unknown), (name, break_it)
                assert Path(name).name in fact.reason
            restore(path, content)
    assert look(tmp_path, profiles) == intact


@pytest.mark.parametrize("break_it", [*UNREADABLE, *WRONG])
def test_all_files_broken_together(
    tmp_path: Path, profiles: tuple[Rule, ...], break_it: Callable[[Path], None]
) -> None:
    for fixture in one_of_each_board():
        root = tmp_path / fixture.name.replace(" ", "-")
        build(fixture, root)
        for path in files_of(root):
            break_it(path)
        look(root, profiles)
        shutil.rmtree(root)


@pytest.mark.parametrize("top", ["proc", "sys", "etc", "usr", "var", "sys/class", "sys/firmware", "usr/bin"])
@pytest.mark.parametrize("break_it", [empty, garbage, fifo, dangling, circling])
def test_folders_that_are_none(
    tmp_path: Path, profiles: tuple[Rule, ...], top: str, break_it: Callable[[Path], None]
) -> None:
    build(next(fixtures()), tmp_path)
    shutil.rmtree(tmp_path / top)
    (tmp_path / top).touch()
    break_it(tmp_path / top)
    look(tmp_path, profiles)
