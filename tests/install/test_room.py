"""How much disk a first start still needs: each network its own figure, less what is there already."""

from __future__ import annotations

import hashlib
from pathlib import Path

from msgspec.structs import replace

from agent.export.info import EXPORTER
from agent.install.room import SLACK_BYTES, missing_bytes, needed_bytes
from agent.model.catalogue import Licence, NetworkEntry, load_catalogue
from agent.model.store import Manifest, Store
from agent.settings import Engine, Settings, data_folder, load_settings

CATALOGUE = load_catalogue(data_folder("profiles") / "networks.yaml")
LICENCE = Licence(name="CC0", source="https://example.org", redistribution=True)


def add(store: Store, folder: Path, content: bytes, **more: str) -> str:
    path = folder / "net.bin.gz"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    store.add_file(path, Manifest("net", "net.bin.gz", len(content), digest, "a test", LICENCE, **more))
    return digest


def small(sha256: str) -> NetworkEntry:
    return replace(CATALOGUE.find("b6c96"), size_bytes=1000, sha256=sha256)


def test_the_largest_network_needs_most_and_a_wheel_counts_twice(tmp_path: Path) -> None:
    needs = {name: missing_bytes([CATALOGUE.find(name)], Store(tmp_path)) // 1_000_000 for name in ("b15c192", "b18")}
    # 37 MB, 4.3 times as much converted, 64 MB twice; 98 MB, 4.3 times as much, 125 MB twice.
    assert needs == {"b15c192": 322, "b18": 768}


def test_what_is_there_is_not_counted(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    digest = add(store, tmp_path, b"network")
    other = CATALOGUE.find("b18")
    assert missing_bytes([other, small(digest)], store) == 4300
    add(store, tmp_path, b"converted", source_sha256=digest, precision="fp32", exporter=EXPORTER)
    assert missing_bytes([other, small(digest)], store) == 0


def test_our_own_kernels_need_no_room_for_a_converted_file(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    digest = add(store, tmp_path, b"network")
    assert missing_bytes([small(digest)], store, converts=False) == 0
    assert (
        missing_bytes([CATALOGUE.find("b15c192")], Store(tmp_path), converts=False) // 1_000_000 == 164
    )  # 37 MB, and 64 MB twice
    own = tmp_path / "own.bin.gz"
    own.write_bytes(b"x" * 1000)
    settings = Settings(state_dir=tmp_path, network=str(own))
    assert needed_bytes(replace(settings, engine=Engine(backend="core"))) == SLACK_BYTES + 1000
    assert needed_bytes(replace(settings, engine=Engine(backend="onnxruntime"))) == SLACK_BYTES + 5300


def test_a_file_of_the_owner_a_wrong_name_and_a_backend_without_network(tmp_path: Path) -> None:
    own = tmp_path / "own.bin.gz"
    own.write_bytes(b"x" * 1000)
    config = tmp_path / "agent.yaml"
    config.write_text("state_dir: state\n")
    settings = load_settings(config)
    assert needed_bytes(replace(settings, network=str(own), engine=Engine(backend="onnxruntime"))) == SLACK_BYTES + 5300
    assert needed_bytes(replace(settings, network=str(tmp_path / "gone.bin.gz"))) == SLACK_BYTES
    assert needed_bytes(replace(settings, network="nosuch")) == SLACK_BYTES
    assert needed_bytes(replace(settings, engine=Engine(backend="uniform"))) == SLACK_BYTES
    assert needed_bytes(replace(settings, network="b18", engine=Engine(backend="onnxruntime"))) > 700_000_000
