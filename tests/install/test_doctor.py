"""`agent doctor`: which link it blames, what it advises, and that one broken link hides no other."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.errors import AgentError, BrokerUnreachable, NetworkMissing, ServiceDown, StoreDamaged, StoreUnwritable
from agent.install import doctor
from agent.install.doctor import Elsewhere, Link, chain, examine
from agent.model.catalogue import Licence
from agent.model.store import Manifest, Store
from agent.service.health import Front, published, start_ticks
from agent.settings import Engine, Mqtt, Settings, load_settings


def well(settings: Settings) -> str:
    return "well"


def ill(settings: Settings) -> str:
    raise AgentError("ill", fix="rest")


def crashes(settings: Settings) -> str:
    raise ZeroDivisionError("nobody thought of this")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    config = tmp_path / "agent.yaml"
    config.write_text("state_dir: state\ngtp_address: null\nanalysis_address: null\nwebsocket_address: null\n")
    return load_settings(config)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_findings_come_in_the_order_of_the_chain_and_dependants_are_not_tried(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("visits: 5\n")
    links = (
        Link("a", well),
        Link("b", ill, ("a",)),
        Link("c", crashes, ("b",)),
        Link("d", well, ("c",)),
        Link("e", well),
    )
    found = [(finding.name, finding.ok, finding.detail, finding.fix) for finding in examine(config, links)]
    assert found == [
        ("configuration", True, str(config), ""),
        ("a", True, "well", ""),
        ("b", False, "ill", "rest"),
        ("c", None, "needs b", ""),
        ("d", None, "needs c", ""),
        ("e", True, "well", ""),
    ]


def elsewhere(settings: Settings) -> str:
    raise Elsewhere("the service's")


def test_what_is_the_services_alone_is_neither_broken_nor_in_the_way(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.touch()
    _, state, move = examine(config, (Link("state", elsewhere), Link("move", well, ("state",))))
    assert (state.ok, state.detail, state.fix) == (None, "the service's", "")
    assert move.ok is True


def test_a_check_that_crashes_is_itself_a_finding(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.touch()
    *_, crashed, last = examine(config, (Link("odd", crashes), Link("next", well)))
    assert crashed.ok is False
    assert "ZeroDivisionError" in crashed.detail and crashed.fix
    assert last.ok is True


def test_a_wrong_configuration_is_the_only_finding(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("visit: 5\n")
    (finding,) = examine(config)
    assert finding.ok is False
    assert "visits" in finding.fix


def test_every_need_is_a_link_before_it() -> None:
    seen: set[str] = set()
    for link in chain(None):
        assert set(link.needs) <= seen, link.name
        seen.add(link.name)


def test_this_interpreter_and_its_runtime_are_well(settings: Settings) -> None:
    assert "64-bit" in doctor.check_python(settings)
    assert "onnxruntime" in doctor.check_runtime(settings)
    assert doctor.check_hardware(settings)


def test_a_state_folder_that_is_missing_or_a_file(settings: Settings) -> None:
    with pytest.raises(StoreUnwritable, match="not there yet"):
        doctor.check_state(settings)
    settings.state_dir.mkdir()
    assert "GB free" in doctor.check_state(settings)
    assert list(settings.state_dir.iterdir()) == []


# ---------------------------------------------------------------- beside the service


def running(**more: str) -> Front:
    """As an agent that runs publishes it."""
    return Front(os.getpid(), "device", 0.0, "127.0.0.1:1", start_ticks=start_ticks(os.getpid()), **more)


def test_a_user_is_not_told_to_install_what_the_running_service_has(settings: Settings, tmp_path: Path) -> None:
    doctor.leave_to_service(settings, runtime=tmp_path, unit=tmp_path / "unit", uid=1000)
    with published(running(state_dir=str(settings.state_dir)), tmp_path):
        # Not there for us: the service's folder is closed to others.
        with pytest.raises(Elsewhere, match=rf"in {settings.state_dir}; `sudo katago-agent doctor`"):
            doctor.leave_to_service(settings, runtime=tmp_path, unit=tmp_path / "unit", uid=1000)
        settings.state_dir.mkdir()
        doctor.leave_to_service(settings, runtime=tmp_path, unit=tmp_path / "unit", uid=1000)
    with published(running(state_dir="/srv/go"), settings.state_dir), pytest.raises(Elsewhere, match="in /srv/go"):
        doctor.check_state(settings)


def test_a_user_is_not_told_to_install_what_a_stopped_service_has(settings: Settings, tmp_path: Path) -> None:
    unit = tmp_path / "katago-agent.service"
    unit.touch()
    with pytest.raises(Elsewhere, match="does not run"):
        doctor.leave_to_service(settings, runtime=tmp_path, unit=unit, uid=1000)
    # Root may look: what is missing then is missing.
    doctor.leave_to_service(settings, runtime=tmp_path, unit=unit, uid=0)
    settings.state_dir.mkdir()
    doctor.leave_to_service(settings, runtime=tmp_path, unit=unit, uid=1000)


def test_the_move_is_the_running_agents_of_the_configuration_that_was_asked_for(
    settings: Settings, tmp_path: Path
) -> None:
    settings.state_dir.mkdir()
    heard: list[str] = []

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("r") as lines:
            for line in lines:
                heard.append(line.strip())
                connection.sendall(b"= D4\n\n" if line.startswith("genmove") else b"=\n\n")

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "gtp.sock"))
        server.listen()
        serving = threading.Thread(target=serve, args=(server,), daemon=True)
        serving.start()
        with published(running(gtp_socket=str(tmp_path / "gtp.sock")), settings.state_dir):
            told = doctor.check_move(settings, tmp_path / "agent.yaml")
        serving.join(10)
    assert told == "the running agent plays D4 on an empty 9×9 board"
    assert heard[0] == "kata-set-param maxVisits 2"


# ---------------------------------------------------------------- the network


def add(store: Store, folder: Path, content: bytes, **more: str) -> str:
    path = folder / "net.bin.gz"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    licence = Licence(name="CC0", source="https://example.org", redistribution=True)
    manifest = Manifest("net", "net.bin.gz", len(content), digest, "a test", licence, **more)
    store.add_file(path, manifest)
    return digest


def test_network_and_conversion_missing_there_and_damaged(settings: Settings, tmp_path: Path) -> None:
    store = Store(settings.state_dir)
    with pytest.raises(NetworkMissing):
        doctor.check_network(settings)
    source = add(store, tmp_path, b"network")
    store.activate(source)
    assert "net, SHA-256 as it should be" in doctor.check_network(settings)
    with pytest.raises(NetworkMissing, match="not converted"):
        doctor.check_conversion(replace(settings, engine=Engine(backend="onnxruntime")))
    assert "as it is" in doctor.check_conversion(replace(settings, engine=Engine(backend="core")))
    add(store, tmp_path, b"converted", source_sha256=source, precision="fp32", exporter="1")
    assert "fp32 by 1" in doctor.check_conversion(settings)

    (converted,) = (entry for entry in store.entries() if entry.manifest.source_sha256)
    converted.path.chmod(0o644)
    converted.path.write_bytes(b"cOnverted")
    with pytest.raises(StoreDamaged) as caught:
        doctor.check_conversion(settings)
    assert "`agent pull net`" in caught.value.fix
    store.drop_damaged_conversions(source)  # as that verb does
    with pytest.raises(NetworkMissing, match="not converted"):
        doctor.check_conversion(replace(settings, engine=Engine(backend="onnxruntime")))
    assert "SHA-256 as it should be" in doctor.check_network(settings)

    current = store.current()
    assert current
    current.path.chmod(0o644)
    current.path.write_bytes(b"nEtwork")
    with pytest.raises(StoreDamaged):
        doctor.check_network(settings)


def test_a_service_that_cannot_start_has_its_own_word_in_the_finding() -> None:
    well = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}
    assert doctor.judge_service(well) == "active, enabled at boot, restarted 0 times"
    with pytest.raises(ServiceDown, match="activating: no network could be had fix: Connect it"):
        doctor.judge_service(
            well | {"ActiveState": "activating", "StatusText": "no network could be had fix: Connect it"}
        )
    with pytest.raises(ServiceDown, match=r"is failed$"):
        doctor.judge_service(well | {"ActiveState": "failed", "StatusText": ""})
    with pytest.raises(ServiceDown, match="not installed"):
        doctor.judge_service({"LoadState": "not-found"})


@pytest.mark.parametrize(
    ("private", "with_gpu", "told"), [("yes", True, True), ("no", True, False), ("yes", False, False)]
)
def test_a_gpu_that_the_sandbox_hides_from_the_service_is_told(private: str, with_gpu: bool, told: bool) -> None:
    well = {"LoadState": "loaded", "ActiveState": "active", "PrivateDevices": private}
    assert ("sudo katago-agent install" in doctor.judge_service(well, with_gpu=with_gpu)) is told


def test_sockets_answer_or_are_named(settings: Settings, listener: socket.socket) -> None:
    assert doctor.check_sockets(settings) == "none configured"
    there = f"127.0.0.1:{listener.getsockname()[1]}"
    assert there in doctor.check_sockets(replace(settings, gtp_address=there))
    gone = f"127.0.0.1:{unused_port()}"
    with pytest.raises(ServiceDown, match=gone):
        doctor.check_sockets(replace(settings, gtp_address=there, analysis_address=gone))


def test_the_broker_answers_or_is_named(settings: Settings, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert "the agent's own" in doctor.check_broker(replace(settings, mqtt=Mqtt(port=port)))
    gone = Mqtt(host="127.0.0.1", port=unused_port())
    with pytest.raises(BrokerUnreachable):
        doctor.check_broker(replace(settings, mqtt=gone))
