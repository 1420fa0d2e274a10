"""What an HTTP answer to our request for a network's bytes may be taken for. Rules only: no socket, no file.

The network's size and hash are known beforehand, so nothing that a server says is needed to trust the bytes; these
rules keep a lying or confused server from filling the disk and from mixing bytes of two files (RFC 9110, 13.1.5, 14).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

import msgspec

from agent.errors import DownloadCorrupt, SourceUnreachable

# curl follows 50, browsers 20; release downloads and content networks need two.
MAX_REDIRECTS: Final = 5
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class Validator(msgspec.Struct, frozen=True):
    """What the server called this version of the file. Either may be missing."""

    etag: str | None = None
    last_modified: str | None = None

    @property
    def if_range(self) -> str | None:
        """What `If-Range` may hold: a weak ETag must not stand there."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def differs_from(self, other: Validator) -> bool:
        """Both name a version, and not the same one."""
        if self.etag and other.etag:
            return self.etag != other.etag
        return bool(self.last_modified and other.last_modified and self.last_modified != other.last_modified)


class Verdict(enum.Enum):
    APPEND = "the body continues what we have"
    FROM_START = "the body is the whole file"
    ASK_AFRESH = "what we have is of another version: ask for the whole file"


def request_headers(have_bytes: int, validator: Validator, agent: str) -> dict[str, str]:
    """The headers that ask for the rest of a file of which we have the first `have_bytes`."""
    # Without `identity` a server may compress what is compressed already, and a range of that is of no use.
    headers = {"User-Agent": agent, "Accept-Encoding": "identity"}
    if have_bytes:
        headers["Range"] = f"bytes={have_bytes}-"
        if validator.if_range:
            headers["If-Range"] = validator.if_range
    return headers


def validator_of(headers: Mapping[str, str]) -> Validator:
    return Validator(headers.get("ETag"), headers.get("Last-Modified"))


def judge(
    status: int, headers: Mapping[str, str], *, have_bytes: int, size_bytes: int, validator: Validator
) -> Verdict:
    """What to do with an answer's body. `have_bytes` is what we asked to continue from, `validator` the version of it,
    `size_bytes` the size of the whole file by the catalogue.

    Raises SourceUnreachable where the server refuses, DownloadCorrupt where it offers something else than the file.
    """
    if status == 200:
        _check_length(headers, size_bytes)
        return Verdict.FROM_START
    if status == 416 and have_bytes:
        return Verdict.ASK_AFRESH
    if status == 206:
        if not have_bytes:
            raise DownloadCorrupt("the server answered with a part that was not asked for")
        if validator_of(headers).differs_from(validator):
            return Verdict.ASK_AFRESH
        _check_range(headers, have_bytes, size_bytes)
        _check_length(headers, size_bytes - have_bytes)
        return Verdict.APPEND
    raise SourceUnreachable(f"the server answered {status}")


def redirect_target(url: str, headers: Mapping[str, str]) -> str:
    """The address that an answer of `REDIRECTS` sends us to.

    Raises SourceUnreachable.
    """
    location = headers.get("Location")
    if not location:
        raise SourceUnreachable("the server redirects without saying where to")
    try:
        target = urljoin(url, location)
        scheme = urlsplit(target).scheme
    except ValueError as error:  # such as http://[x
        raise SourceUnreachable(f"the server redirects to {location!r}, which is no address") from error
    # Bytes are checked anyway; but a downgrade would show everybody on the way what this device fetches.
    if scheme not in ("http", "https") or (scheme == "http" and urlsplit(url).scheme == "https"):
        raise SourceUnreachable(f"the server redirects to {target}, which is not followed")
    return target


def _check_range(headers: Mapping[str, str], have_bytes: int, size_bytes: int) -> None:
    answered = headers.get("Content-Range", "")
    match = CONTENT_RANGE.fullmatch(answered.strip())
    expected = (str(have_bytes), str(size_bytes - 1))
    if match is None or match.group(1, 2) != expected or match.group(3) not in (str(size_bytes), "*"):
        raise DownloadCorrupt(
            f"asked for bytes {have_bytes} to {size_bytes - 1}, the server sends {answered or 'no Content-Range'!r}"
        )


def _check_length(headers: Mapping[str, str], expected: int) -> None:
    # A Content-Encoding label is not looked at: some servers label every .gz file so, though the bytes are the file's.
    # Bytes are never decoded, so what the label hides is found by size and hash.
    length = headers.get("Content-Length")
    if length is not None and length.strip() != str(expected):
        raise DownloadCorrupt(f"the server offers {length} bytes where the network has {expected}")
