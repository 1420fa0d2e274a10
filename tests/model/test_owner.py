"""Root and a state folder of somebody else: a verb goes on as that user, and nothing is ever written there as root.

Without root nobody can be made the owner; then the same calls must change nothing.
"""

from __future__ import annotations

import gzip
import os
import pwd
import subprocess
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from fakes.pull_child import start_forkserver
from fakes.small_networks import content_of, manifest_of, tree
from fakes.stranger import STRANGER, as_stranger, in_child, shared_folder

from agent.errors import StoreUnwritable
from agent.model.catalogue import Catalogue
from agent.model.owner import UMASK, become_owner
from agent.model.pull import import_file, pull_named
from agent.model.store import Store, StoredNetwork
from agent.settings import default_state_dir, own_command

IS_ROOT = os.geteuid() == 0
OWNER = STRANGER if IS_ROOT else os.geteuid()
CONTENT = content_of("one", 1000)


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    return start_forkserver()


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder of a service that is not root's."""
    with shared_folder() as folder:
        path = folder / "state"
        path.mkdir(mode=0o750)
        os.chown(path, OWNER, OWNER if IS_ROOT else os.getegid())
        yield path


def identity_in(folder: Path) -> tuple[tuple[int, ...], tuple[int, ...], int, str]:
    """Who a process is that calls `become_owner`."""
    become_owner(folder)
    umask = os.umask(0)
    return os.getresuid(), os.getresgid(), umask, os.environ["HOME"]


def test_root_becomes_the_owner_for_good(context: ForkServerContext, state: Path) -> None:
    before = in_child(context, identity_in, Path("/"))
    users, groups, umask, home = in_child(context, identity_in, state)
    assert users == (OWNER,) * 3
    if not IS_ROOT:
        assert (users, groups, umask, home) == before
        return
    user = pwd.getpwuid(STRANGER)
    assert (groups, umask, home) == ((user.pw_gid,) * 3, UMASK, user.pw_dir)
    assert before[0] == (0, 0, 0), "what is root's own is used as root"


def test_a_folder_that_is_not_there_goes_by_where_it_would_be(context: ForkServerContext, state: Path) -> None:
    assert in_child(context, identity_in, state / "new" / "er")[0] == (OWNER,) * 3


def test_an_owner_whom_no_list_of_users_knows(context: ForkServerContext, state: Path) -> None:
    if IS_ROOT:
        os.chown(state, 1234567, 1234567)
    users, _, _, home = in_child(context, identity_in, state)
    assert (users[0], home) == ((1234567, str(state)) if IS_ROOT else (OWNER, os.environ["HOME"]))


def test_the_store_writes_nothing_as_root_in_anothers_folder(state: Path) -> None:
    path = state.parent / "one"
    path.write_bytes(CONTENT)
    if IS_ROOT:
        with pytest.raises(StoreUnwritable, match=r"belongs to \w+, and root") as caught:
            Store(state).add_file(path, manifest_of("one", CONTENT))
        assert f"sudo -u '{pwd.getpwuid(STRANGER).pw_name}'" in caught.value.fix
        with pytest.raises(StoreUnwritable):
            Store(state).collect_garbage()
        assert tree(state) == {} and not list(state.iterdir())
    else:
        Store(state).add_file(path, manifest_of("one", CONTENT))


def test_who_would_make_something_of_a_network_there_is_told_first(context: ForkServerContext, state: Path) -> None:
    mine = state.parent / "mine.bin.gz"
    mine.write_bytes(gzip.compress(b"mine\n8\n"))
    stored = in_child(context, import_as_owner, mine, state)
    if IS_ROOT:
        with pytest.raises(StoreUnwritable):
            pull_named("mine", Catalogue(()), Store(state))
    else:
        assert pull_named("mine", Catalogue(()), Store(state)) == stored


def import_as_owner(path: Path, state: Path) -> StoredNetwork:
    become_owner(state)
    return import_file(path, Store(state))


def test_the_machines_folder_is_its_owners_too(
    context: ForkServerContext, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert as_stranger(context, default_state_dir, state) == state
    foreign = as_stranger(context, default_state_dir, Path("/"))
    assert foreign.parts[-3:] == (".local", "state", "katago-agent") or "XDG_STATE_HOME" in os.environ


def pull_into(state: Path, network: Path) -> subprocess.CompletedProcess[str]:
    command = [*own_command(), "pull", str(network), "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_verb_leaves_nothing_that_the_service_cannot_use(state: Path) -> None:
    mine = state.parent / "mine.bin.gz"
    mine.write_bytes(gzip.compress(b"mine\n8\n"))
    done = pull_into(state, mine)
    assert done.returncode == 0 and "mine:" in done.stdout, done.stderr
    assert ("goes on as" in done.stderr) == IS_ROOT
    assert {path.lstat().st_uid for path in state.rglob("*")} == {OWNER}


def test_the_verb_writes_through_no_link_for_the_service(state: Path) -> None:
    mine, elsewhere = state.parent / "mine.bin.gz", state.parent / "home"
    mine.write_bytes(gzip.compress(b"mine\n8\n"))
    elsewhere.mkdir()
    (state / "staging").symlink_to(elsewhere)
    assert pull_into(state, mine).returncode == (1 if IS_ROOT else 0)
    assert not list(elsewhere.iterdir())
