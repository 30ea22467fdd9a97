"""The notifier `slack`: an incoming webhook of Slack, or of what speaks the same (Mattermost, and
Discord's address with /slack at its end)."""

from __future__ import annotations

import re

from catalogsync_assets.core.settings import SLACK_VARIABLE
from catalogsync_assets.notifications.notifiers import Alert
from catalogsync_assets.notifications.webhook import WebhookNotifier

#: Slack cuts at 40,000, and nobody reads that much there.
_MAX_CHARACTERS = 3_000
_EVERYBODY = re.compile("@(?=(?:all|channel|everyone|here)\\b)", re.IGNORECASE)


class SlackNotifier(WebhookNotifier):
    """Posts alerts to `CATALOGSYNC_ALERT_SLACK_URL`."""

    variable = SLACK_VARIABLE

    def document(self, alert: Alert) -> dict[str, str]:
        """The alert in Slack's mark-up."""
        sign = ":red_circle:" if alert.severity == "error" else ":warning:"
        text = alert.text
        if len(text) > _MAX_CHARACTERS:
            text = text[:_MAX_CHARACTERS].rsplit("\n", 1)[0] + "\n…"
        link = f"\n<{alert.link}|Open in Dagster>" if alert.link else ""
        return {"text": f"{sign} *{_escaped(alert.subject)}*\n{_escaped(text)}{link}"}


def _escaped(text: str) -> str:
    """Text as text: no mark-up, and nobody is called, which Mattermost and Discord also do for a
    plain `@all` or `@everyone`."""
    text = _EVERYBODY.sub("@\u200b", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
