"""Options that are numbers are numbers."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from agent.__main__ import app


@pytest.mark.parametrize(
    "arguments", [("tune", "--budget", "nan"), ("tune", "--budget", "inf"), ("speed", "--turn", "nan")]
)
def test_what_is_no_number_of_seconds_is_refused(arguments: tuple[str, ...]) -> None:
    """Compared with a bound, a NaN is never too small; as a deadline it never comes."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--budget" in result.output or "--turn" in result.output
