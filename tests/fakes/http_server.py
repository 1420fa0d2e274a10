"""A real HTTP server on loopback that serves bytes with ranges and validators, and misbehaves as a script tells it.

It notes each request and which bytes of which file it handed out, so that a test can prove that none went twice.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

# Self-signed for localhost and 127.0.0.1; worth nothing elsewhere.
CERTIFICATE = Path(__file__).with_name("loopback.pem")

# Small, so that little is under way in the kernel when a test counts bytes.
PIECE_BYTES = 16 << 10

# How long a stalled answer waits for its test at most.
STALL_LIMIT_S = 30.0


@dataclass(frozen=True)
class Reply:
    """How to answer one request. The default is an honest server's answer.

    `body` replaces what is sent, `headers` replaces or (with None) removes single headers; the status goes with them.
    `cut_after` closes the connection after so many body bytes, `stall_after` keeps it open and silent.
    """

    status: int | None = None
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    ignore_range: bool = False
    cut_after: int | None = None
    stall_after: int | None = None


HONEST = Reply()


@dataclass(frozen=True)
class Request:
    """What a client asked, and `start`, the offset its range begins with."""

    path: str
    headers: Message
    start: int


@dataclass
class Sent:
    """Bytes `start` to `end` (exclusive) of a file that were handed to one connection."""

    path: str
    start: int
    end: int


class FileServer:
    """Serves `files` (path to bytes) until the end of the `with` block."""

    def __init__(self, files: dict[str, bytes], *, tls: bool = False, etag: str | None = '"one"') -> None:
        self.files = files
        self.etag = etag
        self.requests: list[Request] = []
        self.sent: list[Sent] = []
        # Called before the piece at an offset is sent, with a function that tells whether the client has hung up;
        # may block, or raise OSError to hang up itself.
        self.before_piece: Callable[[int, Callable[[], bool]], None] = lambda offset, is_gone: None
        self.stalled = threading.Event()
        self.release = threading.Event()
        self._scripts: dict[str, list[Reply]] = {}
        self._always: dict[str, Reply] = {}
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        # A short poll: the test's end waits for it.
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def url(self, path: str) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}{path}"

    def script(self, path: str, *replies: Reply) -> None:
        """The next requests for `path` get these replies, one each; later ones get `always`'s, or honest ones."""
        self._scripts[path] = list(replies)

    def always(self, path: str, reply: Reply) -> None:
        self._always[path] = reply

    def __enter__(self) -> FileServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _next_reply(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            script = self._scripts.get(request.path, [])
            return script.pop(0) if script else self._always.get(request.path, HONEST)

    def _note(self, path: str, start: int) -> Sent:
        sent = Sent(path, start, start)
        with self._lock:
            self.sent.append(sent)
        return sent


def _handler(server: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            start = _range_start(self.headers)
            reply = server._next_reply(Request(self.path, self.headers, start))
            content = server.files.get(self.path)
            self.close_connection = True
            try:
                if content is None and reply.status is None:
                    self._head(404, {"Content-Length": "0"})
                    return
                self._answer(reply, content or b"", start)
            except OSError:
                pass  # the client is gone, or a hook hangs up

        def _answer(self, reply: Reply, content: bytes, start: int) -> None:
            if reply.ignore_range or not self._same_version():
                start = 0
            status, headers = 200, {"Accept-Ranges": "bytes"}
            if start >= len(content) > 0:
                self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                return
            if start:
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            if server.etag:
                headers["ETag"] = server.etag
            body = content[start:] if reply.body is None else reply.body
            headers["Content-Length"] = str(len(body))
            merged = {key: value for key, value in {**headers, **reply.headers}.items() if value is not None}
            self._head(status if reply.status is None else reply.status, merged)
            self._body(reply, body, start)

        def _same_version(self) -> bool:
            asked = self.headers.get("If-Range")
            return asked is None or asked == server.etag

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Connection", "close")
            self.end_headers()

        def _body(self, reply: Reply, body: bytes, start: int) -> None:
            sent = server._note(self.path, start)
            cut = min((limit for limit in (reply.cut_after, reply.stall_after) if limit is not None), default=len(body))
            for offset in range(0, min(cut, len(body)), PIECE_BYTES):
                server.before_piece(start + offset, self._is_gone)
                piece = body[offset : min(offset + PIECE_BYTES, cut)]
                self.wfile.write(piece)
                sent.end += len(piece)
            if reply.stall_after is not None:
                server.stalled.set()
                server.release.wait(STALL_LIMIT_S)

        def _is_gone(self) -> bool:
            # A socket of its own on the same connection: one that speaks TLS cannot be peeked into.
            with socket.socket(fileno=os.dup(self.connection.fileno())) as raw:
                raw.setblocking(False)
                try:
                    return raw.recv(1, socket.MSG_PEEK) == b""
                except BlockingIOError:
                    return False
                finally:
                    raw.setblocking(True)

        def log_message(self, format: str, *args: object) -> None:
            """Silent: what matters is in `requests`."""

    return Handler


def _range_start(headers: Message) -> int:
    value = headers.get("Range", "")
    return int(value.removeprefix("bytes=").removesuffix("-")) if value else 0
