"""SIGKILL at any moment, then the same again: always a whole network, and nothing that was on the disk comes twice."""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from fakes.http_server import CERTIFICATE, PIECE_BYTES, FileServer
from fakes.pull_child import PullingProcess, add_and_activate, add_and_die, start_forkserver
from fakes.small_networks import content_of, entry_of, manifest_of, tree

from agent.model.catalogue import NetworkEntry, Source
from agent.model.disk import sha256_of
from agent.model.http_source import CHUNK_BYTES
from agent.model.store import Store

SEED = 20261122
CONTENT = content_of("killed", 24 * CHUNK_BYTES + 4567)
BIG = content_of("big", 300_000)
OLD = content_of("before", 1000)


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return start_forkserver()


@pytest.fixture
def memory_path() -> Iterator[Path]:
    """A folder in memory where there is one: a killed process loses nothing of the kernel's, so these tests need no
    disk, and syncing one hundreds of times would take minutes."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


class Race:
    """One network pulled from one server by processes that get killed, with the bytes that went out counted.

    The server never sends more than one chunk beyond what the client has acknowledged as written. So what it counts
    is what the client was given, not what the kernels had in their buffers.
    """

    def __init__(self, context: ForkServerContext, server: FileServer, root: Path, ca_file: Path | None) -> None:
        self._context, self._server, self._ca_file = context, server, ca_file
        self.store = Store(root)
        self.entry: NetworkEntry = entry_of("net", CONTENT, Source(url=server.url("/net")))
        self.puller: PullingProcess | None = None
        self.hold_at: int | None = None
        self.held = threading.Event()
        self.killed = threading.Event()
        server.before_piece = self._before_piece

    def start(self) -> PullingProcess:
        self.killed.clear()
        self.held.clear()
        self.puller = PullingProcess(self._context, self.store.root, self.entry, self._ca_file, self.on_disk())
        self.puller.start()
        return self.puller

    def kill(self) -> None:
        assert self.puller
        self.puller.kill()
        self.killed.set()

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.store.partials.glob("*.part"))

    def is_whole(self) -> bool:
        stored = self.store.find(self.entry.sha256)
        return stored is not None and sha256_of(stored.path) == self.entry.sha256

    def _before_piece(self, offset: int, is_gone: Callable[[], bool]) -> None:
        # In this order: a connection that is still open after `puller` was read is that puller's.
        puller = self.puller
        assert puller
        if is_gone():
            raise ConnectionError("the client is gone")
        if self.hold_at is not None and offset >= self.hold_at:
            self.held.set()
            assert self.killed.wait(60)
            raise ConnectionError("the client is gone")
        if not puller.wait_for_bytes(offset + PIECE_BYTES - CHUNK_BYTES):
            raise ConnectionError("the client is gone")


def check_no_byte_came_twice(server: FileServer) -> None:
    """What a process got anew is at most the last chunk that the one before was given."""
    for before, after in zip(server.sent, server.sent[1:], strict=False):
        assert before.end - after.start <= CHUNK_BYTES


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_killed_while_bytes_come(context: ForkServerContext, memory_path: Path, tls: bool) -> None:
    """25 kills each, at random byte offsets: alone or several in a row before the run that completes."""
    rng = random.Random(f"{SEED} {tls}")
    kills = 0
    while kills < 25:
        with FileServer({"/net": CONTENT}, tls=tls) as server:
            race = Race(context, server, memory_path / f"{kills}", CERTIFICATE if tls else None)
            on_disk: list[int] = []
            for race.hold_at in sorted(rng.choices(range(len(CONTENT)), k=rng.choice((1, 1, 2, 4)))):
                race.start()
                assert race.held.wait(60)
                race.kill()
                kills += 1
                assert not race.is_whole()
                assert not list(race.store.networks.iterdir())
                on_disk.append(race.on_disk())
            race.hold_at = None
            race.start().finish()
            assert race.is_whole()
            assert not list(race.store.partials.iterdir())
            assert [sent.start for sent in server.sent] == [0, *on_disk]
            check_no_byte_came_twice(server)


def test_killed_at_random_moments(context: ForkServerContext, memory_path: Path) -> None:
    """25 kills at times spread over the whole of a run: before the first byte, while they come, while they are checked
    and published, or after the end."""
    rng = random.Random(SEED)
    for kill in range(25):
        with FileServer({"/net": CONTENT}) as server:
            race = Race(context, server, memory_path / f"{kill}", None)
            # A run takes 0.05 to 0.2 s on two busy cores.
            race.start().process.join(rng.uniform(0.0, 0.2))
            race.kill()
            for folder in race.store.networks.glob("*"):
                assert folder.name == race.entry.sha256
                assert race.is_whole()
            race.start().finish()
            assert race.is_whole()
            check_no_byte_came_twice(server)


@pytest.mark.parametrize("first_dies", [False, True], ids=["both live", "the first dies"])
def test_two_processes_at_once(context: ForkServerContext, memory_path: Path, first_dies: bool) -> None:
    """The second waits and says for whom. It then finds the network, or goes on where the dead one stopped."""
    second_waits = threading.Event()
    with FileServer({"/net": CONTENT}) as server:
        entry = entry_of("net", CONTENT, Source(url=server.url("/net")))
        first, second = (PullingProcess(context, memory_path, entry, None, 0) for _ in range(2))

        def before_piece(offset: int, is_gone: Callable[[], bool]) -> None:
            assert offset < CHUNK_BYTES * 4 or second_waits.wait(60)

        server.before_piece = before_piece
        first.start()
        assert first.wait_for_bytes(CHUNK_BYTES)
        second.start()
        step = second.wait_for_step()
        assert step.detail == f"process {first.process.pid} is fetching net; waits for it"
        if first_dies:
            first.kill()
        second_waits.set()
        if not first_dies:
            first.finish()
        second.finish()
        assert len(server.requests) == (2 if first_dies else 1)
        assert all(request.start >= CHUNK_BYTES for request in server.requests[1:])
    stored = Store(memory_path).find(entry.sha256)
    assert stored is not None
    assert stored.path.read_bytes() == CONTENT


def test_killed_before_every_system_call_of_storing(context: ForkServerContext, memory_path: Path) -> None:
    """No moment between the last byte and the switch of `current` is left out, and none costs the download."""
    root = memory_path / "state"
    store = Store(root)
    path = memory_path / "old"
    path.write_bytes(OLD)
    old = store.activate(store.add_file(path, manifest_of("before", OLD)).sha256)
    part = store.partials / f"{manifest_of('big', BIG).sha256}-0.part"
    part.write_bytes(BIG)
    root.rename(memory_path / "at first")

    die_at = 0
    outcomes: list[tuple[bool, bool]] = []
    while True:
        die_at += 1
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(memory_path / "at first", root, symlinks=True)

        process = context.Process(target=add_and_die, args=(root, part, manifest_of("big", BIG), die_at))
        process.start()
        process.join(60)

        stored = store.find(manifest_of("big", BIG).sha256)
        current, previous = store.current(), store.previous()
        assert {entry.sha256 for entry in store.entries()} == {path.name for path in store.networks.iterdir()}
        for entry in store.entries():
            store.verify(entry)
        assert current is not None
        assert current.sha256 in (old.sha256, manifest_of("big", BIG).sha256)
        assert previous is None or previous.sha256 == old.sha256
        assert stored is not None or part.read_bytes() == BIG, "the download is lost"
        outcomes.append((stored is not None, current.sha256 != old.sha256))
        if process.exitcode == 0:
            break

        add_and_activate(root, part, manifest_of("big", BIG))
        store.collect_garbage()
        assert store.current() == store.find(manifest_of("big", BIG).sha256)
        assert store.previous() == old
        assert {name.split("/")[0] for name in tree(root)} == {"current", "previous", "networks"}
        assert not list((root / "staging").iterdir())
    assert outcomes == sorted(outcomes), "a later death never leaves less"
    assert set(outcomes) == {(False, False), (True, False), (True, True)}
    assert die_at > 30
