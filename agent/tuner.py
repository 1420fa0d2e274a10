"""`agent tune` from end to end: provision → contenders → measure → remember. Start at `tune_here`.

Above `provision.py`, whose plans use what is found here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from agent.engine.tuning import Contender, SetAside, Tuned, hardware_key, remember, runtime_versions
from agent.errors import AgentError, ConfigError
from agent.events import ChainStep, Reporter
from agent.export.info import EXPORTER
from agent.hardware import detect
from agent.model.disk import sha256_of
from agent.model.sources import check_conversion_room
from agent.model.store import Manifest, Store
from agent.profile import choose, load_profiles
from agent.provision import RUN_CONVERTED, RUN_SOURCE, WITHOUT_NETWORK, Plan, convert_apart, provision
from agent.settings import Settings, data_folder
from agent.workshop.contenders import CONVERTED_BACKEND, CONVERTED_PRECISION, form_of, gather, right_answers
from agent.workshop.place import artifact_folder
from agent.workshop.sweep import ways_of
from agent.workshop.tune import Subject, TuneOptions, tune
from agent.workshop.tuned import memory_limit

FORMS: Final = ("plain", "winograd")
# Positions under way at once, as a share of the visits for a move: those are chosen without knowing of each other.
# The profiles' own batches and threads reach a third (8 threads × batch 4 of 100 visits).
IN_FLIGHT_SHARE: Final = 1 / 3


def tune_here(settings: Settings, reporter: Reporter, *, budget_s: float, everything: bool, forms: bool) -> Tuned:
    """Measure what could run this machine's network, choose, and remember the choice in the state folder.

    Raises:
        ConfigError: the configured backend runs no network.
        TuneFailed: nothing works here. ModelError: the choice cannot be written down. And what `provision` raises.
    """
    if settings.engine.backend in WITHOUT_NETWORK:
        raise ConfigError(
            f"backend {settings.engine.backend} has no network to tune", fix="Leave engine.backend out of agent.yaml."
        )
    if settings.engine.backend not in (None, *RUN_CONVERTED):
        # What the owner forces is a choice among what is found here; the converted network is needed all the same.
        settings = msgspec.structs.replace(settings, engine=msgspec.structs.replace(settings.engine, backend=None))
    plan = provision(settings, reporter, tuned=False)
    assert plan.model is not None
    hardware = detect()
    profile = choose(hardware, load_profiles(data_folder("profiles"))).require()
    memory_bytes = memory_limit(hardware, profile.limits.memory_percent)
    most = max(int(plan.visits * IN_FLIGHT_SHARE), plan.threads * plan.batch)
    options = TuneOptions(ways_of(plan.threads, most), budget_s, memory_bytes, everything)
    subject = Subject(hardware_key(hardware), plan.network, plan.network_sha256, runtime_versions())
    folder = artifact_folder(settings.state_dir, plan.network_sha256)
    expected = right_answers(folder, Path(plan.model))
    store = Store(settings.state_dir)
    own = Contender(
        CONVERTED_BACKEND, CONVERTED_PRECISION, form_of(Path(plan.model)), Path(plan.model).parent.name, plan.model
    )
    artifacts, left_out = gather(folder, plan.network_sha256)
    with contextlib.ExitStack() as stack:
        contenders = [own, *_as_it_is(plan, store), *artifacts]
        if forms:
            made, missing = stack.enter_context(_other_form(own, contenders, plan, store, reporter))
            contenders += made
            left_out += missing
        tuned = tune(contenders, subject, expected, options, reporter)
        tuned = msgspec.structs.replace(tuned, set_aside=(*tuned.set_aside, *left_out))
        _keep(tuned.chosen.contender, plan, store)
    remember(settings.state_dir, tuned)
    return tuned


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
    own: Contender, contenders: list[Contender], plan: Plan, store: Store, reporter: Reporter
) -> Iterator[tuple[list[Contender], list[SetAside]]]:
    """The converted network with its convolutions written the other way, for as long as the block runs; none where it
    is among the `contenders` already, or cannot be made, which is told."""
    other = next((form for form in FORMS if form != own.form), "")
    taken = {(contender.backend, contender.precision, contender.form) for contender in contenders}
    if not own.form or (own.backend, own.precision, other) in taken:
        yield [], []
        return
    there = store.find_converted(plan.network_sha256, _precision_of(other), EXPORTER)
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
            convert_apart(source.path, out, reporter, form=other)
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


def _precision_of(form: str) -> str:
    """As the store's manifest says it: not what `provision` looks for, which is the form that the exporter prefers."""
    return f"{CONVERTED_PRECISION} {form}"
