"""The notifier `log`: Python's logging, which ends up where Dagster's processes write."""

from __future__ import annotations

import logging

from catalogsync_assets.notifications.notifiers import Alert

LOGGER = "catalogsync.alerts"


class LogNotifier:
    """Writes alerts to the logger `catalogsync.alerts`."""

    def notify(self, alert: Alert) -> None:
        """See `Notifier.notify`."""
        level = logging.ERROR if alert.severity == "error" else logging.WARNING
        logging.getLogger(LOGGER).log(level, "%s\n%s", alert.subject, alert.body)
