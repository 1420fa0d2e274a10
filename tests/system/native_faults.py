"""Shows 6: a real katago in front of a real daemon, killed, stopped, with a damaged network and without a library.

    PYTHONPATH=.:tests python tests/system/native_faults.py --katago /path/to/katago --network small.bin.gz

Each fault is provoked while a client plays; printed are the cause that `agent status` told, its fix, who serves, and
that the game went on. The exit status is 0 when every fault was told and survived. Needs gcc for the two binaries that
cannot run: one whose library is gone, one that meets an illegal instruction. Takes about two minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fakes.daemons import Client, Daemon

from agent.service.health import FrontStatus, judge, lines

# A hang is found after ten seconds, three deaths in a row take a few starts.
FAULT_S = 180.0
LOOK_S = 0.1
# So many that a search is still under way when it is struck.
VISITS = 150


class Fault(NamedTuple):
    """`program` makes the katago to start with; `strike` does the harm while a search runs; `falls_back` tells whether
    the built-in engine must serve afterwards."""

    name: str
    program: Callable[[Path, Path], Path]
    strike: Callable[[Daemon, FrontStatus], None] | None
    expected: str
    falls_back: bool


# ---------------------------------------------------------------- programs


def itself(katago: Path, folder: Path) -> Path:
    del folder
    return katago


def without_library(katago: Path, folder: Path) -> Path:
    """A program that was linked against a library which is there no more."""
    del katago
    library, program = folder / "libgone.so", folder / "katago-linked"
    _compile("int gone(void) { return 0; }", library, "-shared", "-fPIC")
    _compile("int gone(void); int main(void) { return gone(); }", program, f"-L{folder}", "-lgone")
    library.unlink()
    return program


def illegal(katago: Path, folder: Path) -> Path:
    """A program that executes what no processor knows, as one built for another does."""
    del katago
    program = folder / "katago-illegal"
    _compile("int main(void) { __builtin_trap(); }", program)
    return program


def missing(katago: Path, folder: Path) -> Path:
    del katago
    return folder / "no-katago-here"


def _compile(source: str, out: Path, *options: str) -> None:
    command = ["gcc", "-x", "c", "-", "-o", str(out), *options]
    subprocess.run(command, input=source, text=True, check=True)


# ---------------------------------------------------------------- strikes


def katago_pid(status: FrontStatus) -> int:
    children = Path(f"/proc/{status.engine_pid}/task/{status.engine_pid}/children").read_text().split()
    return int(children[0])


def kill(daemon: Daemon, status: FrontStatus) -> None:
    del daemon
    os.kill(katago_pid(status), signal.SIGKILL)


def stop(daemon: Daemon, status: FrontStatus) -> None:
    del daemon
    os.kill(katago_pid(status), signal.SIGSTOP)


def damage(daemon: Daemon, status: FrontStatus) -> None:
    """Half of the stored network becomes noise, and katago has to start again."""
    (network,) = (daemon.state_dir / "networks").glob("*/*.bin.gz")
    network.chmod(0o644)
    size = network.stat().st_size
    with network.open("r+b") as file:
        file.seek(size // 2)
        file.write(os.urandom(size // 2))
    kill(daemon, status)


FAULTS = (
    Fault("killed", itself, kill, "it was killed (SIGKILL)", False),
    Fault("stopped (SIGSTOP)", itself, stop, "it is stopped (SIGSTOP)", False),
    Fault("network damaged on the disk", itself, damage, "it cannot load the network", True),
    Fault("shared library missing", without_library, None, "it needs the shared library libgone.so", True),
    Fault("built for another processor", illegal, None, "illegal instruction (SIGILL)", True),
    Fault("no binary", missing, None, "is not there", True),
)


# ---------------------------------------------------------------- one fault


async def suffer(fault: Fault, katago: Path, network: Path, folder: Path) -> bool:
    """Whether the fault was told as it should be, and the game went on."""
    engine = {"path": str(fault.program(katago, folder))}
    daemon = Daemon(folder, None, network=str(network), threads=1, visits=VISITS, engine=engine)
    async with daemon:
        client = await Client.connect(daemon.front.gtp_address)
        moves = [await client.gtp("genmove b")]
        if fault.strike is not None:
            client.say("genmove w")
            fault.strike(daemon, await daemon.outstanding(1))
            moves.append(await client.line())
        status = await asyncio.wait_for(until_told(daemon, fault), FAULT_S)
        moves.append(await client.gtp("genmove b"))
        shown = {"reason": status.reason, "fix": status.fix} | dict(lines(judge(daemon.front, status)))
        client.close()
    print(f"\n{fault.name}")
    for label in ("agent", "reason", "fix", "network", "engine"):
        print(f"  {label:<8} {shown[label]}")
    print(f"  {'moves':<8} {' '.join(move.removeprefix('= ') for move in moves)}", flush=True)
    went_on = all(move.startswith("= ") for move in moves)
    return went_on and fault.expected in shown["reason"] and bool(status.fallen_reason) == fault.falls_back


async def until_told(daemon: Daemon, fault: Fault) -> FrontStatus:
    """The first status of an engine that is up and that tells of the fault."""
    status = await daemon.status()
    while status.engine != "up" or fault.expected not in (status.fallen_reason if fault.falls_back else status.reason):
        await asyncio.sleep(LOOK_S)
        status = await daemon.status()
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--katago", type=Path, required=True)
    parser.add_argument("--network", type=Path, required=True, help="a small one: a .bin.gz of b6c96 or b10c128")
    options = parser.parse_args()
    failed = []
    for fault in FAULTS:
        with tempfile.TemporaryDirectory(prefix="native-faults-") as folder:
            if not asyncio.run(suffer(fault, options.katago.absolute(), options.network.absolute(), Path(folder))):
                failed.append(fault.name)
    print(
        f"\n{len(FAULTS) - len(failed)} of {len(FAULTS)} faults told and survived"
        + "".join(f"; not: {f}" for f in failed)
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
