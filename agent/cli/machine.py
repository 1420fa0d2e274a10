"""`agent version`, `detect` and `why`: what is installed, what this machine is, and what it gets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.cli.options import Json, Root

if TYPE_CHECKING:
    from agent.hardware import Hardware
    from agent.workshop.tuned import Standing


def version() -> None:
    """Print the agent's version."""
    from agent import __version__

    print(__version__)


def detect(
    root: Root = Path("/"),
    as_json: Json = False,
) -> None:
    """Show what machine this is. Each fact that cannot be found out stands there with the reason."""
    import msgspec
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agent.hardware import detect as detect_hardware
    from agent.hardware import sample
    from agent.hardware.describe import live_rows, rows

    hardware, live = detect_hardware(root), sample(root)
    if as_json:
        facts = {**msgspec.to_builtins(hardware), "live": msgspec.to_builtins(live)}
        print(msgspec.json.format(msgspec.json.encode(facts), indent=2).decode())
        return
    table = Table("Fact", "Found", show_lines=False)
    for row in (*rows(hardware), *live_rows(live)):
        table.add_row(Text(row.label), Text(row.text if row.is_known else f"unknown: {row.text}"))
    Console().print(table)


def why(
    root: Root = Path("/"),
    native: bool = typer.Option(False, "--native", help="The profile for a katago of your own, as if there were one."),
    as_json: Json = False,
) -> None:
    """Show which profile this machine gets, and why. Each other profile tells why it lost."""
    import msgspec
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from agent.hardware import detect as detect_hardware
    from agent.hardware.describe import summary
    from agent.profile import choose, load_profiles
    from agent.profile.describe import lines
    from agent.settings import data_folder, load_settings
    from agent.workshop.tuned_lines import why_lines

    hardware = detect_hardware(root)
    native = native or (root == Path("/") and load_settings().engine.wants_native)
    choice = choose(hardware, load_profiles(data_folder("profiles")), native=native)
    # Another root's state folder is not ours to find, and its runtimes cannot be asked for their versions.
    here = root == Path("/") and choice.profile is not None and not native
    found = _tuning(hardware, choice.profile.limits.memory_percent) if here and choice.profile else None
    if as_json:
        told = {**msgspec.to_builtins(choice), "tuning": msgspec.to_builtins(found, enc_hook=str)}
        print(msgspec.json.format(msgspec.json.encode(told), indent=2).decode())
        return
    tuning = why_lines(found) if found else ()
    table = Table("", "", show_header=False)
    table.add_row("Machine", Text(summary(hardware)))
    for label, text in (*lines(choice), *tuning):
        table.add_row(Text(label), Text(text))
    Console().print(table)


def _tuning(hardware: Hardware, memory_percent: float) -> Standing | None:
    """What was tuned for the network in use; None where there is no such network."""
    from agent.model.store import Store
    from agent.settings import load_settings
    from agent.workshop.tuned import memory_limit, standing

    settings = load_settings()
    current = Store(settings.state_dir).current()
    if current is None:
        return None
    return standing(
        settings.state_dir,
        hardware,
        current.sha256,
        memory_limit(hardware, memory_percent),
        threads=settings.threads,
        backend=settings.engine.runtime,
        human_profile=settings.human_profile,
    )
