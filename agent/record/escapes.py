"""What SGF escapes, kept out of sight of the parser behind `tree.py`. Pure.

pysgf splits a value at an escaped `] [` and unescapes only some of what is escaped, to escape it again later. So it is
given text without a backslash: each escaped character that matters stands as `_MARK` and a letter. Source: SGF FF[4],
"Text".
"""

from __future__ import annotations

import re
from typing import Final

# A noncharacter (Unicode 23.7). A text that holds it all the same keeps it.
_MARK: Final = "\ufdd0"
_LETTERS: Final = {"]": "c", "\\": "b", ":": "d", _MARK: "m"}
_MEANT: Final = {letter: character for character, letter in _LETTERS.items()}
# A colon needs its backslash only where the value is composed of two, as in LB; there it stays as it was.
_WRITTEN: Final = {"c": "\\]", "b": "\\\\", "d": "\\:", "m": _MARK}
_HIDDEN: Final = str.maketrans({each: _MARK + _LETTERS[each] for each in ("]", "\\", _MARK)})
_STAND_IN: Final = re.compile(f"{_MARK}([{''.join(_MEANT)}])")
_ESCAPED: Final = re.compile(rf"\\(\r\n|\n\r|.)|{_MARK}", re.DOTALL)


def without_escapes(sgf: str) -> str:
    """A file for the parser."""
    return _ESCAPED.sub(_stand_in, sgf)


def with_escapes(sgf: str) -> str:
    """A file from the parser."""
    return _STAND_IN.sub(lambda found: _WRITTEN[found[1]], sgf)


def text_in(value: str) -> str:
    """What the parser's value says."""
    return _STAND_IN.sub(lambda found: _MEANT[found[1]], value)


def value_of(text: str) -> str:
    """The parser's value that says `text`."""
    return text.translate(_HIDDEN)


def _stand_in(found: re.Match[str]) -> str:
    escaped = found[1] or _MARK
    if not escaped.strip("\r\n"):
        # A line end that is escaped is there for editors, and no part of the text.
        return ""
    return _MARK + _LETTERS[escaped] if escaped in _LETTERS else escaped
