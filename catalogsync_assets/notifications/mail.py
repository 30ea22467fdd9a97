"""The notifier `email`: SMTP, with Python's own smtplib."""

from __future__ import annotations

import ipaddress
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from urllib.parse import unquote, urlsplit

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.settings import (
    EMAIL_FROM_VARIABLE,
    EMAIL_TO_VARIABLE,
    SMTP_VARIABLE,
    required,
)
from catalogsync_assets.notifications.notifiers import (
    TIMEOUT_SECONDS,
    Alert,
    NotificationError,
    NotifierUnavailableError,
)

_PORTS = {"smtp": 587, "smtps": 465}
_PASSING = range(400, 500)  # of SMTP: try again later


class MailNotifier:
    """Sends alerts as e-mail.

    TLS from the start (`smtps://`), or by STARTTLS wherever the server offers it (`smtp://`). A
    password is sent to another machine by TLS only.
    """

    def __init__(self) -> None:
        try:
            url = urlsplit(required(SMTP_VARIABLE, "smtps://USER:PASSWORD@HOST, or smtp://HOST"))
            default = _PORTS[url.scheme]
            self._port = url.port or default
        except (ValueError, KeyError):
            url = urlsplit("")
        if not url.hostname:
            raise ConfigurationError(
                f"{SMTP_VARIABLE} is not a valid smtp(s) URL",
                hint="use smtps://USER:PASSWORD@HOST:PORT, or smtp://; percent-encode user and"
                " password",
            )
        self._tls_from_the_start = url.scheme == "smtps"
        self._host = url.hostname
        self._user, self._password = unquote(url.username or ""), unquote(url.password or "")
        self._from = required(EMAIL_FROM_VARIABLE, "the address that alerts come from")
        addresses = required(
            EMAIL_TO_VARIABLE, "the addresses that get alerts, separated by commas"
        )
        self._to = ", ".join(a.strip() for a in addresses.split(",") if a.strip())

    def notify(self, alert: Alert) -> None:
        """See `Notifier.notify`."""
        where = f"{self._host}:{self._port}"
        context = ssl.create_default_context()
        try:
            with self._connected(context) as smtp:
                if not self._tls_from_the_start:
                    self._secure(smtp, context)
                if self._user and self._password:
                    smtp.login(self._user, self._password)
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
            raise NotificationError(f"{where} refused some of {EMAIL_TO_VARIABLE}")

    def _connected(self, context: ssl.SSLContext) -> smtplib.SMTP:
        if self._tls_from_the_start:
            return smtplib.SMTP_SSL(
                self._host, self._port, timeout=TIMEOUT_SECONDS, context=context
            )
        return smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_SECONDS)

    def _secure(self, smtp: smtplib.SMTP, context: ssl.SSLContext) -> None:
        smtp.ehlo_or_helo_if_needed()
        if smtp.has_extn("starttls"):
            smtp.starttls(context=context)
        elif self._password and not _is_here(self._host):
            raise NotificationError(
                f"{self._host}:{self._port} offers no TLS: the password was not sent",
                hint=f"use smtps:// in {SMTP_VARIABLE}, or the port that offers STARTTLS",
            )

    def _message(self, alert: Alert) -> EmailMessage:
        message = EmailMessage()
        message["Subject"] = alert.subject
        message["From"] = self._from
        message["To"] = self._to
        message["Date"] = formatdate()
        message["Message-ID"] = make_msgid("catalogsync")
        message["Auto-Submitted"] = "auto-generated"  # no replies of absence, please
        message.set_content(alert.body)
        return message


def _is_here(host: str) -> bool:
    """Whether a connection to the host does not leave this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refusal(where: str, code: int) -> NotificationError:
    """What the server says beside its code may repeat what it was told, so it is left out."""
    if code in _PASSING:
        return NotifierUnavailableError(f"{where}: SMTP {code}")
    return NotificationError(
        f"{where}: SMTP {code}, the alert was not accepted",
        hint=f"check {SMTP_VARIABLE}, {EMAIL_FROM_VARIABLE} and {EMAIL_TO_VARIABLE}",
    )
