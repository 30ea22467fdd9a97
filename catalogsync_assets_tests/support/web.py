"""A web server that gives out files for downloads, and makes faults."""

from __future__ import annotations

import dataclasses
import random
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from catalogsync_assets_tests.support.proxy import FaultyServer, Serving


def flac_like(seed: object, size: int = 3_000) -> bytes:
    """Content that passes for music at a look, and is like no other."""
    return b"fLaC" + random.Random(str(seed)).randbytes(size - 4)  # noqa: S311


@dataclasses.dataclass
class WebFile:
    """A file on the web server, and how it is given out.

    Attributes:
        etag: None for none.
        ranges: whether a part of it can be asked for.
        if_range: whether `If-Range` is understood.
        length: `true`, `chunked`, or `none`: only the end of the connection tells.
    """

    content: bytes
    etag: str | None = '"one"'
    ranges: bool = True
    if_range: bool = True
    length: str = "true"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class WebRequest:
    """A request as the web server received it; `sent` counts the bytes of the body."""

    path: str
    headers: dict[str, str]
    sent: int = 0
    status: int = 0

    @property
    def start(self) -> int:
        """The first byte that is asked for."""
        return int(self.headers.get("Range", "bytes=0-")[6:-1])


@dataclasses.dataclass
class Fault:
    """What happens to an answer.

    Attributes:
        status: given instead of the file, with `headers` and `body`, where it is not 0.
        cut: the connection ends after so many bytes of the body.
    """

    status: int = 0
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None


class Web(Serving):
    """A real web server that a test fills and disturbs.

    Attributes:
        files: by path, with the slash.
        requests: all that came, in order of arrival.
        faults: asked with each request; the first answer that is not None counts.
        pace: called with request and connection before each piece of a body.
        most_at_once: the most requests that were under way at a time.
    """

    piece = 16 * 1024

    def __init__(self) -> None:
        self.files: dict[str, WebFile] = {}
        self.requests: list[WebRequest] = []
        self.faults: list[Callable[[WebRequest], Fault | None]] = []
        self.pace: Callable[[WebRequest], None] = lambda _: None
        self.most_at_once = self._at_once = 0
        super().__init__(_WebServer(("127.0.0.1", 0), self))

    def add(self, path: str, content: bytes | None = None, **how: Any) -> str:
        """Put a file there, with content of its own unless told; its address."""
        self.files[path] = WebFile(flac_like(path) if content is None else content, **how)
        return self.url + path

    def fail_once(self, path: str, *faults: Fault) -> None:
        """These faults in turn for the next requests of a path, then none."""
        left = list(faults)
        self.faults.append(lambda r: left.pop(0) if r.path == path and left else None)

    def of(self, path: str) -> list[WebRequest]:
        with self.lock:
            return [r for r in self.requests if r.path == path]

    def enter(self, request: WebRequest) -> None:
        with self.lock:
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self.lock.notify_all()

    def leave(self) -> None:
        with self.lock:
            self._at_once -= 1
            self.lock.notify_all()

    def count(self, request: WebRequest, sent: int) -> None:
        with self.lock:
            request.sent += sent
            self.lock.notify_all()


class _WebServer(FaultyServer):
    def __init__(self, address: tuple[str, int], web: Web) -> None:
        ThreadingHTTPServer.__init__(self, address, _WebHandler)
        self.web = web
        self._connections = set()


class _WebHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    server: _WebServer

    def do_GET(self) -> None:
        web = self.server.web
        request = WebRequest(self.path.partition("?")[0], dict(self.headers.items()))
        web.enter(request)
        inside = True
        try:
            fault = next((f for rule in web.faults if (f := rule(request)) is not None), Fault())
            file = web.files.get(request.path)
            if fault.status or file is None:
                status, headers, body = fault.status or 404, fault.headers, fault.body
                how = "true"
            else:
                status, headers, body = _answer(file, request)
                how = file.length
            request.status = status
            if how == "true":
                headers = {"Content-Length": str(len(body))} | headers
            elif how == "chunked":
                headers = {"Transfer-Encoding": "chunked"} | headers
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            end = len(body) if fault.cut is None else min(fault.cut, len(body))
            for at in range(0, end, web.piece):
                web.pace(request)
                piece = body[at : min(at + web.piece, end)]
                frame = b"%x\r\n%b\r\n" % (len(piece), piece) if how == "chunked" else piece
                self.wfile.write(frame)
                web.count(request, len(piece))
            # Before the client can know of the end: what it begins then is no overlap.
            web.leave()
            inside = False
            if end < len(body) or how == "none" or "Content-Length" in fault.headers:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif how == "chunked":
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
        finally:
            if inside:
                web.leave()

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""


def _answer(file: WebFile, request: WebRequest) -> tuple[int, dict[str, str], bytes]:
    headers = dict(file.headers)
    if file.etag:
        headers["ETag"] = file.etag
    matches = request.headers.get("If-Range") in (None, file.etag, headers.get("Last-Modified"))
    if "Range" not in request.headers or not file.ranges or (file.if_range and not matches):
        return 200, headers, file.content
    start, total = request.start, len(file.content)
    if start >= total:
        return 416, {"Content-Range": f"bytes */{total}"}, b""
    headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
    return 206, headers, file.content[start:]
