"""The first half of the data path: detect → choose → pull → convert; what comes out is a `Plan`.

`run.py` goes on from there. Start reading at `provision`. The daemon, which must stay small, uses `provision_apart`:
the same in a child process. What is needed for the work is imported by the work, so that this module stays light.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from agent.errors import AgentError, ConversionFailed
from agent.events import ChainStep, Converting, DownloadProgress, Reporter, SourceFailed
from agent.lifeline import die_with_parent
from agent.settings import Settings, data_folder, encode_settings, own_command

if TYPE_CHECKING:
    from agent.hardware import Hardware
    from agent.model.store import Store, StoredNetwork
    from agent.profile import Profile

# Every backend without a network: nothing is pulled or converted for it.
WITHOUT_NETWORK: Final = frozenset({"uniform"})
PRECISION: Final = "fp32"
# Backends that run the converted file, and those that run the network file itself; the others need an artifact.
CONVERTED: Final = "onnxruntime"
RUN_CONVERTED: Final = frozenset({CONVERTED, "check", "cuda", "cuda-tensorrt"})
RUN_SOURCE: Final = frozenset({"core"})
# b18c384nbt on a Cortex-A53 converts in minutes; beyond this it hangs.
CONVERT_S: Final = 1800.0
# A plan with the hardware of a 128-core server is 40 kB; asyncio's own limit for a line is 64 kB.
MAX_LINE_BYTES: Final = 1 << 20


class Plan(msgspec.Struct, frozen=True, tag=True):
    """What this machine runs, and why. `model` is the converted network, None for a backend without one. `max_time_s`
    ends the search for a move in a game that its visits have not ended; None where the owner set the visits.
    `precision` is the model's, `sessions` how many of the backend the threads share, `tuning` where backend, model,
    threads and batch come from: what was measured here, or why the profile's were taken."""

    hardware: str
    hardware_facts: dict[str, Any]
    profile: str
    why: str
    network: str
    network_source: str
    network_sha256: str
    model: str | None
    backend: str
    threads: int
    batch: int
    visits: int
    max_time_s: float | None
    cache_positions: int
    precision: str = PRECISION
    sessions: int = 1
    tuning: str = ""


class Failure(msgspec.Struct, frozen=True, tag=True):
    """How the provisioning child tells its error."""

    message: str
    fix: str


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
    choice = choose(hardware, load_profiles(data_folder("profiles")))
    profile = choice.require()
    reporter.report(ChainStep("profile", f"{profile.name}. {choice.reason}"))
    if settings.engine.path is not None:
        reporter.report(ChainStep("katago", f"{settings.engine.path} is not started yet; the built-in engine serves"))
    backend = backend_of(settings, profile)
    network, source, sha256, model = "none", "none", "", None
    if backend not in WITHOUT_NETWORK:
        network, source, sha256, model = _provide_network(
            settings, [candidate.network for candidate in profile.networks], reporter, as_it_is=backend in RUN_SOURCE
        )
    reporter.report(ChainStep("network", f"{network} from {source}"))
    plan = Plan(
        hardware=summary(hardware),
        hardware_facts=msgspec.to_builtins(hardware),
        profile=profile.name,
        why=choice.reason,
        network=network,
        network_source=source,
        network_sha256=sha256,
        model=model,
        backend=backend,
        threads=settings.threads or profile.threads,
        batch=profile.batch,
        visits=settings.visits or profile.visits,
        max_time_s=profile.limits.max_time_s if settings.visits is None else None,
        cache_positions=profile.cache_positions,
    )
    if not tuned or backend in WITHOUT_NETWORK:
        return plan
    plan = _as_tuned(plan, settings, hardware, profile.limits.memory_percent)
    reporter.report(ChainStep("tuning", plan.tuning))
    return plan


def backend_of(settings: Settings, profile: Profile) -> str:
    """The owner's choice, else the profile's. Whom a human-style network imitates is written into the converted file,
    so that such a network needs a backend which runs that."""
    if settings.engine.backend:
        return settings.engine.backend
    preferred = profile.networks[0].runtime
    return CONVERTED if settings.human_profile and preferred in RUN_SOURCE else preferred


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
        backend=settings.engine.backend,
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
    settings: Settings, names: Sequence[str], reporter: Reporter, *, as_it_is: bool
) -> tuple[str, str, str, str]:
    """Name, source and hash of the network, and the path of its converted file, or its own where it runs as it is."""
    from agent.export.info import EXPORTER
    from agent.model.store import Manifest, Store

    store = Store(settings.state_dir)
    stored = _have_network(settings, names, store, reporter)
    if as_it_is:
        store.activate(stored.sha256)
        return stored.manifest.name, stored.manifest.source, stored.sha256, str(stored.path)
    kind = conversion_kind(settings)
    converted = store.find_converted(stored.sha256, kind, EXPORTER)
    if converted is None:
        from agent.model.sources import check_conversion_room

        check_conversion_room(store, stored.manifest.size_bytes)
        with store.staging() as folder:
            out = folder / f"{stored.manifest.name}.onnx"
            convert_apart(stored.path, out, reporter, human_profile=settings.human_profile)
            made = Manifest(
                name=stored.manifest.name,
                file=out.name,
                size_bytes=out.stat().st_size,
                sha256=_sha256(out),
                source=f"converted from {stored.manifest.file}",
                licence=stored.manifest.licence,
                source_sha256=stored.sha256,
                precision=kind,
                exporter=EXPORTER,
            )
            converted = store.add_file(out, made)
    store.activate(stored.sha256)
    return stored.manifest.name, stored.manifest.source, stored.sha256, str(converted.path)


def conversion_kind(settings: Settings) -> str:
    """What the store calls our conversion: its precision and, of a human-style network, whom it imitates."""
    return f"{PRECISION} as {settings.human_profile}" if settings.human_profile else PRECISION


def drop_old_conversions(settings: Settings, plan: Plan) -> None:
    """Remove what older exporters made of the plan's network. For the daemon alone: it holds the state folder, so no
    daemon of an older version can have a worker that would load such a file again. What fails is tried next time."""
    from agent.errors import ModelError
    from agent.export.info import EXPORTER
    from agent.model.store import Store

    store = Store(settings.state_dir)
    converted = store.find_converted(plan.network_sha256, conversion_kind(settings), EXPORTER)
    if converted is not None:
        with contextlib.suppress(ModelError):
            store.drop_conversions(converted)


def _have_network(settings: Settings, names: Sequence[str], store: Store, reporter: Reporter) -> StoredNetwork:
    """The network in the store; what can fetch one is imported where there is none (0.3 s of each start)."""
    from agent.model.catalogue import load_catalogue

    catalogue = load_catalogue(data_folder("profiles") / "networks.yaml")
    if settings.network is not None:
        from agent.model.pull import pull_named

        return pull_named(settings.network, catalogue, store, reporter)
    candidates = [catalogue.find(name) for name in names]
    # As `pull` does: what is here already goes before what would have to be fetched.
    for candidate in candidates:
        if stored := store.find(candidate.sha256):
            return stored
    from agent.model.pull import pull

    return pull(candidates, store, reporter)


def convert_apart(source: Path, out: Path, reporter: Reporter, form: str = "auto", human_profile: str = "") -> None:
    """Convert in a process of its own, whose memory (the whole network in fp32) goes when it ends.

    Raises ConversionFailed.
    """
    options = ["--json", "--form", form, "--human-profile", human_profile]
    command = [*own_command(), "convert", *options, str(source), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent) as child:
        assert child.stdout is not None
        try:
            for line in child.stdout:
                with contextlib.suppress(msgspec.MsgspecError):
                    # The last line is the network's info, which we read from the file itself.
                    reporter.report(msgspec.json.decode(line, type=Converting))
            status = child.wait(CONVERT_S)
        except BaseException:
            child.kill()
            raise
    if status in (-signal.SIGINT, 128 + signal.SIGINT):
        raise KeyboardInterrupt  # Ctrl-C reaches the child first
    if status:
        raise ConversionFailed(f"{source} could not be converted (status {status}; the reason stands above)")


def _sha256(path: Path) -> str:
    from agent.model.disk import sha256_of

    return sha256_of(path)


# ---------------------------------------------------------------- the same in a child process

_Line = ChainStep | DownloadProgress | SourceFailed | Converting | Plan | Failure


async def provision_apart(settings: Settings, reporter: Reporter) -> Plan:
    """As `provision`, in a child process, so that its memory is not ours.

    Raises AgentError with the child's message and fix.
    """
    child = await asyncio.create_subprocess_exec(
        *own_command(),
        "provision",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=MAX_LINE_BYTES,
    )
    assert child.stdin is not None and child.stdout is not None
    plan: Plan | None = None
    try:
        child.stdin.write(encode_settings(settings))
        child.stdin.close()
        async for line in child.stdout:
            said = msgspec.json.decode(line, type=_Line)
            if isinstance(said, Failure):
                raise AgentError(said.message, fix=said.fix)
            if isinstance(said, Plan):
                plan = said
            else:
                reporter.report(said)
        status = await child.wait()
    finally:
        if child.returncode is None:
            # The whole session: a conversion runs as the child's child.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    if plan is None:
        raise AgentError(f"provisioning ended with status {status}", fix="Run `agent doctor`.")
    return plan


def worker_command(plan: Plan) -> list[str]:
    """How the worker of this plan is started; the supervisor adds its end of the socket pair."""
    model = ["--model", plan.model] if plan.model else []
    numbers = {
        "--threads": plan.threads,
        "--sessions": plan.sessions,
        "--batch": plan.batch,
        "--cache-positions": plan.cache_positions,
    }
    options = [text for name, value in numbers.items() for text in (name, str(value))]
    return [*own_command(), "engine", "--backend", plan.backend, *model, *options]
