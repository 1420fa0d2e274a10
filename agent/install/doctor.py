"""`agent doctor`: every link of the chain from this interpreter to a move and a message, each proved by using it.

A check is a function that returns what it found, or raises an AgentError whose `fix` is the advice. Links that stand on
a broken one are not tried (`needs`), nor what only the service's own user can see. Start reading at `chain`.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from agent.errors import (
    AgentError,
    BackendUnavailable,
    BrokerUnreachable,
    EngineDown,
    HardwareUnsupported,
    NetworkMissing,
    ServiceDown,
    StorageFull,
    StoreDamaged,
    StoreUnwritable,
    pip_install,
)
from agent.install.units import SERVICE, uses_gpu
from agent.model.disk import free_bytes
from agent.model.store import Store
from agent.service.health import SYSTEM_RUNTIME, find_front
from agent.settings import Settings, data_folder, load_settings, own_command, parse_address

logger = logging.getLogger(__name__)

# A cold worker on a Zero 2 W loads its network from an SD card first; then one visit.
MOVE_TIMEOUT_S: Final = 180.0
PROBE_TIMEOUT_S: Final = 120.0
CONNECT_TIMEOUT_S: Final = 5.0
# What is asked of systemd.
PROPERTIES: Final = ("LoadState", "ActiveState", "UnitFileState", "NRestarts", "StatusText", "PrivateDevices")
# Where `agent install` writes it.
UNIT: Final = Path("/etc/systemd/system") / SERVICE

# Runs in a child: onnxruntime 1.21.0 ends in SIGILL on Cortex-A53 and A72, and an import alone proves nothing.
RUNTIME_PROBE: Final = """
import numpy, onnx, onnxruntime
from onnx import TensorProto, helper
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "x"], ["y"])], "probe",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 2])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 2])])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
(y,) = session.run(None, {"x": numpy.eye(2, dtype=numpy.float32) * 3})
assert y[1, 1] == 9
print("onnxruntime", onnxruntime.__version__, "numpy", numpy.__version__)
"""


class Finding(msgspec.Struct, frozen=True):
    """One link. `ok` is None where it was not tried: `detail` is broken before it, or it is not ours to try."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


class Elsewhere(Exception):
    """What a link would look at belongs to the service, which keeps it from us; the message says who may look."""


class Link(msgspec.Struct, frozen=True):
    """`check` returns what it found or raises an AgentError or Elsewhere; it is tried when none of `needs` broke."""

    name: str
    check: Callable[[Settings], str]
    needs: tuple[str, ...] = ()


def examine(config: Path | None, links: tuple[Link, ...] | None = None) -> Iterator[Finding]:
    """Every finding as soon as it is known, in the order of the chain. Never raises."""
    try:
        settings = load_settings(config)
    except AgentError as error:
        yield Finding("configuration", False, str(error), error.fix)
        return
    yield Finding("configuration", True, str(config) if config else "read, or the defaults")
    broken: set[str] = set()
    for link in chain(config) if links is None else links:
        missing = [name for name in link.needs if name in broken]
        finding = Finding(link.name, None, f"needs {missing[0]}") if missing else _try(link, settings)
        if finding.ok is False or missing:
            broken.add(link.name)
        yield finding


def _try(link: Link, settings: Settings) -> Finding:
    try:
        return Finding(link.name, True, link.check(settings))
    except Elsewhere as reason:
        return Finding(link.name, None, str(reason))
    except AgentError as error:
        return Finding(link.name, False, str(error), error.fix)
    except Exception as error:
        # The doctor's own edge: it is run where things are broken, and one broken link must not hide the others.
        logger.debug("check %s failed", link.name, exc_info=True)
        return Finding(link.name, False, f"{type(error).__name__}: {error}", "Report this; the check itself failed.")


# ---------------------------------------------------------------- the machine


def check_python(settings: Settings) -> str:
    del settings
    bits = struct.calcsize("P") * 8
    if bits != 64:
        raise HardwareUnsupported(f"a {bits}-bit Python", fix="Install the 64-bit edition of the system.")
    return f"Python {platform.python_version()}, {bits}-bit, {sys.prefix}"


def check_core(settings: Settings) -> str:
    del settings
    from agent.engine.library import load

    return f"loads: {load()._name}"


def check_runtime(settings: Settings) -> str:
    del settings
    try:
        done = subprocess.run(
            [sys.executable, "-c", RUNTIME_PROBE], capture_output=True, text=True, timeout=PROBE_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise BackendUnavailable(f"onnxruntime gave no answer in {PROBE_TIMEOUT_S:.0f} s") from error
    if done.returncode < 0:
        raise BackendUnavailable(
            f"onnxruntime died of signal {-done.returncode} on this processor",
            fix=f"Install another version: {pip_install('onnxruntime!=1.21.0')}",
        )
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
        raise BackendUnavailable(f"onnxruntime does not run a network: {reason[0]}", fix="Run ./install.sh again.")
    return f"runs a network: {done.stdout.strip()}"


def check_hardware(settings: Settings) -> str:
    del settings
    from agent.hardware import Unknown, detect

    facts = detect()
    known = [fact for fact in (facts.board.model, facts.platform.architecture) if not isinstance(fact, Unknown)]
    return ", ".join(str(fact) for fact in known) or "nothing could be found out; `agent detect` tells why"


def check_profile(settings: Settings) -> str:
    from agent.hardware import detect
    from agent.profile import choose, load_profiles

    choice = choose(detect(), load_profiles(data_folder("profiles")), native=settings.engine.wants_native)
    return f"{choice.require().name}: {choice.reason}"


# ---------------------------------------------------------------- the network


def leave_to_service(
    settings: Settings, *, runtime: Path = SYSTEM_RUNTIME, unit: Path = UNIT, uid: int | None = None
) -> None:
    """Where this machine's service keeps its state in a folder that this user cannot use, what lies in the user's own
    says nothing of it, and `agent install` would only fill the card a second time. Raises Elsewhere then."""
    folder = settings.state_dir
    is_ours = os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    front = find_front(folder, runtime)
    if front is not None and not (is_ours and _is_same(folder, front.state_dir)):
        raise Elsewhere(f"the service's, in {front.state_dir}; `sudo katago-agent doctor` looks there")
    is_root = (os.geteuid() if uid is None else uid) == 0
    if front is None and not is_ours and not is_root and unit.exists():
        raise Elsewhere("the service's, which does not run; `sudo katago-agent doctor` looks there")


def _is_same(folder: Path, other: str) -> bool:
    try:
        return folder.samefile(other)
    except OSError:
        return False


def check_state(settings: Settings) -> str:
    leave_to_service(settings)
    folder = settings.state_dir
    if not folder.is_dir():
        raise StoreUnwritable(f"{folder} is not there yet", fix="Run `agent install`; it makes and fills it.")
    try:
        # Nameless: root may run this in a folder that belongs to the service.
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StoreUnwritable(
            f"{folder} cannot be written: {error.strerror}",
            fix="Run this as the user that runs the agent (sudo katago-agent doctor), or set `state_dir`.",
        ) from error
    from agent.install.room import needed_bytes

    free, needed = free_bytes(folder), needed_bytes(settings)
    if free < needed:
        raise StorageFull(f"{folder} has {free / 1e6:.0f} MB free, {needed / 1e6:.0f} are needed for the network")
    return f"{folder}, {free / 1e9:.1f} GB free"


def check_network(settings: Settings) -> str:
    leave_to_service(settings)
    store = Store(settings.state_dir)
    current = store.current()
    if current is None:
        raise NetworkMissing(f"no network in {settings.state_dir}")
    store.verify(current)
    return f"{current.manifest.name}, SHA-256 as it should be, from {current.manifest.source}"


def check_conversion(settings: Settings) -> str:
    leave_to_service(settings)
    store = Store(settings.state_dir)
    current = store.current()
    converted = [
        entry for entry in store.entries() if current and entry.manifest.source_sha256 == current.manifest.sha256
    ]
    if not converted and settings.engine.wants_native:
        return "not needed: katago runs the network file as it is"
    if not converted:
        from agent.hardware import detect
        from agent.profile import choose, load_profiles
        from agent.provision import RUN_SOURCE, backend_of

        backend = backend_of(settings, choose(detect(), load_profiles(data_folder("profiles"))).require())
        if backend in RUN_SOURCE:
            return f"not needed: backend {backend} runs the network file as it is"
        raise NetworkMissing("the network in use is not converted yet", fix="Run `agent run --once`; it converts it.")
    for entry in converted:
        try:
            store.verify(entry)
        except StoreDamaged as error:
            # A start takes what has the right size.
            pull = f"Run `agent pull {entry.manifest.name}`, which removes it"
            fix = f"{pull}; a restart of the service, or `agent run --once`, makes it again."
            raise StoreDamaged(str(error), fix=fix) from error
    made = ", ".join(f"{entry.manifest.precision} by {entry.manifest.exporter}" for entry in converted)
    return f"{made}; SHA-256 as it should be"


def check_katago(settings: Settings) -> str:
    if not settings.engine.wants_native:
        return "none wanted; the built-in engine serves"
    leave_to_service(settings)
    from agent.engine.native_check import check_native
    from agent.provision import KATAGO_HOME, katago_here

    current = Store(settings.state_dir).current()
    assert current is not None, "this check needs the one of the network"
    return check_native(katago_here(settings), current.path, settings.state_dir / KATAGO_HOME)


# ---------------------------------------------------------------- the service


def check_move(settings: Settings, config: Path | None = None) -> str:
    """Of the running agent, where there is one: a second engine beside it may be more than a small board holds."""
    front = find_front(settings.state_dir)
    joins = front is not None and any(_lets_us_in(place) for place in front.places("gtp"))
    if not joins:
        leave_to_service(settings)
    # An option for the visits would forbid to join.
    commands = "kata-set-param maxVisits 2\nboardsize 9\nclear_board\ngenmove b\nquit\n"
    try:
        done = subprocess.run(
            [*own_command(), "gtp", *(["--config", str(config)] if config else [])],
            input=commands,
            capture_output=True,
            text=True,
            timeout=MOVE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineDown(f"no move within {MOVE_TIMEOUT_S:.0f} s") from error
    # The others answer with nothing.
    moves = [line.removeprefix("=").strip() for line in done.stdout.splitlines() if line.startswith("=")]
    played = next((move for move in moves if move), None)
    if played is None:
        said = dict(line.partition(": ")[::2] for line in done.stderr.splitlines())
        raise EngineDown(f"no move; `agent gtp` said: {said.get('agent', 'nothing')}", fix=said.get("fix", ""))
    return f"the {'running agent' if joins else 'engine'} plays {played} on an empty 9×9 board"


def _lets_us_in(place: Path | tuple[str, int]) -> bool:
    return not isinstance(place, Path) or os.access(place, os.R_OK | os.W_OK)


def check_sockets(settings: Settings) -> str:
    given = (settings.gtp_address, settings.analysis_address, settings.websocket_address)
    addresses = [text for text in given if text]
    for text in addresses:
        host, port = parse_address(text)
        _connect(host, port, ServiceDown, f"nothing answers on {text}")
    return ", ".join(addresses) + (" answer" if addresses else "none configured")


def check_broker(settings: Settings) -> str:
    host, port = settings.mqtt.host or "127.0.0.1", settings.mqtt.broker_port
    own = "" if settings.mqtt.host else ", the agent's own"
    fix = ServiceDown.fix if own else ""
    _connect(host, port, BrokerUnreachable, f"no MQTT broker on {host}:{port}{own}", fix)
    return f"{host}:{port}{own}, accepts connections"


def _connect(host: str, port: int, failure: type[AgentError], message: str, fix: str = "") -> None:
    try:
        socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise failure(f"{message}: {error.strerror or error}", fix=fix) from error


def check_service(settings: Settings) -> str:
    if not Path("/run/systemd/system").is_dir():
        return "no systemd here; `agent run` is started by hand"
    done = subprocess.run(
        ["systemctl", "show", f"--property={','.join(PROPERTIES)}", SERVICE],
        capture_output=True,
        text=True,
        timeout=PROBE_TIMEOUT_S,
    )
    from agent.hardware import detect

    state = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return judge_service(state, with_gpu=uses_gpu(settings.engine, str(detect().board.family)))


def judge_service(state: Mapping[str, str], *, with_gpu: bool = False) -> str:
    """What PROPERTIES of the service mean; `StatusText` is the service's own word. `with_gpu` is whether it should have
    one, which all other links here see: they run outside its sandbox. Raises ServiceDown."""
    if state.get("LoadState") != "loaded":
        raise ServiceDown("the service is not installed", fix="Run `sudo ./install.sh run`.")
    if state.get("ActiveState") != "active":
        own_word = f": {state['StatusText']}" if state.get("StatusText") else ""
        raise ServiceDown(
            f"the service is {state.get('ActiveState')}{own_word}",
            fix="See `journalctl -u katago-agent`, then `sudo systemctl restart katago-agent`.",
        )
    closed = ""
    if with_gpu and state.get("PrivateDevices") == "yes":
        # A katago may be none that needs it, so this is no broken link.
        closed = "; it may not open the GPU before `sudo katago-agent install` and a restart"
    return f"active, {state.get('UnitFileState')} at boot, restarted {state.get('NRestarts')} times{closed}"


def chain(config: Path | None) -> tuple[Link, ...]:
    """Every link in its order; `config` is the file that was asked for."""
    return (
        Link("python", check_python),
        Link("core", check_core, ("python",)),
        Link("runtime", check_runtime, ("python",)),
        Link("hardware", check_hardware),
        Link("profile", check_profile, ("hardware",)),
        Link("state", check_state),
        Link("network", check_network, ("state",)),
        Link("conversion", check_conversion, ("network",)),
        Link("katago", check_katago, ("network",)),
        Link("move", partial(check_move, config=config), ("core", "runtime", "network")),
        Link("service", check_service),
        Link("sockets", check_sockets, ("service",)),
        Link("broker", check_broker, ("service",)),
    )
