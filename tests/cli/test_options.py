"""Options that are numbers are numbers."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from agent.__main__ import app


@pytest.mark.parametrize("value", ["nan", "inf"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("tune", "--budget"),
        ("speed", "--turn"),
        ("analyze", "game.sgf", "--komi"),
        ("match", "one", "other", "--gtp", "--komi"),
        ("match", "one", "other", "--gtp", "--time-per-move"),
        ("match", "one", "other", "--gtp", "--move-timeout"),
    ],
    ids=lambda arguments: " ".join((arguments[0], arguments[-1])),
)
def test_what_is_no_number_is_refused(arguments: tuple[str, ...], value: str) -> None:
    """Compared with a bound, a NaN is never too small; as a deadline it never comes; as komi it is Black's game."""
    result = CliRunner().invoke(app, [*arguments, value])
    assert result.exit_code == 2
    assert arguments[-1] in result.output
