"""The store: whatever is done in whatever order, readers see whole networks, and links that mean something."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from fakes.small_networks import content_of, manifest_of, tree
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule
from msgspec.structs import replace

from agent.errors import DownloadCorrupt, StoreBusy, StoreDamaged, StoreUnwritable
from agent.model import disk
from agent.model.store import Manifest, Store, StoredNetwork

ONE, TWO = content_of("one", 3000), content_of("two", 2000)


def add(store: Store, folder: Path, name: str, content: bytes) -> StoredNetwork:
    path = folder / f"{name}.download"
    path.write_bytes(content)
    return store.add_file(path, manifest_of(name, content))


def test_nothing_is_created_by_looking(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    assert store.find("0" * 64) is None
    assert store.entries() == []
    assert store.current() is None
    assert store.previous() is None
    assert store.find_converted("0" * 64, "fp32", "1") is None
    assert list(tmp_path.iterdir()) == []


def test_links_and_rollback(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    one, two = add(store, tmp_path, "one", ONE), add(store, tmp_path, "two", TWO)
    with pytest.raises(StoreDamaged, match="no previous"):
        store.rollback()
    assert store.activate(one.sha256) == one
    assert (store.current(), store.previous()) == (one, None)
    store.activate(two.sha256)
    assert (store.current(), store.previous()) == (two, one)
    store.activate(two.sha256)
    assert (store.current(), store.previous()) == (two, one), "activating the current one forgets nothing"
    assert store.rollback() == one
    assert (store.current(), store.previous()) == (one, two)
    assert (tmp_path / "state" / "current").readlink() == Path("networks") / one.sha256
    shutil.move(tmp_path / "state", tmp_path / "moved")
    moved = Store(tmp_path / "moved").current()
    assert moved is not None
    assert moved.sha256 == one.sha256, "links are relative"


def test_a_converted_network_is_found_by_what_it_was_made_of(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    source = add(store, tmp_path, "one", ONE)
    path = tmp_path / "one.onnx"
    path.write_bytes(TWO)
    manifest = replace(
        manifest_of("one", TWO), file="one.onnx", source_sha256=source.sha256, precision="fp32", exporter="3"
    )
    converted = store.add_file(path, manifest)
    assert store.find_converted(source.sha256, "fp32", "3") == converted
    assert store.find_converted(source.sha256, "fp32", "4") is None
    assert store.find_converted(source.sha256, "int8", "3") is None
    assert store.find(converted.sha256) == StoredNetwork(converted.sha256, converted.path, manifest)


def test_what_older_exporters_made_goes_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    source, other = add(store, tmp_path, "one", ONE), add(store, tmp_path, "two", TWO)

    def convert(name: str, of: StoredNetwork, precision: str, exporter: str) -> StoredNetwork:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(name.encode())
        made = manifest_of(name, name.encode())
        made = replace(made, source_sha256=of.sha256, precision=precision, exporter=exporter)
        return store.add_file(path, made)

    old, new = convert("old", source, "fp32", "1"), convert("new", source, "fp32", "2")
    # "fp32 plain" is another form of the graph: of the same exporter it stays, of an older one it goes.
    convert("old-form", source, "fp32 plain", "1")
    convert("other-players", source, "fp32 as rank_5k", "2")
    kept = [new, convert("half", source, "fp16", "1"), convert("foreign", other, "fp32", "1"), source, other]
    kept.append(convert("new-form", source, "fp32 plain", "2"))
    with old.path.open("rb") as open_file:
        store.drop_conversions(new)
        assert open_file.read() == b"old", "who has it open keeps it"
    assert {stored.sha256 for stored in store.entries()} == {stored.sha256 for stored in kept}
    assert not old.path.parent.exists()
    assert list((tmp_path / "state" / "staging").iterdir()) == []
    store.drop_conversions(new)
    assert len(store.entries()) == len(kept)


def test_a_conversion_that_changed_goes_and_nothing_else(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    source, other = add(store, tmp_path, "one", ONE), add(store, tmp_path, "two", TWO)
    made = {}
    for name, of in (("sound", source), ("bad", source), ("foreign", other)):
        path = tmp_path / name
        path.write_bytes(name.encode())
        manifest = replace(manifest_of(name, name.encode()), source_sha256=of.sha256, precision=name, exporter="1")
        made[name] = store.add_file(path, manifest)
    for name in ("bad", "foreign"):
        made[name].path.chmod(0o644)
        made[name].path.write_bytes(name.encode()[::-1])
    assert store.drop_damaged_conversions(source.sha256) == [made["bad"]]
    assert set(store.networks.iterdir()) == {made[name].path.parent for name in ("sound", "foreign")} | {
        source.path.parent,
        other.path.parent,
    }
    assert store.drop_damaged_conversions(source.sha256) == []


def test_a_staged_file_is_taken_over(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    with store.staging() as folder:
        (folder / "out.onnx").write_bytes(ONE)
        stored = store.add_file(folder / "out.onnx", manifest_of("one", ONE))
    assert stored.path.read_bytes() == ONE
    assert list((tmp_path / "state" / "staging").iterdir()) == []


def test_all_bytes_are_on_the_disk_before_a_download_becomes_read_only(tmp_path: Path) -> None:
    """They share an inode: after a power cut in between nobody but root could go on with it."""
    store = Store(tmp_path / "state")
    store.partials.mkdir(parents=True)
    part = store.partials / "one.part"
    part.write_bytes(ONE)
    calls: list[str] = []

    def note(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function in (os.chmod, os.fsync):
            calls.append(function.__name__)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        store.add_file(part, manifest_of("one", ONE))
    finally:
        sys.setprofile(before)
    assert calls[:3] == ["fsync", "chmod", "fsync"]


@pytest.mark.parametrize("content", [b"", ONE[:-1], ONE + b"x", bytes(len(ONE))])
def test_what_is_not_the_network_does_not_get_in(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path / "state")
    two = add(store, tmp_path, "two", TWO)
    store.activate(two.sha256)
    before = tree(store.root)
    path = tmp_path / "bad"
    path.write_bytes(content)
    with pytest.raises(DownloadCorrupt, match=r"one\.bin\.gz"):
        store.add_file(path, manifest_of("one", ONE))
    assert tree(store.root) == before
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored.path.unlink(),
        lambda stored: stored.path.write_bytes(ONE[:-1]),
        lambda stored: (stored.path.parent / "manifest.json").unlink(),
        lambda stored: (stored.path.parent / "manifest.json").write_bytes(b"{}"),
        lambda stored: (stored.path.parent / "manifest.json").write_bytes(b"\xff\x00 not json"),
        lambda stored: shutil.rmtree(stored.path.parent),
    ],
    ids=["no file", "short file", "no manifest", "empty manifest", "garbage manifest", "no folder"],
)
def test_a_damaged_network_is_not_found_and_is_replaced(tmp_path: Path, damage: object) -> None:
    store = Store(tmp_path / "state")
    one, two = add(store, tmp_path, "one", ONE), add(store, tmp_path, "two", TWO)
    store.activate(one.sha256)
    one.path.chmod(0o644)
    damage(one)  # type: ignore[operator]
    assert store.find(one.sha256) is None
    assert store.current() is None
    assert [stored.manifest.name for stored in store.entries()] == ["two"]
    with pytest.raises(StoreDamaged):
        store.activate(one.sha256)
    store.activate(two.sha256)
    assert store.current() == two
    assert add(store, tmp_path, "one", ONE) == one
    store.verify(one)


def test_a_changed_byte_is_found_by_verifying(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    one = add(store, tmp_path, "one", ONE)
    store.verify(one)
    one.path.chmod(0o644)
    one.path.write_bytes(ONE[:-1] + b"\0")
    with pytest.raises(StoreDamaged, match="changed") as caught:
        store.verify(one)
    assert "agent pull" in caught.value.fix
    assert add(store, tmp_path, "one", ONE) == one
    store.verify(one)


@pytest.mark.parametrize("name", ["../evil", "", "a/b", ".hidden"])
def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "state")
    one = add(store, tmp_path, "one", ONE)
    path = one.path.parent / "manifest.json"
    path.write_text(path.read_text().replace('"one.bin.gz"', f'"{name}"'))
    assert store.find(one.sha256) is None


def test_leftovers_of_the_dead_go_and_work_of_the_living_stays(tmp_path: Path) -> None:
    store = Store(tmp_path / "state")
    one = add(store, tmp_path, "one", ONE)
    dead = tmp_path / "state" / "staging" / "dead"
    (dead / "deep").mkdir(parents=True)
    (dead / "deep" / "file").write_bytes(ONE)
    (store.partials / f"{one.sha256}-0.part").write_bytes(b"x")
    (store.partials / f"{'0' * 64}-0.part").write_bytes(b"x")
    with store.staging() as living:
        store.collect_garbage()
        assert living.is_dir()
        assert not dead.exists()
    assert [path.name for path in store.partials.iterdir()] == [f"{'0' * 64}-0.part"]


def test_a_lock_excludes_and_says_who_holds_it(tmp_path: Path) -> None:
    waited: list[str] = []
    times = iter(range(100))
    (tmp_path / "locks").mkdir()
    path = tmp_path / "locks" / "store"
    second = disk.hold_lock(path, wait_s=2, waiting=waited.append, clock=lambda: float(next(times)))
    with disk.hold_lock(path, wait_s=0), pytest.raises(StoreBusy, match=rf"process {os.getpid()} is using"):
        second.__enter__()
    assert waited == [f"process {os.getpid()}"]
    with disk.hold_lock(path, wait_s=0):
        pass


def test_a_waiting_lock_is_given_on(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def second() -> None:
        with disk.hold_lock(tmp_path / "lock", wait_s=20, waiting=lambda holder: waits.set()):
            order.append("second")

    thread = threading.Thread(target=second)
    with disk.hold_lock(tmp_path / "lock", wait_s=0):
        thread.start()
        assert waits.wait(20)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


def test_a_user_who_may_only_read_can_start(tmp_path: Path) -> None:
    """Whatever would write fails here, even for root: there is a file where the lock files lie."""
    store = Store(tmp_path / "state")
    one, two = add(store, tmp_path, "one", ONE), add(store, tmp_path, "two", TWO)
    store.activate(one.sha256)
    shutil.rmtree(store.root / "locks")
    (store.root / "locks").write_bytes(b"")
    assert store.find(one.sha256) == one
    assert store.activate(one.sha256) == one
    with pytest.raises(StoreUnwritable):
        store.activate(two.sha256)
    assert store.current() == one


def test_a_state_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    path = tmp_path / "one"
    path.write_bytes(ONE)
    with pytest.raises(StoreUnwritable):
        Store(tmp_path / "file" / "state").add_file(path, manifest_of("one", ONE))


def test_manifests_keep_their_form(tmp_path: Path) -> None:
    """Files of this form lie on devices; what changes it must still read it."""
    one = add(Store(tmp_path), tmp_path, "one", ONE)
    assert (one.path.parent / "manifest.json").read_text() == (
        "{\n"
        '  "name": "one",\n'
        '  "file": "one.bin.gz",\n'
        '  "size_bytes": 3000,\n'
        f'  "sha256": "{one.sha256}",\n'
        '  "source": "a test",\n'
        '  "licence": {\n'
        '    "name": "CC0-1.0",\n'
        '    "source": "https://example.org/licence",\n'
        '    "redistribution": true\n'
        "  }\n"
        "}"
    )


class StoreMachine(RuleBasedStateMachine):
    """Any sequence of what processes and accidents do to a store, against a model of it: which networks are whole, and
    where the two links point."""

    networks = Bundle("networks")

    def __init__(self) -> None:
        super().__init__()
        shared = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(dir=shared if shared.is_dir() else None))
        self.whole: dict[str, Manifest] = {}
        self.current: str | None = None
        self.previous: str | None = None

    @property
    def store(self) -> Store:
        """A new object each time, as each process has its own."""
        return Store(self.folder / "state")

    @rule(target=networks, number=st.integers(0, 4))
    def add_network(self, number: int) -> str:
        content = content_of(f"network {number}", 100 + number)
        stored = add(self.store, self.folder, f"n{number}", content)
        self.whole[stored.sha256] = stored.manifest
        return stored.sha256

    @rule(number=st.integers(0, 4))
    def add_wrong_bytes(self, number: int) -> None:
        path = self.folder / "wrong"
        path.write_bytes(b"wrong")
        with pytest.raises(DownloadCorrupt):
            self.store.add_file(path, manifest_of(f"n{number}", content_of(f"network {number}", 100 + number)))

    @rule(sha256=networks)
    def activate(self, sha256: str) -> None:
        if sha256 not in self.whole:
            with pytest.raises(StoreDamaged):
                self.store.activate(sha256)
            return
        self.store.activate(sha256)
        self._switched(sha256)

    @rule()
    def rollback(self) -> None:
        if self.previous not in self.whole:
            with pytest.raises(StoreDamaged):
                self.store.rollback()
            return
        assert self.previous is not None
        assert self.store.rollback().sha256 == self.previous
        self._switched(self.previous)

    @rule(sha256=networks)
    def lose_the_file(self, sha256: str) -> None:
        if manifest := self.whole.pop(sha256, None):
            (self.store.networks / sha256 / manifest.file).unlink()

    @rule(target=networks, left=st.binary(max_size=5))
    def die_while_staging(self, left: bytes) -> object:
        folder = self.folder / "state" / "staging" / f"left{len(left)}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "file").write_bytes(left)
        return multiple()

    @rule()
    def collect_garbage(self) -> None:
        self.store.collect_garbage()
        staging = self.folder / "state" / "staging"
        assert not staging.exists() or not list(staging.iterdir())

    @invariant()
    def readers_see_what_the_model_says(self) -> None:
        assert {stored.sha256: stored.manifest for stored in self.store.entries()} == self.whole
        for stored in self.store.entries():
            self.store.verify(stored)
        for link, expected in ((self.store.current(), self.current), (self.store.previous(), self.previous)):
            assert (link.sha256 if link else None) == (expected if expected in self.whole else None)

    def _switched(self, to: str) -> None:
        if self.current in self.whole and self.current != to:
            self.previous = self.current
        self.current = to

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None, derandomize=True)
test_store_machine = StoreMachine.TestCase
