"""A remembered choice holds only while its file is there, passes its gate, fits the memory and suits the owner."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from fakes.small_networks import manifest_of

from agent.engine.tuning import Contender, SetAside, Timing, Tuned, hardware_key, remember
from agent.errors import BackendUnavailable
from agent.export.artifact import ArtifactManifest, digest, manifest_path, write_manifest
from agent.export.info import NetworkInfo
from agent.hardware import Hardware, Unknown, detect
from agent.model.store import Store
from agent.workshop.contenders import gather
from agent.workshop.place import artifact_folder
from agent.workshop.tuned import Standing, memory_limit, only_artifact, standing
from agent.workshop.tuned_lines import why_lines

VERSIONS = {"core": "1"}
MB = 10**6


class Machine:
    """This machine with a state folder that holds a network, an MNN artifact of it, and what was tuned."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        self.hardware: Hardware = detect()
        source = folder / "small.bin.gz"
        source.write_bytes(b"a network")
        self.network = Store(self.state).add_file(source, manifest_of("small", b"a network")).sha256
        place = artifact_folder(self.state, self.network)
        place.mkdir(parents=True)
        self.artifact = place / "small.mnn"
        self.artifact.write_bytes(b"weights")
        self.put(gate="passed")
        mnn = Contender("mnn", "fp32", "", digest(self.artifact), str(self.artifact))
        core = Contender("core", "fp32", "winograd", self.network, str(source))
        self.timings = (
            timing(mnn, 50.0, 300 * MB),
            timing(core, 40.0, 90 * MB),
            timing(core, 20.0, 80 * MB, threads=1),
        )
        self.tune(self.timings)

    def put(self, **changes: object) -> None:
        info = NetworkInfo(name="small", version=8, sha256=self.network)
        manifest = ArtifactManifest("small.mnn", "mnn-fp32", 7, digest(self.artifact), info, "1x1 to 19x19", {})
        write_manifest(self.artifact, msgspec.structs.replace(manifest, **changes))

    def tune(self, timings: tuple[Timing, ...], versions: dict[str, str] = VERSIONS) -> None:
        lost = SetAside(Contender("litert", "fp32", "", "gone", ""), "it crashed with SIGILL")
        key = hardware_key(self.hardware)
        remember(
            self.state,
            Tuned(key, "small", self.network, versions, timings[0], timings, (lost,), "race", 3.0, "2024-01-31"),
        )

    def standing(self, memory_bytes: int | None = None, **wishes: object) -> Standing:
        return standing(self.state, self.hardware, self.network, memory_bytes, versions=VERSIONS, **wishes)  # type: ignore[arg-type]


def timing(contender: Contender, rate: float, peak: int, threads: int = 2) -> Timing:
    return Timing(contender, threads, 1, 4, {"19x19": rate, "9x9": 4 * rate}, peak)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_the_choice_stands_and_names_its_file(machine: Machine) -> None:
    found = machine.standing()
    assert (found.timing, found.model) == (machine.timings[0], machine.artifact)
    assert found.reason == "50.0 evaluations/s at 19x19 with mnn fp32, measured 2024-01-31"


def test_a_state_folder_may_move(machine: Machine, tmp_path: Path) -> None:
    machine.state = machine.state.rename(tmp_path / "elsewhere")
    assert machine.standing().model == artifact_folder(tmp_path / "elsewhere", machine.network) / "small.mnn"


def test_a_file_that_is_gone_changed_or_refused_is_passed_over(machine: Machine) -> None:
    second = machine.timings[1]
    machine.put(gate="failed")
    found = machine.standing()
    assert found.timing == second and found.model is not None and found.model.name == "small.bin.gz"
    assert found.passed_over[0].reason == "it no longer passes its gate, or its file has changed or cannot be read"
    machine.put(gate="passed")
    machine.artifact.write_bytes(b"WEIGHTS")
    assert machine.standing().timing == second
    manifest_path(machine.artifact).unlink()
    assert machine.standing().passed_over[0].reason == "its file is gone"


def test_a_file_that_cannot_be_read_is_passed_over(machine: Machine) -> None:
    """As on a memory card that wears out. Nothing maps this process's address 0, so reading there is an I/O error."""
    machine.put(gate="passed", size_bytes=0)
    machine.artifact.unlink()
    machine.artifact.symlink_to("/proc/self/mem")
    with pytest.raises(OSError):
        digest(machine.artifact)
    found = machine.standing()
    assert found.timing == machine.timings[1] and "cannot be read" in found.passed_over[0].reason
    with pytest.raises(BackendUnavailable):
        only_artifact(machine.state, machine.network, "mnn")
    left_out = gather(artifact_folder(machine.state, machine.network), machine.network)[1]
    assert "cannot be read" in left_out[0].reason


def test_memory_threads_and_backend_bound_the_choice(machine: Machine) -> None:
    assert machine.standing(memory_bytes=100 * MB).timing == machine.timings[1]
    assert machine.standing(threads=1).timing == machine.timings[2]
    assert machine.standing(backend="core").timing == machine.timings[1]
    nothing = machine.standing(backend="tensorrt")
    assert nothing.timing is None
    assert nothing.reason == "nothing was measured with backend tensorrt: run `agent tune` again"
    assert "more memory than there is" in machine.standing(memory_bytes=1).reason


def test_nothing_remembered_and_other_versions_say_what_to_do(machine: Machine, tmp_path: Path) -> None:
    assert standing(tmp_path, machine.hardware, machine.network, None).reason == "never tuned: run `agent tune`"
    changed = standing(machine.state, machine.hardware, machine.network, None, versions={"core": "2"})
    assert changed.timing is None and "core was 1, is 2" in changed.reason


def test_the_lines_of_why_tell_of_all_of_them(machine: Machine) -> None:
    lines = dict(why_lines(machine.standing()))
    assert lines["Tuned"] == "mnn fp32, 2 threads, one session, batch 4"
    assert "50.0 at 19x19, 200.0 at 9x9, 286 MiB; the fastest of a race on 2024-01-31" in lines["Because"]
    assert lines["Not core fp32 winograd"].startswith("40.0 evaluations/s at 19x19, 0.80 of the chosen one's")
    assert lines["Set aside litert fp32"] == "It crashed with SIGILL."
    machine.put(gate="failed")
    lines = dict(why_lines(machine.standing()))
    assert lines["Tuned"].startswith("core") and "no longer passes its gate" in lines["Not mnn fp32"]
    assert why_lines(Standing(None, None, "never tuned: run `agent tune`")) == (
        ("Tuning", "Never tuned: run `agent tune`."),
    )


def test_memory_that_a_worker_may_take(machine: Machine) -> None:
    usable = machine.hardware.memory.usable_bytes
    assert isinstance(usable, int) and memory_limit(machine.hardware, 50) == usable // 2
    unknown = msgspec.structs.replace(machine.hardware.memory, total_bytes=Unknown("gone"), limit_bytes=None)
    assert memory_limit(msgspec.structs.replace(machine.hardware, memory=unknown), 50) is None


# ---------------------------------------------------------------- who may take part


def test_only_what_passed_its_gate_takes_part(machine: Machine) -> None:
    folder = artifact_folder(machine.state, machine.network)
    found, left_out = gather(folder, machine.network, ("mnn", "mnn-lean"))
    assert [each.backend for each in found] == ["mnn", "mnn-lean"] and not left_out
    for changes, reason in (
        ({"gate": "not verified"}, "nobody has verified it: run `agent verify`"),
        ({"gate": "failed", "gate_reasons": ("KL 0.3",)}, "it failed its gate: KL 0.3"),
        ({"gate": "passed", "sha256": "00" * 32}, "its file has changed"),
    ):
        machine.put(**changes)
        found, left_out = gather(folder, machine.network, ("mnn",))
        assert not found and reason in left_out[0].reason
    machine.put(gate="not verified")
    assert gather(folder, machine.network, ("mnn",), unverified=True)[0]
    machine.put(gate="passed")
    (lost,) = gather(folder, machine.network, ("onnxruntime",))[1]
    assert lost.reason == "nothing on this machine runs that format"


def test_of_a_human_style_network_only_who_imitates_the_same_takes_part(machine: Machine) -> None:
    folder = artifact_folder(machine.state, machine.network)
    info = NetworkInfo(name="small", version=15, sha256=machine.network, human_profile="rank_5k")
    machine.put(gate="passed", network=info)
    found, left_out = gather(folder, machine.network, ("mnn",), human_profile="rank_5k")
    assert found and not left_out
    for other in ("rank_1d", ""):
        found, left_out = gather(folder, machine.network, ("mnn",), human_profile=other)
        assert not found and left_out[0].reason == "it imitates rank_5k"


def test_a_backend_that_the_owner_forces_needs_an_artifact(machine: Machine) -> None:
    assert only_artifact(machine.state, machine.network, "mnn-lean").path == machine.artifact
    with pytest.raises(BackendUnavailable, match="no artifact of this network that passed its gate and that litert"):
        only_artifact(machine.state, machine.network, "litert")
    machine.put(gate="failed")
    with pytest.raises(BackendUnavailable):
        only_artifact(machine.state, machine.network, "mnn")
