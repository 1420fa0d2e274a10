"""The doctor's look at an owner's katago."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.engine.native_check import check_native
from agent.errors import NativeFailed


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "n.bin.gz"
    path.write_text("")
    return path


def test_one_that_runs_says_what_it_is(fake_katago: Path, network: Path, tmp_path: Path) -> None:
    found = check_native(fake_katago, network, tmp_path / "home")
    assert found == f"{fake_katago}: KataGo 9.99, Eigen, runs n.bin.gz"


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("library", "libnever.so.7"),
        ("die", "ran out of memory"),
        ("refuse", r"KataGo 9\.99: katago refused the query: unknown rules"),
    ],
)
def test_one_that_does_not_says_why(fake_katago: Path, network: Path, tmp_path: Path, manner: str, reason: str) -> None:
    network.write_text(manner)
    with pytest.raises(NativeFailed, match=reason) as caught:
        check_native(fake_katago, network, tmp_path / "home")
    assert caught.value.fix
