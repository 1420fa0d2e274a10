"""Options that KataGo's subcommands share, with its one dash, and the configuration that they make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent.service.config_keys import Configuration

Model = Annotated[
    str | None,
    typer.Option("-model", "--model", metavar="FILE", help="Network: a .bin.gz, or a name of the catalogue."),
]
Configs = Annotated[
    list[Path] | None,
    typer.Option("-config", "--config", metavar="FILE", help="KataGo's .cfg; again for another one over it."),
]
Overriding = Annotated[
    list[str] | None,
    typer.Option("-override-config", "--override-config", metavar="KEYVALUEPAIRS", help="key=value, key=value,..."),
]
HumanModel = Annotated[
    str | None,
    typer.Option("-human-model", "--human-model", metavar="FILE", help="Taken and not used: one network runs."),
]


def read_configuration(protocol: str, paths: Sequence[Path], overrides: Sequence[str]) -> Configuration:
    """The settings of KataGo's files at `paths` and of the command line.

    Raises ConfigError for a file that cannot be read, SettingRefused for pairs that cannot.
    """
    from agent.service.config_file import parse_config
    from agent.service.config_keys import configure

    files = [parse_config(_read(str(path)), str(path), _read) for path in paths]
    return configure(protocol, files, overrides, name=str(paths[0]) if paths else "")


def _read(path: str) -> str:
    """The text of a file. Names in it may be in any encoding; nothing else but ASCII has a meaning there."""
    from agent.errors import ConfigError

    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        text = f"Could not open file {path} - does not exist or invalid permissions?"
        raise ConfigError(text, fix="Give the path of a KataGo configuration that can be read.") from error
