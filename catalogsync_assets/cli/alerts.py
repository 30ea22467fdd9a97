"""Alerts from the command line: whether they would arrive."""

from __future__ import annotations

from catalogsync_assets.cli import options, output, running


@options.group("catalogsync alerts test")
def alerts() -> None:
    """Alerts about failures."""


@options.command(
    "catalogsync alerts test",
    "CATALOGSYNC_ALERTS=email,slack catalogsync alerts test",
    of=alerts,
    db=False,
)
def test() -> None:
    """Send a test alert through every notifier that CATALOGSYNC_ALERTS names.

    Exit code 0 if all of them accept it.
    """
    from catalogsync_assets.notifications.notifiers import Alert, Notifiers

    notifiers = Notifiers()
    failed = notifiers.send(
        Alert("catalogsync: a test", "This alert is a test. Nothing has failed.", "warning")
    )
    reasons: dict[str, str | None] = dict.fromkeys(notifiers.names)
    reasons |= failed | notifiers.problems
    running.end(
        {"notifiers": [{"name": n, "sent": r is None, "reason": r} for n, r in reasons.items()]},
        lambda: output.print_table(
            "a test alert",
            ("notifier", "outcome"),
            [(n, "sent" if r is None else f"failed: {r}") for n, r in reasons.items()],
        ),
        failed=len(failed | notifiers.problems),
    )
