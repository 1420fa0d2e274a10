"""Options that several verbs share, so that they mean and say the same everywhere."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from agent.settings import Settings

Config = Annotated[Path | None, typer.Option("--config", help="The agent.yaml to read, instead of the default one.")]
Network = Annotated[
    str | None, typer.Option("--network", help="A network of the catalogue, or the path of a .bin.gz file.")
]
Visits = Annotated[int | None, typer.Option("--visits", help="Visits per move, instead of the profile's.")]
Threads = Annotated[int | None, typer.Option("--threads", help="Search threads, instead of the profile's.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--override-config", help="KataGo's settings: key=value,key=value.")
]
Root = Annotated[Path, typer.Option("--root", help="Another filesystem root, such as a mounted card.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def finite(value: float | None) -> float | None:
    """For an option that is a number: "nan" is smaller than no bound, and larger than none. Raises BadParameter."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no such number")
    return value


def settings_as_owner(config: Path | None = None) -> Settings:
    """The settings, for a verb that uses their state folder: from here on root is the user who has that folder.

    Raises ConfigError, StoreUnwritable.
    """
    from agent.settings import load_settings

    settings = load_settings(config)
    act_as_owner(settings.state_dir)
    return settings


def act_as_owner(state_dir: Path) -> None:
    """From here on root is the user who has the folder, which is told.

    Raises StoreUnwritable.
    """
    from agent.model.owner import become_owner

    owner = become_owner(state_dir)
    if owner is not None:
        print(f"goes on as {owner.name}, whose state folder {state_dir} is", file=sys.stderr, flush=True)
