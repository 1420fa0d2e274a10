"""Runs exported networks with the real aarch64 runtimes in an emulated Debian arm64, and compares with this machine.

    sudo .venv/bin/python tests/system/arm64_artifacts.py FOLDER... [--positions FILE] [--count N] [--cpu CPU]

FOLDERs are what `agent export` wrote, with the onnx-fp32 artifact in each. Every artifact that one of our backends runs
is run there and here on the same positions (without --positions the packaged golden ones; N of each of 19x19, 13x13 and
9x9). Two things must hold: there and here say the same, within what other instructions round; and what is said there is
within the gate of the artifact's precision, counted from fp32 on this machine. A table says by how much.

Needs root, debootstrap, qemu-user-static (apt-get install) and binfmt_misc; Debian's packages and PyPI. Without these
it says what is missing and ends with status 3. The system is the one that `make wheels` keeps in $KATAGO_AGENT_CHROOTS
(default ~/.cache/katago-agent-chroots); nothing is written into it. ONNX Runtime dies under the emulator when it reads
this machine's /sys and /proc/cpuinfo, so a Raspberry Pi's lie in their place.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.engine.backends.interface import NetworkInfo, Outputs
    from agent.export.artifact import Accuracy, Artifact
    from agent.workshop.position_set import PositionSet

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))
CACHE = Path(os.environ.get("KATAGO_AGENT_CHROOTS", Path.home() / ".cache" / "katago-agent-chroots"))
BASE = CACHE / "bookworm-arm64"
PACKAGES = ("numpy", "msgspec", "onnxruntime", "MNN", "ai-edge-litert")
# Debian 12: Python 3.11, glibc 2.36.
PYTHON = "311"
GLIBCS = (17, 24, 26, 27, 28, 31, 34, 35, 36)
BOARDS = ("19x19", "13x13", "9x9")
# By the emulator's name of the processor. A Pi 4 has no dot product, a Pi 5 has; "max" has everything.
MACHINES = {"cortex-a72": "pi-4-b 4GB bookworm", "cortex-a76": "pi-5-b 8GB bookworm"}
# One position of b18c384nbt takes about half a minute under emulation on a machine that has other work.
RUN_S = 3600
# Other instructions, other order of additions: in fp32 that stays far below; in fp16 and INT8 a rounding may fall to
# the other side and move a probability by some steps of the precision.
SAME_POLICY = {"fp32": 1e-4, "fp16": 5e-3, "int8-weights": 1e-4, "int8": 5e-2}
INSIDE = "--inside"
HEAD = (
    f"{'':<20} {'':<14} {'arm64 against x86':>20} {'arm64 against fp32 on x86':>37}\n"
    f"arm64: {'format':<20} {'runtime':<14} {'policy max':>10} {'win max':>9} {'top-1':>7} {'win MAE':>9}"
    f" {'KL':>9} {'lead MAE':>9} {'s each':>8}"
)


class Failed(Exception):
    pass


def say(text: str) -> None:
    print(f"arm64: {text}", flush=True)


def missing_here() -> list[str]:
    missing = [] if os.geteuid() == 0 else ["root"]
    missing += [tool for tool in ("debootstrap", "qemu-aarch64-static", "unshare") if not shutil.which(tool)]
    if "overlay" not in Path("/proc/filesystems").read_text():
        missing.append("overlayfs")
    return missing


# ---------------------------------------------------------------- the emulated system


def make_base() -> None:
    binfmt = Path("/proc/sys/fs/binfmt_misc")
    if not (binfmt / "register").exists():
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(binfmt)], check=True)
    if not (binfmt / "qemu-aarch64").exists():
        (binfmt / "register").write_text(Path("/usr/lib/binfmt.d/qemu-aarch64.conf").read_text().strip())
    if (BASE / ".complete").exists():
        return
    say(f"making {BASE} (a few minutes, once)")
    shutil.rmtree(BASE, ignore_errors=True)
    BASE.mkdir(parents=True)
    with (CACHE / f"{BASE.name}.log").open("wb") as log:
        first = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase"]
        include = "--include=ca-certificates,python3,python3-venv,g++"
        subprocess.run([*first, include, "bookworm", str(BASE)], stdout=log, stderr=log, check=True)
        second = ["chroot", str(BASE), "/debootstrap/debootstrap", "--second-stage"]
        subprocess.run(second, stdout=log, stderr=log, check=True)
    (BASE / ".complete").touch()


def wheels() -> Path:
    """A folder with the aarch64 packages, unpacked here, which takes seconds instead of minutes there."""
    target = CACHE / f"arm64-site-{PYTHON}"
    if (target / ".complete").exists():
        return target
    say("fetching the aarch64 wheels")
    shutil.rmtree(target, ignore_errors=True)
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBCS] + ["--platform=manylinux2014_aarch64"]
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--target",
        str(target),
    ]
    options = ["--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp", *platforms]
    subprocess.run([*command, *options, *PACKAGES], check=True)
    (target / ".complete").touch()
    return target


class System:
    """The base under an overlay in `folder`, with the packages, our code and `data` in it."""

    def __init__(self, folder: Path, data: Path, cpu: str) -> None:
        from tests.boards.tree import build, find_fixture

        packages, fixture = wheels(), find_fixture(MACHINES[cpu])
        self.root, self._cpu = folder / "root", cpu
        upper, work, board = folder / "upper", folder / "work", folder / "board"
        for made in (self.root, upper, work):
            made.mkdir()
        options = f"lowerdir={BASE},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)
        build(fixture, board)
        shutil.copytree(board / "sys", self.root / "sys", symlinks=True, dirs_exist_ok=True)
        self._mount(packages, "site", "ro,bind")
        self._mount(REPOSITORY, "code", "ro,bind")
        self._mount(data, "data", "bind")
        self._mount(Path("/proc"), "proc", "bind")
        self._mount(Path("/dev"), "dev", "ro,bind")
        self._mount(board / "proc/cpuinfo", "proc/cpuinfo", "ro,bind")

    def _mount(self, source: Path, name: str, options: str) -> None:
        target = self.root / name
        if source.is_dir():
            target.mkdir(exist_ok=True)
        subprocess.run(["mount", "-o", options, str(source), str(target)], check=True)

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": "1",
        }
        environment |= {"PYTHONPATH": "/code:/site", "QEMU_CPU": self._cpu, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            ["nice", "-n", "10", "chroot", str(self.root), "/usr/bin/python3", *argv],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_S,
        )


# ---------------------------------------------------------------- one artifact, on either side


def inside(artifact: Path, positions: Path, out: Path) -> None:
    """Run `artifact` on `positions` in batches of 4 and of what is left; write to `out` what it says."""
    import numpy as np

    from agent.engine.backends import open_backend
    from agent.export.artifact import read_artifact
    from agent.workshop.accuracy import evaluate
    from agent.workshop.position_set import load_position_set

    found = read_artifact(artifact)
    assert found is not None
    backend = open_backend(found.format.facts.backend, artifact, threads=1)
    begun = time.monotonic()
    answers = evaluate(backend, load_position_set(positions), batch=4)
    seconds = np.array(time.monotonic() - begun)
    arrays = {f"{number}.{name}": part for number, each in enumerate(answers) for name, part in each._asdict().items()}
    np.savez(out, seconds=seconds, versions=np.array(", ".join(backend.versions().values())), **arrays)


@dataclass(frozen=True)
class Said:
    """What an artifact said on one side."""

    outputs: list[Outputs]
    seconds: float
    versions: str


def read_said(path: Path) -> Said:
    import numpy as np

    from agent.engine.backends.interface import Outputs

    with np.load(path, allow_pickle=False) as arrays:
        count = sum(name.endswith(".policy") for name in arrays.files)
        outputs = [Outputs(*(arrays[f"{number}.{name}"] for name in Outputs._fields)) for number in range(count)]
        return Said(outputs, float(arrays["seconds"]), str(arrays["versions"]))


class Bench:
    """Positions and artifacts of one folder, and both sides."""

    def __init__(self, system: System, data: Path, positions: PositionSet) -> None:
        self._system, self._data = system, data
        self._positions = positions
        positions.save(data / "positions.npz")

    def here(self, name: str) -> Said:
        """In a process of its own, too: a runtime that crashes is a row of the table, not the end."""
        arguments = [str(self._data / name), str(self._data / "positions.npz"), str(self._data / "here.npz")]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = ["nice", "-n", "10", sys.executable, __file__, INSIDE, *arguments]
        return self._read(subprocess.run(command, env=environment, capture_output=True, text=True), "here.npz")

    def there(self, name: str) -> Said:
        arguments = [f"/data/{name}", "/data/positions.npz", "/data/there.npz"]
        return self._read(self._system.run("/code/tests/system/arm64_artifacts.py", INSIDE, *arguments), "there.npz")

    def compare(self, left: Said, right: Said, network: NetworkInfo) -> Accuracy:
        from agent.workshop.accuracy import compare

        return compare(left.outputs, right.outputs, self._positions, network)[0]

    def _read(self, done: subprocess.CompletedProcess[str], out: str) -> Said:
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise Failed(f"ended with {done.returncode}, saying: {last[:200]}")
        return read_said(self._data / out)


# ---------------------------------------------------------------- the table


def examine(folder: Path, positions_file: Path | None, count: int, cpu: str, only: Sequence[str]) -> list[str]:
    """Print a row for each artifact in `folder`; returns what failed."""
    from agent.engine.backends import BACKENDS
    from agent.export.artifact import Format, artifacts_in

    artifacts = [each for each in artifacts_in(folder) if each.format.facts.backend in BACKENDS]
    exact = next((each for each in artifacts if each.format is Format.ONNX_FP32), None)
    if exact is None:
        return [f"{folder} holds no onnx-fp32 artifact to compare with"]
    failures = []
    with place() as folder:
        data = folder / "data"
        data.mkdir()
        for each in artifacts:
            for path in (each.path, each.path.with_name(f"{each.path.name}.json")):
                shutil.copyfile(path, data / path.name)
        positions = choose(positions_file, count, exact.manifest.network.prefer_pass_alive)
        bench = Bench(System(folder, data, cpu), data, positions)
        say(f"{exact.manifest.network.name}, {len(positions)} positions, {cpu}")
        say(HEAD)
        fp32 = bench.here(exact.path.name)
        for each in artifacts:
            if not only or each.manifest.format in only:
                failures += row(each, bench, fp32)
    return failures


@contextlib.contextmanager
def place() -> Iterator[Path]:
    """A folder to mount in. It is emptied only when nothing is mounted there any more: /dev and the tree itself are."""
    folder = Path(tempfile.mkdtemp(prefix="arm64-", dir=CACHE))
    try:
        yield folder
    finally:
        for point in reversed(mounted_below(folder)):
            subprocess.run(["umount", point], check=False)
        if left := mounted_below(folder):
            say(f"{folder} stays, for {', '.join(left)} is still mounted in it")
        else:
            shutil.rmtree(folder)


def mounted_below(folder: Path) -> list[str]:
    """In the order in which they were mounted."""
    points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [point for point in points if point.startswith(f"{folder}/")]


def row(artifact: Artifact, bench: Bench, fp32: Said) -> list[str]:
    """Print the artifact's row; returns what is out of bounds."""
    from agent.workshop.gates import BOUNDS, slice_bounds

    name, network = artifact.manifest.format, artifact.manifest.network
    try:
        there, here = bench.there(artifact.path.name), bench.here(artifact.path.name)
    except (Failed, subprocess.TimeoutExpired) as error:
        say(f"{name:<20} FAIL  {error}")
        return [f"{name}: {error}"]
    precision = artifact.format.facts.precision
    sides, gate = bench.compare(here, there, network), bench.compare(fp32, there, network)
    bounds = slice_bounds(BOUNDS[precision], gate.positions)
    wrong = []
    if not sides.policy_max <= SAME_POLICY[precision]:
        wrong.append(f"{name}: a probability differs between the sides by {sides.policy_max:.2g}")
    for field in fields(bounds):
        value, bound = getattr(gate, field.name), getattr(bounds, field.name)
        if not (value >= bound if field.name == "top1" else value <= bound):
            wrong.append(f"{name}: {field.name} {value:.3g} against fp32 here, bound {bound:.3g}")
    figures = f"{sides.policy_max:>10.1e} {sides.win_max:>9.1e} {gate.top1:>7.3f} {gate.win_mae:>9.1e}"
    figures += f" {gate.policy_kl:>9.1e} {gate.lead_mae:>9.1e} {there.seconds / gate.positions:>8.2f}"
    say(f"{name:<20} {there.versions:<14} {figures}  {'FAIL' if wrong else 'pass'}")
    return wrong


def choose(file: Path | None, count: int, prefer_pass_alive: bool) -> PositionSet:
    """`count` positions of each board, spread over the games."""
    from agent.workshop.golden import golden_set, packaged_rows
    from agent.workshop.position_set import PositionSet, load_position_set

    whole = load_position_set(file) if file else golden_set(packaged_rows(), prefer_pass_alive=prefer_pass_alive)[0]
    groups = [group for group in whole.groups if group.board in BOARDS]
    kept = [group.take([at * len(group) // count for at in range(min(count, len(group)))]) for group in groups]
    return PositionSet(tuple(kept), whole.source)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--positions", type=Path)
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--cpu", choices=MACHINES, default="cortex-a72")
    parser.add_argument("--only", action="append", default=[], metavar="FORMAT")
    options = parser.parse_args()
    missing = missing_here()
    if missing:
        say(f"not run here, for want of {', '.join(missing)}")
        say("needs: sudo apt-get install debootstrap qemu-user-static; then run as root on a kernel with overlayfs")
        return 3
    if os.environ.get("IN_NAMESPACE") != "yes":  # mounts are gone with the process, however it ends
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, "IN_NAMESPACE": "yes"})
    CACHE.mkdir(parents=True, exist_ok=True)
    make_base()
    failures = []
    for folder in options.folders:
        failures += examine(folder, options.positions, options.count, options.cpu, options.only)
    for failure in failures:
        say(f"FAIL  {failure}")
    say("something failed" if failures else "everything passed")
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == [INSIDE]:
        inside(*(Path(each) for each in sys.argv[2:5]))
    else:
        sys.exit(main())
