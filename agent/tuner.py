"""`agent tune` and `agent speed` from end to end: provision → contenders → measure. Start at `tune_here`.

Above `provision.py`, whose plans use what is found here.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from agent.engine.tuning import Contender, SetAside, Tuned, hardware_key, runtime_versions
from agent.errors import AgentError, ConfigError
from agent.events import ChainStep, Reporter
from agent.export.info import EXPORTER
from agent.hardware import detect, sample
from agent.hardware.describe import summary
from agent.model.conversion import convert_apart
from agent.model.disk import sha256_of
from agent.model.sources import check_conversion_room
from agent.model.store import Manifest, Store
from agent.plan import Plan
from agent.profile import choose, load_profiles
from agent.provision import CONVERTED, RUN_SOURCE, WITHOUT_NETWORK, provision
from agent.settings import Settings, data_folder
from agent.workshop.contenders import CONVERTED_BACKEND, CONVERTED_PRECISION, form_of, gather, right_answers
from agent.workshop.limits import measure_peaks
from agent.workshop.measurer import ChildMeasurer
from agent.workshop.place import artifact_folder, backends_for
from agent.workshop.probe_messages import Answers
from agent.workshop.speed import SpeedOptions, SpeedTable, keep_table, measure_speeds, with_left_out, write_speeds
from agent.workshop.sweep import ways_of
from agent.workshop.tune import Subject, TuneOptions, tune
from agent.workshop.tuned import memory_limit

FORMS: Final = ("plain", "winograd")
# Positions under way at once, as a share of the visits for a move: those are chosen without knowing of each other.
# The profiles' own batches and threads reach a third (8 threads × batch 4 of 100 visits).
IN_FLIGHT_SHARE: Final = 1 / 3
# A speed table asks what a path could do, whatever a search makes of it: batches up to this.
SPEED_BATCH: Final = 16


def tune_here(settings: Settings, reporter: Reporter, *, budget_s: float, everything: bool, forms: bool) -> Tuned:
    """Measure what could run this machine's network, and choose. `remember` writes it down.

    Raises:
        ConfigError: the configured backend runs no network, or the network imitates players.
        TuneFailed: nothing works here. ModelError: the chosen file cannot be kept. And what `provision` raises.
    """
    if settings.human_profile:
        raise ConfigError(
            f"a network that imitates {settings.human_profile} runs as the profile says, whatever is measured",
            fix="Measure with `agent speed`, or leave human_profile out of agent.yaml.",
        )
    plan = provision(_converted(settings), reporter, tuned=False)
    hardware = detect()
    profile = choose(hardware, load_profiles(data_folder("profiles"))).require()
    memory_bytes = memory_limit(hardware, profile.limits.memory_percent)
    most = max(int(plan.visits * IN_FLIGHT_SHARE), plan.threads * plan.batch)
    options = TuneOptions(ways_of(plan.threads, most), budget_s, memory_bytes, everything)
    subject = Subject(hardware_key(hardware), plan.network, plan.network_sha256, runtime_versions())
    with _field(settings, plan, reporter, forms=forms, unverified=False) as field:
        tuned = tune(field.contenders, subject, field.expected, options, reporter)
        tuned = msgspec.structs.replace(tuned, set_aside=(*tuned.set_aside, *field.left_out))
        _keep(tuned.chosen.contender, plan, Store(settings.state_dir))
    return tuned


@dataclass(frozen=True)
class SpeedWishes:
    """`native` is a katago command to measure in turns with, None for none; `sides` of boards, the largest first;
    `unverified` lets artifacts take part that nobody has verified."""

    native: Path | None
    sides: tuple[int, ...]
    unverified: bool
    rounds: int
    turn_s: float


def speed_here(settings: Settings, reporter: Reporter, wishes: SpeedWishes) -> SpeedTable:
    """The speed table of the network that `settings` names. `keep_speeds` writes it down.

    Raises:
        BenchFailed: the native engine does not run. And what `provision` raises.
    """
    plan = provision(_converted(settings), reporter, tuned=False)
    hardware = detect()
    cores = plan.threads
    source = Store(settings.state_dir).find(plan.network_sha256)
    assert source is not None
    peaks = measure_peaks(cores)
    before = os.getloadavg()[0]
    # A dozen loaded networks are more than a small board has, and the kernel would end the service first.
    free = sample().memory_available_bytes
    ways = ways_of(cores, cores * SPEED_BATCH)
    options = SpeedOptions(ways, cores, wishes.native, wishes.sides, wishes.rounds, wishes.turn_s)
    with _field(settings, plan, reporter, forms=True, unverified=wishes.unverified) as field:
        boards = measure_speeds(
            source.path,
            field.contenders,
            peaks,
            options,
            reporter,
            time.monotonic,
            # The native engine's time counts as it passes, so ours does, too.
            partial(
                ChildMeasurer,
                expected=field.expected,
                threads=cores,
                memory_bytes=free if isinstance(free, int) else None,
                undisturbed=False,
            ),
        )
    return SpeedTable(
        network=plan.network,
        network_sha256=plan.network_sha256,
        hardware=summary(hardware),
        versions=runtime_versions(),
        peaks=peaks,
        boards=with_left_out(boards, field.left_out),
        load=(before, os.getloadavg()[0]),
    )


def keep_speeds(settings: Settings, table: SpeedTable) -> None:
    """Put `table` beside its network's artifacts, and its figures into their manifests.

    Raises:
        ConversionFailed, ModelError: a manifest or the table cannot be written.
    """
    write_speeds(table.boards, table.hardware)
    keep_table(artifact_folder(settings.state_dir, table.network_sha256), table)


@dataclass(frozen=True)
class _Field:
    """Who takes part, who does not and why, and the right answers."""

    contenders: list[Contender]
    left_out: list[SetAside]
    expected: Answers | None


@contextlib.contextmanager
def _field(settings: Settings, plan: Plan, reporter: Reporter, *, forms: bool, unverified: bool) -> Iterator[_Field]:
    """All that could run the plan's network; with `forms` its other form, which is there as long as the block runs."""
    assert plan.model is not None
    model = Path(plan.model)
    folder = artifact_folder(settings.state_dir, plan.network_sha256)
    expected = right_answers(folder, model, human_profile=settings.human_profile)
    store = Store(settings.state_dir)
    gpu = detect().gpu.architecture is not None  # CUDA's, known or not
    own = Contender(CONVERTED_BACKEND, CONVERTED_PRECISION, form_of(model), model.parent.name, plan.model)
    artifacts, left_out = gather(
        folder, plan.network_sha256, gpu=gpu, unverified=unverified, human_profile=settings.human_profile
    )
    with contextlib.ExitStack() as stack:
        on_gpu = [msgspec.structs.replace(own, backend=name) for name in backends_for(own.backend, gpu=gpu)[1:]]
        # Those that are quick to open first: with a small budget at least they have been tried.
        contenders = [*_as_it_is(plan, store), own, *on_gpu, *artifacts]
        if forms:
            made, missing = stack.enter_context(
                _other_form(own, contenders, plan, store, reporter, settings.human_profile)
            )
            contenders += made
            left_out += missing
        yield _Field(contenders, left_out, expected)


def _converted(settings: Settings) -> Settings:
    """With the backend that has the network converted, whatever the owner or the profile chose: theirs is a choice
    among what is found here, and the converted network is needed all the same."""
    if settings.engine.backend in WITHOUT_NETWORK:
        raise ConfigError(
            f"backend {settings.engine.backend} has no network to tune", fix="Leave engine.backend out of agent.yaml."
        )
    return msgspec.structs.replace(settings, engine=msgspec.structs.replace(settings.engine, backend=CONVERTED))


def _as_it_is(plan: Plan, store: Store) -> list[Contender]:
    """The network file itself, which our own kernels run."""
    source = store.find(plan.network_sha256)
    if source is None:
        return []
    return [
        Contender(backend, CONVERTED_PRECISION, "winograd", source.sha256, str(source.path)) for backend in RUN_SOURCE
    ]


@contextlib.contextmanager
def _other_form(
    own: Contender, contenders: list[Contender], plan: Plan, store: Store, reporter: Reporter, human_profile: str
) -> Iterator[tuple[list[Contender], list[SetAside]]]:
    """The converted network with its convolutions written the other way, for as long as the block runs; none where it
    is among the `contenders` already, or cannot be made, which is told."""
    other = next((form for form in FORMS if form != own.form), "")
    taken = {(contender.backend, contender.precision, contender.form) for contender in contenders}
    if not own.form or (own.backend, own.precision, other) in taken:
        yield [], []
        return
    there = store.find_converted(plan.network_sha256, _precision_of(other, human_profile), EXPORTER)
    if there is not None:
        yield [Contender(own.backend, own.precision, other, there.sha256, str(there.path))], []
        return
    with contextlib.ExitStack() as stack:
        out = Path()
        try:
            source = store.find(plan.network_sha256)
            if source is None:
                raise ConfigError(f"{plan.network} is no longer in the store")
            check_conversion_room(store, source.manifest.size_bytes)
            out = stack.enter_context(store.staging()) / f"{plan.network}.{other}.onnx"
            reporter.report(ChainStep("form", f"the graph in its other form, {other}, is being made"))
            convert_apart(source.path, out, reporter, form=other, human_profile=human_profile)
            made = [Contender(own.backend, own.precision, other, sha256_of(out), str(out))]
        except AgentError as error:
            yield [], [SetAside(msgspec.structs.replace(own, form=other, sha256="", path=str(out)), str(error))]
            return
        yield made, []


def _keep(contender: Contender, plan: Plan, store: Store) -> None:
    """Put the chosen file into the store if it is the other form, which would go with the tuning otherwise."""
    path = Path(contender.path)
    source = store.find(plan.network_sha256)
    if source is None or store.find(contender.sha256) or path.parent.parent.name != "staging":
        return
    store.add_file(
        path,
        Manifest(
            name=plan.network,
            file=path.name,
            size_bytes=path.stat().st_size,
            sha256=contender.sha256,
            source=f"converted from {source.manifest.file}",
            licence=source.manifest.licence,
            source_sha256=plan.network_sha256,
            precision=_precision_of(contender.form),
            exporter=EXPORTER,
        ),
    )


def _precision_of(form: str, human_profile: str = "") -> str:
    """As the store's manifest says it: not what `provision` looks for, which is the form that the exporter prefers."""
    return f"{CONVERTED_PRECISION} {form}" + (f" as {human_profile}" if human_profile else "")
