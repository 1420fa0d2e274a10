"""Provisioning takes what was tuned, and the profile's where nothing is, or where it no longer holds."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from fakes.misfits import MISFITS
from fakes.network_writer import NetworkWriter
from fakes.small_networks import Listener, content_of, manifest_of, tree

from agent.engine.backends import open_backend
from agent.engine.tuning import (
    FILE,
    Contender,
    Timing,
    Tuned,
    hardware_key,
    read_memory,
    remember,
    runtime_versions,
)
from agent.errors import BackendUnavailable, ConfigError, ConversionFailed, StorageFull
from agent.events import ChainStep, Reporter
from agent.export.artifact import ArtifactManifest, digest, write_manifest
from agent.export.info import EXPORTER, NetworkInfo
from agent.export.session import open_session
from agent.hardware import detect
from agent.model.disk import sha256_of
from agent.model.store import Store
from agent.plan import Plan, worker_command
from agent.profile import choose, load_profiles
from agent.provision import backend_of, provision, provision_as_daemon
from agent.service.health import Front, published, start_ticks
from agent.settings import Engine, Settings, data_folder, own_command
from agent.tuner import _other_form, tune_here
from agent.workshop.place import artifact_folder

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("provision")
    network = NetworkWriter(8, ["ordinary"]).write(folder / "tiny.bin.gz")
    return Settings(state_dir=folder / "state", network=str(network))


@pytest.fixture(scope="module")
def untuned(settings: Settings) -> Plan:
    return provision(settings, Listener(), tuned=False)


@pytest.fixture(scope="module")
def usual() -> str:
    """The backend that this machine's profile takes."""
    return choose(detect(), load_profiles(data_folder("profiles"))).require().networks[0].runtime


@pytest.fixture
def tune(settings: Settings, untuned: Plan) -> Callable[..., Tuned]:
    """Remembers that the network file itself ran best on our own kernels, as `tuned` changes it."""
    (settings.state_dir / FILE).unlink(missing_ok=True)

    def remembered(**changes: object) -> Tuned:
        core = Contender("core", "fp32", "winograd", untuned.network_sha256, "wherever")
        best = Timing(core, 2, 2, 8, {"19x19": 500.0}, 10**6)
        key = hardware_key(detect())
        tuned = Tuned(
            key, untuned.network, untuned.network_sha256, runtime_versions(), best, (best,), (), "race", 1, "2024-01-31"
        )
        tuned = msgspec.structs.replace(tuned, **changes)
        remember(settings.state_dir, tuned)
        return tuned

    return remembered


def test_without_a_tuning_the_profile_decides_and_says_so(settings: Settings, tune: object, usual: str) -> None:
    listener = Listener()
    plan = provision(settings, listener)
    assert (plan.backend, plan.sessions, plan.precision) == (usual, 1, "fp32")
    assert plan.tuning == "never tuned: run `agent tune`"
    assert ChainStep("tuning", plan.tuning) in listener.events


def test_who_decides_on_the_backend() -> None:
    profile = choose(detect(), load_profiles(data_folder("profiles"))).require()
    ours = msgspec.structs.replace(
        profile, networks=(msgspec.structs.replace(profile.networks[0], runtime="core", network="b18c384nbt"),)
    )
    assert backend_of(Settings(), ours) == "core"
    assert backend_of(Settings(engine=Engine(backend="mnn")), ours) == "mnn"


def test_our_own_kernels_need_no_conversion(settings: Settings, tmp_path: Path) -> None:
    fresh = msgspec.structs.replace(settings, state_dir=tmp_path / "state", engine=Engine(backend="core"))
    plan = provision(fresh, Listener())
    assert plan.backend == "core" and plan.model is not None and plan.model.endswith(".bin.gz")
    assert len(list((tmp_path / "state" / "networks").iterdir())) == 1


@pytest.mark.parametrize(("metadata", "profile", "message"), MISFITS)
def test_our_own_kernels_need_to_know_whom_a_network_imitates(
    metadata: bool, profile: str, message: str, tmp_path: Path
) -> None:
    network = NetworkWriter(15, ["ordinary"], metadata=metadata).write(tmp_path / "n.bin.gz")
    settings = Settings(
        state_dir=tmp_path / "state", network=str(network), human_profile=profile, engine=Engine(backend="core")
    )
    with pytest.raises(ConversionFailed, match=message):
        provision(settings, Listener())
    right = "rank_5k" if metadata else ""
    plan = provision(msgspec.structs.replace(settings, human_profile=right), Listener())
    assert (plan.backend, plan.human_profile) == ("core", right)
    assert ("--human-profile" in worker_command(plan)) == metadata


def test_without_a_network_nobody_is_imitated(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", human_profile="rank_5k", engine=Engine(backend="uniform"))
    plan = provision(settings, Listener())
    open_backend(plan.backend, None, threads=1, human_profile=plan.human_profile).close()


def test_what_was_tuned_is_what_runs(settings: Settings, tune: Callable[..., Tuned]) -> None:
    tune()
    plan = provision(settings, Listener())
    assert (plan.backend, plan.threads, plan.sessions, plan.batch) == ("core", 2, 2, 8)
    assert plan.model is not None and plan.model.endswith("tiny.bin.gz") and Path(plan.model).is_file()
    assert plan.tuning.startswith("2 threads, 2 sessions, batch 8: 500.0 evaluations/s at 19x19 with core")
    command = " ".join(worker_command(plan))
    assert f"--backend core --model {plan.model} --threads 2 --sessions 2 --batch 8" in command


def test_a_changed_version_or_a_missing_file_falls_back(
    settings: Settings, tune: Callable[..., Tuned], usual: str
) -> None:
    tuned = tune(versions={"onnxruntime": "0.1"})
    plan = provision(settings, Listener())
    assert plan.backend == usual and "tuned with other versions" in plan.tuning
    gone = msgspec.structs.replace(tuned.chosen, contender=msgspec.structs.replace(tuned.chosen.contender, sha256="0"))
    tune(chosen=gone, timings=(gone,))
    plan = provision(settings, Listener())
    assert plan.backend == usual and "its file is gone" in plan.tuning


def test_a_damaged_memory_is_no_obstacle(
    settings: Settings, tune: object, usual: str, caplog: pytest.LogCaptureFixture
) -> None:
    (settings.state_dir / FILE).write_bytes(b"{")
    plan = provision(settings, Listener())
    assert plan.backend == usual and "make it anew" in plan.tuning
    assert "it is ignored" in caplog.text


def test_the_owner_has_the_last_word(settings: Settings, tune: Callable[..., Tuned]) -> None:
    tune()
    assert provision(msgspec.structs.replace(settings, threads=1), Listener()).threads == 1
    assert provision(msgspec.structs.replace(settings, cache_positions=0), Listener()).cache_positions == 0
    forced = msgspec.structs.replace(settings, engine=Engine(backend="onnxruntime"))
    plan = provision(forced, Listener())
    assert plan.backend == "onnxruntime" and plan.model is not None and plan.model.endswith(".onnx")
    forced = msgspec.structs.replace(settings, engine=Engine(backend="core"))
    assert provision(forced, Listener()).sessions == 2
    with pytest.raises(BackendUnavailable, match="mnn runs"):
        provision(msgspec.structs.replace(settings, engine=Engine(backend="mnn")), Listener())


def test_an_artifact_is_taken_only_if_it_imitates_whom_the_owner_wants(tmp_path: Path) -> None:
    network = NetworkWriter(15, ["ordinary"], metadata=True).write(tmp_path / "human.bin.gz")
    settings = Settings(
        state_dir=tmp_path / "state", network=str(network), human_profile="rank_5k", engine=Engine(backend="mnn")
    )
    sha256 = sha256_of(network)
    folder = artifact_folder(settings.state_dir, sha256)
    folder.mkdir(parents=True)

    def put(profile: str) -> Path:
        path = folder / f"human.{profile}.mnn"
        path.write_bytes(profile.encode())
        info = NetworkInfo(name="human", version=15, sha256=sha256, human_profile=profile)
        manifest = ArtifactManifest(
            path.name, "mnn-fp32", len(profile), digest(path), info, "1x1 to 19x19", {}, gate="passed"
        )
        write_manifest(path, manifest)
        return path

    put("rank_1d")
    with pytest.raises(BackendUnavailable, match="mnn runs"):
        provision(settings, Listener())
    wanted = put("rank_5k")
    plan = provision(settings, Listener())
    assert (plan.backend, plan.model) == ("mnn", str(wanted)) and "imitates rank_5k" in plan.tuning


def test_a_session_beside_the_daemon_leaves_its_network_the_one_in_use(tmp_path: Path) -> None:
    first, second = (NetworkWriter(8, ["ordinary"], seed=seed).write(tmp_path / f"{seed}.bin.gz") for seed in (1, 2))
    settings = Settings(state_dir=tmp_path / "state", network=str(first), engine=Engine(backend="core"))
    beside = msgspec.structs.replace(settings, network=str(second))
    store = Store(settings.state_dir)

    def in_use() -> str:
        current = store.current()
        assert current is not None
        return current.sha256

    own = provision(settings, Listener())
    assert in_use() == own.network_sha256
    front = Front(
        os.getpid(), "pi", 1.0, "127.0.0.1:1", start_ticks=start_ticks(os.getpid()), state_dir=str(settings.state_dir)
    )
    with published(front, settings.state_dir):
        other = provision(beside, Listener())
        assert other.network_sha256 != own.network_sha256
        assert in_use() == own.network_sha256 and store.previous() is None
    provision(beside, Listener())
    assert in_use() == other.network_sha256


def test_what_another_version_converted_makes_room_for_what_replaces_it(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", engine=Engine(backend="uniform"))
    store, listener = Store(settings.state_dir), Listener()

    def put(name: str, exporter: str | None) -> None:
        content = content_of(name, 1000)
        (tmp_path / name).write_bytes(content)
        source = None if exporter is None else "0" * 64
        manifest = msgspec.structs.replace(manifest_of(name, content), source_sha256=source, exporter=exporter)
        store.add_file(tmp_path / name, manifest)

    def full_until(gone: str) -> Callable[[Settings, Reporter], Plan]:
        def provide(settings: Settings, reporter: Reporter) -> Plan:
            if gone in [each.manifest.name for each in store.entries()]:
                raise StorageFull("the card is full")
            return provision(settings, reporter)

        return provide

    put("network", None)
    put("ours", EXPORTER)
    put("old", "1")
    plan = provision_as_daemon(settings, listener, full_until("old"))
    assert (
        plan.backend == "uniform"
        and ChainStep("room", "what another version had converted was removed") in listener.events
    )
    assert [each.manifest.name for each in store.entries()] == ["network", "ours"]
    before = tree(store.root)
    with pytest.raises(StorageFull):
        provision_as_daemon(settings, listener, full_until("ours"))
    assert tree(store.root) == before
    put("old", "1")
    provision_as_daemon(settings, listener, provision)
    assert len(store.entries()) == 3, "where there is room nothing of another network goes"


def test_nothing_is_measured_that_would_not_be_used(settings: Settings) -> None:
    human = msgspec.structs.replace(settings, human_profile="rank_5k")
    with pytest.raises(ConfigError, match="imitates rank_5k"):
        tune_here(human, Listener(), budget_s=60.0, everything=False, forms=True)


def test_the_other_form_imitates_the_same_player(tmp_path: Path) -> None:
    network = NetworkWriter(15, ["ordinary"], metadata=True).write(tmp_path / "human.bin.gz")
    settings = Settings(state_dir=tmp_path / "state", network=str(network), human_profile="rank_5k")
    plan = provision(settings, Listener(), tuned=False)
    own = Contender("onnxruntime", "fp32", "winograd", "00", str(plan.model))
    with _other_form(own, [own], plan, Store(settings.state_dir), Listener(), "rank_5k") as (made, missing):
        assert not missing
        assert open_session(Path(made[0].path)).network.human_profile == "rank_5k"


def test_tune_and_why_end_to_end(settings: Settings, tune: object, tmp_path: Path) -> None:
    """`agent tune` measures real backends in real children; `agent why` and the next plan know of it."""
    config = tmp_path / "katago-agent" / "agent.yaml"
    config.parent.mkdir()
    config.write_text(f"state_dir: {settings.state_dir}\nnetwork: {settings.network}\n")
    environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}

    def verb(*words: str) -> str:
        done = subprocess.run([*own_command(), *words], capture_output=True, text=True, env=environment, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stdout

    tuned = msgspec.json.decode(verb("tune", "--budget", "60", "--json"), type=Tuned)
    assert {"core", "onnxruntime"} <= {timing.contender.backend for timing in tuned.timings}
    assert {timing.contender.form for timing in tuned.timings} == {"plain", "winograd"}
    assert read_memory(settings.state_dir).tuned[-1] == tuned
    plan = provision(settings, Listener())
    assert plan.backend == tuned.chosen.contender.backend
    assert plan.batch == tuned.chosen.batch and plan.model is not None and Path(plan.model).is_file()
    told = json.loads(verb("why", "--json"))["tuning"]
    assert told["timing"]["contender"]["sha256"] == tuned.chosen.contender.sha256
    assert "Tuned" in verb("why")
    assert not list((settings.state_dir / "staging").iterdir())

    memory = settings.state_dir / "tuning.json"
    memory.unlink()
    memory.mkdir()  # nobody can write a file there
    lost = [*own_command(), "tune", "--budget", "1", "--json"]
    done = subprocess.run(lost, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 1 and "tuning.json" in done.stderr, done.stderr
    assert msgspec.json.decode(done.stdout, type=Tuned).network == tuned.network
