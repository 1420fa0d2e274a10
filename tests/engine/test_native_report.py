"""Lines on a native katago's output that are none of its answers."""

from __future__ import annotations

import pytest

from agent.engine.native_report import read_answer
from agent.errors import NativeGarbage


@pytest.mark.parametrize(
    "line",
    [b"", b"Welcome", b"{", b"{}]", b'{"id": "\xff"}', b'{"more": ' + b"[" * 100_000],
    ids=lambda line: str(line)[:16],
)
def test_a_line_that_is_no_json_object_is_passed_over(line: bytes) -> None:
    assert read_answer(line) is None


def test_an_object_that_is_no_answer_is_garbage() -> None:
    with pytest.raises(NativeGarbage, match="something else than KataGo's JSON"):
        read_answer(b'{"id": 3}')
