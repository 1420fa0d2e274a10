"""What no single part can see: documents against commands, errors against fixes, events against their use."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import typer.main

import agent
from agent import errors, events
from agent.__main__ import app
from agent.errors import AgentError
from agent.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = sorted((REPOSITORY / "agent").rglob("*.py"))
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# Issue 2: every verb that reports.
REPORTING = ("detect", "why", "bench", "tune", "status", "doctor", "fleet watch")


def commands() -> dict[str, tuple[bool, frozenset[str]]]:
    """Verb, as it is typed → whether help hides it, and its options."""

    def walk(group: Any, before: str) -> Iterator[tuple[str, tuple[bool, frozenset[str]]]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{name} ")
            else:
                options = {
                    option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
                }
                yield f"{before}{name}", (bool(command.hidden), frozenset(options) | {"--help"})

    return dict(walk(typer.main.get_command(app), ""))


COMMANDS = commands()


def spoken(text: str) -> Iterator[tuple[str, list[str]]]:
    """Verb and options of each command of ours in a page's code: `agent gtp --visits 5`, `sudo katago-agent doctor`."""
    code = re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)
    for piece in code:
        # What stands in quotes is another program's command line.
        for line in re.sub(r'"[^"]*"', '""', piece.strip("`")).splitlines():
            match = re.search(r"(?:^|\s|/)(?:katago-)?agent +((?:[a-z]+(?:\s|$))+)(.*)", line)
            if not match:
                continue
            words = match[1].split()
            verb = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), " ".join(words))
            yield verb, re.findall(r"(?<!\S)--[a-z-]+", match[2])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_page_exists(page: Path) -> None:
    for verb, options in spoken(page.read_text()):
        assert verb in COMMANDS, f"{page.name} speaks of `agent {verb}`"
        assert set(options) <= COMMANDS[verb][1], f"{page.name}: `agent {verb}` has not all of {options}"


def test_every_verb_stands_in_the_readme() -> None:
    rows = set(re.findall(r"^\| `agent ([a-z ]+)` \|", (REPOSITORY / "README.md").read_text(), re.MULTILINE))
    assert rows == {verb for verb, (hidden, _) in COMMANDS.items() if not hidden}


@pytest.mark.parametrize("verb", REPORTING)
def test_verbs_that_report_have_json(verb: str) -> None:
    assert "--json" in COMMANDS[verb][1]


def keys(kind: type[msgspec.Struct], before: str = "") -> Iterator[str]:
    for field in msgspec.structs.fields(kind):
        inner = [part for part in (field.type, *get_args(field.type)) if _is_struct(part)]
        if inner:
            yield from keys(inner[0], f"{before}{field.name}.")
        else:
            yield f"{before}{field.name}"


def _is_struct(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def test_every_key_of_the_configuration_stands_in_the_readme() -> None:
    rows = re.findall(r"^\| (`[a-z_.`, ]+`) \|", (REPOSITORY / "README.md").read_text(), re.MULTILINE)
    documented = {key for row in rows for key in re.findall(r"`([a-z_.]+)`", row)}
    assert documented == set(keys(Settings))


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, REPOSITORY / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} → {target}"


# ---------------------------------------------------------------- errors and events


def members(module: object, base: type) -> list[type]:
    return [
        kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, base) and kind is not base
    ]


def is_leaf(kind: type) -> bool:
    return not kind.__subclasses__()


@pytest.mark.parametrize(
    "kind", [kind for kind in members(errors, AgentError) if is_leaf(kind)], ids=lambda kind: kind.__name__
)
def test_every_leaf_of_the_error_tree_tells_the_fix_and_is_raised(kind: type[AgentError]) -> None:
    assert kind.fix.endswith((".", "?"))
    for verb, options in spoken(kind.fix):
        assert verb in COMMANDS and set(options) <= COMMANDS[verb][1], f"there is no `agent {verb}` with {options}"
    used = re.compile(rf"\b{kind.__name__}\b")
    assert any(used.search(path.read_text()) for path in SOURCES if path.name != "errors.py"), "nobody raises it"


def test_the_tree_at_the_top_of_errors_is_the_real_one() -> None:
    parents, drawn = ["AgentError"], {}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"([│ ]*)[├└]── (\w+)", line):
            depth = len(match[1]) // 4
            drawn[match[2]] = parents[depth]
            parents[depth + 1 :] = [match[2]]
    assert drawn == {kind.__name__: kind.__bases__[0].__name__ for kind in members(errors, AgentError)}


@pytest.mark.parametrize("kind", members(events, events.Event), ids=lambda kind: kind.__name__)
def test_every_event_is_told_and_shown_somewhere(kind: type) -> None:
    told = re.compile(rf"\b{kind.__name__}\(")
    assert any(told.search(path.read_text()) for path in SOURCES if path.name != "events.py"), "nobody reports it"


# ---------------------------------------------------------------- the release


def test_one_version_everywhere() -> None:
    version = re.search(r'^version = "(.+)"', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert version and version[1] == agent.__version__
    assert f"## {agent.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((REPOSITORY / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
    for path in (REPOSITORY / "docs" / "decisions").glob("*.md"):
        assert "**Decided:**" in path.read_text() and "**Rejected:**" in path.read_text(), path.name
