"""The notifier `webhook`: a JSON document, posted to an address."""

from __future__ import annotations

import logging
from typing import Any

from catalogsync_assets import __version__
from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.settings import WEBHOOK_VARIABLE, required
from catalogsync_assets.notifications.notifiers import (
    TIMEOUT_SECONDS,
    Alert,
    NotificationError,
    NotifierUnavailableError,
    place,
)

_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY, _SERVER_ERROR = 408, 425, 429, 500


class WebhookNotifier:
    """Posts alerts to the address that `variable` names.

    Redirects are not followed: they would lead the alert to where nobody has sent it.
    """

    variable = WEBHOOK_VARIABLE

    def __init__(self) -> None:
        self._url = required(self.variable, "the URL to post alerts to")
        if not self._url.startswith(("https://", "http://")):
            raise ConfigurationError(f"{self.variable} does not begin with https://")

    def document(self, alert: Alert) -> dict[str, Any]:
        """What is posted."""
        return {
            "source": "catalogsync",
            "subject": alert.subject,
            "severity": alert.severity,
            "text": alert.text,
            "link": alert.link,
            "fields": dict(alert.fields),
        }

    def notify(self, alert: Alert) -> None:
        """See `Notifier.notify`."""
        import httpx

        for name in ("httpx", "httpcore"):
            # They log each address, with the token in it.
            logging.getLogger(name).setLevel(logging.WARNING)
        where = place(self._url)
        try:
            status = httpx.post(
                self._url,
                json=self.document(alert),
                headers={"User-Agent": f"catalogsync/{__version__}"},
                timeout=TIMEOUT_SECONDS,
            ).status_code
        except httpx.TimeoutException:
            raise NotifierUnavailableError(f"{where} does not answer") from None
        except httpx.TransportError as error:
            raise NotifierUnavailableError(
                f"{where}: no connection ({type(error).__name__})"
            ) from None
        except httpx.InvalidURL:
            raise NotificationError(f"{self.variable} is not a valid URL") from None
        if httpx.codes.is_success(status):
            return
        if status >= _SERVER_ERROR or status in (_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY):
            raise NotifierUnavailableError(f"{where}: HTTP {status}")
        raise NotificationError(
            f"{where}: HTTP {status}, the alert was not accepted", hint=f"check {self.variable}"
        )
