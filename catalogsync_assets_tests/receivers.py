"""Where alerts arrive: a web server that takes posts, and a mail server. Both are real."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


@dataclasses.dataclass
class Post:
    """What was posted, and where to."""

    path: str
    body: dict[str, Any]


class Posts:
    """A web server that takes JSON.

    Attributes:
        url: of the server.
        came: all that was posted, whatever the answer was.
        answers: statuses of the next answers; then 200.
        location: where an answer that redirects leads to.
    """

    def __init__(self) -> None:
        posts = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.came.append(Post(self.path, json.loads(body)))
                status = posts.answers.pop(0) if posts.answers else 200
                self.send_response(status)
                self.send_header("Content-Length", "2")
                if posts.location:
                    self.send_header("Location", posts.location)
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Tests are quiet."""

        self.came: list[Post] = []
        self.answers: list[int] = []
        self.location = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @contextmanager
    def serving(self) -> Iterator[Posts]:
        self._thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class Mails:
    """What a mail server does with what it is sent.

    Attributes:
        came: the messages, as they arrived.
        envelopes: sender and recipients of each.
        users: who has logged in, over TLS or not.
        refusal: the answer to each message, where it is not empty.
    """

    password = "p@ss/word-of-the-post"

    def __init__(self, refusal: str = "") -> None:
        self.came: list[EmailMessage] = []
        self.envelopes: list[tuple[str | None, list[str]]] = []
        self.users: list[tuple[str, bool]] = []
        self.refusal = refusal

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.refusal:
            return self.refusal
        assert isinstance(envelope.content, bytes)
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.came.append(message)
        self.envelopes.append((envelope.mail_from, list(envelope.rcpt_tos)))
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, _: Any, __: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.users.append((data.login.decode(), session.ssl is not None))
        return AuthResult(success=data.password == self.password.encode(), handled=False)


@contextmanager
def mail_server(
    mails: Mails, *, starttls: ssl.SSLContext | None = None, auth: bool = False
) -> Iterator[int]:
    """A mail server on this machine; its port. (aiosmtpd's own Controller takes no free port.)"""

    def session() -> SMTP:
        return SMTP(
            mails,
            hostname="127.0.0.1",
            loop=loop,
            tls_context=starttls,
            authenticator=mails.authenticate if auth else None,
            auth_require_tls=starttls is not None,
        )

    async def close() -> None:
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(session, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
