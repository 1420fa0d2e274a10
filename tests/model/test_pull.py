"""Pulling from a real server on loopback: what is asked, what is believed, and what is left on the disk.

Every fault is shown with the exception and the files. `store` holds one active network, which no failure may change.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.http_server import CERTIFICATE, FileServer, Reply
from fakes.pull_child import start_forkserver
from fakes.small_networks import Listener, content_of, entry_of, git_blob, manifest_of, tree
from fakes.stranger import as_stranger, shared_folder
from msgspec.structs import replace

from agent.errors import (
    CatalogueWrong,
    ConfigError,
    DownloadCorrupt,
    ModelError,
    NetworkFormatError,
    SourceUnreachable,
    StorageFull,
    StoreBusy,
    StoreUnwritable,
)
from agent.events import ChainStep, DownloadProgress, SourceFailed
from agent.model.catalogue import Catalogue, NetworkEntry, Source
from agent.model.http_source import CHUNK_BYTES, HttpLimits
from agent.model.pull import import_file, pull, pull_named
from agent.model.store import Store

CONTENT = content_of("served", 5 * CHUNK_BYTES + 123)
OTHER = content_of("other", len(CONTENT))
OLD = content_of("old", 1000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NOTHING = Catalogue(())
# An honest server that gets no core for a moment must not look silent.
QUICK = HttpLimits(connect_s=10.0, stall_s=5.0, resumes=2)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"/net": CONTENT}) as serving:
        yield serving


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store in which one network is active."""
    kept = Store(tmp_path / "state")
    old = tmp_path / "old"
    old.write_bytes(OLD)
    kept.activate(kept.add_file(old, manifest_of("old", OLD)).sha256)
    return kept


@pytest.fixture
def entry(server: FileServer) -> NetworkEntry:
    return entry_of("net", CONTENT, Source(url=server.url("/net")))


def is_whole(store: Store) -> bool:
    stored = store.find(SHA256)
    return stored is not None and stored.path.read_bytes() == CONTENT


def fetched_ranges(server: FileServer) -> list[tuple[int, int]]:
    return [(sent.start, sent.end) for sent in server.sent]


# ---------------------------------------------------------------- what goes well


@pytest.mark.parametrize("tls", [False, True])
def test_fetches_checks_and_stores(tmp_path: Path, tls: bool) -> None:
    listener, store = Listener(), Store(tmp_path)
    with FileServer({"/net": CONTENT}, tls=tls) as server:
        entry = entry_of("net", CONTENT, Source(url=server.url("/net")))
        stored = pull([entry], store, listener, limits=HttpLimits(ca_file=CERTIFICATE))
    assert stored.path.read_bytes() == CONTENT
    assert stored.path.stat().st_mode & 0o222 == 0
    assert stored.manifest == replace(manifest_of("net", CONTENT), source=server.url("/net"))
    assert store.current() is None
    assert set(tree(tmp_path)) == {f"networks/{SHA256}/net.bin.gz", f"networks/{SHA256}/manifest.json"}
    progress = [event for event in listener.events if isinstance(event, DownloadProgress)]
    assert progress[-1] == DownloadProgress("net", len(CONTENT), len(CONTENT))


def test_a_stored_network_is_not_fetched_again(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    first = pull([entry], store)
    assert pull([entry], store) == first
    assert pull([entry], store, refresh=True) == first
    assert len(server.requests) == 1


def test_a_damaged_network_is_fetched_again(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    stored = pull([entry], store)
    stored.path.chmod(0o644)
    stored.path.write_bytes(OTHER)
    pull([entry], store, refresh=True)
    assert is_whole(store)


def test_a_damaged_network_is_fetched_again_from_where_that_stopped(
    server: FileServer, entry: NetworkEntry, store: Store
) -> None:
    stored = pull([entry], store)
    stored.path.chmod(0o644)
    stored.path.write_bytes(OTHER)
    server.script("/net", Reply(cut_after=70_000))
    with pytest.raises(SourceUnreachable):
        pull([entry], store, refresh=True, limits=HttpLimits(resumes=0))
    pull([entry], store, refresh=True, limits=QUICK)
    assert is_whole(store)
    assert fetched_ranges(server)[1:] == [(0, 70_000), (70_000, len(CONTENT))]
    assert not list(store.partials.iterdir())


def test_a_download_under_way_is_left_alone(entry: NetworkEntry, store: Store) -> None:
    """Of a network that is here: somebody has just fetched it, or it is the one that replaces it."""
    pull([entry], store)
    part = store.partials / f"{SHA256}-0.part"
    part.write_bytes(b"x")
    with store.pulling(SHA256, wait_s=0):
        store.collect_garbage()
        assert part.exists()
    store.collect_garbage()
    assert not part.exists()


def test_goes_on_where_a_broken_connection_stopped(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.script("/net", Reply(cut_after=70_000), Reply(cut_after=100_000))
    pull([entry], store, limits=QUICK)
    assert is_whole(store)
    assert fetched_ranges(server) == [(0, 70_000), (70_000, 170_000), (170_000, len(CONTENT))]
    assert [request.headers["If-Range"] for request in server.requests] == [None, '"one"', '"one"']


def test_a_changed_file_is_fetched_from_its_start(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.script("/net", Reply(cut_after=70_000))
    server.files["/net"] = OTHER[:70_000] + CONTENT[70_000:]
    with pytest.raises(SourceUnreachable):
        pull([entry], store, limits=HttpLimits(resumes=0))
    server.files["/net"], server.etag = CONTENT, '"two"'
    pull([entry], store, limits=QUICK)
    assert is_whole(store)
    assert fetched_ranges(server)[1:] == [(0, len(CONTENT))]


def test_a_server_that_ignores_if_range_is_asked_afresh(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    """It continues with bytes of the new version, and only its ETag tells."""
    server.script("/net", Reply(cut_after=70_000), Reply(headers={"ETag": '"two"'}))
    pull([entry], store, limits=QUICK)
    assert is_whole(store)
    assert [request.start for request in server.requests] == [0, 70_000, 0]


def test_a_server_without_ranges_serves_from_the_start(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.script("/net", Reply(cut_after=70_000), Reply(ignore_range=True))
    pull([entry], store, limits=QUICK)
    assert is_whole(store)


def test_a_server_without_validators_is_still_resumed(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.etag = None
    server.script("/net", Reply(cut_after=70_000))
    pull([entry], store, limits=QUICK)
    assert is_whole(store)
    assert fetched_ranges(server) == [(0, 70_000), (70_000, len(CONTENT))]


def test_an_unsatisfiable_range_is_asked_afresh(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.script("/net", Reply(cut_after=70_000), Reply(status=416, body=b""))
    pull([entry], store, limits=QUICK)
    assert is_whole(store)
    assert [request.start for request in server.requests] == [0, 70_000, 0]


def test_damage_from_an_earlier_try_costs_one_more_fetch(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    """After a power cut the bytes on the disk may be wrong though the server is right."""
    server.script("/net", Reply(cut_after=70_000))
    with pytest.raises(SourceUnreachable):
        pull([entry], store, limits=HttpLimits(resumes=0))
    (part,) = store.partials.glob("*.part")
    part.write_bytes(bytes(70_000))
    listener = Listener()
    pull([entry], store, listener, limits=QUICK)
    assert is_whole(store)
    assert [request.start for request in server.requests] == [0, 70_000, 0]
    assert any(isinstance(event, SourceFailed) and "once more" in event.reason for event in listener.events)


def test_a_mislabelled_encoding_does_not_matter(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    """Some servers call every .gz file an encoding; the bytes are the file's all the same."""
    server.script("/net", Reply(headers={"Content-Encoding": "gzip"}))
    pull([entry], store)
    assert is_whole(store)


def test_redirects_are_followed(server: FileServer, store: Store) -> None:
    server.files["/moved"] = b""
    server.always("/moved", Reply(status=302, headers={"Location": "/net"}))
    pull([entry_of("net", CONTENT, Source(url=server.url("/moved")))], store)
    assert is_whole(store)
    assert [request.path for request in server.requests] == ["/moved", "/net"]


def test_a_proxy_is_used(server: FileServer, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "http://behind-a-proxy.invalid/net"
    server.files[url] = CONTENT
    monkeypatch.setenv("http_proxy", server.url(""))
    monkeypatch.setenv("no_proxy", "")
    pull([entry_of("net", CONTENT, Source(url=url))], store)
    assert is_whole(store)
    assert [request.path for request in server.requests] == [url]


def test_a_proxy_may_be_written_as_curl_takes_it_and_is_shown_its_password(
    server: FileServer, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "http://behind-a-proxy.invalid/net"
    server.files[url] = CONTENT
    monkeypatch.setenv("http_proxy", server.url("").replace("http://", "us%40er:pass@"))
    monkeypatch.setenv("no_proxy", "")
    pull([entry_of("net", CONTENT, Source(url=url))], store)
    login = base64.b64encode(b"us@er:pass").decode()
    assert [request.headers["Proxy-Authorization"] for request in server.requests] == [f"Basic {login}"]


@pytest.mark.parametrize("proxy", ["socks5://u:secret@10.0.0.1:1080", "http://u:secret@[x", "http://x:port"])
def test_a_proxy_that_nobody_understands_costs_that_source_only(
    entry: NetworkEntry, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "")
    before = tree(store.root)
    with pytest.raises(SourceUnreachable, match=r"proxy .* none that we can use: set http_proxy to") as caught:
        pull([entry], store)
    assert "secret" not in str(caught.value)
    assert tree(store.root) == before
    (tmp_path / "net.bin.gz").write_bytes(CONTENT)
    pull([replace(entry, sources=(*entry.sources, Source(folder=tmp_path)))], store)
    assert is_whole(store)


def test_a_folder_is_looked_into_first(server: FileServer, entry: NetworkEntry, store: Store, tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    (tmp_path / "stick" / entry.file_name).write_bytes(CONTENT)
    stored = pull([entry], store, folders=[tmp_path / "stick"])
    assert stored.manifest.source == f"folder {tmp_path / 'stick'}"
    assert (tmp_path / "stick" / entry.file_name).read_bytes() == CONTENT
    assert not server.requests


# ---------------------------------------------------------------- what goes wrong

CORRUPT, UNREACHABLE = DownloadCorrupt, SourceUnreachable
FAULTS: dict[str, tuple[Reply, type[ModelError], str]] = {
    "wrong hash": (Reply(body=OTHER), CORRUPT, "SHA-256"),
    "too long by its header": (Reply(body=CONTENT + b"x"), CORRUPT, "offers"),
    "too short by its header": (Reply(body=CONTENT[:-1]), CORRUPT, "offers"),
    "too long, without a length": (Reply(body=CONTENT * 2, headers={"Content-Length": None}), CORRUPT, "more"),
    "compressed once more": (
        Reply(body=gzip.compress(CONTENT), headers={"Content-Encoding": "gzip"}),
        CORRUPT,
        "offers",
    ),
    "part that nobody asked for": (Reply(status=206), CORRUPT, "not asked for"),
    "login page instead": (Reply(body=b"<html>", headers={"Content-Type": "text/html"}), CORRUPT, "offers"),
    "not found": (Reply(status=404), UNREACHABLE, "404"),
    "forbidden": (Reply(status=403), UNREACHABLE, "403"),
    "broken server": (Reply(status=500), UNREACHABLE, "500"),
    "redirect loop": (Reply(status=302, headers={"Location": "/net"}), UNREACHABLE, "redirects"),
    "redirect to nowhere": (Reply(status=302), UNREACHABLE, "without saying"),
    "redirect to a file": (Reply(status=302, headers={"Location": "file:///etc/passwd"}), UNREACHABLE, "not followed"),
    "empty body": (Reply(cut_after=0), UNREACHABLE, "broke"),
    "silent from the start": (Reply(stall_after=0), UNREACHABLE, "silent"),
}


@pytest.mark.parametrize(("reply", "error", "says"), FAULTS.values(), ids=FAULTS)
def test_fault(
    server: FileServer, entry: NetworkEntry, store: Store, reply: Reply, error: type[ModelError], says: str
) -> None:
    before = tree(store.root)
    server.always("/net", reply)
    listener = Listener()
    with pytest.raises(error, match=says) as caught:
        pull([entry], store, listener, limits=QUICK)
    assert type(caught.value) is error
    assert caught.value.fix
    kept = {name: value for name, value in tree(store.root).items() if not name.startswith("partial/")}
    assert kept == before
    assert not list(store.partials.glob("*.part"))
    assert [event.source for event in listener.events if isinstance(event, SourceFailed)] == [server.url("/net")]

    server.always("/net", Reply())
    server.release.set()
    pull([entry], store, limits=QUICK)
    assert is_whole(store)


LIES = [
    ("another range", Reply(headers={"Content-Range": f"bytes 69999-{len(CONTENT) - 1}/{len(CONTENT)}"}), "sends"),
    ("another whole", Reply(headers={"Content-Range": f"bytes 70000-{len(CONTENT) - 1}/{len(CONTENT) + 1}"}), "sends"),
    ("no range", Reply(headers={"Content-Range": None}), "sends"),
    ("another length", Reply(headers={"Content-Length": "5"}), "offers"),
    ("the whole file as a range", Reply(body=CONTENT), "offers"),
    ("more than the range", Reply(body=CONTENT, headers={"Content-Length": None}), "more than"),
]


@pytest.mark.parametrize(("lie", "says"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_lying_range(server: FileServer, entry: NetworkEntry, store: Store, lie: Reply, says: str) -> None:
    before = tree(store.root)
    server.script("/net", Reply(cut_after=70_000), lie)
    with pytest.raises(DownloadCorrupt, match=says):
        pull([entry], store, limits=QUICK)
    assert tree(store.root) == before


def test_range_with_other_bytes(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    """Every header is right and the bytes are not: found by the hash, and the lie is thrown away."""
    before = tree(store.root)
    server.script("/net", Reply(cut_after=70_000), Reply(body=OTHER[70_000:]))
    with pytest.raises(DownloadCorrupt, match="SHA-256"):
        pull([entry], store, limits=QUICK)
    assert tree(store.root) == before


def test_a_short_body_keeps_what_came(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    before = tree(store.root)
    server.always("/net", Reply(cut_after=1000))
    with pytest.raises(SourceUnreachable, match=f"3 times .* 3000 of {len(CONTENT)} bytes are kept"):
        pull([entry], store, limits=QUICK)
    (part,) = store.partials.glob("*.part")
    assert part.read_bytes() == CONTENT[:3000]
    after = {name: value for name, value in tree(store.root).items() if not name.startswith("partial/")}
    assert after == before

    server.always("/net", Reply())
    pull([entry], store, limits=QUICK)
    assert fetched_ranges(server)[-1] == (3000, len(CONTENT))
    assert is_whole(store)
    assert not list(store.partials.iterdir())


def test_a_stall_keeps_what_came(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.always("/net", Reply(stall_after=70_000))
    with pytest.raises(SourceUnreachable, match="silent"):
        pull([entry], store, limits=HttpLimits(stall_s=2.0, resumes=0))
    assert server.stalled.is_set()
    (part,) = store.partials.glob("*.part")
    assert part.read_bytes() == CONTENT[:70_000]


def test_a_dripping_server_is_left(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    """No read ever times out, yet it would take a day; the clock is the test's: ten minutes a look."""
    from agent.model.http_source import fetch
    from agent.model.partial import Partial

    times = iter(range(0, 1_000_000, 600))
    store.partials.mkdir(exist_ok=True)
    partial = Partial(store.partials, SHA256, server.url("/net"), len(CONTENT))
    limits = HttpLimits(slowest_bytes_per_s=1000, resumes=0)
    with pytest.raises(SourceUnreachable, match=r"only \d+ bytes in 600 s"):
        fetch(server.url("/net"), partial, "net", Listener(), limits, clock=lambda: float(next(times)))
    assert 0 < partial.have_bytes < len(CONTENT)


def test_no_address(store: Store) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/net"
        before = tree(store.root)
        with pytest.raises(SourceUnreachable, match="no connection"):
            pull([entry_of("net", CONTENT, Source(url=url))], store)
    assert tree(store.root) == before
    with pytest.raises(SourceUnreachable, match="cannot be resolved"):
        pull([entry_of("net", CONTENT, Source(url="http://no-such-host.invalid/net"))], store)


def test_a_certificate_that_nobody_vouches_for(store: Store) -> None:
    with FileServer({"/net": CONTENT}, tls=True) as server, pytest.raises(SourceUnreachable, match="TLS"):
        pull([entry_of("net", CONTENT, Source(url=server.url("/net")))], store)
    assert not server.requests


def test_a_catalogue_with_a_wrong_hash_is_named(server: FileServer, store: Store, tmp_path: Path) -> None:
    """The bytes are those that git knows, so the catalogue is at fault; they are not activated all the same."""
    before = tree(store.root)
    wrong = entry_of("net", OTHER, Source(url=server.url("/net")), git_blob=git_blob(CONTENT, tmp_path))
    with pytest.raises(CatalogueWrong, match=f"catalogue gives net a SHA-256 .* {SHA256}") as caught:
        pull([wrong], store)
    assert "networks.yaml" in caught.value.fix
    assert tree(store.root) == before


def test_a_wrong_blob_is_just_corrupt(server: FileServer, store: Store, tmp_path: Path) -> None:
    server.always("/net", Reply(body=content_of("third", len(CONTENT))))
    wrong = entry_of("net", OTHER, Source(url=server.url("/net")), git_blob=git_blob(CONTENT, tmp_path))
    with pytest.raises(DownloadCorrupt):
        pull([wrong], store)


def test_no_room_is_found_before_anything_is_asked(server: FileServer, store: Store) -> None:
    before = tree(store.root)
    huge = replace(entry_of("net", CONTENT, Source(url=server.url("/net"))), size_bytes=1 << 60)
    with pytest.raises(StorageFull, match="MB free"):
        pull([huge], store)
    assert not server.requests
    assert tree(store.root) == before


def test_other_partial_downloads_are_given_up_for_room(entry: NetworkEntry, store: Store) -> None:
    own, other, busy = (store.partials / f"{sha256}-0.part" for sha256 in (SHA256, "0" * 64, "1" * 64))
    for part in (own, other, busy):
        part.write_bytes(b"x")
    with store.pulling("1" * 64, wait_s=0), pytest.raises(StorageFull):
        pull([replace(entry, size_bytes=1 << 60)], store)
    assert [part.exists() for part in (own, other, busy)] == [True, False, True]


def test_a_state_folder_that_is_a_file(entry: NetworkEntry, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("mine")
    with pytest.raises(StoreUnwritable, match="state") as caught:
        pull([entry], Store(tmp_path / "state"))
    assert "writable" in caught.value.fix
    assert (tmp_path / "state").read_text() == "mine"


# ---------------------------------------------------------------- several sources, several candidates


def test_sources_are_tried_in_order(server: FileServer, store: Store, tmp_path: Path) -> None:
    server.files["/bad"] = OTHER
    sources = [Source(folder=tmp_path / "none"), Source(url=server.url("/missing")), Source(url=server.url("/bad"))]
    listener = Listener()
    stored = pull([entry_of("net", CONTENT, *sources, Source(url=server.url("/net")))], store, listener)
    assert stored.manifest.source == server.url("/net")
    failed = [(event.source, event.reason) for event in listener.events if isinstance(event, SourceFailed)]
    assert [source for source, _ in failed] == [str(source) for source in sources]
    assert ["is not there" in failed[0][1], "404" in failed[1][1], "SHA-256" in failed[2][1]] == [True] * 3
    assert not any(isinstance(event, ChainStep) for event in listener.events)


def test_the_next_candidate_is_taken_and_the_output_says_so(
    server: FileServer, entry: NetworkEntry, store: Store
) -> None:
    strange = replace(entry_of("strange", OTHER), blocks=("ordinary", "recurrent"))
    gone = entry_of("gone", OTHER, Source(url=server.url("/gone")))
    listener = Listener()
    assert pull([gone, strange, entry], store, listener).sha256 == SHA256
    (step,) = [event for event in listener.events if isinstance(event, ChainStep)]
    assert step.name == "network"
    assert step.detail.startswith("net instead of gone (gone: the server answered 404; strange: ")
    assert "recurrent" in step.detail


def test_a_stored_candidate_wins_unless_refreshed(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.files["/better"] = OTHER
    better = entry_of("better", OTHER, Source(url=server.url("/better")))
    pull([entry], store)
    assert pull([better, entry], store).manifest.name == "net"
    assert pull([better, entry], store, refresh=True).manifest.name == "better"


def test_when_nothing_can_be_had_every_reason_is_told(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    server.always("/net", Reply(body=OTHER))
    gone = entry_of("gone", OTHER, Source(url=server.url("/gone")))
    with pytest.raises(DownloadCorrupt) as caught:
        pull([gone, entry], store)
    for told in ("gone, net", "404", "SHA-256", server.url("/gone"), server.url("/net")):
        assert told in str(caught.value)
    with pytest.raises(SourceUnreachable, match="nothing was asked for"):
        pull([], store)
    with pytest.raises(SourceUnreachable, match="names no source"):
        pull([entry_of("none", OTHER)], store)


# ---------------------------------------------------------------- two at once


def test_two_at_once_fetch_once(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    """The second waits, says for whom, and finds the network there."""
    waiting = threading.Event()

    class Second(Listener):
        def report(self, event: object) -> None:
            if isinstance(event, ChainStep) and "is fetching net" in event.detail:
                waiting.set()

    server.before_piece = lambda offset, is_gone: None if offset == 0 else _wait(waiting)
    results: list[str] = []
    second = threading.Thread(target=lambda: results.append(pull([entry], store, Second()).sha256))

    class First(Listener):
        def report(self, event: object) -> None:
            if isinstance(event, DownloadProgress) and not second.ident:
                second.start()

    results.append(pull([entry], store, First()).sha256)
    second.join(20)
    assert results == [SHA256, SHA256]
    assert len(server.requests) == 1


def test_busy_when_not_willing_to_wait(server: FileServer, entry: NetworkEntry, store: Store) -> None:
    with store.pulling(entry.sha256, wait_s=0), pytest.raises(StoreBusy, match="process") as caught:
        pull([entry], store, wait_s=0)
    assert caught.value.fix
    assert not server.requests


def _wait(event: threading.Event) -> None:
    assert event.wait(20)


# ---------------------------------------------------------------- the owner's own file


def test_import(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "my net (1).bin.gz"
    path.write_bytes(gzip.compress(b"mine\n8\n"))
    stored = import_file(path, store)
    assert (stored.manifest.name, stored.manifest.licence.redistribution) == ("my-net-1", False)
    assert stored.path.read_bytes() == path.read_bytes()
    assert import_file(path, store) == stored


@pytest.mark.parametrize("content", [b"", b"plain text", gzip.compress(b"x" * 1000)[:12], None])
def test_import_of_something_else(store: Store, tmp_path: Path, content: bytes | None) -> None:
    before = tree(store.root)
    path = tmp_path / "it.bin.gz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NetworkFormatError, match=r"it\.bin\.gz") as caught:
        import_file(path, store)
    assert caught.value.fix
    assert tree(store.root) == before


def own_file(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(b"mine\n8\n"))
    return path


def test_a_file_that_is_gone_is_served_by_what_was_stored_of_it(store: Store, tmp_path: Path) -> None:
    path, listener = own_file(tmp_path / "stick" / "mine.bin.gz"), Listener()
    stored = import_file(path, store)
    shutil.rmtree(path.parent)
    assert pull_named(str(path), NOTHING, store, listener) == stored
    said = ChainStep("network", f"{path} cannot be read: No such file or directory; takes what was stored of it")
    assert listener.events == [said]


def test_of_several_that_came_from_one_place_the_one_in_use_is_taken(store: Store, tmp_path: Path) -> None:
    path = own_file(tmp_path / "mine.bin.gz")
    first = import_file(path, store)
    path.write_bytes(gzip.compress(b"newer\n8\n"))
    second = import_file(path, store)
    path.unlink()
    os.utime(first.path, (1.0, 1.0))
    assert import_file(path, store) == second
    store.activate(first.sha256)
    assert import_file(path, store) == first


@pytest.mark.parametrize("name", ["my net.bin.gz", "my-net.bin.gz", "my-net"])
def test_a_file_of_the_owner_is_known_by_its_name_afterwards(store: Store, tmp_path: Path, name: str) -> None:
    stored = import_file(own_file(tmp_path / "my net.bin.gz"), store)
    assert pull_named(name, NOTHING, store) == stored
    with pytest.raises(ConfigError, match="'old' is no network"):
        pull_named("old", NOTHING, store)


def test_a_damaged_import_is_replaced_when_its_file_is_pulled_again(store: Store, tmp_path: Path) -> None:
    path = own_file(tmp_path / "mine.bin.gz")
    stored = import_file(path, store)
    stored.path.chmod(0o644)
    stored.path.write_bytes(bytes(stored.manifest.size_bytes))
    pull_named(str(path), NOTHING, store, refresh=True)
    store.verify(stored)


def test_a_file_that_this_user_may_not_see_is_told_with_a_place_for_it() -> None:
    with shared_folder() as folder:
        path = own_file(folder / "home" / "mine.bin.gz")
        path.parent.chmod(0)
        with pytest.raises(NetworkFormatError, match=r"mine\.bin\.gz cannot be read: Permission denied") as caught:
            as_stranger(start_forkserver(), pull_named, str(path), NOTHING, Store(folder / "state"))
        assert "/srv" in caught.value.fix
        assert not (folder / "state").exists()
        path.parent.chmod(0o755)
