"""Settings: defaults, strictness, and that every wrong key names the nearest right one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import settings
from agent.engine.backends import BACKENDS as TABLE
from agent.errors import ConfigError
from agent.settings import BACKENDS, TEST_BACKENDS, Mqtt, Settings, Tls, load_settings, parse_address
from agent.strict_yaml import parse_yaml


def _write(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_of_comments_gives_defaults(tmp_path: Path) -> None:
    loaded = load_settings(_write(tmp_path, "# nothing yet\n"))
    assert loaded.gtp_address == settings.GTP_ADDRESS
    assert loaded.mqtt == Mqtt()
    assert loaded.state_dir.is_absolute()
    assert loaded.device_id


def test_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    text = "state_dir: state\nmqtt: {host: b, username: u, password_file: secret, tls: {ca: /ca.pem}}\n"
    loaded = load_settings(_write(tmp_path, text))
    assert loaded.state_dir == tmp_path / "state"
    assert loaded.mqtt.password_file == tmp_path / "secret"
    assert loaded.mqtt.tls is not None and loaded.mqtt.tls.ca == Path("/ca.pem")
    assert loaded.mqtt.broker_port == settings.MQTT_TLS_PORT


@pytest.mark.parametrize(("network", "found"), [("nets/my.bin.gz", "{}/nets/my.bin.gz"), ("my-net", "my-net")])
def test_a_network_given_as_a_path_starts_there_too(tmp_path: Path, network: str, found: str) -> None:
    assert load_settings(_write(tmp_path, f"network: {network}\n")).network == found.format(tmp_path)


UNKNOWN = [
    ("visit: 3", "visit", "visits"),
    ("Visits: 3", "Visits", "visits"),
    ("mqtt: {hots: x}", "mqtt.hots", "mqtt.host"),
    ("mqtt: {host: x, tls: {cart: a}}", "mqtt.tls.cart", "mqtt.tls.cert"),
    ("engine: {paht: a}", "engine.paht", "engine.path"),
    ("engine: {zzzz: a}", "engine.zzzz", "engine.path"),
]


@pytest.mark.parametrize(("text", "key", "nearest"), UNKNOWN)
def test_an_unknown_key_names_the_nearest_known_one(text: str, key: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, Settings, source="agent.yaml")
    assert repr(key) in str(caught.value)
    assert nearest in caught.value.fix


WRONG = [
    "visits: 10.5",
    "visits: 0",
    "visits: '10'",
    "threads: yes",
    "cache_positions: -1",
    "device_id: 42",
    "device_id: a/b",
    "device_id: '+'",
    "mqtt: {port: 65536}",
    "[1]",
    "word",
    "a: {b: [}",
    "visits: 1\nvisits: 2",
    "x: 2026-13-45",
    "? [1, 2]\n: 3",
    "a: !!python/object/apply:os.getcwd []",
    "\x00",
]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_values_are_configuration_errors(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, Settings, source="agent.yaml")
    assert "agent.yaml" in str(caught.value)
    assert caught.value.fix


CONTRADICTIONS = [
    "mqtt: {username: u}",
    "mqtt: {tls: {}}",
    "mqtt: {host: b, password_file: p}",
    "mqtt: {host: b, tls: {cert: c}}",
    "gtp_address: nowhere",
    "analysis_address: 127.0.0.1:65536",
    "websocket_address: 4643",
    "access: {tls: {cert: c}}",
    "access: {token: secret}",
    f"gtp_socket: /{'x' * 107}",
]


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_values_that_contradict_each_other_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_settings(_write(tmp_path, text))


@pytest.mark.parametrize("key", ["gtp_address", "analysis_address", "websocket_address"])
@pytest.mark.parametrize(
    "address", ["0.0.0.0:4640", "[::]:4640", "192.168.1.2:4640", "pi:4640", "127.0.0.1.evil.example:1"]
)
def test_an_address_beyond_loopback_is_refused_unless_clients_show_something(
    tmp_path: Path, key: str, address: str
) -> None:
    for access in ("{}", "{tls: {cert: c, key: k}}"):
        with pytest.raises(ConfigError) as caught:
            load_settings(_write(tmp_path, f"{key}: '{address}'\naccess: {access}\n"))
        assert f"{key} {address}" in str(caught.value)
        assert "access.token_file" in caught.value.fix and "ssh" in caught.value.fix
    for access in ("{token_file: t}", "{tls: {cert: c, key: k, client_ca: a}}"):
        loaded = load_settings(_write(tmp_path, f"{key}: '{address}'\naccess: {access}\n"))
        assert getattr(loaded, key) == address


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.9.1:1", "[::1]:1", "localhost:1"])
def test_loopback_is_for_everybody_on_the_machine(tmp_path: Path, address: str) -> None:
    assert load_settings(_write(tmp_path, f"gtp_address: '{address}'\n")).gtp_address == address


def test_unix_sockets_lie_with_the_state_or_where_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    text = "state_dir: /s\nanalysis_socket: null\n"
    loaded = load_settings(_write(tmp_path, text))
    assert loaded.gtp_socket == Path("/s/gtp.sock") and loaded.analysis_socket is None
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/a:/run/b")
    assert load_settings(_write(tmp_path, text)).gtp_socket == Path("/run/a/gtp.sock")
    assert load_settings(_write(tmp_path, "gtp_socket: mine.sock\n")).gtp_socket == tmp_path / "mine.sock"
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    assert load_settings(_write(tmp_path, f"state_dir: /{'x' * 120}\n")).gtp_socket is None


def test_an_unknown_backend_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(_write(tmp_path, "engine: {backend: onnx}"))
    assert "'onnx'" in str(caught.value)
    offered = caught.value.fix.removeprefix("Choose one of: ").removesuffix(".").split(", ")
    assert offered == ["native", *BACKENDS]
    assert {*BACKENDS, *TEST_BACKENDS} == set(TABLE) and not {*BACKENDS} & {*TEST_BACKENDS}


@pytest.mark.parametrize("backend", [*BACKENDS, *TEST_BACKENDS, "native"])
def test_each_known_backend_is_taken(tmp_path: Path, backend: str) -> None:
    assert load_settings(_write(tmp_path, f"engine: {{backend: {backend}}}")).engine.backend == backend


EMPTY = [
    ("mqtt: {host: b, tls: }", "mqtt.tls", "Write `tls: {}`"),
    ("mqtt:\n  host: b\n  tls:\n  #   ca: /ca.pem\n", "mqtt.tls", "Write `tls: {}`"),
    ("access: {token_file: t, tls: null}", "access.tls", "Give it cert and key,"),
    ("mqtt: ~", "mqtt", "Write `mqtt: {}`"),
]


@pytest.mark.parametrize(("text", "key", "fix"), EMPTY)
def test_a_section_left_empty_is_not_taken_for_none(tmp_path: Path, text: str, key: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(_write(tmp_path, text))
    assert str(caught.value).endswith(f"agent.yaml: {key!r} is left empty")
    assert caught.value.fix.startswith(fix) and "leave the key out" in caught.value.fix


def test_tls_with_its_defaults_is_tls_and_the_daemon_is_handed_what_was_read(tmp_path: Path) -> None:
    sealed = load_settings(_write(tmp_path, "mqtt: {host: b, tls: {}}"))
    assert sealed.mqtt.tls == Tls() and sealed.mqtt.broker_port == settings.MQTT_TLS_PORT
    # Without the key there is none; the settings that go to our own processes say so by null, which is no YAML of ours.
    plain = load_settings(_write(tmp_path, "mqtt: {host: b}\naccess: {token_file: t}"))
    assert plain.mqtt.tls is None and plain.access.tls is None
    for loaded in (sealed, plain):
        assert settings.decode_settings(settings.encode_settings(loaded)) == loaded


UNSEALED = [
    ("{host: b, port: 8883}", True),
    ("{host: b, port: 8883, tls: {}}", False),
    ("{host: b, tls: {}}", False),
    ("{host: b}", False),
    # Nobody on the network reads what stays on this machine.
    ("{host: localhost, port: 8883}", False),
    ("{port: 8883}", False),
]


@pytest.mark.parametrize(("mqtt", "doubted"), UNSEALED)
def test_the_port_of_tls_without_tls_is_doubted_and_not_refused(tmp_path: Path, mqtt: str, doubted: bool) -> None:
    assert load_settings(_write(tmp_path, f"mqtt: {mqtt}")).mqtt.seems_to_lack_tls is doubted


def test_unreadable_files_are_configuration_errors(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    for path in (tmp_path / "absent.yaml", tmp_path, tmp_path / "binary.yaml"):
        with pytest.raises(ConfigError):
            load_settings(path)


def test_device_id_tells_two_hosts_of_one_name_apart(tmp_path: Path) -> None:
    ids = set()
    for digit in "01":
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc/machine-id").write_text(digit * 32 + "\n")
        ids.add(settings.default_device_id("raspberrypi", tmp_path))
    assert len(ids) == 2
    assert all(name.startswith("raspberrypi-") and "0" * 32 not in name for name in ids)


def test_device_id_tells_boards_with_copies_of_one_card_apart(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0" * 32 + "\n")
    without = settings.default_device_id("raspberrypi", tmp_path)
    assert without == f"raspberrypi-{hashlib.sha256(b'katago-agent ' + b'0' * 32).hexdigest()[:8]}"
    tree = tmp_path / "sys/firmware/devicetree/base"
    tree.mkdir(parents=True)
    ids = {without}
    for serial in (b"10000000aaaaaaaa\0", b"10000000bbbbbbbb\0"):
        (tree / "serial-number").write_bytes(serial)
        ids.add(settings.default_device_id("raspberrypi", tmp_path))
    assert len(ids) == 3 and not any("10000000" in name for name in ids)
    for strange in (b"", b"\0\0", b"\xff\xfe", b"no serial"):
        (tree / "serial-number").write_bytes(strange)
        assert settings.default_device_id("raspberrypi", tmp_path) == without


@given(st.text())
def test_any_host_name_makes_a_valid_device_id(hostname: str) -> None:
    device_id = settings.default_device_id(hostname, Path("/nonexistent"))
    assert msgspec.convert({"device_id": device_id}, Settings).device_id == device_id


@given(st.text())
def test_any_text_as_yaml_is_settings_or_a_configuration_error(text: str) -> None:
    try:
        parse_yaml(text, Settings, source="agent.yaml")
    except ConfigError as error:
        assert error.fix


@pytest.mark.parametrize(("text", "host", "port"), [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:4640", "::1", 4640)])
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)
    assert settings.format_address(host, port) == text


@pytest.mark.parametrize("text", ["", "host", ":1", "::1:2", "a:b", "a:99999", "a b:1", "[::1]", "http://a:1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


class Item(msgspec.Struct):
    size: int = 0


class Items(msgspec.Struct):
    items: Annotated[tuple[Item, ...], msgspec.Meta(min_length=1)]


def test_keys_inside_an_annotated_list_are_checked_too() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_yaml("items: [{sise: 1}]", Items, source="x.yaml")
    assert caught.value.fix == "Did you mean 'items.0.size'?"
