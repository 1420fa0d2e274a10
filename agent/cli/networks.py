"""`agent pull` and `agent convert`: networks onto the disk."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from agent.cli.options import act_as_owner, settings_as_owner


def pull(
    names: list[str] = typer.Argument(None, help="Networks of the catalogue or .bin.gz files; none: this machine's."),
    state: Path = typer.Option(None, "--state", help="The state folder, instead of the configured one."),
    folders: list[Path] = typer.Option([], "--from", help="A folder to look in before each network's own sources."),
    as_json: bool = typer.Option(False, "--json", help="Print progress and results as lines of JSON."),
) -> None:
    """Fetch networks into the store, verified. Each one named, or else the best for this machine that can be had."""
    import contextlib

    import msgspec

    from agent.events import ChainStep
    from agent.export.progress import LineReporter
    from agent.hardware import detect as detect_hardware
    from agent.model.catalogue import load_catalogue
    from agent.model.progress import progress_on
    from agent.model.pull import pull as pull_first
    from agent.model.pull import pull_named
    from agent.model.store import Store, StoredNetwork
    from agent.profile import choose, load_profiles
    from agent.provision import RUN_SOURCE, backend_of
    from agent.settings import Settings, data_folder

    if state is None:
        settings = settings_as_owner()
    else:
        act_as_owner(state)
        settings = Settings(state_dir=state)
    store = Store(settings.state_dir)
    choice = choose(detect_hardware(), load_profiles(data_folder("profiles")))
    converts = choice.profile is None or backend_of(settings, choice.profile) not in RUN_SOURCE
    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    lines = LineReporter(lambda line: print(line, flush=True))

    def show(stored: StoredNetwork) -> None:
        manifest = stored.manifest
        line = f"{manifest.name}: {manifest.size_bytes / 1e6:.1f} MB from {manifest.source}, in {stored.path}"
        print(msgspec.json.encode(stored, enc_hook=str).decode() if as_json else line, flush=True)
        for damaged in store.drop_damaged_conversions(stored.sha256):
            detail = f"{damaged.manifest.file} was damaged and is removed; the next start converts the network again"
            reporter.report(ChainStep("conversion", detail))

    with contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr) as reporter:
        for name in names or ():
            show(pull_named(name, catalogue, store, reporter, refresh=True, folders=folders, converts=converts))
        if not names:
            candidates = [catalogue.find(candidate.network) for candidate in choice.require().networks]
            show(pull_first(candidates, store, reporter, refresh=True, folders=folders, converts=converts))


def convert(
    source: Path = typer.Argument(..., help="A KataGo network: .bin.gz, .bin, .txt.gz or .txt."),
    out: Path = typer.Argument(..., help="The ONNX file to write."),
    form: str = typer.Option("auto", help="How convolutions are written: auto, plain or winograd."),
    human_profile: str = typer.Option("", help="Whom a human-style network imitates, such as rank_5k."),
    as_json: bool = typer.Option(False, "--json", help="Print progress and result as lines of JSON."),
) -> None:
    """Convert a network file to what the engine runs."""
    import msgspec
    from rich.console import Console
    from rich.progress import Progress

    from agent.export.convert import convert as convert_network
    from agent.export.emit import Form
    from agent.export.progress import BarReporter, LineReporter

    forms = {"auto": None, **{each.value: each for each in Form}}
    if form not in forms:
        raise typer.BadParameter(f"choose one of: {', '.join(forms)}", param_hint="--form")
    if as_json:
        lines = LineReporter(lambda line: print(line, flush=True))
        info = convert_network(source, out, lines, form=forms[form], human_profile=human_profile)
        print(msgspec.json.encode(info).decode())
        return
    with Progress(console=Console(stderr=True), transient=True) as progress:
        info = convert_network(source, out, BarReporter(progress), form=forms[form], human_profile=human_profile)
    print(
        f"{out}: {info.name}, version {info.version}, {info.precision}, {info.form}, {out.stat().st_size / 1e6:.1f} MB"
    )
