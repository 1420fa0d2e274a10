"""The table of boards, and that no profile is there without a recorded board that gets it."""

from __future__ import annotations

from pathlib import Path

from agent.profile import choose, load_profiles
from tests.boards import table
from tests.boards.tree import build, fixtures

# The boards of the mission; the others of boards.yaml stand for machines without a profile of their own.
SIXTEEN = frozenset(
    {"pi-zero-2-w", "pi-3-b-plus", "pi-4-b", "pi-400", "cm4", "pi-5-b", "cm5"}
    | {"jetson-nano", "jetson-tx2", "jetson-xavier-nx", "jetson-agx-xavier", "jetson-orin-nano-devkit"}
    | {"jetson-orin-nano-super", "jetson-orin-nx", "jetson-agx-orin", "jetson-agx-thor"}
)


def test_every_board_gets_the_expected_profile_or_reason() -> None:
    """`python -m tests.boards.table` writes the file anew; the diff is the review."""
    assert table.text() == table.EXPECTED.read_text(encoding="utf-8")


def test_all_sixteen_boards_are_in_the_table() -> None:
    listed = {line.split(" | ")[0] for line in table.EXPECTED.read_text(encoding="utf-8").splitlines()}
    assert len(SIXTEEN) == 16
    assert listed >= SIXTEEN


def test_every_profile_is_selected_by_a_recorded_board(tmp_path: Path) -> None:
    profiles = load_profiles(table.PROFILES)
    selected = set()
    for index, fixture in enumerate(fixtures()):
        root = tmp_path / str(index)
        build(fixture, root)
        hardware = table.detect_fixture(fixture, root)
        for native in (False, True):
            choice = choose(hardware, profiles, native=native)
            selected.add(choice.profile.name if choice.profile else None)
    assert selected - {None} == {rule.name for rule in profiles}
