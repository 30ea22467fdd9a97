"""The notifier `slack`: an incoming webhook of Slack, or of what speaks the same (Mattermost, and
Discord's address with /slack at its end).

slack-sdk and not apprise, which speaks to a hundred services: that one tells no more than whether
all went well, writes its reasons to a log together with addresses, and reaches no other host than
Slack's own, so that nothing of it could be tested here.
"""

from __future__ import annotations

import logging
import re

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.notifications.notifiers import (
    TIMEOUT_SECONDS,
    Alert,
    NotificationError,
    NotifierUnavailableError,
    place,
    setting,
)

URL_VARIABLE = "CATALOGSYNC_ALERT_SLACK_URL"
#: Slack cuts at 40,000, and nobody reads that much there.
_MAX_CHARACTERS = 3_000
_EVERYBODY = re.compile("@(?=(?:all|channel|everyone|here)\\b)", re.IGNORECASE)
_OK, _TOO_MANY, _SERVER_ERROR = 200, 429, 500


class SlackNotifier:
    """Posts alerts to `CATALOGSYNC_ALERT_SLACK_URL`. Needs `pip install catalogsync[alerts]`."""

    def __init__(self) -> None:
        try:
            from slack_sdk.webhook import WebhookClient
        except ImportError:
            raise ConfigurationError(
                "the notifier 'slack' needs slack-sdk", hint="pip install 'catalogsync[alerts]'"
            ) from None
        url = setting(URL_VARIABLE, "the address of an incoming webhook")
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError(f"{URL_VARIABLE} is no address that begins with https://")
        # It logs the address at every try.
        silent = logging.Logger("catalogsync.slack", logging.CRITICAL + 1)
        self._where = place(url)
        self._client = WebhookClient(
            url, timeout=int(TIMEOUT_SECONDS), retry_handlers=[], logger=silent
        )

    def notify(self, alert: Alert) -> None:
        """See `Notifier.notify`."""
        try:
            response = self._client.send(text=message(alert))
        except OSError as error:  # also what urllib raises
            raise NotifierUnavailableError(
                f"{self._where}: no connection ({type(error).__name__})"
            ) from None
        status = response.status_code
        if status == _TOO_MANY or status >= _SERVER_ERROR:
            raise NotifierUnavailableError(f"{self._where}: HTTP {status}")
        if status != _OK:
            raise NotificationError(
                f"{self._where}: HTTP {status}, the alert was not taken",
                hint=f"is {URL_VARIABLE} right?",
            )


def message(alert: Alert) -> str:
    """The alert in Slack's mark-up."""
    sign = ":red_circle:" if alert.severity == "error" else ":warning:"
    text = alert.text
    if len(text) > _MAX_CHARACTERS:
        text = text[:_MAX_CHARACTERS].rsplit("\n", 1)[0] + "\n…"
    link = f"\n<{alert.link}|Open in Dagster>" if alert.link else ""
    return f"{sign} *{_escaped(alert.subject)}*\n{_escaped(text)}{link}"


def _escaped(text: str) -> str:
    """Text as text: no mark-up, and nobody is called, which Mattermost and Discord also do for a
    plain `@all` or `@everyone`."""
    text = _EVERYBODY.sub("@\u200b", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
