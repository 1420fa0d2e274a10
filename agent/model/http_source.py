"""Fetching one file over http(s), continuing where an earlier try stopped. Owner of urllib3.

What an answer means is decided in `answers.py`, what is on the disk in `partial.py`; this file only talks.
"""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec
import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

from agent import __version__
from agent.errors import DownloadCorrupt, SourceUnreachable, StorageFull
from agent.events import DownloadProgress, Reporter
from agent.model.answers import (
    MAX_REDIRECTS,
    REDIRECTS,
    Verdict,
    judge,
    redirect_target,
    request_headers,
    validator_of,
)
from agent.model.partial import Partial

# Bytes handed on at a time; the most that a killed process may have to fetch again, besides what the kernel holds.
CHUNK_BYTES: Final = 64 << 10


class HttpLimits(msgspec.Struct, frozen=True):
    """How long to be patient. A device without a way to the address must find out within seconds.

    `connect_s`: a TCP handshake to another continent over a poor mobile link takes below 2 s; SYNs go out at 0, 1, 3 s.
    `stall_s`: no byte for so long (pip: 15 s, apt: 30 s). `slowest_bytes_per_s` over `slow_window_s` guards against a
    server that drips (curl's --speed-limit and --speed-time). `resumes`: broken connections healed within one call.
    `ca_file`: trust these certificates instead of the system's.
    """

    connect_s: float = 5.0
    stall_s: float = 30.0
    slowest_bytes_per_s: float = 500.0
    slow_window_s: float = 60.0
    resumes: int = 5
    ca_file: Path | None = None


def fetch(
    url: str,
    partial: Partial,
    name: str,
    reporter: Reporter,
    limits: HttpLimits,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Returns when `partial` has all its bytes; their hash is the caller's to check. `name` is for the reporter.

    Raises SourceUnreachable (what was received is kept), DownloadCorrupt or StorageFull (nothing is kept), and
    StoreUnwritable.
    """
    broken: SourceUnreachable | None = None
    with partial, _pool(url, limits) as pool:
        for _ in range(limits.resumes + 1):
            before = partial.have_bytes
            if before == partial.size_bytes:
                return
            try:
                _receive(pool, url, partial, name, reporter, limits, clock)
            except SourceUnreachable as error:
                broken = error
                if partial.have_bytes <= before:
                    raise
            except (DownloadCorrupt, StorageFull):
                partial.discard()
                raise
        if partial.have_bytes < partial.size_bytes:
            raise SourceUnreachable(
                f"the connection broke {limits.resumes + 1} times ({broken}); "
                f"{partial.have_bytes} of {partial.size_bytes} bytes are kept",
                fix="Run `agent pull` again; it goes on where it stopped.",
            ) from broken


def _receive(
    pool: urllib3.PoolManager,
    url: str,
    partial: Partial,
    name: str,
    reporter: Reporter,
    limits: HttpLimits,
    clock: Callable[[], float],
) -> None:
    """One request, or two where the first shows that the file has changed."""
    have_bytes = partial.have_bytes
    with _ask(pool, url, partial, have_bytes) as response:
        verdict = _verdict(response, partial, have_bytes)
        if verdict is not Verdict.ASK_AFRESH:
            _write_body(response, verdict, partial, name, reporter, limits, clock)
            return
    with _ask(pool, url, partial, 0) as response:
        _write_body(response, _verdict(response, partial, 0), partial, name, reporter, limits, clock)


def _verdict(response: urllib3.BaseHTTPResponse, partial: Partial, have_bytes: int) -> Verdict:
    return judge(
        response.status,
        response.headers,
        have_bytes=have_bytes,
        size_bytes=partial.size_bytes,
        validator=partial.validator,
    )


def _write_body(
    response: urllib3.BaseHTTPResponse,
    verdict: Verdict,
    partial: Partial,
    name: str,
    reporter: Reporter,
    limits: HttpLimits,
    clock: Callable[[], float],
) -> None:
    if verdict is Verdict.FROM_START:
        partial.start(validator_of(response.headers))
    window_start, window_bytes = clock(), 0
    # read1: whatever has come, so that a kill loses nothing that a full chunk was being waited for.
    while chunk := _read(response):
        partial.append(chunk)
        reporter.report(DownloadProgress(name, partial.have_bytes, partial.size_bytes))
        window_bytes += len(chunk)
        elapsed_s = clock() - window_start
        if elapsed_s >= limits.slow_window_s:
            if window_bytes < elapsed_s * limits.slowest_bytes_per_s:
                raise SourceUnreachable(f"the server sent only {window_bytes} bytes in {elapsed_s:.0f} s")
            window_start, window_bytes = clock(), 0
    if partial.have_bytes < partial.size_bytes:
        raise SourceUnreachable(f"the body ended after {partial.have_bytes} of {partial.size_bytes} bytes")


def _read(response: urllib3.BaseHTTPResponse) -> bytes:
    with _http_errors():
        return response.read1(CHUNK_BYTES, decode_content=False)


@contextmanager
def _ask(pool: urllib3.PoolManager, url: str, partial: Partial, have_bytes: int) -> Iterator[urllib3.BaseHTTPResponse]:
    """The answer that stands at the end of the redirects."""
    headers = request_headers(have_bytes, partial.validator, f"katago-agent/{__version__}")
    for _ in range(MAX_REDIRECTS + 1):
        with _http_errors():
            response = pool.request("GET", url, headers=headers, redirect=False, retries=False, preload_content=False)
        try:
            if response.status not in REDIRECTS:
                yield response
                return
            url = redirect_target(url, response.headers)
        finally:
            # Closed, not drained: a body that nobody wants must not be downloaded.
            response.close()
    raise SourceUnreachable(f"more than {MAX_REDIRECTS} redirects")


@contextmanager
def _http_errors() -> Iterator[None]:
    """Lets only our own errors out of a call into urllib3."""
    try:
        yield
    except NameResolutionError as error:
        raise SourceUnreachable("its name cannot be resolved; is there a network?") from error
    except ConnectTimeoutError as error:
        raise SourceUnreachable("no connection in time") from error
    except NewConnectionError as error:
        raise SourceUnreachable(f"no connection: {error.__cause__ or error}") from error
    except ReadTimeoutError as error:
        raise SourceUnreachable("the server went silent") from error
    except SSLError as error:
        raise SourceUnreachable(f"TLS failed: {error}") from error
    except ProtocolError as error:
        raise SourceUnreachable(f"the connection broke: {error}") from error
    except HTTPError as error:
        raise SourceUnreachable(f"{type(error).__name__}: {error}") from error


def _pool(url: str, limits: HttpLimits) -> urllib3.PoolManager:
    timeout = urllib3.Timeout(connect=limits.connect_s, read=limits.stall_s)
    ca_certs = str(limits.ca_file) if limits.ca_file else None
    scheme, host = urlsplit(url).scheme, urlsplit(url).hostname or ""
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
    if not proxy:
        return urllib3.PoolManager(timeout=timeout, ca_certs=ca_certs)
    # "proxy:3128" is what curl, pip and apt take, too.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        return urllib3.ProxyManager(proxy, proxy_headers=_proxy_login(proxy), timeout=timeout, ca_certs=ca_certs)
    except (HTTPError, ValueError) as error:
        # Whatever stands before the @ may be a password. The advice is in the text: of several sources' errors one
        # gives the fix.
        wrong = f"the proxy {proxy.rpartition('@')[2]} is none that we can use: set {scheme}_proxy to http://HOST:PORT"
        raise SourceUnreachable(wrong) from error


def _proxy_login(proxy: str) -> dict[str, str] | None:
    """The header that shows user and password of the proxy's address, which urllib3 does not make by itself."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return None
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(urllib3.make_headers(proxy_basic_auth=login))
