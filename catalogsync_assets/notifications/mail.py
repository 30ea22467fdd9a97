"""The notifier `email`: SMTP, with Python's own smtplib."""

from __future__ import annotations

import ipaddress
import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.notifications.notifiers import (
    TIMEOUT_SECONDS,
    Alert,
    NotificationError,
    NotifierUnavailableError,
    setting,
)

URL_VARIABLE = "CATALOGSYNC_ALERT_SMTP_URL"
FROM_VARIABLE = "CATALOGSYNC_ALERT_EMAIL_FROM"
TO_VARIABLE = "CATALOGSYNC_ALERT_EMAIL_TO"
_PORTS = {"smtp": 587, "smtps": 465}
_PASSING = range(400, 500)  # of SMTP: try again later


@dataclass(frozen=True)
class _Server:
    host: str
    port: int
    tls_from_the_start: bool
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def is_here(self) -> bool:
        """Whether the connection does not leave this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


class MailNotifier:
    """Sends alerts as e-mail.

    TLS from the start (`smtps://`), or by STARTTLS wherever the server offers it (`smtp://`). A
    password is sent to another machine by TLS only.
    """

    def __init__(self) -> None:
        self._server = _server(setting(URL_VARIABLE, "smtps://USER:PASSWORD@HOST, or smtp://HOST"))
        self._from = setting(FROM_VARIABLE, "the address that alerts come from")
        addresses = setting(TO_VARIABLE, "the addresses that get alerts, separated by commas")
        self._to = [a.strip() for a in addresses.split(",") if a.strip()]

    def notify(self, alert: Alert) -> None:
        """See `Notifier.notify`."""
        server = self._server
        where = f"{server.host}:{server.port}"
        try:
            with self._connected() as smtp:
                refused = smtp.send_message(self._message(alert))
        except smtplib.SMTPRecipientsRefused as error:
            raise _refusal(where, next(iter(error.recipients.values()))[0]) from None
        except smtplib.SMTPResponseException as error:
            raise _refusal(where, error.smtp_code) from None
        except ssl.SSLError as error:
            raise NotificationError(f"{where}: no TLS ({error.reason or 'refused'})") from None
        except (OSError, smtplib.SMTPException) as error:
            raise NotifierUnavailableError(
                f"{where}: no connection ({type(error).__name__})"
            ) from None
        if refused:
            raise NotificationError(f"{where} took the alert for some of {TO_VARIABLE} only")

    def _connected(self) -> smtplib.SMTP:
        server = self._server
        context = ssl.create_default_context()
        smtp: smtplib.SMTP
        if server.tls_from_the_start:
            smtp = smtplib.SMTP_SSL(
                server.host, server.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            smtp = smtplib.SMTP(server.host, server.port, timeout=TIMEOUT_SECONDS)
        try:
            if not server.tls_from_the_start:
                _secure(smtp, server, context)
            if server.user and server.password:
                smtp.login(server.user, server.password)
        except BaseException:
            smtp.close()
            raise
        return smtp

    def _message(self, alert: Alert) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = alert.subject
        message["From"] = self._from
        message["To"] = ", ".join(self._to)
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid("catalogsync")
        message["Auto-Submitted"] = "auto-generated"  # no replies of absence, please
        message.set_content(alert.body)
        return message


def _secure(smtp: smtplib.SMTP, server: _Server, context: ssl.SSLContext) -> None:
    smtp.ehlo_or_helo_if_needed()
    if smtp.has_extn("starttls"):
        smtp.starttls(context=context)
    elif server.password and not server.is_here:
        raise NotificationError(
            f"{server.host}:{server.port} offers no TLS, so it gets no password",
            hint=f"use smtps:// in {URL_VARIABLE}, or the port that takes STARTTLS",
        )


def _server(url: str) -> _Server:
    problem = ConfigurationError(
        f"{URL_VARIABLE} is no address of a mail server",
        hint="smtps://USER:PASSWORD@HOST:PORT, or smtp://; in user and password, write what is no"
        " letter or digit as %XX",
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise problem from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise problem
    return _Server(
        parts.hostname,
        port or _PORTS[parts.scheme],
        parts.scheme == "smtps",
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
    )


def _refusal(where: str, code: int) -> NotificationError:
    """What the server says beside its code may repeat what it was told, so it is left out."""
    if code in _PASSING:
        return NotifierUnavailableError(f"{where}: SMTP {code}")
    return NotificationError(
        f"{where}: SMTP {code}, the alert was not taken",
        hint=f"are {URL_VARIABLE}, {FROM_VARIABLE} and {TO_VARIABLE} right?",
    )
