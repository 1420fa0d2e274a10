"""SGF as a tree of nodes with properties: text in, nodes out, and back. The one owner of `pysgf`.

Knows the format, not the game: what a property means is `sgf.py`'s. The two generations of pysgf differ (1.0 needs
Python 3.11 and escapes by itself); here they are the same.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any, Final

import pysgf

from agent.errors import RecordUnreadable

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
_SHOWN_CHARACTERS: Final = 100


def parse_tree(data: bytes | str) -> Node:
    """The root of the first game in `data`.

    Raises:
        RecordUnreadable: it is empty, too large or no SGF; says which.
    """
    if len(data) > MAX_SGF_BYTES:
        raise RecordUnreadable(f"it is larger than {MAX_SGF_BYTES / 1e6:.0f} MB")
    if not data.strip():
        raise RecordUnreadable("it is empty")
    text = data if isinstance(data, str) else _decoded(data)
    if "(" not in text or ";" not in text:
        raise RecordUnreadable(f"it is no SGF: it begins with {text.strip()[:20]!r}")
    try:
        return _GAME.parse_sgf(text) if _IS_NEW else _GAME.parse(text)
    except _PARSER_ERRORS as error:
        raise RecordUnreadable(f"it is no SGF: {_reason(error)}") from error


def write_tree(root: Node) -> str:
    """The tree as one line of SGF in UTF-8."""
    put(root, "CA", ["UTF-8"])
    return str(root.sgf()) + "\n"


def values(node: Node, name: str) -> list[str]:
    """All values of a property, unescaped; none where the node has it not."""
    found = [str(value) for value in node.get_list_property(name) or ()]
    return found if _IS_NEW else [re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL) for value in found]


def text_of(node: Node, name: str) -> str:
    """The first value without space around it; empty where there is none."""
    return next(iter(values(node, name)), "").strip()


def put(node: Node, name: str, given: Sequence[str]) -> None:
    """Set a property's values, escaping what needs it."""
    node.set_property(name, list(given) if _IS_NEW else [re.sub(r"([\]\\])", r"\\\1", value) for value in given])


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


def _decoded(data: bytes) -> str:
    if b"\0" in data:
        raise RecordUnreadable("it is no text")
    named = re.search(rb"CA\s*\[\s*([\w.:+-]+)\s*\]", data)
    if named:
        # One that Python does not know, or that is none of text ("idna"), or that makes up halves of characters.
        with contextlib.suppress(LookupError, UnicodeError):
            text = data.decode(named[1].decode("ascii"), errors="replace")
            text.encode()
            return text
    for encoding in _ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    # SGF's own default.
    return data.decode("latin-1")


def _reason(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_SHOWN_CHARACTERS]
