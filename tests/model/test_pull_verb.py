"""`agent pull` as people and programs call it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.small_networks import manifest_of
from msgspec.structs import replace

from agent.model.store import Store


def agent_pull(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "agent", "pull", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.network
def test_a_real_network_from_a_folder(tmp_path: Path, network_file: Callable[[str], Path]) -> None:
    path = network_file("b15c192")
    plain = agent_pull("b15c192", "--from", path.parent, "--state", tmp_path)
    stored = Store(tmp_path).find("1579a64e6190c3a8d73eeb96feb4dee1879f9e5e114279b15d6c56dbab3b0f78")
    assert stored is not None
    name = "g170e-b15c192-s1672170752-d466197061"
    assert plain.stdout == f"{name}: 36.9 MB from folder {path.parent}, in {stored.path}\n"
    assert (plain.returncode, plain.stderr) == (0, "")

    again = agent_pull("b15c192", "--json", "--state", tmp_path)
    assert again.returncode == 0
    assert json.loads(again.stdout)["manifest"]["licence"]["name"] == "CC0-1.0"


def test_a_name_that_nothing_has(tmp_path: Path) -> None:
    done = agent_pull("b15c129", "--state", tmp_path / "state")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "'b15c129' is no network of the catalogue" in done.stderr
    assert "fix: Name one of: b15c192" in done.stderr
    assert not (tmp_path / "state").exists()


def test_what_was_converted_is_read_again_too(tmp_path: Path) -> None:
    path, store = tmp_path / "mine.bin.gz", Store(tmp_path / "state")
    path.write_bytes(gzip.compress(b"mine\n8\n"))
    assert agent_pull(path, "--state", store.root).returncode == 0
    (stored,) = store.entries()
    (tmp_path / "mine.onnx").write_bytes(b"converted")
    made = replace(manifest_of("mine", b"converted"), file="mine.onnx", source_sha256=stored.sha256, exporter="1")
    converted = store.add_file(tmp_path / "mine.onnx", made)
    assert "removed" not in agent_pull(path, "--state", store.root).stderr
    converted.path.chmod(0o644)
    converted.path.write_bytes(b"CONVERTED")
    again = agent_pull(path, "--state", store.root)
    assert again.returncode == 0 and "mine.onnx was damaged and is removed" in again.stderr
    assert store.entries() == [stored]


def test_a_path_that_is_no_network(tmp_path: Path) -> None:
    (tmp_path / "it.bin.gz").write_bytes(b"plain")
    done = agent_pull(tmp_path / "it.bin.gz", "--state", tmp_path / "state")
    assert done.returncode == 1
    assert "is not a network file" in done.stderr
    assert not (tmp_path / "state").exists()
