"""SGF as a tree of nodes with properties: text in, nodes out, and back. The one owner of `pysgf`.

Knows the format, not the game: what a property means is `sgf.py`'s. The two generations of pysgf differ (1.0 needs
Python 3.11 and escapes by itself); here they are the same, for neither is ever shown what SGF escapes (`escapes.py`).
"""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final

import pysgf

from agent.errors import RecordUnreadable
from agent.record.escapes import text_in, value_of, with_escapes, without_escapes

# pysgf ships no type information; a node is only ever handed back to this module.
Node = Any

# A long game without comments is 3 kB, one with a comment to each move 100 kB. The parser's time grows with the
# square of the file (1 MB: some seconds).
MAX_SGF_BYTES: Final = 1_000_000

_IS_NEW: Final = hasattr(pysgf, "GoGame")
_GAME: Final = pysgf.GoGame if _IS_NEW else pysgf.SGF
_NODE: Final = pysgf.GoNode if _IS_NEW else pysgf.SGFNode
# What the parser raises when it meets what it does not expect.
_PARSER_ERRORS: Final = (
    pysgf.ParseError,
    ValueError,
    IndexError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)
# Servers of East Asia write without saying how; all that is valid in one of these is read so.
_ENCODINGS: Final = ("utf-8", "gb18030")
# What is labelled so is mostly written in a superset, and browsers read it so. What Python does not find in the narrow
# one becomes half a character and an ASCII one, such as "]", which ends the value. The last one makes do.
_SUPERSETS: Final = {
    "gb2312": ("gb18030",),
    "gbk": ("gb18030",),
    "shift_jis": ("cp932",),
    "euc_kr": ("cp949",),
    "big5": ("cp950", "big5hkscs"),
}
_SHOWN_CHARACTERS: Final = 100
# Sabaki and others write a line end, or a space, between the two.
_BEGINNING: Final = re.compile(r"\(\s*;")
# Of a text without escapes: a value, in which brackets mean nothing, or a bracket.
_PIECE: Final = re.compile(r"\[[^\]]*\]|[()]")


def parse_tree(data: bytes | str) -> Node:
    """The root of the first game in `data`.

    Raises:
        RecordUnreadable: it is empty, too large or no SGF; says which.
    """
    return parse_first(data)[0]


def parse_first(data: bytes | str) -> tuple[Node, bool]:
    """The root of the first game in `data`, and whether others follow it.

    Raises:
        RecordUnreadable: as `parse_tree`.
    """
    if len(data) > MAX_SGF_BYTES:
        raise RecordUnreadable(f"it is larger than {MAX_SGF_BYTES / 1e6:.0f} MB")
    if not data.strip():
        raise RecordUnreadable("it is empty")
    text = data if isinstance(data, str) else _decoded(data)
    found = _BEGINNING.search(text)
    if found is None:
        raise RecordUnreadable(f"it is no SGF: it begins with {text.strip()[:20]!r}")
    # pysgf 1.0 takes as the root what the first "(;" begins, without a space between, and be it a variation.
    text = "(;" + without_escapes(text[found.end() :])
    end = _end(text)
    try:
        return _GAME.parse(text[:end]), _BEGINNING.search(text, end) is not None
    except _PARSER_ERRORS as error:
        raise RecordUnreadable(f"it is no SGF: {_reason(error)}") from error


def write_tree(root: Node) -> str:
    """The tree as one line of SGF in UTF-8."""
    put(root, "CA", ["UTF-8"])
    return with_escapes(str(root.sgf())) + "\n"


def values(node: Node, name: str) -> list[str]:
    """All values of a property, unescaped; none where the node has it not."""
    return [text_in(str(value)) for value in node.get_list_property(name) or ()]


def text_of(node: Node, name: str) -> str:
    """The first value without space around it; empty where there is none."""
    return next(iter(values(node, name)), "").strip()


def put(node: Node, name: str, given: Sequence[str]) -> None:
    """Set a property's values, whatever is in them."""
    node.set_property(name, [value_of(text) for text in given])


def new_tree() -> Node:
    """A root without properties."""
    return _NODE()


def append(parent: Node, name: str, value: str) -> Node:
    """A new last child of `parent` with one property."""
    node = _NODE(parent=parent)
    put(node, name, [value])
    return node


def main_line(root: Node) -> list[Node]:
    """The root and the first child of each node, down to the end."""
    nodes = [root]
    while nodes[-1].children:
        nodes.append(nodes[-1].children[0])
    return nodes


def _end(text: str) -> int:
    """Where the game ends with which `text` begins; at the text's end where its brackets do not close."""
    depth = 0
    for found in _PIECE.finditer(text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return len(text)


def _decoded(data: bytes) -> str:
    if b"\0" in data:
        raise RecordUnreadable("it is no text")
    named = re.search(rb"CA\s*\[\s*([\w.:+-]+)\s*\]", data)
    if named:
        # One that Python does not know, or that is none of text ("idna"), or that makes up halves of characters.
        with contextlib.suppress(LookupError, UnicodeError):
            name = codecs.lookup(named[1].decode("ascii").lower().removeprefix("x-")).name
            *wider, last = _SUPERSETS.get(name, (name,))
            text = _decoded_in(data, wider) or data.decode(last, errors="replace")
            text.encode()
            return text
    # SGF's own default is the last.
    return _decoded_in(data, _ENCODINGS) or data.decode("latin-1")


def _decoded_in(data: bytes, encodings: Sequence[str]) -> str | None:
    """In the first in which all of it is valid."""
    for encoding in encodings:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode(encoding)
    return None


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_SHOWN_CHARACTERS]
