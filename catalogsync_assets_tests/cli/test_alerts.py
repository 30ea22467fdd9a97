"""`catalogsync alerts test`: whether alerts would arrive."""

from __future__ import annotations

from catalogsync_assets.notifications import webhook
from catalogsync_assets.notifications.notifiers import VARIABLE
from catalogsync_assets_tests.receivers import Posts


def test_a_test_alert_is_sent_by_each_notifier(cli, monkeypatch):
    with Posts().serving() as posts:
        monkeypatch.setenv(VARIABLE, "log,webhook")
        monkeypatch.setenv(webhook.URL_VARIABLE, posts.url)

        done = cli("alerts", "test", "--json")

    assert done.code == 0
    assert done.json == {
        "notifiers": [
            {"name": "log", "sent": True, "reason": None},
            {"name": "webhook", "sent": True, "reason": None},
        ]
    }
    assert [post.body["subject"] for post in posts.came] == ["catalogsync: a test"]


def test_what_does_not_arrive_is_said_with_the_reason(cli, monkeypatch):
    with Posts().serving() as posts:
        monkeypatch.setenv(VARIABLE, "pigeon,webhook,log")
        monkeypatch.setenv(webhook.URL_VARIABLE, f"{posts.url}/hunter2")
        posts.answers = [404]

        done = cli("alerts", "test")

    assert done.code == 1
    told = {line.split()[0]: line for line in done.out.splitlines()}
    assert "sent" in told["log"]
    assert f"failed: {posts.url}: HTTP 404" in told["webhook"]
    assert "no notifier 'pigeon' is installed" in told["pigeon"]
    assert "hunter2" not in done.out + done.err
