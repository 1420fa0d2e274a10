"""`agent qat`: quantization-aware training."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import typer

from agent.cli.options import Config, Json, settings_as_owner


def qat(
    network: str = typer.Argument(..., help="A network of the catalogue, or the path of a .bin.gz file."),
    positions: Path = typer.Option(..., "--positions", help="Positions to train on, from `agent positions`."),
    start: Path = typer.Option(
        None, "--from", help="The quantization (.npz) to start from; default: what `agent export` calibrates."
    ),
    held_out: Path = typer.Option(
        None, "--held-out", help="Positions to judge by, whose games are refused; default: those of `agent verify`."
    ),
    out: Path = typer.Option(None, "--out", help="A folder, instead of the network's own below the state folder."),
    steps: int = typer.Option(1000, "--steps", min=1, help="Batches to learn from."),
    batch: int = typer.Option(8, "--batch", min=1, help="Positions in one step."),
    symmetries: int = typer.Option(4, "--symmetries", min=1, max=8, help="Of the board, for each position."),
    seed: int = typer.Option(1, "--seed", min=0, help="Another seed gives another order of the positions."),
    device: str = typer.Option("cpu", "--device", help="cpu, cuda or cuda:N."),
    threads: int = typer.Option(1, "--threads", min=1, help="Threads of PyTorch on the CPU."),
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Train a static INT8 network to answer as its fp32 original does. Resumable: the same command goes on."""
    import contextlib
    import dataclasses

    import msgspec

    from agent.export.parse import parse_network
    from agent.export.progress import LineReporter
    from agent.export.quantization import load_quantization
    from agent.model.catalogue import load_catalogue
    from agent.model.progress import progress_on
    from agent.model.pull import pull_named
    from agent.model.store import Store
    from agent.settings import data_folder
    from agent.workshop.calibrate import Recipe, calibrate
    from agent.workshop.place import CALIBRATION, HELD_OUT, artifact_folder
    from agent.workshop.position_set import load_position_set
    from agent.workshop.proof import prove
    from agent.workshop.qat import Run, require_ready, train
    from agent.workshop.qat_options import QatOptions
    from agent.workshop.static_int8 import CACHE

    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise typer.BadParameter("choose cpu, cuda or cuda:N", param_hint="--device")
    settings = settings_as_owner(config)
    options = QatOptions(steps=steps, batch=batch, symmetries=symmetries, seed=seed, device=device, threads=threads)
    lines = LineReporter(lambda line: print(line, flush=True))
    with contextlib.nullcontext(lines) if as_json else progress_on(sys.stderr) as reporter:
        catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
        stored = pull_named(network, catalogue, Store(settings.state_dir), reporter)
        parsed = parse_network(stored.path)
        own = artifact_folder(settings.state_dir, stored.sha256)
        if held_out is None and (own / HELD_OUT).exists():
            held_out = own / HELD_OUT
        parsed = dataclasses.replace(parsed, info=msgspec.structs.replace(parsed.info, sha256=stored.sha256))
        to_learn = load_position_set(positions)
        judged_by = None if held_out is None else load_position_set(held_out)
        # Calibration takes minutes; without PyTorch it would be for nothing.
        require_ready(to_learn, judged_by, device)
        if start is not None:
            start_from = load_quantization(start)
        else:
            beside = own / CALIBRATION
            calibration = load_position_set(beside) if beside.exists() else to_learn
            start_from = calibrate(parsed, calibration, Recipe(), own / CACHE, reporter)
        run = Run(
            parsed,
            start_from,
            to_learn,
            options,
            held_out=judged_by,
        )
        artifact = train(run, out or own, prove, reporter)
    if as_json:
        print(msgspec.json.encode(artifact.manifest).decode())
        return
    print(f"{artifact.path}: {artifact.manifest.size_bytes / 1e6:.1f} MB, loss {artifact.manifest.recipe['qat loss']}")
