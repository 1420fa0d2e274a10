"""The table board × size × system → profile. `python -m tests.boards.table` writes it anew; the diff is the review."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec

from agent.hardware import Hardware, Platform, Unknown, detect
from agent.hardware.root import Root
from agent.profile import Rule, choose, load_profiles
from tests.boards.tree import HERE, Fixture, build, fixtures

PROFILES = HERE.parents[1] / "profiles"
EXPECTED = HERE / "expected.txt"
HEADER = """\
# board | size as sold | system | profile, and the one with an owner's katago | or: unsupported, reason and fix
# Written by `python -m tests.boards.table`.
"""


def detect_fixture(fixture: Fixture, root: Path) -> Hardware:
    """The hardware of a built fixture, with the page size where it was recorded and no word of this machine's disk."""
    platform = Platform.from_root(Root(root))
    platform = msgspec.structs.replace(platform, storage_free_bytes=Unknown("not part of a fixture"))
    if fixture.page_bytes is not None:
        platform = msgspec.structs.replace(platform, page_bytes=fixture.page_bytes)
    return detect(root, platform)


def outcome(hardware: Hardware, profiles: tuple[Rule, ...]) -> str:
    """One cell of the table."""
    choice = choose(hardware, profiles)
    native = choose(hardware, profiles, native=True)
    if choice.unsupported:
        return f"unsupported: {choice.unsupported.reason} {choice.unsupported.fix}"
    names = [c.profile.name if c.profile else "none" for c in (choice, native)]
    return ", ".join(names)


def rows() -> list[str]:
    """The table's lines, in the order of boards.yaml."""
    profiles = load_profiles(PROFILES)
    found = []
    for fixture in fixtures():
        with tempfile.TemporaryDirectory() as folder:
            build(fixture, Path(folder))
            cell = outcome(detect_fixture(fixture, Path(folder)), profiles)
        found.append(f"{fixture.board['id']} | {fixture.size} | {fixture.system_name} | {cell}")
    return found


def text() -> str:
    return HEADER + "\n".join(rows()) + "\n"


if __name__ == "__main__":
    EXPECTED.write_text(text(), encoding="utf-8")
