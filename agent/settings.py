"""What the owner may set, read once from `agent.yaml` into a frozen `Settings`; and where our own data files lie.

Start reading at `Settings`. `load_yaml` is the strict reader for every YAML file of the agent: a key that is not known,
or that stands twice, is an error that names the nearest known key.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import os
import re
import socket
import sys
import typing
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
import yaml
from msgspec import Meta

from agent.errors import ConfigError

T = TypeVar("T")

SYSTEM_STATE: Final = Path("/var/lib/katago-agent")
SYSTEM_CONFIG: Final = Path("/etc/katago-agent/agent.yaml")

# Ports beside each other that no well-known service uses; 4640 is in no distribution's /etc/services.
GTP_ADDRESS: Final = "127.0.0.1:4640"
ANALYSIS_ADDRESS: Final = "127.0.0.1:4641"
BROKER_PORT: Final = 4642
# The form of a name; `export/human_profile.py` knows which there are.
HUMAN_PROFILE: Final = r"^([a-z]+_[0-9]+[kd]?)?$"
# IANA: mqtt and secure-mqtt.
MQTT_PORT: Final = 1883
MQTT_TLS_PORT: Final = 8883

# An id is one level of an MQTT topic (MQTT 5, section 4.7: no / + # or NUL) and a thin-edge entity name.
DEVICE_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
# KataGo's own bounds: visits to 2^50, threads to 4096 (cpp/program/setup.cpp); no board has that many cores.
Visits = Annotated[int, Meta(ge=1, le=2**50)]
Threads = Annotated[int, Meta(ge=1, le=1024)]
Port = Annotated[int, Meta(ge=0, le=65535)]
# The rows of `engine/backends`, by name: that table loads numpy, which the front must not.
BACKENDS: Final = (
    "onnxruntime",
    "core",
    "cuda",
    "cuda-tensorrt",
    "tensorrt",
    "mnn",
    "mnn-lean",
    "litert",
    "check",
    "uniform",
)


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files in PEM form. Without `ca` the system's own authorities are trusted. `cert` and `key` come together.
    `insecure` accepts a certificate made for another host name."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    insecure: bool = False


class Mqtt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The broker. Without `host` the agent runs one of its own on loopback, on `port`."""

    host: str | None = None
    port: Port | None = None
    username: str | None = None
    password_file: Path | None = None
    tls: Tls | None = None

    @property
    def broker_port(self) -> int:
        """`port`, or what is usual for the kind of broker."""
        if self.port is not None:
            return self.port
        if self.host is None:
            return BROKER_PORT
        return MQTT_TLS_PORT if self.tls else MQTT_PORT


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`path` names the owner's own `katago` binary; `backend` overrides the profile's network runtime."""

    path: Path | None = None
    backend: str | None = None


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`network` is a catalogue name or a path; with `visits` and `threads` it overrides the profile. `human_profile` is
    whom a human-style network imitates. An address of null closes that socket; port 0 takes a free one."""

    device_id: Annotated[str, Meta(pattern=DEVICE_ID)] = ""
    state_dir: Path = Path()
    network: str | None = None
    human_profile: Annotated[str, Meta(pattern=HUMAN_PROFILE)] = ""
    visits: Visits | None = None
    threads: Threads | None = None
    gtp_address: str | None = GTP_ADDRESS
    analysis_address: str | None = ANALYSIS_ADDRESS
    report_interval_s: Annotated[float, Meta(ge=0.1, le=86400)] = 10.0
    mqtt: Mqtt = Mqtt()
    engine: Engine = Engine()


# ---------------------------------------------------------------- where things are


def data_folder(kind: str) -> Path:
    """The folder `kind` ("profiles", "systemd") of our own data: inside an installed package, else of the work tree."""
    package = Path(__file__).parent
    installed = package / "data" / kind
    return installed if installed.is_dir() else package.parent / kind


def default_config() -> Path | None:
    """The configuration file that is there: the user's own before the machine's."""
    own = _home("XDG_CONFIG_HOME", ".config") / "katago-agent" / "agent.yaml"
    return next((path for path in (own, SYSTEM_CONFIG) if path.is_file()), None)


def default_state_dir() -> Path:
    """systemd's StateDirectory= where it is given, the machine's folder for root, else the user's own."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    return SYSTEM_STATE if os.geteuid() == 0 else _home("XDG_STATE_HOME", ".local/state") / "katago-agent"


def _home(variable: str, otherwise: str) -> Path:
    given = os.environ.get(variable)
    return Path(given) if given else Path.home() / otherwise


def default_device_id(hostname: str | None = None, root: Path = Path("/")) -> str:
    """The host's name and eight digits that tell it from a thousand others of the same name.

    The digits are a hash of the machine id, which itself must not leave the machine (machine-id(5)).
    """
    name = socket.gethostname() if hostname is None else hostname
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "device"
    for place in ("etc/machine-id", "var/lib/dbus/machine-id"):
        try:
            machine = (root / place).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if re.fullmatch(r"[0-9a-f]{32}", machine):
            return f"{name}-{hashlib.sha256(b'katago-agent ' + machine.encode()).hexdigest()[:8]}"
    return name


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of "127.0.0.1:4640" or "[::1]:4640".

    Raises ConfigError.
    """
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:\[\]/]+)):(\d{1,5})", text)
    if not match or int(match[3]) > 65535:
        raise ConfigError(f"{text!r} is not an address", fix='Write it as "127.0.0.1:4640" or "[::1]:4640".')
    return match[1] or match[2], int(match[3])


def format_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# ---------------------------------------------------------------- reading


def load_settings(path: Path | None = None) -> Settings:
    """The settings of `path`, or of the default file; without any file, the defaults. Everything is filled in:
    device id, state folder, paths made absolute (relative ones start at the file's folder).

    Raises ConfigError.
    """
    path = path or default_config()
    settings = load_yaml(path, Settings) if path else Settings()
    folder = path.parent.absolute() if path else Path.cwd()
    for address in (settings.gtp_address, settings.analysis_address):
        if address is not None:
            parse_address(address)
    where = f"{path}: " if path else ""
    _check_mqtt(settings.mqtt, where)
    if settings.engine.backend not in (None, *BACKENDS):
        wrong = f"{where}engine.backend {settings.engine.backend!r} is not known"
        raise ConfigError(wrong, fix=f"Choose one of: {', '.join(BACKENDS)}.")
    return msgspec.structs.replace(
        settings,
        device_id=settings.device_id or default_device_id(),
        state_dir=_absolute(folder, settings.state_dir) if settings.state_dir != Path() else default_state_dir(),
        mqtt=_with_absolute_paths(settings.mqtt, folder),
        engine=_with_absolute_paths(settings.engine, folder),
    )


def with_overrides(
    settings: Settings, *, network: str | None = None, visits: int | None = None, threads: int | None = None
) -> Settings:
    """The settings with what a command line gave in their place.

    Raises ConfigError for a number out of bounds.
    """
    given = {"network": network, "visits": visits, "threads": threads}
    changes = {name: value for name, value in given.items() if value is not None}
    try:
        msgspec.convert(changes, Settings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"command line: {error}", fix="Give a whole number of at least 1.") from error
    return msgspec.structs.replace(settings, **changes)


def encode_settings(settings: Settings) -> bytes:
    """As JSON, for a child process of our own."""
    return msgspec.json.encode(settings, enc_hook=str)


def decode_settings(data: bytes) -> Settings:
    return msgspec.json.decode(data, type=Settings, dec_hook=_path)


def _check_mqtt(mqtt: Mqtt, where: str) -> None:
    if mqtt.host is None:
        for key in ("username", "password_file", "tls"):
            if getattr(mqtt, key) is not None:
                raise ConfigError(f"{where}mqtt.{key} is given without mqtt.host", fix="Set mqtt.host.")
    if mqtt.password_file is not None and mqtt.username is None:
        raise ConfigError(f"{where}mqtt.password_file is given without mqtt.username", fix="Set mqtt.username.")
    if mqtt.tls and (mqtt.tls.cert is None) != (mqtt.tls.key is None):
        raise ConfigError(f"{where}mqtt.tls.cert and mqtt.tls.key come together", fix="Set both or neither.")


S = TypeVar("S", bound=msgspec.Struct)


def _with_absolute_paths(values: S, folder: Path) -> S:
    changed: dict[str, Any] = {}
    for field in msgspec.structs.fields(values):
        value = getattr(values, field.name)
        if isinstance(value, Path):
            changed[field.name] = _absolute(folder, value)
        elif isinstance(value, msgspec.Struct):
            changed[field.name] = _with_absolute_paths(value, folder)
    return msgspec.structs.replace(values, **changed)


def _absolute(folder: Path, path: Path) -> Path:
    return folder / path.expanduser()


def load_yaml(path: Path, into: type[T]) -> T:
    """The one document of the file as an `into` (a msgspec Struct, or a type built of such); an empty file is {}.

    Raises ConfigError, naming file, place and, for an unknown key, the nearest known one.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}", fix="Give the path of a readable YAML file in UTF-8.") from error
    return parse_yaml(text, into, source=str(path))


def parse_yaml(text: str, into: type[T], *, source: str) -> T:
    """As `load_yaml`, of text; `source` names it in errors."""
    try:
        # StrictLoader is a SafeLoader: it makes plain values only.
        document = yaml.load(text, Loader=StrictLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: PyYAML lets one through for an impossible date such as 2026-13-45.
        raise ConfigError(f"{source}: {error}", fix="Correct the YAML at that place.") from error
    document = {} if document is None else document
    _refuse_unknown_keys(document, into, source, "")
    try:
        return msgspec.convert(document, into, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error


def _path(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise msgspec.ValidationError(f"Expected a path, got {value!r}")


# Ten times as fast where PyYAML was built with libyaml, as its wheels are: profiles and catalogue cost 0.3 s without.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictLoader(_Loader):  # type: ignore[misc, valid-type]  # one of two classes of one interface
    """Refuses a key that stands twice in one mapping; YAML forbids it, PyYAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key.value, str) or key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def _refuse_unknown_keys(document: Any, into: Any, source: str, place: str) -> None:
    """Walks document and type together, as far as the type has Structs in it."""
    if isinstance(into, type) and issubclass(into, msgspec.Struct):
        if not isinstance(document, dict):
            return
        known = _known_keys(into)
        for key, value in document.items():
            if key not in known:
                raise ConfigError(f"{source}: unknown key {place + str(key)!r}", fix=_nearest(str(key), known, place))
            _refuse_unknown_keys(value, known[key], source, f"{place}{key}.")
        return
    arguments = typing.get_args(into)
    if typing.get_origin(into) is Annotated:
        _refuse_unknown_keys(document, arguments[0], source, place)
    elif isinstance(document, dict) and typing.get_origin(into) is dict:
        for key, value in document.items():
            _refuse_unknown_keys(value, arguments[1], source, f"{place}{key}.")
    elif isinstance(document, list) and typing.get_origin(into) in (list, tuple):
        for index, value in enumerate(document):
            _refuse_unknown_keys(value, arguments[0], source, f"{place}{index}.")
    else:
        for argument in arguments:
            if isinstance(document, dict) and isinstance(argument, type):
                _refuse_unknown_keys(document, argument, source, place)


@functools.cache
def _known_keys(into: type[msgspec.Struct]) -> dict[str, Any]:
    """Key → type. Asked for every element of long lists, and slow to find out."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(into)}


def _nearest(key: str, known: dict[str, Any], place: str) -> str:
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {place + close[0]!r}?"
    return f"Known keys here: {', '.join(place + name for name in sorted(known))}."


def own_command() -> list[str]:
    """The start of a command that runs this same package with this same interpreter, in whatever folder."""
    return [sys.executable, str(Path(__file__).with_name("launch.py"))]
