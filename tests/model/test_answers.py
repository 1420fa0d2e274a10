"""What HTTP answers are taken for: a table, no socket."""

from __future__ import annotations

import pytest

from agent.errors import DownloadCorrupt, ModelError, SourceUnreachable
from agent.model.answers import Validator, Verdict, judge, redirect_target, request_headers

ONE = Validator(etag='"one"')


def answer(status: int, have_bytes: int, **headers: str) -> Verdict:
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return judge(status, named, have_bytes=have_bytes, size_bytes=100, validator=ONE)


@pytest.mark.parametrize(
    ("status", "have_bytes", "headers", "verdict"),
    [
        (200, 0, {}, Verdict.FROM_START),
        (200, 0, {"Content_Length": "100"}, Verdict.FROM_START),
        (200, 40, {"Content_Length": "100"}, Verdict.FROM_START),
        (206, 40, {"Content_Range": "bytes 40-99/100"}, Verdict.APPEND),
        (206, 40, {"Content_Range": "bytes 40-99/*"}, Verdict.APPEND),
        (206, 40, {"Content_Range": "bytes 40-99/100", "ETag": '"one"', "Content_Length": "60"}, Verdict.APPEND),
        (206, 40, {"Content_Range": "bytes 40-99/100", "ETag": '"two"'}, Verdict.ASK_AFRESH),
        (206, 40, {"Content_Range": "bytes 40-199/200", "ETag": '"two"'}, Verdict.ASK_AFRESH),
        (416, 40, {}, Verdict.ASK_AFRESH),
    ],
)
def test_verdicts(status: int, have_bytes: int, headers: dict[str, str], verdict: Verdict) -> None:
    assert answer(status, have_bytes, **headers) is verdict


@pytest.mark.parametrize(
    ("status", "have_bytes", "headers", "error"),
    [
        (200, 0, {"Content_Length": "99"}, DownloadCorrupt),
        (200, 40, {"Content_Length": "60"}, DownloadCorrupt),
        (200, 0, {"Content_Length": "1e2"}, DownloadCorrupt),
        (206, 0, {"Content_Range": "bytes 0-99/100"}, DownloadCorrupt),
        (206, 40, {}, DownloadCorrupt),
        (206, 40, {"Content_Range": "bytes 41-99/100"}, DownloadCorrupt),
        (206, 40, {"Content_Range": "bytes 40-98/100"}, DownloadCorrupt),
        (206, 40, {"Content_Range": "bytes 40-99/101"}, DownloadCorrupt),
        (206, 40, {"Content_Range": "40-99/100"}, DownloadCorrupt),
        (206, 40, {"Content_Range": "bytes 40-99/100", "Content_Length": "100"}, DownloadCorrupt),
        (416, 0, {}, SourceUnreachable),
        (204, 0, {}, SourceUnreachable),
        (304, 40, {}, SourceUnreachable),
        (403, 0, {}, SourceUnreachable),
        (404, 0, {}, SourceUnreachable),
        (503, 40, {}, SourceUnreachable),
    ],
)
def test_refusals(status: int, have_bytes: int, headers: dict[str, str], error: type[ModelError]) -> None:
    with pytest.raises(error):
        answer(status, have_bytes, **headers)


def test_request_for_the_rest() -> None:
    weak = Validator(etag='W/"one"', last_modified="Sat, 01 Aug 2026 00:00:00 GMT")
    assert request_headers(0, ONE, "agent") == {"User-Agent": "agent", "Accept-Encoding": "identity"}
    asked = request_headers(40, ONE, "agent")
    assert (asked["Range"], asked["If-Range"]) == ("bytes=40-", '"one"')
    assert request_headers(40, weak, "agent")["If-Range"] == weak.last_modified
    assert "If-Range" not in request_headers(40, Validator(etag='W/"one"'), "agent")


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("http://a/x", "https://b/y", "https://b/y"),
        ("http://a/x/z", "y", "http://a/x/y"),
        ("https://a/x", "//b/y", "https://b/y"),
        ("https://a/x", "http://b/y", None),
        ("http://a/x", "file:///etc/passwd", None),
        ("http://a/x", "", None),
        ("http://a/x", "http://[x", None),
    ],
)
def test_redirects(url: str, location: str, target: str | None) -> None:
    if target:
        assert redirect_target(url, {"Location": location}) == target
        return
    with pytest.raises(SourceUnreachable):
        redirect_target(url, {"Location": location})
