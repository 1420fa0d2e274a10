"""KataGo's .cfg files: lines of `key = value`, comments, quotes, `@include`. Pure: files are read by whoever calls.

Start reading at `parse_config`. What the keys mean is not known here; `config_keys.py` knows it.
Source: KataGo cpp/core/config_parser.cpp. Three things differ on purpose: a byte order mark (Windows' Notepad) is
skipped, an included file may have an absolute path, and errors after an include name the file that they are in.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

import msgspec

from agent.errors import ConfigError

# KataGo's characters of a key. It has no lists of keys: `a,b = 1` is an error there, too.
_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BLANK = " \t\r\n\v\f"
_FIX = "Correct that line; KataGo's gtp_example.cfg shows the form."
_PAIR = "Could not parse key value pair"
# Shorter than "@include x" by the file's name: KataGo looks no further then.
_SHORTEST_DIRECTIVE = len("@include ")


class Setting(msgspec.Struct, frozen=True):
    """A value as text and where it stands; `file` and `line` are empty for one that a command line gave."""

    text: str
    file: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """What errors add, as KataGo does; empty without a file."""
        return f", line {self.line} in '{self.file}'" if self.file else ""


def parse_config(text: str, path: str, read: Callable[[str], str]) -> dict[str, Setting]:
    """The settings of a file's `text`; `read` gives the text of an included one, whose path begins at the folder of
    the file that includes it. A key of an included file may be given again afterwards, and the later one holds.

    Raises ConfigError with KataGo's words and the line; what `read` raises passes through.
    """
    reader = _Reader(read)
    reader.take(text, path)
    return reader.found


class _Reader:
    def __init__(self, read: Callable[[str], str]) -> None:
        self._read = read
        self._seen: set[str] = set()
        self.found: dict[str, Setting] = {}

    def take(self, text: str, path: str) -> None:
        self._seen.add(path)
        own: set[str] = set()
        for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            line = raw.strip(_BLANK)
            place = f", line {number} in '{path}'"
            if not line or line.startswith("#"):
                continue
            if line.startswith("@"):
                self._include(line, path, place)
                continue
            key, value = _pair(line, place)
            if key in own:
                raise _wrong(
                    f"Key '{key}' + was specified multiple times in {path}, you probably didn't mean to do this,"
                    f" please delete one of them{place}"
                )
            own.add(key)
            self.found[key] = Setting(value, path, number)

    def _include(self, line: str, path: str, place: str) -> None:
        named = posixpath.join(posixpath.dirname(path), _included(line, place))
        if named in self._seen:
            raise _wrong(f"Circular or multiple inclusion of the same file: '{named}'{place}")
        self.take(self._read(named), named)


def _included(line: str, place: str) -> str:
    """The file that an `@include` names, without its quotes."""
    line = line.partition("#")[0]
    if len(line) < _SHORTEST_DIRECTIVE:
        raise _wrong(f"Unsupported @ directive{place}")
    cut = re.search(r"[ \t\v\f=]", line)
    if cut is None:
        raise _wrong(f"@ directive without value (key-val separator is not found){place}")
    name = line[: cut.start()].strip(_BLANK)
    if name != "@include":
        raise _wrong(f"Unsupported @ directive '{name}'{place}")
    value = line[cut.end() :].strip(_BLANK + "=").strip("'").strip('"')
    if not value:
        raise _wrong(f"@ directive without value (value after key-val separator is not found){place}")
    return value


def _pair(line: str, place: str) -> tuple[str, str]:
    """Key and value of a line that is neither empty nor a comment. Unquoted values end at a `#`."""
    key = _KEY.match(line)
    if key is None:
        raise _wrong(_PAIR + place)
    rest = line[key.end() :].lstrip(_BLANK)
    if not rest.startswith("="):
        raise _wrong(_PAIR + place)
    rest = rest[1:].lstrip(_BLANK)
    value = _quoted(rest, place) if rest.startswith('"') else rest.partition("#")[0].strip(_BLANK)
    if not value:
        raise _wrong(_PAIR + place)
    return key[0], value


def _quoted(text: str, place: str) -> str:
    """The value in double quotes that `text` begins with; a backslash takes the next character as it is. Only a
    comment may follow."""
    match = re.match(r'"((?:[^"\\]|\\.)*)"(.*)', text)
    if match is None:
        raise _wrong(_PAIR + place)
    rest = match[2].strip(_BLANK)
    if rest and not rest.startswith("#"):
        raise _wrong(_PAIR + place)
    return re.sub(r"\\(.)", r"\1", match[1])


def _wrong(text: str) -> ConfigError:
    return ConfigError(text, fix=_FIX)
