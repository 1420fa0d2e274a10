"""What could run a network on this machine: the converted file of the store, and the artifacts that passed their gates.

Start at `gather`. What may not run is named with its reason, so that nobody looks for it in vain.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from agent.engine.backends import BACKENDS
from agent.engine.tuning import Contender, SetAside
from agent.errors import BackendUnavailable
from agent.export.artifact import Artifact, artifacts_in, is_intact
from agent.workshop.place import backends_for
from agent.workshop.probe import Probe
from agent.workshop.probe_messages import Answers
from agent.workshop.small_check import load_answers, store_answers

# Runs the converted file twice, with and without the runtime's own kernels, and refuses where they differ.
_REFERENCE_BACKEND = "check"
CONVERTED_BACKEND = "onnxruntime"
CONVERTED_PRECISION = "fp32"


def gather(
    folder: Path,
    network_sha256: str,
    backends: Collection[str] = tuple(BACKENDS),
    *,
    gpu: bool = False,
    unverified: bool = False,
    human_profile: str = "",
) -> tuple[list[Contender], list[SetAside]]:
    """The artifacts in `folder` that may run here, once for each backend that runs them, and the others with the
    sentence why not. `gpu`: there is one of NVIDIA's. `unverified` admits artifacts that have not been verified yet: to
    be timed, never to be chosen. Of a human-style network, those that imitate `human_profile`."""
    found, left_out = [], []
    for artifact in artifacts_in(folder, network_sha256):
        manifest, facts = artifact.manifest, artifact.format.facts
        form = manifest.network.form
        backend = facts.backend or manifest.format
        contender = Contender(backend, facts.precision, form, manifest.sha256, str(artifact.path))
        reason = _objection(artifact, facts.backend, backends, unverified)
        if manifest.network.human_profile != human_profile:
            reason = f"it imitates {manifest.network.human_profile or 'nobody'}"
        if reason:
            left_out.append(SetAside(contender, reason))
        else:
            names = [name for name in backends_for(backend, gpu=gpu) if name in backends]
            found += [msgspec.structs.replace(contender, backend=name) for name in names]
    return found, left_out


def _objection(artifact: Artifact, backend: str, backends: Collection[str], unverified: bool) -> str | None:
    manifest = artifact.manifest
    if backend not in backends:
        return "nothing on this machine runs that format"
    if manifest.gate == "not verified" and not unverified:
        return "nobody has verified it: run `agent verify`"
    if manifest.gate == "failed":
        return "it failed its gate: " + ("; ".join(manifest.gate_reasons) or "no reason is given")
    if not is_intact(artifact):
        return "its file has changed since it passed its gate, or cannot be read: export it again"
    return None


def right_answers(
    folder: Path, converted: Path, open_probe: Callable[[], Probe] = Probe, *, human_profile: str = ""
) -> Answers | None:
    """The check's answers for a network: those that lie in `folder`, else what the `converted` file answers here in two
    different ways; None where even that cannot be had."""
    stored = load_answers(folder, human_profile)
    if stored is not None:
        return stored
    with contextlib.suppress(BackendUnavailable), open_probe() as probe:
        probe.open(_REFERENCE_BACKEND, str(converted), 1)
        answers = probe.answers()
        store_answers(folder, answers, human_profile)
        return answers
    return None


def form_of(converted: Path, open_probe: Callable[[], Probe] = Probe) -> str:
    """How the file writes its convolutions, as it says itself; empty where it cannot be loaded."""
    with contextlib.suppress(BackendUnavailable), open_probe() as probe:
        return probe.open(CONVERTED_BACKEND, str(converted), 1).form
    return ""
