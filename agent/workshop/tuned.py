"""What `agent tune` chose, if it still holds: same hardware and versions, the file still there and still allowed.

Start at `standing`. Read by whoever provisions an engine and by `agent why`; measures nothing and loads no runtime.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.engine.tuning import MAIN_BOARD, Contender, SetAside, Timing, Tuned, choose, hardware_key, recall
from agent.engine.tuning import runtime_versions as installed_versions
from agent.errors import BackendUnavailable
from agent.export.artifact import Artifact, artifacts_in, offered
from agent.hardware import Hardware, Unknown
from agent.model.store import Store
from agent.workshop.place import artifact_folder, backends_for

MIB = 1 << 20


class Standing(msgspec.Struct, frozen=True):
    """`timing` and the `model` file it is to run, or None with the sentence why there is none. `passed_over` are those
    that were faster but no longer stand. `tuned` is what was remembered, where anything was."""

    timing: Timing | None
    model: Path | None
    reason: str
    passed_over: tuple[SetAside, ...] = ()
    tuned: Tuned | None = None


def memory_limit(hardware: Hardware, percent: float) -> int | None:
    """What a worker may take, in bytes; None where memory is unknown."""
    usable = hardware.memory.usable_bytes
    return None if isinstance(usable, Unknown) else int(usable * percent / 100)


def standing(
    state: Path,
    hardware: Hardware,
    network_sha256: str,
    memory_bytes: int | None,
    *,
    threads: int | None = None,
    backend: str | None = None,
    human_profile: str = "",
    versions: dict[str, str] | None = None,
) -> Standing:
    """The fastest of what was measured that may run now; `threads`, `backend` and `human_profile` where the owner set
    them. `versions` instead of the installed ones."""
    if human_profile:
        return Standing(None, None, f"as the profile says: it imitates {human_profile}")
    found = recall(
        state, hardware_key(hardware), network_sha256, installed_versions() if versions is None else versions
    )
    if found.tuned is None:
        return Standing(None, None, found.reason)
    tuned = found.tuned
    passed_over: list[SetAside] = []
    timings = list(tuned.timings)
    while (timing := choose(timings, memory_bytes=memory_bytes, threads=threads, backend=backend)) is not None:
        model = _model_of(timing.contender, state, network_sha256)
        if isinstance(model, Path):
            reason = f"{timing.rate:.1f} evaluations/s at {MAIN_BOARD} with {timing.contender}, measured {tuned.when}"
            return Standing(timing, model, reason, tuple(passed_over), tuned)
        passed_over.append(SetAside(timing.contender, model))
        timings = [each for each in timings if each.contender != timing.contender]
    return Standing(None, None, _nothing_left(threads, backend, passed_over), tuple(passed_over), tuned)


def only_artifact(state: Path, network_sha256: str, backend: str, *, human_profile: str = "") -> Artifact:
    """What `backend` may run where nothing was measured: the first of the network's artifacts that passed; of a
    human-style network, of those that imitate `human_profile`.

    Raises:
        BackendUnavailable: there is none.
    """
    for artifact in artifacts_in(artifact_folder(state, network_sha256), network_sha256):
        runs = backend in backends_for(artifact.format.facts.backend, gpu=True)
        if runs and artifact.manifest.network.human_profile == human_profile and offered(artifact):
            return artifact
    raise BackendUnavailable(
        f"there is no artifact of this network that passed its gate and that {backend} runs",
        fix="Make one with `agent export`, check it with `agent verify`, or leave engine.backend out of agent.yaml.",
    )


def _model_of(contender: Contender, state: Path, network_sha256: str) -> Path | str:
    """The contender's file, wherever the state folder lies now, or why it may not run."""
    stored = Store(state).find(contender.sha256)
    if stored is not None:
        return stored.path
    for artifact in artifacts_in(artifact_folder(state, network_sha256), network_sha256):
        if artifact.manifest.sha256 == contender.sha256:
            if offered(artifact):
                return artifact.path
            return "it no longer passes its gate, or its file has changed or cannot be read"
    return "its file is gone"


def _nothing_left(threads: int | None, backend: str | None, passed_over: list[SetAside]) -> str:
    wishes = [f"{threads} threads" if threads else "", f"backend {backend}" if backend else ""]
    wanted = " and ".join(wish for wish in wishes if wish)
    gone = "; ".join(f"{lost.contender}: {lost.reason}" for lost in passed_over)
    why = gone or (
        f"nothing was measured with {wanted}" if wanted else "what was measured needs more memory than there is"
    )
    return f"{why}: run `agent tune` again"
