"""`agent report`: everything known of a network's artifacts on one page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from agent.cli.options import Config, Json

if TYPE_CHECKING:
    from agent.hardware import Hardware
    from agent.settings import Settings
    from agent.workshop.report import Deployed


def report(
    networks: list[str] = typer.Argument(None, help="Networks of the catalogue or .bin.gz files; none: all artifacts."),
    out: Path = typer.Option(Path("report.html"), "--out", help="The page to write."),
    folders: list[Path] = typer.Option([], "--from", help="Folders of artifacts, instead of the state folder's."),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Write a page about exported networks: sizes, accuracy, speed, and what is still to do before one is deployed."""
    import datetime

    import msgspec

    from agent import __version__
    from agent.errors import CalibrationError
    from agent.export.artifact import artifacts_in
    from agent.export.publish import storage_errors
    from agent.hardware import detect
    from agent.hardware.describe import summary
    from agent.model.catalogue import load_catalogue
    from agent.model.disk import write_result
    from agent.settings import data_folder, load_settings
    from agent.workshop.report import build_report
    from agent.workshop.report_page import page
    from agent.workshop.speed import read_table

    settings = load_settings(config)
    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    # Each once: a name and its file are the same network.
    wanted = dict.fromkeys(_sha256_of(name) or catalogue.find(name).sha256 for name in networks or ())
    kept = settings.state_dir / "artifacts"
    places = list(dict.fromkeys(folders)) or _folders_in(kept)
    artifacts = [each for place in places for each in artifacts_in(place)]
    tables = [table for place in places if (table := read_table(place)) is not None]
    if wanted:
        artifacts = [each for source in wanted for each in artifacts if each.manifest.network.sha256 == source]
        tables = [each for source in wanted for each in tables if each.network_sha256 == source]
    if not artifacts and not tables:
        raise CalibrationError(
            f"there are no artifacts of {', '.join(networks) if networks else 'any network'} in "
            + (", ".join(str(place) for place in places) or str(kept)),
            fix="Make some with `agent export NETWORK --to all`.",
        )
    made = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    hardware = detect()
    sources = dict.fromkeys(
        [each.manifest.network.sha256 for each in artifacts] + [each.network_sha256 for each in tables]
    )
    built = build_report(
        artifacts, summary(hardware), made, __version__, _deployed(settings, hardware, sources), tables
    )
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(built), indent=2).decode())
        return
    content = page(built).encode()
    with storage_errors(out):
        write_result(out, content)
    print(f"{out}: {len(artifacts)} artifacts of {len(built.networks)} networks, {len(content) / 1000:.0f} kB")


def _sha256_of(name: str) -> str:
    """Of a network's file; empty for a name that is none's."""
    from agent.errors import NetworkFormatError
    from agent.model import disk

    path = Path(name)
    if path.name == name and not disk.is_file(path):
        return ""
    try:
        return disk.sha256_of(path)
    except OSError as error:
        raise NetworkFormatError(
            f"{path} cannot be read: {error.strerror}", fix="Give the path of a .bin.gz file that this user may read."
        ) from error


def _folders_in(kept: Path) -> list[Path]:
    """Those of the networks; none while nothing was exported."""
    from agent.errors import StoreUnwritable

    try:
        return sorted(kept.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreUnwritable(
            f"cannot read {kept}: {error.strerror}",
            fix="Run the same with sudo and an --out of root's, or name readable folders with --from.",
        ) from error


def _deployed(settings: Settings, hardware: Hardware, networks: Iterable[str]) -> list[Deployed]:
    """What `agent run` would take for each network (SHA-256) now: a choice whose file is gone, or that no longer passes
    its gate, is none. A network that imitates players runs as the profile says."""
    from agent.profile import choose, load_profiles
    from agent.settings import data_folder
    from agent.workshop.report import Deployed
    from agent.workshop.tuned import memory_limit, standing

    profile = choose(hardware, load_profiles(data_folder("profiles"))).profile
    limit = memory_limit(hardware, profile.limits.memory_percent) if profile else None
    found: list[Deployed] = []
    for network in networks:
        timing = standing(
            settings.state_dir,
            hardware,
            network,
            limit,
            threads=settings.threads,
            backend=settings.engine.runtime,
            human_profile=settings.human_profile,
        ).timing
        if timing is not None:
            found.append(Deployed(network, f"{timing.contender}, {timing.way}", timing.peak_rss_bytes))
    return found
