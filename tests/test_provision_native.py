"""The plan of an owner's katago, and of the engine that stands in for it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from fakes.network_writer import NetworkWriter
from fakes.small_networks import Listener

from agent.engine.tuning import Contender, Timing, Tuned, hardware_key, remember, runtime_versions
from agent.events import ChainStep
from agent.hardware import detect
from agent.model.store import Store
from agent.plan import Plan, fallback_command, worker_command
from agent.provision import provision
from agent.settings import Engine, Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("native")
    network = NetworkWriter(8, ["ordinary"]).write(folder / "tiny.bin.gz")
    return Settings(
        state_dir=folder / "state",
        network=str(network),
        threads=3,
        cache_positions=7,
        engine=Engine(path=Path("/opt/katago")),
    )


@pytest.fixture(scope="module")
def plan(settings: Settings) -> Plan:
    return provision(settings, Listener())


def test_the_owners_katago_is_what_runs(settings: Settings, plan: Plan) -> None:
    assert (plan.profile, plan.backend, plan.katago, plan.threads) == ("generic-native", "native", "/opt/katago", 3)
    assert plan.model is not None and plan.model.endswith("tiny.bin.gz") and Path(plan.model).is_file()
    command = worker_command(plan)
    told = dict(zip(command[3::2], command[4::2], strict=True))
    assert command[2] == "engine-native"
    assert (told["--katago"], told["--model"], told["--threads"]) == ("/opt/katago", plan.model, "3")
    assert Path(told["--cfg"]).is_file() and told["--home"] == str(settings.state_dir / "katago")


def test_who_stands_in_runs_the_same_network_out_of_another_file(settings: Settings, plan: Plan) -> None:
    fallback = plan.fallback
    assert fallback is not None and fallback.katago is None
    assert (fallback.network, fallback.network_sha256) == (plan.network, plan.network_sha256)
    assert fallback.model is not None and Path(fallback.model).is_file() and fallback.model != plan.model
    assert fallback_command(plan) == worker_command(fallback)
    assert plan.cache_positions == fallback.cache_positions == 7
    current = Store(settings.state_dir).current()
    assert current is not None and current.sha256 == plan.network_sha256


def test_what_was_tuned_stands_in_unless_it_is_the_same_file(settings: Settings, plan: Plan) -> None:
    core = Contender("core", "fp32", "winograd", plan.network_sha256, "wherever")
    best = Timing(core, 2, 2, 8, {"19x19": 500.0}, 10**6)
    tuned = Tuned(
        hardware_key(detect()), plan.network, plan.network_sha256, runtime_versions(), best, (best,), (), "r", 1, "x"
    )
    remember(settings.state_dir, tuned)
    fallback = provision(msgspec.structs.replace(settings, threads=None), Listener()).fallback
    assert fallback is not None and fallback.model != plan.model


@pytest.mark.parametrize("engine", [Engine(path=Path("/k"), fallback=False), Engine(backend="native", fallback=False)])
def test_an_owner_may_want_no_other_engine(
    settings: Settings, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On PATH, so that none is fetched.
    (tmp_path / "katago").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    listener = Listener()
    plan = provision(msgspec.structs.replace(settings, engine=engine), listener)
    assert plan.fallback is None and fallback_command(plan) == []
    assert ChainStep("fallback", "none, as engine.fallback or the profile says") in listener.events
    assert plan.katago == str(engine.path or "katago")


def test_a_runtime_of_ours_goes_before_a_katago_that_is_named(settings: Settings) -> None:
    listener = Listener()
    engine = Engine(path=Path("/k"), backend="onnxruntime")
    plan = provision(msgspec.structs.replace(settings, engine=engine), listener)
    assert plan.katago is None and plan.backend == "onnxruntime"
    assert ChainStep("katago", "/k rests: engine.backend names another engine") in listener.events
