"""The strict reader for every YAML file of the agent: a key that is not known, that stands twice, or whose section is
left empty, is an error that names what is meant. Start reading at `load_yaml`."""

from __future__ import annotations

import difflib
import functools
import typing
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import yaml

from agent.errors import ConfigError

T = TypeVar("T")


def load_yaml(path: Path, into: type[T]) -> T:
    """The one document of the file as an `into` (a msgspec Struct, or a type built of such); an empty file is {}.

    Raises ConfigError, naming file, place and, for an unknown key, the nearest known one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", fix="Give the path of a readable YAML file in UTF-8.") from error
    return parse_yaml(text, into, source=str(path))


def parse_yaml(text: str, into: type[T], *, source: str) -> T:
    """As `load_yaml`, of text; `source` names it in errors."""
    try:
        # StrictLoader is a SafeLoader: it makes plain values only.
        document = yaml.load(text, Loader=StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: PyYAML lets one through for an impossible date such as 2026-13-45.
        raise ConfigError(f"{source}: {error}", fix="Correct the YAML at that place.") from error
    document = {} if document is None else document
    _refuse_wrong_keys(document, into, source, "")
    try:
        return msgspec.convert(document, into, dec_hook=read_path)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error


def read_path(kind: type, value: Any) -> Any:
    """msgspec's hook for fields of type Path. Raises msgspec.ValidationError."""
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise msgspec.ValidationError(f"Expected a path, got {value!r}")


# Ten times as fast where PyYAML was built with libyaml, as its wheels are: profiles and catalogue cost 0.3 s without.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictLoader(_Loader):  # type: ignore[misc, valid-type]  # one of two classes of one interface
    """Refuses a key that stands twice in one mapping; YAML forbids it, PyYAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _refuse_wrong_keys(document: Any, into: Any, source: str, place: str) -> None:
    """Walks document and type together, as far as the type has Structs in it."""
    if _is_struct(into):
        if not isinstance(document, dict):
            return
        known = _known_keys(into)
        for key, value in document.items():
            if key not in known:
                raise ConfigError(f"{source}: unknown key {place + str(key)!r}", fix=_nearest(str(key), known, place))
            if value is None:
                _refuse_empty_section(known[key], source, place + key)
            _refuse_wrong_keys(value, known[key], source, f"{place}{key}.")
        return
    arguments = typing.get_args(into)
    if typing.get_origin(into) is Annotated:
        _refuse_wrong_keys(document, arguments[0], source, place)
    elif isinstance(document, dict) and typing.get_origin(into) is dict:
        for key, value in document.items():
            _refuse_wrong_keys(value, arguments[1], source, f"{place}{key}.")
    elif isinstance(document, list) and typing.get_origin(into) in (list, tuple):
        for index, value in enumerate(document):
            _refuse_wrong_keys(value, arguments[0], source, f"{place}{index}.")
    else:
        for argument in arguments:
            if isinstance(document, dict) and isinstance(argument, type):
                _refuse_wrong_keys(document, argument, source, place)


def _refuse_empty_section(into: Any, source: str, place: str) -> None:
    """A section that may be left out means something else than one without keys, `tls: {}`; who leaves it empty, or has
    all of its keys commented out, may mean either."""
    section = next((kind for kind in (into, *typing.get_args(into)) if _is_struct(kind)), None)
    if section is None:
        return
    key = place.rpartition(".")[2]
    needed = [field.encode_name for field in msgspec.structs.fields(section) if field.required]
    fix = f"Give it {' and '.join(needed)}" if needed else f"Write `{key}: {{}}` to have it with its defaults"
    raise ConfigError(f"{source}: {place!r} is left empty", fix=f"{fix}, or leave the key out to do without it.")


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


@functools.cache
def _known_keys(into: type[msgspec.Struct]) -> dict[str, Any]:
    """Key → type. Asked for every element of long lists, and slow to find out."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(into)}


def _nearest(key: str, known: dict[str, Any], place: str) -> str:
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {place + close[0]!r}?"
    return f"Known keys here: {', '.join(place + name for name in sorted(known))}."
