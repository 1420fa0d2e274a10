"""Runs unmodified clients against this tree's agent and says of each what came of it, or why it was not run.

    python tests/clients/rerun.py
    python tests/clients/rerun.py --network b15c192.bin.gz --ogatak CHECKOUT --sabaki CHECKOUT --gogui CLASSES

KaTrain and KataGoAnal come from PyPI, @sabaki/gtp from npm, GNU Go from Debian (packages.py). Ogatak and Sabaki's
parser are in no package: name a checkout. GoGui neither: name the folder of its classes or a jar of it. Without a
network of KataGo's a small one of random weights plays, which is enough to speak every protocol. Ends with status 1
where a client failed; one that could not be had is told, and is no failure.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from clients import packages
from clients.packages import NotToBeHad
from fakes.daemons import Daemon
from fakes.network_writer import NetworkWriter

from agent.settings import own_command

HERE = Path(__file__).resolve().parent
# KaTrain's session takes a minute where two cores are shared with others.
CLIENT_S = 600.0
GAME = "(;GM[1]FF[4]SZ[9]KM[6.5]RU[Japanese]HA[2]AB[gc][cg];W[ee];B[gg];W[gf];B[ff];W[fe];B[hf];W[ge];B[hg])"
GOGUI = "net.sf.gogui.tools"


class Failed(Exception):
    """A client did not get what it expects; the text is what it said."""


@dataclass(frozen=True)
class Place:
    """What clients are pointed at: a daemon, the path of a katago, a network, a configuration of KataGo's."""

    daemon: Daemon
    katago: Path
    network: Path
    configuration: Path
    folder: Path
    given: argparse.Namespace

    @property
    def joining(self) -> list[str]:
        return ["--config", str(self.daemon.config)]


async def run(place: Place, *command: str | Path) -> str:
    """The client's standard output. Raises Failed with the end of what it said, or when it does not end."""
    environment = {**os.environ, "HOME": str(place.folder), "STATE_DIRECTORY": str(place.folder / "state")}
    environment.pop("PYTHONPATH", None)
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        cwd=place.folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), CLIENT_S)
    except asyncio.TimeoutError as error:
        process.kill()
        await process.wait()
        raise Failed(f"did not end within {CLIENT_S:.0f} s") from error
    if process.returncode != 0:
        raise Failed(_failure(output.decode().splitlines(), errors.decode().splitlines()))
    return output.decode()


def _failure(output: list[str], errors: list[str]) -> str:
    """The step that failed, or what looks like the cause."""
    try:
        steps = json.loads(output[-1])
    except (IndexError, ValueError):
        return next((line for line in errors if "rror" in line), ([*errors, *output] or ["it said nothing"])[-1])
    return "; ".join(f"{step['step']}: {step['failed']}" for step in steps if "failed" in step)


def steps_of(output: str) -> str:
    return f"{len(json.loads(output.splitlines()[-1]))} steps"


# ---------------------------------------------------------------- clients


async def katrain(place: Place, *how: str | Path) -> str:
    python = packages.python_environment(packages.KATRAIN) / "python"
    return steps_of(await run(place, python, HERE / "katrain_game.py", *how))


async def katrain_as_its_own_engine(place: Place) -> str:
    # The configuration that ships with KaTrain.
    return await katrain(place, "--katago", place.katago, place.network, "katrain/KataGo/analysis_config.cfg")


async def katrain_with_a_command(place: Place) -> str:
    # `exec`: KaTrain ends the shell, and waits for the output that a child of it would hold open.
    return await katrain(place, "--command", "exec " + shlex.join([*own_command(), "analysis", *place.joining]))


async def katrain_over_websocket(place: Place) -> str:
    return await katrain(place, "--url", f"ws://{place.daemon.front.websocket_address}/")


async def sabaki(place: Place, *command: str | Path) -> str:
    modules = packages.node_modules(*packages.SABAKI)
    parser = ["--sabaki", Path(place.given.sabaki).resolve()] if place.given.sabaki else []
    node = ["env", f"NODE_PATH={modules}", packages.tool("node")]
    return steps_of(await run(place, *node, HERE / "sabaki_gtp.js", *parser, *command))


async def sabaki_on_stdio(place: Place) -> str:
    return await sabaki(place, *own_command(), "gtp", *place.joining)


async def sabaki_with_a_katago(place: Place) -> str:
    return await sabaki(place, place.katago, "gtp", "-model", place.network, "-config", place.configuration)


async def sabaki_over_tcp(place: Place) -> str:
    host, _, port = str(place.daemon.front.gtp_address).rpartition(":")
    return await sabaki(place, "--tcp", host, port)


async def katagoanal(place: Place) -> str:
    programs = packages.python_environment(packages.KATAGOANAL)
    settings = place.folder / ".config" / "katagoanal" / "paths.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"binary": str(place.katago), "model": str(place.network)}))
    record = place.folder / "game.sgf"
    record.write_text(GAME)
    command = [programs / "katagoanal", record, "--visits", "8", "-o", place.folder]
    said = await run(place, "env", f"XDG_CONFIG_HOME={place.folder / '.config'}", *command)
    if "Injected 1/1 games" not in said:
        raise Failed(said.strip())
    comments = (place.folder / "game.injected.sgf").read_bytes().count(b"C[")
    if comments != GAME.count(";"):
        raise Failed(f"{comments} of {GAME.count(';')} comments")
    return f"{comments} comments"


async def ogatak(place: Place, *engine: str | Path) -> str:
    if not place.given.ogatak:
        raise NotToBeHad("in no package: name a checkout with --ogatak")
    script = [packages.tool("node"), HERE / "ogatak_engine.js", Path(place.given.ogatak).resolve()]
    return steps_of(await run(place, *script, *engine))


async def ogatak_with_a_katago(place: Place) -> str:
    return await ogatak(place, place.katago, place.configuration, place.network)


async def ogatak_with_gtp(place: Place) -> str:
    return await ogatak(place, "--gtp", *own_command(), "gtp", *place.joining)


def gogui(place: Place, name: str) -> list[str | Path]:
    if not place.given.gogui:
        raise NotToBeHad("in no package: name the folder of its classes or a jar with --gogui")
    classes = Path(place.given.gogui).resolve()
    return [packages.tool("java"), "-Djava.awt.headless=true", "-cp", classes, f"{GOGUI}.{name}.Main"]


async def twogtp(place: Place, ours: list[str | Path], name: str) -> str:
    """Two games with colours changed, GNU Go the other player and the referee."""
    command = gogui(place, "twogtp")
    if not place.given.network:
        raise NotToBeHad("random weights play suicide, which GNU Go's rules forbid: name a network with --network")
    other = f"{packages.tool('gnugo', '/usr/games/gnugo')} --mode gtp --level 1 --chinese-rules"
    players = ["-black", shlex.join(map(str, ours)), "-white", other, "-referee", other]
    games = ["-games", "2", "-alternate", "-size", "9", "-komi", "7.5", "-maxmoves", "160", "-auto"]
    await run(place, *command, *players, *games, "-sgffile", place.folder / name)
    rows = [line.split("\t") for line in (place.folder / f"{name}.dat").read_text().splitlines() if line[:1] != "#"]
    # Columns: number, result as Black, White and the referee see it, colours, duplicate, length, times, error, message.
    wrong = [row for row in rows if row[11] != "0" or row[3] == "?"]
    if wrong or len(rows) != 2:
        raise Failed(f"{len(rows)} games, not well: {wrong}")
    return " and ".join(f"{row[3]} after {row[6]} moves" for row in rows)


async def twogtp_on_stdio(place: Place) -> str:
    return await twogtp(place, [*own_command(), "gtp", *place.joining], "stdio")


async def twogtp_over_tcp(place: Place) -> str:
    host, _, port = str(place.daemon.front.gtp_address).rpartition(":")
    return await twogtp(place, [*gogui(place, "client"), host, port], "tcp")


CLIENTS: tuple[tuple[str, str, Callable[[Place], Awaitable[str]]], ...] = (
    ("KaTrain", "stdio, as its katago", katrain_as_its_own_engine),
    ("KaTrain", "stdio, a command", katrain_with_a_command),
    ("KaTrain", "WebSocket, cut once", katrain_over_websocket),
    ("@sabaki/gtp", "stdio", sabaki_on_stdio),
    ("@sabaki/gtp", "stdio, as a katago", sabaki_with_a_katago),
    ("@sabaki/gtp", "TCP", sabaki_over_tcp),
    ("KataGoAnal", "stdio, as its katago", katagoanal),
    ("Ogatak", "stdio, as its katago", ogatak_with_a_katago),
    ("Ogatak", "stdio, GTP", ogatak_with_gtp),
    ("GoGui TwoGTP", "stdio", twogtp_on_stdio),
    ("GoGui TwoGTP", "gogui-client, TCP", twogtp_over_tcp),
)


# ---------------------------------------------------------------- the table


async def rerun(given: argparse.Namespace, folder: Path) -> int:
    network = Path(given.network).resolve() if given.network else _random_network(folder)
    engine = {"path": str(Path(given.engine).resolve())} if given.engine else {}
    settings = {"engine": engine, "network": str(network), "visits": 16, "threads": 1}
    failures = 0
    async with Daemon(folder, None, "daemon", **settings) as daemon:
        draining = asyncio.create_task(_drain(daemon))
        for name, transport, client in CLIENTS:
            if given.only and not any(word.lower() in name.lower() for word in given.only):
                continue
            start = time.monotonic()
            with tempfile.TemporaryDirectory(dir=folder) as own:
                place = Place(daemon, _katago(folder), network, _configuration(folder), Path(own), given)
                try:
                    result = "passed: " + await client(place)
                except NotToBeHad as error:
                    result = f"not run: {error}"
                except Failed as error:
                    result = f"FAILED: {error}"
                    failures += 1
            print(f"{name:<13} {transport:<21} {time.monotonic() - start:5.0f} s  {result}", flush=True)
        draining.cancel()
    return 1 if failures else 0


async def _drain(daemon: Daemon) -> None:
    """What the daemon goes on to say must not fill its pipe."""
    assert daemon.process.stdout is not None
    while await daemon.process.stdout.readline():
        pass


def _random_network(folder: Path) -> Path:
    path = folder / "random.bin.gz"
    path.write_bytes(gzip.compress(NetworkWriter(8, ["ordinary", "gpool"], policy_channels=1).data))
    return path


def _katago(folder: Path) -> Path:
    path = folder / "katago"
    path.write_text(f'#!/bin/sh\nexec {shlex.join(own_command())} katago "$@"\n')
    path.chmod(0o755)
    return path


def _configuration(folder: Path) -> Path:
    path = folder / "katago.cfg"
    path.write_text("maxVisits = 16\nnumSearchThreads = 1\nlogToStderr = false\n")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", help="a .bin.gz, instead of random weights")
    parser.add_argument("--engine", help="a native katago for the daemon to run, instead of the built-in engine")
    parser.add_argument("--only", nargs="+", help="clients whose names hold one of these words")
    parser.add_argument("--ogatak", help="a checkout of Ogatak")
    parser.add_argument("--sabaki", help="a checkout of Sabaki, whose parser then reads what @sabaki/gtp receives")
    parser.add_argument("--gogui", help="GoGui's classes, a folder or a jar")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="clients-") as folder:
        return asyncio.run(rerun(given, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
