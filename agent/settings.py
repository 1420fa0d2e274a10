"""What the owner may set, read once from `agent.yaml` into a frozen `Settings`; and where our own data files lie.

Start reading at `Settings`.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from agent.errors import ConfigError
from agent.strict_yaml import load_yaml, read_path

SYSTEM_STATE: Final = Path("/var/lib/katago-agent")
SYSTEM_CONFIG: Final = Path("/etc/katago-agent/agent.yaml")

# Ports beside each other that no well-known service uses; 4640 is in no distribution's /etc/services.
GTP_ADDRESS: Final = "127.0.0.1:4640"
ANALYSIS_ADDRESS: Final = "127.0.0.1:4641"
BROKER_PORT: Final = 4642
WEBSOCKET_ADDRESS: Final = "127.0.0.1:4643"
# sun_path of unix(7), without its NUL.
MAX_SOCKET_PATH_BYTES: Final = 107
# The form of a name; `export/human_profile.py` knows which there are.
HUMAN_PROFILE: Final = r"^([a-z]+_[0-9]+[kd]?)?$"
# IANA: mqtt and secure-mqtt.
MQTT_PORT: Final = 1883
MQTT_TLS_PORT: Final = 8883

MACHINE_ID_FILES: Final = ("etc/machine-id", "var/lib/dbus/machine-id")
# Of a Raspberry Pi or a Jetson; the first is a link to the second, and containers may hide either.
SERIAL_FILES: Final = ("proc/device-tree/serial-number", "sys/firmware/devicetree/base/serial-number")
# An id is one level of an MQTT topic (MQTT 5, section 4.7: no / + # or NUL) and a thin-edge entity name.
DEVICE_ID: Final = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$"
# KataGo's own bounds: visits to 2^50, threads to 4096 (cpp/program/setup.cpp); no board has that many cores.
Visits = Annotated[int, Meta(ge=1, le=2**50)]
Threads = Annotated[int, Meta(ge=1, le=1024)]
CachePositions = Annotated[int, Meta(ge=0, le=2**48)]
Port = Annotated[int, Meta(ge=0, le=65535)]
# The rows of `engine/backends`, by name: that table loads numpy, which the front must not.
BACKENDS: Final = ("onnxruntime", "core", "cuda", "cuda-tensorrt", "tensorrt", "mnn", "mnn-lean", "litert")
# Taken, but offered to nobody: "uniform" knows no network and plays at random, "check" runs two and compares.
TEST_BACKENDS: Final = ("check", "uniform")
# The owner's own katago in the place of them all.
NATIVE: Final = "native"


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

    @property
    def seems_to_lack_tls(self) -> bool:
        """Whether another machine's port that is TLS's by custom is spoken to in clear; some brokers want just that."""
        beyond = self.host is not None and not is_loopback(self.host)
        return beyond and self.broker_port == MQTT_TLS_PORT and self.tls is None


class Engine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`path` names the owner's own `katago` binary, which serves then; `backend` overrides the profile's network
    runtime, and "native" means that katago, or the one on PATH. `fallback` tells whether the built-in engine serves
    when katago fails; None leaves that to the profile."""

    path: Path | None = None
    backend: str | None = None
    fallback: bool | None = None

    @property
    def wants_native(self) -> bool:
        """Whether a katago is to serve: one that is named serves unless a runtime of ours is, too."""
        return self.backend == NATIVE or (self.path is not None and self.backend is None)

    @property
    def runtime(self) -> str | None:
        """The network runtime of the built-in engine that the owner wants; None where the profile chooses."""
        return None if self.backend == NATIVE else self.backend

    @property
    def katago(self) -> Path:
        """The binary, or its name on PATH."""
        return self.path or Path("katago")


class ServerTls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files in PEM form: our certificate and its key, and the authority whose certificates clients must show."""

    cert: Path
    key: Path
    client_ca: Path | None = None


class Access(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients over TCP and WebSocket must show: the token in a file, a certificate, both, or nothing."""

    token_file: Path | None = None
    tls: ServerTls | None = None

    @property
    def is_guarded(self) -> bool:
        """Whether anybody may be let near the sockets."""
        return self.token_file is not None or (self.tls is not None and self.tls.client_ca is not None)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`network` is a catalogue name or a path; with `visits`, `threads` and `cache_positions` it overrides the profile.
    `human_profile` is whom a human-style network imitates. An address or socket of null is closed; port 0 takes a free
    one. Sockets left open lie in systemd's RuntimeDirectory=, else in the state folder."""

    device_id: Annotated[str, Meta(pattern=DEVICE_ID)] = ""
    state_dir: Path = Path()
    network: str | None = None
    human_profile: Annotated[str, Meta(pattern=HUMAN_PROFILE)] = ""
    visits: Visits | None = None
    threads: Threads | None = None
    cache_positions: CachePositions | None = None
    gtp_address: str | None = GTP_ADDRESS
    analysis_address: str | None = ANALYSIS_ADDRESS
    websocket_address: str | None = WEBSOCKET_ADDRESS
    gtp_socket: Path | None = Path()
    analysis_socket: Path | None = Path()
    access: Access = Access()
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


def default_state_dir(system: Path = SYSTEM_STATE) -> Path:
    """systemd's StateDirectory= where it is given, the machine's folder for root and its owner, else the user's own."""
    given = os.environ.get("STATE_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    is_system = os.geteuid() == 0 or _is_own(system)
    return system if is_system else _home("XDG_STATE_HOME", ".local/state") / "katago-agent"


def _is_own(folder: Path) -> bool:
    try:
        return folder.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _home(variable: str, otherwise: str) -> Path:
    given = os.environ.get(variable)
    return Path(given) if given else Path.home() / otherwise


def default_device_id(hostname: str | None = None, root: Path = Path("/")) -> str:
    """The host's name and eight digits that tell it from a thousand others of the same name.

    The digits are a hash of the machine id, which itself must not leave the machine (machine-id(5)), and of the board's
    serial number where it has one: cards that were copied from one that ran share their machine id.
    """
    name = socket.gethostname() if hostname is None else hostname
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or "device"
    machine = _first_match(root, MACHINE_ID_FILES, r"[0-9a-f]{32}")
    serial = _first_match(root, SERIAL_FILES, r"[0-9A-Za-z-]{4,64}")
    facts = [fact for fact in (machine, serial) if fact]
    if not facts:
        return name
    return f"{name}-{hashlib.sha256(' '.join(['katago-agent', *facts]).encode()).hexdigest()[:8]}"


def _first_match(root: Path, places: Sequence[str], form: str) -> str:
    """What the first of the files says that has this form; "" where none has."""
    for place in places:
        try:
            said = (root / place).read_text(encoding="ascii").strip("\0 \t\r\n")
        except (OSError, UnicodeDecodeError):
            continue
        if re.fullmatch(form, said):
            return said
    return ""


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
    where = f"{path}: " if path else ""
    _check_addresses(settings, where)
    _check_mqtt(settings.mqtt, where)
    if settings.engine.backend not in (None, NATIVE, *BACKENDS, *TEST_BACKENDS):
        wrong = f"{where}engine.backend {settings.engine.backend!r} is not known"
        raise ConfigError(wrong, fix=f"Choose one of: {', '.join((NATIVE, *BACKENDS))}.")
    state_dir = _absolute(folder, settings.state_dir) if settings.state_dir != Path() else default_state_dir()
    sockets = {
        f"{kind}_socket": _socket_path(getattr(settings, f"{kind}_socket"), folder, state_dir / f"{kind}.sock", where)
        for kind in ("gtp", "analysis")
    }
    network = settings.network
    return msgspec.structs.replace(
        settings,
        device_id=settings.device_id or default_device_id(),
        state_dir=state_dir,
        # A bare name is one of the catalogue or of the store.
        network=str(_absolute(folder, Path(network))) if network and "/" in network else network,
        **sockets,
        access=_with_absolute_paths(settings.access, folder),
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


def with_built_in_engine(settings: Settings) -> Settings:
    """The settings for what only our own engine can do, whoever serves."""
    engine = msgspec.structs.replace(settings.engine, path=None, backend=settings.engine.runtime)
    return msgspec.structs.replace(settings, engine=engine)


def encode_settings(settings: Settings) -> bytes:
    """As JSON, for a child process of our own."""
    return msgspec.json.encode(settings, enc_hook=str)


def decode_settings(data: bytes) -> Settings:
    return msgspec.json.decode(data, type=Settings, dec_hook=read_path)


def _check_addresses(settings: Settings, where: str) -> None:
    for key in ("gtp_address", "analysis_address", "websocket_address"):
        address = getattr(settings, key)
        if address is not None and not is_loopback(parse_address(address)[0]) and not settings.access.is_guarded:
            fix = (
                "Set access.token_file or access.tls.client_ca, or keep it on 127.0.0.1 and let others come in by ssh "
                "(`ssh pi katago-agent gtp`, `ssh -L`)."
            )
            raise ConfigError(f"{where}{key} {address} lets everybody on the network in", fix=fix)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the address. A name may lead anywhere, but for localhost (RFC 6761)."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _socket_path(given: Path | None, folder: Path, default: Path, where: str) -> Path | None:
    """Absolute; None for closed, and where the default is too long for a socket's name, as in some test's folder."""
    if given is None:
        return None
    if given == Path():
        runtime = os.environ.get("RUNTIME_DIRECTORY")
        given = Path(runtime.split(":")[0]) / default.name if runtime else default
        return given if len(os.fsencode(given)) <= MAX_SOCKET_PATH_BYTES else None
    path = _absolute(folder, given)
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        wrong = f"{where}{path} is too long for a Unix socket"
        raise ConfigError(wrong, fix=f"Choose a path of at most {MAX_SOCKET_PATH_BYTES} bytes.")
    return path


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


def own_command() -> list[str]:
    """The start of a command that runs this same package with this same interpreter, in whatever folder."""
    return [sys.executable, str(Path(__file__).with_name("launch.py"))]
