"""Who may come in over TCP and WebSocket: the token and the certificates of `access` in the configuration.

Unix sockets and standard input need neither: whoever reaches them is on this machine, or came in by ssh.
"""

from __future__ import annotations

import asyncio
import hmac
import re
import ssl
import stat
from typing import Final

import msgspec

from agent.errors import ConfigError
from agent.service.streams import TcpStream
from agent.settings import Access, ServerTls
from agent.waiting import within

# 128 bits in hexadecimal digits are 32 characters; nobody guesses 16 of anything random over a network.
MIN_TOKEN_LENGTH: Final = 16
MAX_TOKEN_LENGTH: Final = 512
# A client that says nothing is sent away. websockets gives a handshake as long.
TOKEN_S: Final = 10.0
# The line `token SECRET`, over TCP.
TOKEN_WORD: Final = b"token "
_MAX_LINE_BYTES: Final = len(TOKEN_WORD) + MAX_TOKEN_LENGTH + 2

_MAKE_ONE: Final = "Make one: `openssl rand -hex 16 > FILE`, readable for the agent's user alone (chmod 600)."


class Guard(msgspec.Struct, frozen=True):
    """What a client must bring: `token`, where there is one, and what `tls` demands."""

    token: bytes | None = None
    tls: ssl.SSLContext | None = None

    def accepts(self, given: bytes) -> bool:
        """Whether this is the token, told in a time that says nothing of how much of it is right."""
        return self.token is None or hmac.compare_digest(self.token, given)


# For sockets that only this machine reaches.
NO_GUARD: Final = Guard()


def read_guard(access: Access) -> Guard:
    """Reads the files that `access` names.

    Raises ConfigError for one that cannot be used.
    """
    return Guard(token=_read_token(access), tls=None if access.tls is None else _tls(access.tls))


def _read_token(access: Access) -> bytes | None:
    path = access.token_file
    if path is None:
        return None
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"access.token_file {path} cannot be read: {error}", fix=_MAKE_ONE) from error
    if mode & stat.S_IROTH:
        raise ConfigError(f"access.token_file {path} is readable for everybody", fix=f"chmod 600 {path}")
    if not re.fullmatch(rf"[!-~]{{{MIN_TOKEN_LENGTH},{MAX_TOKEN_LENGTH}}}", text):
        what = f"access.token_file {path} is not one word of {MIN_TOKEN_LENGTH} to {MAX_TOKEN_LENGTH} characters"
        raise ConfigError(what, fix=_MAKE_ONE)
    return text.encode("ascii")


def _tls(files: ServerTls) -> ssl.SSLContext:
    try:
        # With an authority for clients, `create_default_context` loads it; demanding a certificate is ours to say.
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files.client_ca)
        context.load_cert_chain(files.cert, files.key)
    except (OSError, ssl.SSLError) as error:
        fix = "Give readable PEM files: a certificate and its own key, and for clients an authority's certificate."
        raise ConfigError(f"access.tls cannot be used: {error}", fix=fix) from error
    if files.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def shows_token(stream: TcpStream, guard: Guard, patience_s: float = TOKEN_S) -> bool:
    """Whether the client's first line is `token SECRET` and whole within `patience_s`; what follows it is left in the
    stream. True at once where no token is asked for.

    Raises OSError where the client is gone.
    """
    if guard.token is None:
        return True
    try:
        # All of it at once: who sends a byte now and then would keep a seat for an hour.
        seen = await within(_first_line(stream), patience_s)
    except asyncio.TimeoutError:
        return False
    line, _, rest = seen.partition(b"\n")
    stream.put_back(rest)
    line = line.removesuffix(b"\r")
    # The comparison is made in any case, so that the word's absence is not told by time either.
    return guard.accepts(line.removeprefix(TOKEN_WORD)) and line.startswith(TOKEN_WORD)


async def _first_line(stream: TcpStream) -> bytes:
    """The first line and what came with it; the beginning of one that is too long, nothing where it never ends."""
    seen = b""
    while b"\n" not in seen and len(seen) <= _MAX_LINE_BYTES:
        data = await stream.read()
        if not data:
            return b""
        seen += data
    return seen
