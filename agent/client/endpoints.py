"""Where an engine is, and how patiently it is looked for. Values only: `transports.py` opens them.

KaTrain's remote engine reconnects six times, waiting one second longer each time up to ten; so do
we, whatever the kind.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

# A first start of a native engine may tune OpenCL for some minutes.
START_S: Final = 600.0
# What browsers and httpx grant a server that is there: a few seconds; a Pi that is busy answers in less.
CONNECT_S: Final = 10.0
# An engine without work ends with its input at once; to give back the memory of a large one takes a second or two.
QUIT_S: Final = 3.0


@dataclass(frozen=True)
class Stdio:
    """An engine that we start: `katago analysis …`, `agent analysis`, `ssh pi katago-agent analysis`. `on_log` is given
    each line that it writes on standard error. After the end of its input it has `quit_s` to end by itself, and as long
    again after SIGTERM."""

    command: Sequence[str]
    environment: Mapping[str, str] | None = None
    on_log: Callable[[str], None] | None = None
    quit_s: float = QUIT_S

    def __str__(self) -> str:
        return self.command[0] if self.command else "no command"


@dataclass(frozen=True)
class Tcp:
    """A service on TCP. `token` is sent as its first line, as our service beyond loopback wants it; `tls` holds the
    authorities, and the client's certificate where one is asked for."""

    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"{'tls' if self.tls else 'tcp'}://{self.host}:{self.port}"


@dataclass(frozen=True)
class Unix:
    """A service on a Unix socket of this machine."""

    path: str

    def __str__(self) -> str:
        return f"unix://{self.path}"


@dataclass(frozen=True)
class WebSocket:
    """A service on a WebSocket, one query a text frame, as KaTrain speaks it. `token` goes into the header
    `Authorization: Bearer`; `tls` is for wss:// (default: the system's authorities)."""

    url: str
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        # Without a query, which may hold a token.
        return self.url.partition("?")[0]


Endpoint = Stdio | Tcp | Unix | WebSocket


@dataclass(frozen=True)
class Retries:
    """After a lost connection: `attempts` to open another, the n-th after n × `wait_s`, at most `longest_wait_s`. They
    are counted from the last final answer, so an engine that dies of a query, even after many partial reports, is not
    started for ever."""

    attempts: int = 6
    wait_s: float = 1.0
    longest_wait_s: float = 10.0

    def wait_before(self, attempt: int) -> float:
        """Seconds before the attempt of that number, from 1."""
        return min(attempt * self.wait_s, self.longest_wait_s)


def endpoint_of(given: Endpoint | str | Sequence[str]) -> Endpoint:
    """An endpoint as it is, the one that an address names, or the engine that a command starts. An address may end in
    `?token=SECRET`.

    Raises ValueError for an address that names none.
    """
    if isinstance(given, Stdio | Tcp | Unix | WebSocket):
        return given
    if not isinstance(given, str):
        return Stdio(tuple(given))
    # It may end in a secret.
    shown = given.partition("?")[0]
    parts = urlsplit(given)
    if parts.scheme in ("ws", "wss") and parts.hostname:
        return WebSocket(given)
    if parts.scheme == "unix" and parts.path and not parts.netloc:
        return Unix(parts.path)
    if parts.scheme in ("tcp", "tls") and parts.hostname and _port(parts.netloc):
        tls = ssl.create_default_context() if parts.scheme == "tls" else None
        # As the service reads it: a "+", which every other base64 has, is no blank, as it would be in a form.
        tokens = [piece.partition("=")[2] for piece in parts.query.split("&") if piece.startswith("token=")]
        return Tcp(parts.hostname, _port(parts.netloc), unquote("".join(tokens[:1])) or None, tls)
    raise ValueError(
        f"{shown!r} is no address: give tcp://HOST:PORT, tls://HOST:PORT, ws://HOST:PORT, wss://HOST:PORT or "
        "unix:///PATH, or a command as a list"
    )


def _port(netloc: str) -> int:
    """0 where there is none."""
    digits = netloc.rpartition(":")[2]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 and int(digits) < 1 << 16 else 0
