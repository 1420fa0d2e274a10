"""Settings: defaults, strictness, and that every wrong key names the nearest right one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import settings
from agent.engine.backends import BACKENDS as TABLE
from agent.errors import ConfigError
from agent.settings import BACKENDS, Mqtt, Settings, load_settings, parse_address
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
]


@pytest.mark.parametrize("text", CONTRADICTIONS)
def test_values_that_contradict_each_other_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_settings(_write(tmp_path, text))


def test_an_unknown_backend_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(_write(tmp_path, "engine: {backend: onnx}"))
    assert "'onnx'" in str(caught.value) and "onnxruntime" in caught.value.fix
    assert set(BACKENDS) == set(TABLE)


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
