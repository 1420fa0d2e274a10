"""Boots a Debian 12 with a real systemd, installs the agent in it as its owner would, and does to it what life does.

    sudo python3 tests/system/systemd_container.py [--keep]

Proves: `install.sh run` ends in a service that answers; a second run takes seconds; the unit's exposure is at most 2.5;
after a reboot the service is up by itself; a stopped worker is replaced by the daemon, a stopped daemon by systemd.
Needs root, debootstrap and systemd-container (apt-get install), overlayfs and 3 GB of disk, Debian's packages and PyPI
(pip in the container reaches its index as pip does here). Without these it says what is missing and ends with status 3.
The container shares this machine's network, so the agent in it gets free ports. Base systems are kept in
$KATAGO_AGENT_CHROOTS (default ~/.cache/katago-agent-chroots).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("KATAGO_AGENT_CHROOTS", Path.home() / ".cache" / "katago-agent-chroots"))
BASE = CACHE / "bookworm-systemd"
PACKAGES = "systemd,systemd-sysv,dbus,ca-certificates,python3,python3-venv,g++,procps"
# No machined is asked, so that this works where the outer system has no systemd.
NSPAWN = [
    *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--boot"),
    "--machine=katago-agent-test",
]

# With --keep-unit it leaves the next boot to its caller, with the status that units call RestartForceExitStatus.
WANTS_REBOOT = 133

MAX_EXPOSURE = 2.5
BOOT_S = 120
# A container that shares two cores with a test suite compiles the core and converts a network in this.
INSTALL_S = 1800
READY_S = 120
WORKER_BACK_S = 30
# WatchdogSec and TimeoutAbortSec of the unit, and the start after it.
DAEMON_BACK_S = 30 + 5 + READY_S


class Failed(Exception):
    pass


def say(text: str) -> None:
    print(f"systemd: {text}", flush=True)


def until(what: str, limit_s: float, holds: Callable[[], bool]) -> float:
    """Seconds until `holds`. Raises Failed after `limit_s`."""
    begun, pause = time.monotonic(), threading.Event()
    while not holds():
        if time.monotonic() - begun > limit_s:
            raise Failed(f"{what}: not within {limit_s:.0f} s")
        pause.wait(0.2)
    return time.monotonic() - begun


def missing_here() -> list[str]:
    missing = [] if os.geteuid() == 0 else ["root"]
    missing += [
        tool for tool in ("debootstrap", "systemd-nspawn", "nsenter", "unshare", "git") if not shutil.which(tool)
    ]
    if "overlay" not in Path("/proc/filesystems").read_text():
        missing.append("overlayfs")
    return missing


class Container:
    """A Debian on an overlay of the cached base, booted; `run` runs a command in it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        upper, work = folder / "upper", folder / "work"
        for made in (self.root, upper, work):
            made.mkdir()
        options = f"lowerdir={BASE},upperdir={upper},workdir={work}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)], check=True)
        self._nspawn: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        console = (self.root.parent / "console").open("ab")
        self._nspawn = subprocess.Popen(
            [*NSPAWN, "--directory", str(self.root)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
        until("boot", BOOT_S, lambda: self.leader() != 0)
        until("boot", BOOT_S, lambda: self.run("systemctl", "is-system-running").stdout in ("running\n", "degraded\n"))

    def leader(self) -> int:
        """The container's first process, as seen from here; 0 while there is none."""
        assert self._nspawn
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        try:
            return int((children.read_text().split() or ["0"])[0])
        except OSError:
            return 0

    def run(self, *argv: str, show: bool = False, limit_s: float = 60) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        return subprocess.run(
            ["nsenter", "--target", str(self.leader()), "--all", "--", *argv],
            env=environment | {"LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=None if show else subprocess.PIPE,
            stderr=None if show else subprocess.STDOUT,
            text=True,
            timeout=limit_s,
        )

    def must(self, *argv: str, show: bool = False, limit_s: float = 60) -> str:
        done = self.run(*argv, show=show, limit_s=limit_s)
        if done.returncode:
            raise Failed(f"`{' '.join(argv)}` ended with {done.returncode}: {done.stdout or ''}")
        return done.stdout or ""

    def show(self, name: str) -> str:
        """A property of the service."""
        return self.must("systemctl", "show", "--value", f"--property={name}", "katago-agent.service").strip()

    def reboot(self) -> None:
        assert self._nspawn
        self.run("systemctl", "reboot")
        status = self._nspawn.wait(timeout=BOOT_S)
        if status != WANTS_REBOOT:
            raise Failed(f"the container ended with {status} instead of rebooting")
        self.boot()

    def end(self) -> None:
        if self._nspawn:
            self._nspawn.terminate()
            self._nspawn.wait(timeout=60)
        subprocess.run(["umount", str(self.root)], check=True)


def make_base() -> None:
    if (CACHE / f"{BASE.name}.complete").exists():
        return
    say(f"making {BASE} (a few minutes, once)")
    shutil.rmtree(BASE, ignore_errors=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{BASE.name}.log").open("wb") as log:
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(BASE)]
        subprocess.run(command, stdout=log, stderr=log, check=True)
    (CACHE / f"{BASE.name}.complete").touch()


def furnish(root: Path, ports: tuple[int, int, int]) -> None:
    """A clone of what is committed, a way to the package index, and a configuration with ports that are free here."""
    clone = root / "root" / "katago-agent"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(REPOSITORY), str(clone)], check=True)
    for path in ("etc/resolv.conf", "etc/ssl/certs/ca-certificates.crt"):
        (root / path).unlink(missing_ok=True)
        shutil.copyfile(f"/{path}", root / path)
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    lines = ["[global]"]
    for key in ("index-url", "extra-index-url", "cert", "proxy", "timeout"):
        lines += [
            f"{key} = {line.split('=', 1)[1].strip().strip(chr(39))}"
            for line in listed.stdout.splitlines()
            if line.startswith(f"global.{key}=") and "file:" not in line
        ]
    (root / "etc/pip.conf").write_text("\n".join(lines) + "\n")
    gtp, analysis, broker = ports
    config = root / "etc/katago-agent/agent.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"gtp_address: 127.0.0.1:{gtp}\nanalysis_address: 127.0.0.1:{analysis}\nmqtt:\n  port: {broker}\n"
        "visits: 4\nreport_interval_s: 1\n"
    )


def free_ports() -> tuple[int, int, int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    first, second, third = (server.getsockname()[1] for server in servers)
    for server in servers:
        server.close()
    return first, second, third


def ask(port: int, command: str, limit_s: float = 60) -> str:
    """One GTP command over TCP; "" where nothing answers."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=limit_s) as connection:
            connection.sendall(f"{command}\n".encode())
            answer = b""
            while not answer.endswith(b"\n\n"):
                piece = connection.recv(4096)
                if not piece:
                    break
                answer += piece
    except OSError:
        return ""
    return answer.decode().strip()


def workers(container: Container) -> list[int]:
    """Process ids, as seen in the container, of the daemon's workers."""
    found = container.run("pgrep", "--parent", container.show("MainPID"), "--full", " engine --backend ").stdout
    return [int(line) for line in found.split()]


def prove(container: Container, port: int) -> None:
    begun = time.monotonic()
    container.must("/root/katago-agent/install.sh", "run", show=True, limit_s=INSTALL_S)
    say(f"pass  install.sh run: {time.monotonic() - begun:.0f} s")
    plays = ask(port, "genmove b")
    if not plays.startswith("= "):
        raise Failed(f"after install.sh the GTP socket said {plays!r}")
    say(f"pass  the service answers: genmove b {plays}")

    for line in container.must("katago-agent", "doctor", limit_s=READY_S * 3).splitlines():
        say(f"doctor: {line}")

    begun = time.monotonic()
    container.must("/root/katago-agent/install.sh", "run", limit_s=INSTALL_S)
    say(f"pass  a second install.sh run: {time.monotonic() - begun:.1f} s")

    overall = container.must("systemd-analyze", "security", "--no-pager", "katago-agent.service").splitlines()[-1]
    exposure = float(overall.split(": ")[1].split()[0])
    if exposure > MAX_EXPOSURE:
        raise Failed(f"exposure {exposure} is over {MAX_EXPOSURE}")
    say(f"pass  systemd-analyze security: {exposure}")

    container.reboot()
    took = until("service after reboot", READY_S, lambda: container.show("ActiveState") == "active")
    if not ask(port, "genmove b").startswith("= "):
        raise Failed("after the reboot the GTP socket gives no move")
    say(f"pass  after a reboot the service is up by itself, {took:.0f} s after the system")

    found = workers(container)
    if len(found) != 1:
        raise Failed(f"one worker was expected, there are {len(found)}")
    (worker,) = found
    container.must("kill", f"-{int(signal.SIGSTOP)}", str(worker))
    took = until("another worker", WORKER_BACK_S, lambda: workers(container) not in ([], [worker]))
    if not ask(port, "genmove b").startswith("= "):
        raise Failed("the new worker gives no move")
    say(f"pass  a stopped worker is replaced after {took:.1f} s")

    daemon = container.show("MainPID")
    container.must("kill", f"-{int(signal.SIGSTOP)}", daemon)
    back = lambda: container.show("MainPID") not in (daemon, "0") and container.show("ActiveState") == "active"  # noqa: E731
    took = until("another daemon", DAEMON_BACK_S, back)
    if not ask(port, "genmove b").startswith("= "):
        raise Failed("the new daemon gives no move")
    say(f"pass  a stopped daemon is replaced by systemd after {took:.0f} s")


def main() -> int:
    missing = missing_here()
    if missing:
        say(f"not run here, for want of {', '.join(missing)}")
        say(
            "needs: sudo apt-get install debootstrap systemd-container git; then run as root on a kernel with overlayfs"
        )
        return 3
    if os.environ.get("IN_NAMESPACE") != "yes":  # mounts are gone with the process, however it ends
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe(command[0], command, {**os.environ, "IN_NAMESPACE": "yes"})
    make_base()
    folder = Path(tempfile.mkdtemp(prefix="systemd-", dir=CACHE))
    container = Container(folder)
    try:
        ports = free_ports()
        furnish(container.root, ports)
        container.boot()
        prove(container, ports[0])
    except (Failed, subprocess.TimeoutExpired) as error:
        say(f"FAIL  {error}")
        if container.leader():
            print(container.run("journalctl", "--no-pager", "--lines=60", "--unit=katago-agent").stdout, flush=True)
        return 1
    finally:
        container.end()
        if "--keep" not in sys.argv:
            shutil.rmtree(folder, ignore_errors=True)
    say("everything passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
