"""The notifier `webhook`: a JSON document, posted to an address."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from catalogsync_assets import __version__
from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.notifications.notifiers import (
    TIMEOUT_SECONDS,
    Alert,
    NotificationError,
    NotifierUnavailableError,
    place,
    setting,
)

if TYPE_CHECKING:
    import httpx

URL_VARIABLE = "CATALOGSYNC_ALERT_WEBHOOK_URL"
_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


class WebhookNotifier:
    """Posts alerts to `CATALOGSYNC_ALERT_WEBHOOK_URL`.

    Redirects are not followed: they would take the alert where nobody has sent it.
    """

    def __init__(self) -> None:
        self._url = setting(URL_VARIABLE, "the address that takes alerts")
        if not self._url.startswith(("https://", "http://")):
            raise ConfigurationError(f"{URL_VARIABLE} is no address that begins with https://")

    def notify(self, alert: Alert) -> None:
        """See `Notifier.notify`."""
        import httpx

        for name in ("httpx", "httpcore"):
            # They log each address, with the token in it.
            logging.getLogger(name).setLevel(logging.WARNING)
        where = place(self._url)
        try:
            response = httpx.post(
                self._url,
                json=document(alert),
                headers={"User-Agent": f"catalogsync/{__version__}"},
                timeout=TIMEOUT_SECONDS,
            )
        except httpx.TimeoutException:
            raise NotifierUnavailableError(f"{where} does not answer") from None
        except httpx.TransportError as error:
            raise NotifierUnavailableError(
                f"{where}: no connection ({type(error).__name__})"
            ) from None
        except httpx.InvalidURL:
            raise NotificationError(f"{URL_VARIABLE} is no address of the web") from None
        _judge(response, where)


def document(alert: Alert) -> dict[str, Any]:
    """What is posted."""
    return {
        "source": "catalogsync",
        "subject": alert.subject,
        "severity": alert.severity,
        "text": alert.text,
        "link": alert.link,
        "fields": dict(alert.fields),
    }


def _judge(response: httpx.Response, where: str) -> None:
    if response.is_success:
        return
    status = response.status_code
    if status in _PASSING:
        raise NotifierUnavailableError(f"{where}: HTTP {status}")
    raise NotificationError(
        f"{where}: HTTP {status}, the alert was not taken", hint=f"is {URL_VARIABLE} right?"
    )
