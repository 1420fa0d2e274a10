"""Options that several verbs share, so that they mean and say the same everywhere."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

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


def finite(value: float) -> float:
    """For an option that is a number: "nan" is smaller than no bound, and larger than none. Raises BadParameter."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds")
    return value
