"""A real HTTP server in front of the store, which records requests and makes faults."""

from __future__ import annotations

import dataclasses
import http.client
import math
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.processes import Process
from catalogsync_assets_tests.support.waiting import PATIENCE


@dataclasses.dataclass
class Request:
    """A request as the proxy received it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int | None = None

    @property
    def key(self) -> str:
        """The object's key; empty for requests about the bucket."""
        return unquote(urlsplit(self.path).path).lstrip("/").partition("/")[2]

    @property
    def part(self) -> int | None:
        """Which part of an upload it sends; None if none."""
        number = self.parameters.get("partNumber")
        return int(number[0]) if number and self.method == "PUT" else None

    @property
    def begins_parts(self) -> bool:
        return self.method == "POST" and "uploads" in self.parameters

    @property
    def completes_parts(self) -> bool:
        return self.method == "POST" and "uploadId" in self.parameters

    def header(self, name: str) -> str | None:
        """A header, in whatever case it was sent; None if it was not."""
        return next((v for n, v in self.headers.items() if n.lower() == name), None)

    @property
    def parameters(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)


@dataclasses.dataclass
class Answer:
    """An answer on its way to the client; a rule may change it. Status 0 closes the connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    def drop_headers(self, *beginnings: str) -> None:
        """Take headers out, by the beginnings of their names."""
        kept = {n: v for n, v in self.headers.items() if not n.lower().startswith(beginnings)}
        self.headers = kept

    def replace_header(self, name: str, value: str) -> None:
        """Give a header that is there, in whatever case, another value."""
        self.headers = {n: value if n.lower() == name else v for n, v in self.headers.items()}


def refusal(status: int, code: str = "SlowDown", message: str = "later") -> Answer:
    """An S3 error; status 0 hangs up."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return Answer(status, {"Content-Type": "application/xml"}, body)


Before = Callable[[Request], "Answer | None"]
After = Callable[[Request, Answer], None]


class Serving:
    """A server in a thread of its own, until it is closed.

    Attributes:
        lock: guards what is seen of the requests; notified of whatever one of them brings about.
        url: where it listens.
    """

    def __init__(self, server: FaultyServer) -> None:
        self.lock = threading.Condition()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        """Ends the connections too: those left open would keep the store from stopping."""
        self._server.shutdown()
        self._thread.join(PATIENCE)
        self._server.server_close()
        self._server.hang_up()

    def wait_until(self, condition: Callable[[], object], *, seconds: float = PATIENCE) -> None:
        """Wait for something that the arrival, a byte or the end of a request brings about."""
        with self.lock:
            assert self.lock.wait_for(condition, seconds), "it never came to that"


_GENERATION = ".catalogsync/generation.json"


class Proxy(Serving):
    """A real HTTP server in front of the store, which records requests and makes faults.

    Attributes:
        endpoint: what a backend names instead of the store's.
        requests: all that came, in order of arrival.
        before: asked with each request before the store is; an answer of theirs is given instead.
        after: may change the store's answer.
        most_at_once: the most requests with a body that were on their way at a time.
        most_bytes_at_once: the most bytes of such bodies.
        heeds_generation: whether all this is so, too, of the object that says who has changed the
            backend last: each run that changes something reads and writes it once.
    """

    heeds_generation = False

    def __init__(self, target: str) -> None:
        self.requests: list[Request] = []
        self.before: list[Before] = []
        self.after: list[After] = []
        self.most_at_once = self.most_bytes_at_once = 0
        self._under_way: list[int] = []
        self.target = urlsplit(target)
        super().__init__(FaultyServer(("127.0.0.1", 0), self))
        self.endpoint = self.url

    def of(self, method: str, **parameters: str) -> list[Request]:
        """The requests of a method whose query has these parameters."""
        with self.lock:
            found = list(self.requests)
        return [
            r
            for r in found
            if r.method == method
            and all(value in r.parameters.get(name, []) for name, value in parameters.items())
        ]

    def answer(self, answer: Answer, which: Callable[[Request], object] = lambda _: True) -> None:
        """Give this answer to all such requests, in place of the store's."""
        self.before.append(lambda request: answer if which(request) else None)

    def spoil_requests(
        self, which: Callable[[Request], object], *, times: float = math.inf
    ) -> None:
        """Change a byte of what the next so many such requests bring."""
        left = [times]

        def spoil(request: Request) -> None:
            if left[0] and which(request):
                left[0] -= 1
                request.body = flipped(request.body)

        self.before.append(spoil)

    def spoil_answers(self, which: Callable[[Request], object], *, times: float = math.inf) -> None:
        """Change a byte of what the store gives to the next so many such requests."""
        left = [times]

        def spoil(request: Request, answer: Answer) -> None:
            if left[0] and which(request):
                left[0] -= 1
                answer.body = flipped(answer.body)

        self.after.append(spoil)

    def lose_answer(self, which: Callable[[Request], object]) -> list[Request]:
        """Let the store do the first such request, and its answer be lost; that request then."""
        lost: list[Request] = []

        def lose(request: Request, answer: Answer) -> None:
            if which(request) and not lost:
                lost.append(request)
                answer.status = 0

        self.after.append(lose)
        return lost

    def refuse(
        self,
        times: int,
        answer: Answer,
        *,
        methods: str = "PUT",
        which: Callable[[Request], object] = lambda _: True,
    ) -> None:
        """Give this answer to the next so many such requests of the methods, then let them pass."""
        left = [times]

        def rule(request: Request) -> Answer | None:
            with self.lock:
                if request.method not in methods.split() or not left[0] or not which(request):
                    return None
                left[0] -= 1
            return answer

        self.before.append(rule)

    def start_anew(self) -> None:
        """Once all that came is answered: no rules any more, and nothing that has been seen."""
        self.wait_until(lambda: all(request.status is not None for request in self.requests))
        self.before.clear()
        self.after.clear()
        self.requests.clear()

    def forget_peaks(self) -> None:
        """Measure the most at once from now on."""
        with self.lock:
            self.most_at_once = self.most_bytes_at_once = 0

    def handle(self, request: Request, forward: Callable[[Request], Answer]) -> Answer:
        if request.key.endswith(_GENERATION) and not self.heeds_generation:
            return forward(request)
        with self.lock:
            self.requests.append(request)
            if request.body:
                self._under_way.append(len(request.body))
                self.most_at_once = max(self.most_at_once, len(self._under_way))
                self.most_bytes_at_once = max(self.most_bytes_at_once, sum(self._under_way))
            self.lock.notify_all()
        size = len(request.body)
        try:
            answer = next((a for rule in self.before if (a := rule(request)) is not None), None)
            if answer is None:
                answer = forward(request)
                for change in self.after:
                    change(request, answer)
            request.status = answer.status
            return answer
        finally:
            with self.lock:
                if size:
                    self._under_way.remove(size)
                self.lock.notify_all()


class Gate:
    """Lets so many requests of a kind pass and holds the others, until it is opened.

    Attributes:
        held: how many it has held.
    """

    def __init__(
        self,
        proxy: Proxy,
        which: Callable[[Request], object] = lambda request: request.method == "PUT",
        *,
        passing: int = 0,
        answer: Answer | None = None,
        seconds: float = 2 * PATIENCE,
    ) -> None:
        """Hold from now on.

        Args:
            proxy: whose requests.
            which: those it is for; all puts unless told.
            passing: how many of them do not wait.
            answer: what those that were held get in the end, in place of the store's.
            seconds: how long it holds and `wait_for` waits at the most.
        """
        self._proxy, self._which, self._passing = proxy, which, passing
        self._answer, self._seconds = answer, seconds
        self.held = 0
        self._open = False
        proxy.before.append(self._rule)

    def _rule(self, request: Request) -> Answer | None:
        with self._proxy.lock:
            if self._open or not self._which(request):
                return None
            if self._passing:
                self._passing -= 1
                return None
            self.held += 1
            self._proxy.lock.notify_all()
        self.hold()
        return self._answer

    def hold(self) -> None:
        """Hold whoever calls, a change of an answer for one, like the requests."""
        self._proxy.wait_until(lambda: self._open, seconds=self._seconds)

    def wait_for(self, count: int = 1) -> None:
        """Wait until it has held so many."""
        self._proxy.wait_until(lambda: self.held >= count, seconds=self._seconds)

    def open(self) -> None:
        with self._proxy.lock:
            self._open = True
            self._proxy.lock.notify_all()

    def open_after_the_end_of(self, process: Process) -> None:
        """Kill a process while its requests are held; then nothing is left of rules or requests."""
        process.end()
        self.open()
        self._proxy.start_anew()


class FaultyServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], proxy: Proxy) -> None:
        super().__init__(address, _Handler)
        self.proxy = proxy
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        """A client that was killed is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    server: FaultyServer
    _upstream: http.client.HTTPConnection | None = None

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(self.command, self.path, dict(self.headers.items()), body)
        answer = self.server.proxy.handle(request, self._forward)
        if answer.status == 0:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response_only(answer.status)
        headers = answer.headers
        if "Transfer-Encoding" not in headers:
            headers = {"Content-Length": str(len(answer.body))} | headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    def _forward(self, request: Request) -> Answer:
        if self._upstream is None:
            target = self.server.proxy.target
            self._upstream = http.client.HTTPConnection(
                target.hostname or "", target.port, timeout=PATIENCE
            )
        upstream = self._upstream
        try:
            # The very headers, Host too: they are signed.
            upstream.putrequest(
                request.method, request.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in request.headers.items():
                if name.lower() not in ("connection", "expect"):
                    upstream.putheader(name, value)
            upstream.endheaders(request.body or None)
            response = upstream.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            upstream.close()
            return Answer(0, {}, b"")
        dropped = ("connection", "transfer-encoding", "keep-alive")
        headers = {k: v for k, v in response.getheaders() if k.lower() not in dropped}
        if request.method != "HEAD":
            headers["Content-Length"] = str(len(body))
        return Answer(response.status, headers, body)

    def handle_expect_100(self) -> bool:
        more = super().handle_expect_100()
        self.wfile.flush()  # a client that is not told waits a second, then sends all the same
        return more

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            if self._upstream is not None:
                self._upstream.close()

    def log_message(self, *_: Any) -> None:
        """Tests are quiet."""
