"""Lines out of bytes, whatever the pieces, with bounded memory."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.service.lines import OVERSIZED_START_BYTES, Line, LineSplitter, Oversized


def test_pieces() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"na") == []
    assert splitter.feed(b"me\nver") == [Line(b"name")]
    assert splitter.feed(b"sion\n\nq") == [Line(b"version"), Line(b"")]
    assert splitter.end() == [Line(b"q")]
    assert splitter.end() == []


def test_a_line_that_is_too_long_is_told_once_and_the_next_one_is_whole() -> None:
    splitter = LineSplitter(max_line_bytes=100)
    found = [item for _ in range(50) for item in splitter.feed(b"x" * 37)]
    assert found == [Oversized(b"x" * OVERSIZED_START_BYTES)]
    assert splitter.feed(b"xx\nname\n") == [Line(b"name")]


def test_the_limit_itself_is_allowed() -> None:
    splitter = LineSplitter(max_line_bytes=5)
    assert splitter.feed(b"12345\n123456\n1\n") == [Line(b"12345"), Oversized(b"12345"), Line(b"1")]


def test_an_oversized_line_without_end() -> None:
    splitter = LineSplitter(max_line_bytes=5)
    splitter.feed(b"123456")
    assert splitter.end() == []


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_pieces_make_no_difference(pieces: list[bytes]) -> None:
    whole = LineSplitter(max_line_bytes=10)
    cut = LineSplitter(max_line_bytes=10)
    data = b"".join(pieces)
    expected = whole.feed(data) + whole.end()
    assert [item for piece in pieces for item in cut.feed(piece)] + cut.end() == expected
    assert [item.data for item in expected if isinstance(item, Line)] == [
        line for line in data.removesuffix(b"\n").split(b"\n") if len(line) <= 10 and data
    ]
