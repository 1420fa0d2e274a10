"""`agent install` into a folder in the place of /: what is written, in which order; a second run changes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import EngineError, InstallError
from agent.events import ChainStep, Event
from agent.install.steps import Target, find_target, install, plan, plan_network, write_marker
from agent.install.system import LiveSystem, write_whole
from agent.install.units import GPU_RUNTIMES, uses_gpu
from agent.settings import BACKENDS, Engine, load_settings
from tests.fakes.recording_system import RecordingSystem

SERVICE = "etc/systemd/system/katago-agent.service"


class Heard:
    def __init__(self) -> None:
        self.steps: list[str] = []

    def report(self, event: Event) -> None:
        assert isinstance(event, ChainStep)
        self.steps.append(event.name)


def image(
    root: Path, *, board: str = "", prefix: str = "/opt/katago-agent", state: str = "/var/lib/katago-agent"
) -> Target:
    config = Path("/etc/katago-agent/agent.yaml")
    return Target(root, Path(prefix), True, config, Path(state), board, is_image=True)


def nothing() -> None:
    """A provision that finds everything in place."""


def files(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_text()
        for path in root.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def test_an_image_gets_units_configuration_and_command_but_no_marker(tmp_path: Path) -> None:
    heard, system = Heard(), RecordingSystem()
    install(plan(image(tmp_path), system, nothing, start=False), heard)
    assert sorted(files(tmp_path)) == [
        "etc/katago-agent/agent.yaml",
        "etc/systemd/system/katago-agent-firstboot.service",
        SERVICE,
        "etc/sysusers.d/katago-agent.conf",
        "usr/local/bin/katago-agent",
        "usr/local/bin/katago-agent-katago",
    ]
    assert heard.steps == ["configuration", "units", "user", "state", "command"]
    assert system.asked == [
        f"systemctl --quiet --root={tmp_path} enable katago-agent.service katago-agent-firstboot.service"
    ]
    assert (tmp_path / "var/lib/katago-agent").is_dir()


def test_a_second_run_leaves_every_file_alone(tmp_path: Path) -> None:
    steps = plan(image(tmp_path), RecordingSystem(), nothing, start=False)
    install(steps, Heard())
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")}
    install(steps, Heard())
    assert {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_the_owners_configuration_stays(tmp_path: Path) -> None:
    own = tmp_path / "etc/katago-agent/agent.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("visits: 7\n")
    install(plan(image(tmp_path), RecordingSystem(), nothing, start=False), Heard())
    assert own.read_text() == "visits: 7\n"


def test_the_written_configuration_is_valid(tmp_path: Path) -> None:
    install(plan(image(tmp_path), RecordingSystem(), nothing, start=False), Heard())
    assert load_settings(tmp_path / "etc/katago-agent/agent.yaml").gtp_address == "127.0.0.1:4640"


def test_units_start_the_command_of_this_installation(tmp_path: Path) -> None:
    install(plan(image(tmp_path, prefix="/srv/go"), RecordingSystem(), nothing, start=False), Heard())
    assert "ExecStart=/srv/go/bin/agent run" in files(tmp_path)[SERVICE]
    assert files(tmp_path)["usr/local/bin/katago-agent"] == "/srv/go/bin/agent"
    assert files(tmp_path)["usr/local/bin/katago-agent-katago"] == "/srv/go/bin/katago-agent-katago"


@pytest.mark.parametrize(
    ("board", "drop_in", "says"),
    [("jetson", "gpu.conf", "PrivateDevices=no"), ("raspberry-pi", "pi.conf", "DeviceAllow=/dev/vcio_gencmd rw")],
)
def test_a_board_opens_its_devices_to_the_service(tmp_path: Path, board: str, drop_in: str, says: str) -> None:
    install(plan(image(tmp_path, board=board), RecordingSystem(), nothing, start=False), Heard())
    assert [name for name in files(tmp_path) if ".service.d/" in name] == [f"{SERVICE}.d/{drop_in}"]
    assert says in files(tmp_path)[f"{SERVICE}.d/{drop_in}"]


def test_another_machines_gpu_is_opened_until_nothing_wants_it(tmp_path: Path) -> None:
    drop_in = f"{SERVICE}.d/gpu.conf"
    install(plan(replace(live(tmp_path), board="pc", with_gpu=True), RecordingSystem(), nothing, start=False), Heard())
    written = files(tmp_path)[drop_in]
    assert "PrivateDevices=no" in written and "DeviceAllow=char-nvidia* rw" in written
    system = RecordingSystem()
    install(plan(replace(live(tmp_path), board="pc"), system, nothing, start=False), Heard())
    assert drop_in not in files(tmp_path)
    assert system.asked[0] == "systemctl daemon-reload"


@pytest.mark.parametrize(
    ("engine", "node", "expected"),
    [
        (Engine(backend="native"), "dri/renderD128", True),
        (Engine(path=Path("/usr/local/bin/katago")), "nvidia0", True),
        (Engine(backend="tensorrt"), "nvidia1", True),
        (Engine(backend="native"), "dri/card0", False),
        (Engine(path=Path("/usr/local/bin/katago"), backend="onnxruntime"), "nvidia0", False),
        (Engine(), "nvidia0", False),
    ],
)
def test_a_gpu_is_used_where_there_is_one_and_something_that_computes_on_it(
    tmp_path: Path, engine: Engine, node: str, expected: bool
) -> None:
    assert not uses_gpu(engine, "pc", tmp_path / "dev")
    path = tmp_path / "dev" / node
    path.parent.mkdir(parents=True)
    path.touch()
    assert uses_gpu(engine, "pc", tmp_path / "dev") is expected
    assert not uses_gpu(engine, "raspberry-pi", tmp_path / "dev"), "its drop-in is another"


def test_the_runtimes_that_compute_on_a_gpu_are_runtimes() -> None:
    assert set(GPU_RUNTIMES) < set(BACKENDS)


def test_a_pi_keeps_its_own_devices_whatever_serves(tmp_path: Path) -> None:
    target = replace(image(tmp_path, board="raspberry-pi"), with_gpu=True)
    install(plan(target, RecordingSystem(), nothing, start=False), Heard())
    assert [name for name in files(tmp_path) if ".service.d/" in name] == [f"{SERVICE}.d/pi.conf"]


def test_a_state_folder_elsewhere_is_made_owned_and_writable_until_it_moves_back(tmp_path: Path) -> None:
    system, drop_in = RecordingSystem(), f"{SERVICE}.d/state.conf"
    install(plan(live(tmp_path, state="/srv/go"), system, nothing, start=False), Heard())
    assert "ReadWritePaths=-/srv/go\n" in files(tmp_path)[drop_in]
    assert f"own {tmp_path / 'srv/go'} katago-agent" in system.asked
    again = RecordingSystem()
    install(plan(live(tmp_path, state="/srv/go"), again, nothing, start=False), Heard())
    assert [asked for asked in again.asked if asked.startswith("own ")] == [
        f"own {tmp_path / 'var/lib/katago-agent'} katago-agent"
    ], "what is there may be somebody's"
    back = RecordingSystem()
    install(plan(live(tmp_path), back, nothing, start=False), Heard())
    assert drop_in not in files(tmp_path)
    assert back.asked[0] == "systemctl daemon-reload"


@pytest.mark.parametrize("state", ["/home/pi/go", "/tmp/go", "/srv/with space"])
def test_a_state_folder_that_the_service_cannot_write_is_refused(tmp_path: Path, state: str) -> None:
    with pytest.raises(InstallError, match="cannot keep its state") as caught:
        install(plan(live(tmp_path, state=state), RecordingSystem(), nothing, start=False), Heard())
    assert "state_dir" in caught.value.fix
    assert SERVICE not in files(tmp_path)


@pytest.mark.parametrize("prefix", ["/home/pi/katago-agent/.venv", "/root/x", "/srv/with space", "/srv/50%"])
def test_a_place_that_the_service_cannot_use_is_refused_before_units_are_written(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(InstallError) as caught:
        install(plan(image(tmp_path, prefix=prefix), RecordingSystem(), nothing, start=False), Heard())
    assert caught.value.fix
    assert SERVICE not in files(tmp_path)


def live(root: Path, *, state: str = "/var/lib/katago-agent") -> Target:
    """As on /, but all below a folder; the recording system does what would reach outside."""

    return replace(image(root, state=state), is_image=False)


def test_a_running_machine_gets_user_network_and_service_in_that_order(tmp_path: Path) -> None:
    heard, system = Heard(), RecordingSystem()
    install(plan(live(tmp_path), system, nothing, start=True), heard)
    assert heard.steps == ["configuration", "units", "user", "state", "command", "network", "service"]
    assert system.asked[0] == "systemctl daemon-reload"
    assert system.asked[1] == "systemctl --quiet enable katago-agent.service katago-agent-firstboot.service"
    assert system.asked[2] == "systemd-sysusers /etc/sysusers.d/katago-agent.conf"
    assert system.asked[3].startswith("own ")
    # Everything in the state folder is written by its owner, never by root.
    assert system.asked[4].startswith("katago-agent: env STATE_DIRECTORY=/var/lib/katago-agent ")
    assert system.asked[4].endswith(" install --only-network")
    assert system.asked[5] == "systemctl start katago-agent.service"


def test_a_failed_step_ends_it_and_the_next_run_goes_on(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(InstallError):
        install(plan(live(tmp_path), RecordingSystem(fails="systemd-sysusers"), nothing, start=True), heard)
    assert heard.steps == ["configuration", "units"]
    install(plan(live(tmp_path), RecordingSystem(), nothing, start=True), heard)
    assert heard.steps[-1] == "service"


# ---------------------------------------------------------------- the marker


def test_the_marker_comes_after_the_network_and_tells_version_and_time(tmp_path: Path) -> None:
    order: list[bool] = []
    marker = tmp_path / "provisioned"
    install(plan_network(tmp_path, lambda: order.append(marker.exists())), Heard())
    assert order == [False]
    content = json.loads(marker.read_text())
    assert sorted(content) == ["time", "version"]
    before = marker.stat().st_mtime_ns
    install(plan_network(tmp_path, nothing), Heard())
    assert marker.stat().st_mtime_ns == before


def test_no_marker_without_a_network(tmp_path: Path) -> None:
    def fails() -> None:
        raise EngineError("no network")

    with pytest.raises(EngineError):
        install(plan_network(tmp_path, fails), Heard())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff", b'{"version": 3}'])
def test_a_damaged_marker_is_written_again(tmp_path: Path, content: bytes) -> None:
    marker = tmp_path / "provisioned"
    marker.write_bytes(content)
    write_marker(marker)
    assert json.loads(marker.read_text())["version"]


def test_without_root_a_user_gets_configuration_network_and_marker(tmp_path: Path) -> None:
    target = Target(tmp_path, Path("/opt/x"), False, Path("/home/go/.config/katago-agent/agent.yaml"), Path("/state"))
    heard = Heard()
    install(plan(target, RecordingSystem(), nothing, start=False), heard)
    assert heard.steps == ["configuration", "network", "marker"]
    assert sorted(files(tmp_path)) == ["home/go/.config/katago-agent/agent.yaml", "state/provisioned"]


def test_the_target_of_a_user_lies_in_the_state_folder_given(tmp_path: Path) -> None:
    target = find_target(tmp_path, board="", uid=1000)
    assert target.prefix.is_dir()
    assert (target.as_service, target.is_image, target.state_dir) == (False, False, tmp_path)


def test_in_the_chroot_of_an_image_root_installs_the_service_whatever_runs_here(tmp_path: Path) -> None:
    target = find_target(tmp_path, board="jetson", image=True, uid=0)
    assert target.as_service and target.is_image
    assert (target.root, target.state_dir) == (Path("/"), Path("/var/lib/katago-agent"))
    assert target.board == "", "the board that boots is another one"
    names = [step.name for step in plan(target, RecordingSystem(), nothing, start=True)]
    assert names == ["configuration", "units", "user", "state", "command"]
    with pytest.raises(InstallError, match="only root"):
        find_target(tmp_path, board="", image=True, uid=1000)


# ---------------------------------------------------------------- the live system


def test_a_missing_or_failing_command_is_named() -> None:
    # Also where a folder on PATH may not be read, as a user's own often may not by another.
    with pytest.raises(InstallError, match="command no-such-command is missing"):
        LiveSystem().run(["no-such-command"])
    with pytest.raises(InstallError, match="`false` ended with status 1"):
        LiveSystem().run(["false"])
    with pytest.raises(InstallError, match="no user no-such-user"):
        LiveSystem().run(["true"], user="no-such-user")
    with pytest.raises(InstallError, match="no user no-such-user"):
        LiveSystem().own(Path("/"), "no-such-user")


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(InstallError):
        write_whole(blocked / "unit", "text")
    assert files(tmp_path) == {"file": "a file where a folder should be"}
