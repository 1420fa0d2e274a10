"""The first half of the data path: detect → choose → pull → convert; what comes out is a `Plan`.

`run.py` goes on from there. Start reading at `provision`. The daemon, which must stay small, does the same in a child
process (`provision_apart.py`). What is needed for the work is imported by the work, so that this module stays light.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agent.errors import AgentError, StorageFull
from agent.events import ChainStep, Reporter
from agent.model.conversion import convert_apart
from agent.plan import PRECISION, Plan
from agent.settings import NATIVE, Settings, data_folder, with_built_in_engine

if TYPE_CHECKING:
    from agent.hardware import Hardware
    from agent.model.store import Store, StoredNetwork
    from agent.profile import Choice, Profile

# Every backend without a network: nothing is pulled or converted for it.
WITHOUT_NETWORK: Final = frozenset({"uniform"})
# Backends that run the converted file, and those that run the network file itself; the others need an artifact.
CONVERTED: Final = "onnxruntime"
RUN_CONVERTED: Final = frozenset({CONVERTED, "check", "cuda", "cuda-tensorrt"})
RUN_SOURCE: Final = frozenset({"core"})
# Where a native katago keeps what it tunes, within the state folder.
KATAGO_HOME: Final = "katago"


# ---------------------------------------------------------------- detect → choose → pull → convert


def provision(settings: Settings, reporter: Reporter, *, tuned: bool = True) -> Plan:
    """Everything up to a converted network on the disk; what is there already is left alone. With `tuned` it runs as
    `agent tune` found best, where that still holds; otherwise as the profile says.

    Raises HardwareUnsupported, NoProfileFits, ConfigError, ModelError, NetworkFormatError and ConversionFailed;
    BackendUnavailable where the owner's choice of backend has nothing that it may run.
    """
    from agent.hardware import detect
    from agent.hardware.describe import summary
    from agent.profile import choose, load_profiles

    hardware = detect()
    reporter.report(ChainStep("hardware", summary(hardware)))
    rules = load_profiles(data_folder("profiles"))
    choice = choose(hardware, rules, native=settings.engine.wants_native)
    profile = choice.require()
    reporter.report(ChainStep("profile", f"{profile.name}. {choice.reason}"))
    if profile.engine == "native":
        built_in = choose(hardware, rules)
        return _native_plan(settings, hardware, choice, built_in, reporter, tuned=tuned)
    if settings.engine.wants_native:
        reporter.report(ChainStep("katago", "no profile for a native one fits here; the built-in engine serves"))
    elif settings.engine.path is not None:
        reporter.report(ChainStep("katago", f"{settings.engine.path} rests: engine.backend names another engine"))
    return _built_in_plan(settings, hardware, choice, reporter, tuned=tuned)


def _built_in_plan(
    settings: Settings,
    hardware: Hardware,
    choice: Choice,
    reporter: Reporter,
    *,
    tuned: bool,
    instead_of: StoredNetwork | None = None,
) -> Plan:
    """The plan of our own engine. With `instead_of` it stands in for another one which runs that network: it takes the
    same where this machine's profile or the owner names it, and what is active in the store stays so. But never the
    same file, which may be what the other one failed of."""
    from agent.profile import kept_positions

    profile = choice.require()
    backend = backend_of(settings, profile)
    if instead_of is not None and backend in RUN_SOURCE:
        backend = CONVERTED
    network, source, sha256, model = "none", "none", "", None
    if backend not in WITHOUT_NETWORK:
        names = [candidate.network for candidate in profile.networks]
        network, source, sha256, model = _provide_network(
            settings, names, reporter, as_it_is=backend in RUN_SOURCE, instead_of=instead_of
        )
    reporter.report(ChainStep("network" if instead_of is None else "fallback", f"{network} from {source}"))
    plan = Plan(
        **_of_machine(hardware, choice),
        network=network,
        network_source=source,
        network_sha256=sha256,
        model=model,
        backend=backend,
        threads=settings.threads or profile.threads,
        batch=profile.batch,
        visits=settings.visits or profile.visits,
        max_time_s=profile.limits.max_time_s if settings.visits is None else None,
        cache_positions=kept_positions(profile, settings.cache_positions, hardware),
        human_profile="" if backend in WITHOUT_NETWORK else settings.human_profile,
    )
    if not tuned or backend in WITHOUT_NETWORK:
        return plan
    as_tuned = _as_tuned(plan, settings, hardware, profile.limits.memory_percent)
    if instead_of is not None:
        return plan if as_tuned.backend in RUN_SOURCE else as_tuned
    reporter.report(ChainStep("tuning", as_tuned.tuning))
    return as_tuned


def _native_plan(
    settings: Settings, hardware: Hardware, choice: Choice, built_in: Choice, reporter: Reporter, *, tuned: bool
) -> Plan:
    """The plan of the owner's katago. Whether it is there and runs is for its worker to find out: then one way leads
    from any fault to the fallback, and back once it is mended."""
    from agent.model.store import Store
    from agent.profile import kept_positions

    profile = choice.require()
    assert profile.cfg is not None
    katago = _find_katago(settings, hardware, reporter)
    reporter.report(ChainStep("katago", f"{katago}, with {profile.cfg}"))
    store = Store(settings.state_dir)
    names = [candidate.network for candidate in profile.networks]
    stored = _have_network(settings, names, store, reporter, converts=False)
    _activate(stored, store)
    reporter.report(ChainStep("network", f"{stored.manifest.name} from {stored.manifest.source}"))
    fallback = _fallback(settings, hardware, profile, built_in, stored, reporter, tuned=tuned)
    return Plan(
        **_of_machine(hardware, choice),
        network=stored.manifest.name,
        network_source=stored.manifest.source,
        network_sha256=stored.sha256,
        model=str(stored.path),
        backend=NATIVE,
        threads=settings.threads or profile.threads,
        batch=profile.batch,
        visits=settings.visits or profile.visits,
        max_time_s=profile.limits.max_time_s if settings.visits is None else None,
        cache_positions=kept_positions(profile, settings.cache_positions, hardware),
        katago=str(katago),
        cfg=str(data_folder("profiles") / profile.cfg),
        home=str(settings.state_dir / KATAGO_HOME),
        human_profile=settings.human_profile,
        fallback=fallback,
    )


def katago_here(settings: Settings) -> Path:
    """The katago that would serve, without fetching one: the owner's, the one on PATH, or one that was fetched."""
    from agent.model.native_build import find_build

    named = settings.engine.katago
    if settings.engine.path is not None or shutil.which(named) is not None:
        return named
    return find_build(settings.state_dir) or named


def _find_katago(settings: Settings, hardware: Hardware, reporter: Reporter) -> Path:
    """The owner's binary, else the one on PATH, else a published one where this machine has one. The name alone
    where there is none at all: the worker says then that it is not there."""
    from agent.model.native_build import BUILD, provide_build

    here = katago_here(settings)
    if settings.engine.path is not None or shutil.which(here) is not None:
        return here
    architecture = hardware.platform.architecture
    if architecture != BUILD.architecture:
        none = f"there is none on PATH, and nobody publishes a build for {architecture}: see KataGo's Compiling.md"
        reporter.report(ChainStep("katago", none))
        return here
    try:
        return provide_build(settings.state_dir, reporter)
    except AgentError as error:
        reporter.report(ChainStep("katago", f"there is none on PATH, and none could be fetched: {error}"))
        return here


def _fallback(
    settings: Settings,
    hardware: Hardware,
    native: Profile,
    built_in: Choice,
    stored: StoredNetwork,
    reporter: Reporter,
    *,
    tuned: bool,
) -> Plan | None:
    """The engine that serves when katago fails, made ready now: later there may be no connection and no room. None
    where the owner or the profile wants none, or where there can be none, which is told."""
    allowed = native.fallback if settings.engine.fallback is None else settings.engine.fallback
    if not allowed:
        reporter.report(ChainStep("fallback", "none, as engine.fallback or the profile says"))
        return None
    own = with_built_in_engine(settings)
    # The owner's network may be one that we cannot read; the profile's own are.
    wishes = [own] if own.network is None else [own, msgspec.structs.replace(own, network=None)]
    for wish in wishes:
        try:
            return _built_in_plan(wish, hardware, built_in, reporter, tuned=tuned, instead_of=stored)
        except AgentError as error:
            reporter.report(ChainStep("fallback", f"none of {wish.network or 'the profile'}: {error}"))
    return None


def _of_machine(hardware: Hardware, choice: Choice) -> dict[str, Any]:
    from agent.hardware.describe import summary

    return {
        "hardware": summary(hardware),
        "hardware_facts": msgspec.to_builtins(hardware),
        "profile": choice.require().name,
        "why": choice.reason,
    }


def backend_of(settings: Settings, profile: Profile) -> str:
    """The owner's choice, else the profile's."""
    return settings.engine.runtime or profile.networks[0].runtime


def _as_tuned(plan: Plan, settings: Settings, hardware: Hardware, memory_percent: float) -> Plan:
    """`plan` with what was measured on this machine in the place of the profile's guesses, where it still holds and the
    owner asks for nothing else."""
    from agent.workshop.tuned import memory_limit, only_artifact, standing

    found = standing(
        settings.state_dir,
        hardware,
        plan.network_sha256,
        memory_limit(hardware, memory_percent),
        threads=settings.threads,
        backend=settings.engine.runtime,
        human_profile=settings.human_profile,
    )
    timing = found.timing
    if timing is None and plan.backend in RUN_CONVERTED | RUN_SOURCE:
        return msgspec.structs.replace(plan, tuning=found.reason)
    if timing is None:
        # This backend runs nothing but artifacts.
        artifact = only_artifact(
            settings.state_dir, plan.network_sha256, plan.backend, human_profile=settings.human_profile
        )
        precision = artifact.format.facts.precision
        return msgspec.structs.replace(plan, model=str(artifact.path), precision=precision, tuning=found.reason)
    return msgspec.structs.replace(
        plan,
        model=str(found.model),
        backend=timing.contender.backend,
        precision=timing.contender.precision,
        threads=timing.threads,
        sessions=timing.sessions,
        batch=timing.batch,
        tuning=f"{timing.way}: {found.reason}",
    )


def _provide_network(
    settings: Settings,
    names: Sequence[str],
    reporter: Reporter,
    *,
    as_it_is: bool,
    instead_of: StoredNetwork | None = None,
) -> tuple[str, str, str, str]:
    """Name, source and hash of the network, and the path of its converted file, or its own where it runs as it is.
    `instead_of` as in `_built_in_plan`."""
    from agent.export.info import EXPORTER
    from agent.model.store import Manifest, Store

    store = Store(settings.state_dir)
    if instead_of is not None and (settings.network is not None or _is_among(instead_of, names)):
        stored = instead_of
    else:
        stored = _have_network(settings, names, store, reporter, converts=not as_it_is)
    active = stored if instead_of is None else instead_of
    if as_it_is:
        # The profiles' own networks imitate nobody; to look costs 0.3 s and 12 MB.
        if settings.network is not None or settings.human_profile:
            _check_profile(stored, settings.human_profile)
        _activate(active, store)
        return stored.manifest.name, stored.manifest.source, stored.sha256, str(stored.path)
    kind = conversion_kind(settings)
    converted = store.find_converted(stored.sha256, kind, EXPORTER)
    if converted is None:
        from agent.model.disk import sha256_of
        from agent.model.sources import check_conversion_room

        check_conversion_room(store, stored.manifest.size_bytes)
        with store.staging() as folder:
            out = folder / f"{stored.manifest.name}.onnx"
            convert_apart(stored.path, out, reporter, human_profile=settings.human_profile)
            made = Manifest(
                name=stored.manifest.name,
                file=out.name,
                size_bytes=out.stat().st_size,
                sha256=sha256_of(out),
                source=f"converted from {stored.manifest.file}",
                licence=stored.manifest.licence,
                source_sha256=stored.sha256,
                precision=kind,
                exporter=EXPORTER,
            )
            converted = store.add_file(out, made)
    _activate(active, store)
    return stored.manifest.name, stored.manifest.source, stored.sha256, str(converted.path)


def _activate(stored: StoredNetwork, store: Store) -> None:
    """Make the network the one in use; while a daemon runs here, that is the daemon's, whatever a session beside it
    takes. A daemon itself provisions before it tells of itself."""
    from agent.service.health import find_front

    front = find_front(store.root)
    if front is None or front.state_dir != str(store.root):
        store.activate(stored.sha256)


def _check_profile(stored: StoredNetwork, human_profile: str) -> None:
    """What a conversion would find out; raises as `check_profile`. What is no network is for the worker to tell."""
    from agent.errors import NetworkFormatError
    from agent.export.human_profile import check_profile
    from agent.export.parse import is_human_style

    with contextlib.suppress(NetworkFormatError):
        check_profile(stored.manifest.name, human_profile, is_human=is_human_style(stored.path))


def conversion_kind(settings: Settings) -> str:
    """What the store calls our conversion: its precision and, of a human-style network, whom it imitates."""
    return f"{PRECISION} as {settings.human_profile}" if settings.human_profile else PRECISION


def provision_as_daemon(
    settings: Settings, reporter: Reporter, provide: Callable[[Settings, Reporter], Plan] = provision
) -> Plan:
    """As `provision`, and without what other exporters converted, which goes before it is in the way of what replaces
    it. For the daemon alone: it holds the state folder, so no daemon of another version can have a worker that would
    load such a file again."""
    from agent.export.info import EXPORTER
    from agent.model.store import Store

    try:
        plan = provide(settings, reporter)
    except StorageFull:
        if not Store(settings.state_dir).drop_foreign_conversions(EXPORTER):
            raise
        reporter.report(ChainStep("room", "what another version had converted was removed"))
        plan = provide(settings, reporter)
    _drop_old_conversions(settings, plan)
    return plan


def _drop_old_conversions(settings: Settings, plan: Plan) -> None:
    """Remove what older exporters made of the plan's network. What fails is tried next time."""
    from agent.errors import ModelError
    from agent.export.info import EXPORTER
    from agent.model.store import Store

    store = Store(settings.state_dir)
    for each in (plan, plan.fallback):
        sha256 = each.network_sha256 if each else ""
        converted = store.find_converted(sha256, conversion_kind(settings), EXPORTER)
        if converted is not None:
            with contextlib.suppress(ModelError):
                store.drop_conversions(converted)


def _is_among(stored: StoredNetwork, names: Sequence[str]) -> bool:
    from agent.model.catalogue import load_catalogue

    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    return stored.sha256 in {catalogue.find(name).sha256 for name in names}


def _have_network(
    settings: Settings, names: Sequence[str], store: Store, reporter: Reporter, *, converts: bool
) -> StoredNetwork:
    """The network in the store; what can fetch one is imported where there is none (0.3 s of each start)."""
    from agent.model.catalogue import load_catalogue

    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    if settings.network is not None:
        from agent.model.pull import pull_named

        return pull_named(settings.network, catalogue, store, reporter, converts=converts)
    candidates = [catalogue.find(name) for name in names]
    # As `pull` does: what is here already goes before what would have to be fetched.
    for candidate in candidates:
        if stored := store.find(candidate.sha256):
            return stored
    from agent.model.pull import pull

    return pull(candidates, store, reporter, converts=converts)
