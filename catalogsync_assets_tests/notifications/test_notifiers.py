"""Notifiers: each against a real server, found by name, and never a way out for a secret."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import closing, contextmanager

import pytest
import tenacity
import trustme

from catalogsync_assets.core import settings
from catalogsync_assets.notifications.notifiers import (
    ATTEMPTS,
    Alert,
    Notifiers,
    installed,
)
from catalogsync_assets.notifications.slack import SlackNotifier
from catalogsync_assets.notifications.webhook import WebhookNotifier
from catalogsync_assets_tests.receivers import Mails, Posts, mail_server
from catalogsync_assets_tests.support.packages import importable, install

TOKEN = "hunter2-the-token"
ALERT = Alert(
    "catalogsync: remote_locations cloud|b1 failed",
    "3 of 9 files could not be uploaded: <no & space>\n  - Größe.mp3: full",
    link="http://127.0.0.1:3000/runs/1234",
    fields={"run": "1234"},
)

MODULE = """
from catalogsync_assets.notifications.notifiers import NotificationError, NotifierUnavailableError

KEPT, TRIES = [], []


class Bell:
    def notify(self, alert):
        KEPT.append(alert)


class Tired:
    def notify(self, alert):
        TRIES.append(alert)
        raise NotifierUnavailableError("https://u:hunter2@bell.example/hunter2?k=hunter2 sleeps")


class Careless:
    def notify(self, alert):
        raise ValueError("cannot ring bell.example/hunter2 with hunter2")


class Exits:
    def notify(self, alert):
        raise SystemExit("hunter2")


class Unplugged:
    def __init__(self):
        raise OSError("no bell at https://bell.example/hunter2")
"""
PLUG_INS = {
    "bell": "Bell",
    "tired": "Tired",
    "careless": "Careless",
    "exits": "Exits",
    "unplugged": "Unplugged",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed a package with notifiers."""
    folder = tmp_path_factory.mktemp("bells")
    plug_ins = {name: f"catalogsync_bells:{kind}" for name, kind in PLUG_INS.items()}
    plug_ins["gone"] = "catalogsync_no_such_module:Gone"
    return install(folder, "catalogsync_bells", MODULE, "catalogsync.notifiers", plug_ins)


@pytest.fixture
def bells(site):
    """The package, as if its folder were the interpreter's own."""
    with importable(site, "catalogsync_bells") as module:
        yield module


@pytest.fixture
def posts(monkeypatch):
    """The server of both `webhook` and `slack`; their address holds a secret."""
    with Posts().serving() as posts:
        for kind in (WebhookNotifier, SlackNotifier):
            monkeypatch.setenv(kind.variable, f"{posts.url}/{TOKEN}?key={TOKEN}")
        yield posts


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def certificate(authority):
    """Of a server on this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    """The authority is one that this machine trusts."""
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture
def by_mail(monkeypatch):
    """`with by_mail(user="…"):` there is a mail server, and the environment says so."""

    @contextmanager
    def use(user="", host="127.0.0.1", refusal="", **how):
        mails = Mails(refusal)
        with mail_server(mails, **how) as port:
            name_mail_server(monkeypatch, f"{user}{host}:{port}")
            yield mails

    return use


def name_mail_server(monkeypatch, server):
    monkeypatch.setenv(settings.SMTP_VARIABLE, f"smtp://{server}")
    monkeypatch.setenv(settings.EMAIL_FROM_VARIABLE, "catalogsync@home.example")
    monkeypatch.setenv(settings.EMAIL_TO_VARIABLE, "me@home.example, you@home.example")


@pytest.fixture
def closed_port():
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def send(*names: str) -> dict[str, str]:
    """Send the alert without waits between the tries; who did not take it, and why."""
    notifiers = Notifiers(names)
    assert notifiers.problems == {}
    return notifiers.send(ALERT, wait=tenacity.wait_none())


# --- log ----------------------------------------------------------------------------------------


def test_without_a_word_alerts_go_to_the_log(caplog):
    assert settings.notifiers() == ["log"]

    assert Notifiers().send(ALERT) == {}

    (record,) = caplog.records
    assert (record.name, record.levelno) == ("catalogsync.alerts", logging.ERROR)
    assert record.getMessage() == f"{ALERT.subject}\n{ALERT.text}\n\n{ALERT.link}"


# --- webhook ------------------------------------------------------------------------------------


def test_a_webhook_gets_a_document_with_all_there_is(posts):
    assert send("webhook") == {}

    (post,) = posts.came
    assert post.path == f"/{TOKEN}?key={TOKEN}"
    assert post.body == {
        "source": "catalogsync",
        "subject": ALERT.subject,
        "severity": "error",
        "text": ALERT.text,
        "link": ALERT.link,
        "fields": {"run": "1234"},
    }


@pytest.mark.parametrize("name", ["webhook", "slack"])
def test_a_server_that_is_busy_is_asked_again(posts, name):
    posts.answers = [503, 429]

    assert send(name) == {}

    assert len(posts.came) == 3


@pytest.mark.parametrize("name", ["webhook", "slack"])
@pytest.mark.parametrize(("status", "tries"), [(404, 1), (302, 1), (500, ATTEMPTS)])
def test_an_alert_that_is_refused_says_where_and_shows_no_token(posts, caplog, name, status, tries):
    posts.answers = [status] * 9
    caplog.set_level(logging.DEBUG)

    failed = send(name)

    assert len(posts.came) == tries
    assert f"{posts.url}: HTTP {status}" in failed[name]
    assert TOKEN not in failed[name] + caplog.text


def test_a_webhook_that_redirects_is_not_followed(posts):
    posts.answers, posts.location = [307], f"{posts.url}/elsewhere"

    assert "HTTP 307" in send("webhook")["webhook"]

    assert len(posts.came) == 1


@pytest.mark.parametrize("name", ["webhook", "slack", "email"])
def test_where_nobody_answers_no_token_is_shown(closed_port, monkeypatch, caplog, name):
    server = f"user:{TOKEN}@127.0.0.1:{closed_port}"
    for kind in (WebhookNotifier, SlackNotifier):
        monkeypatch.setenv(kind.variable, f"http://{server}/{TOKEN}?key={TOKEN}")
    name_mail_server(monkeypatch, server)
    caplog.set_level(logging.DEBUG)

    failed = send(name)

    assert f"127.0.0.1:{closed_port}: no connection" in failed[name]
    assert TOKEN not in failed[name] + caplog.text


# --- Slack --------------------------------------------------------------------------------------


def test_slack_gets_a_message_in_its_mark_up(posts):
    assert send("slack") == {}

    (post,) = posts.came
    assert post.body == {
        "text": ":red_circle: *catalogsync: remote_locations cloud|b1 failed*\n"
        "3 of 9 files could not be uploaded: &lt;no &amp; space&gt;\n  - Größe.mp3: full\n"
        "<http://127.0.0.1:3000/runs/1234|Open in Dagster>"
    }


def test_a_long_message_to_slack_is_cut_at_a_line(posts):
    Notifiers(["slack"]).send(Alert("s", "line\n" * 5_000, severity="warning"))

    text = posts.came[0].body["text"]
    assert len(text) < 3_100
    assert text.endswith("line\n…")
    assert text.startswith(":warning: ")


# --- e-mail -------------------------------------------------------------------------------------


def test_an_alert_comes_as_an_e_mail(by_mail):
    with by_mail() as mails:
        assert send("email") == {}

    (message,) = mails.came
    assert message["Subject"] == ALERT.subject
    assert message["To"] == "me@home.example, you@home.example"
    assert message.get_content().splitlines() == [*ALERT.text.splitlines(), "", ALERT.link]
    assert mails.envelopes == [
        ("catalogsync@home.example", ["me@home.example", "you@home.example"])
    ]


def test_a_password_goes_to_the_mail_server_by_tls(by_mail, certificate, trusted):
    with by_mail("me:p%40ss%2Fword-of-the-post@", starttls=certificate, auth=True) as mails:
        assert send("email") == {}

    assert mails.users == [("me", True)]
    assert len(mails.came) == 1


def test_a_mail_server_that_cannot_prove_who_it_is_gets_nothing(by_mail, certificate):
    with by_mail(f"me:{TOKEN}@", starttls=certificate, auth=True) as mails:
        failed = send("email")

    assert "no TLS" in failed["email"]
    assert (mails.users, mails.came) == ([], [])


def test_a_password_does_not_leave_this_machine_without_tls(by_mail, monkeypatch):
    with by_mail(f"me:{TOKEN}@", host="mail.example", auth=True) as mails:
        here = socket.getaddrinfo
        monkeypatch.setattr(  # the name of another machine, which a test must not ask
            socket, "getaddrinfo", lambda host, *more, **how: here("127.0.0.1", *more, **how)
        )

        failed = send("email")

    assert "offers no TLS: the password was not sent" in failed["email"]
    assert "hint" in failed["email"]
    assert TOKEN not in failed["email"]
    assert mails.users == []


@pytest.mark.parametrize(
    ("refusal", "said"), [("554 no such hunter2", "SMTP 554"), ("451 later", "SMTP 451")]
)
def test_a_mail_that_is_refused_says_by_what_code(by_mail, refusal, said):
    with by_mail(refusal=refusal):
        failed = send("email")

    assert said in failed["email"]
    assert "hunter2" not in failed["email"]


def test_a_wrong_password_is_not_shown(by_mail, certificate, trusted):
    with by_mail(f"me:{TOKEN}@", starttls=certificate, auth=True):
        failed = send("email")

    assert "SMTP 535" in failed["email"]
    assert TOKEN not in failed["email"]


def test_a_subject_of_several_lines_adds_no_header(by_mail):
    with by_mail() as mails:
        assert Notifiers(["email"]).send(Alert("one\nBcc: all@home.example", "text")) == {}

    assert mails.came[0]["Subject"] == "one Bcc: all@home.example"
    assert mails.came[0]["Bcc"] is None


# --- choosing -----------------------------------------------------------------------------------


def test_a_notifier_of_another_package_is_chosen_by_its_name(bells, monkeypatch):
    monkeypatch.setenv(settings.ALERTS_VARIABLE, " bell, log,bell")

    assert settings.notifiers() == ["bell", "log"]
    assert Notifiers().send(ALERT) == {}
    assert bells.KEPT == [ALERT]
    assert sorted(installed()) == sorted([*PLUG_INS, "gone", "email", "log", "slack", "webhook"])


def test_one_that_fails_keeps_the_alert_from_no_other(bells):
    failed = send("tired", "careless", "exits", "bell")

    assert bells.KEPT == [ALERT]
    assert len(bells.TRIES) == ATTEMPTS
    assert failed == {
        "tired": "https://bell.example/… sleeps",
        "careless": "ValueError, from the notifier",
        "exits": "SystemExit, from the notifier",
    }


def test_one_that_cannot_be_made_keeps_no_other_away(bells, monkeypatch):
    monkeypatch.setenv(settings.ALERTS_VARIABLE, "unplugged,gone,webhook,pigeon,bell")

    notifiers = Notifiers()

    assert notifiers.names == ["bell"]
    assert set(notifiers.problems) == {"unplugged", "gone", "webhook", "pigeon"}
    assert "cannot be loaded: OSError" in notifiers.problems["unplugged"]
    assert "cannot be loaded: ModuleNotFoundError" in notifiers.problems["gone"]
    assert f"{WebhookNotifier.variable} is not set" in notifiers.problems["webhook"]
    assert "no notifier 'pigeon' is installed" in notifiers.problems["pigeon"]
    assert "installed: bell, careless, email" in notifiers.problems["pigeon"]
    assert "hunter2" not in str(notifiers.problems)


@pytest.mark.parametrize(
    ("name", "variable", "value"),
    [
        ("webhook", WebhookNotifier.variable, f"ftp://{TOKEN}"),
        ("webhook", WebhookNotifier.variable, TOKEN),
        ("slack", SlackNotifier.variable, TOKEN),
        ("email", settings.SMTP_VARIABLE, f"me:{TOKEN}@mail.example"),
        ("email", settings.SMTP_VARIABLE, f"smtp://me:{TOKEN}@mail.example:port"),
        ("email", settings.SMTP_VARIABLE, f"imap://me:{TOKEN}@mail.example"),
    ],
)
def test_an_address_that_is_none_is_named_but_not_shown(monkeypatch, name, variable, value):
    monkeypatch.setenv(variable, value)

    problem = Notifiers([name]).problems[name]

    assert variable in problem
    assert TOKEN not in problem


# --- what came from outside ---------------------------------------------------------------------


def test_names_of_files_do_not_act_in_an_alert(posts, by_mail, caplog):
    """Nor keep it from being sent: no mail and no JSON takes a name that is not UTF-8."""
    alert = Alert(
        "a\x1b]0;owned\x07\nBcc: all@home.example", "caf\udce9.mp3\n\u202ex", fields={"k": "\udce9"}
    )
    with by_mail() as mails:
        assert Notifiers(["email", "log", "webhook"]).send(alert) == {}
    Notifiers(["slack"]).send(Alert("@everyone.mp3", "me@all.example"))

    assert mails.came[0]["Subject"] == r"a\x1b]0;owned\x07 Bcc: all@home.example"
    assert mails.came[0].get_content().splitlines()[:2] == [r"caf\xe9.mp3", r"\u202ex"]
    assert "\x1b" not in caplog.text
    to_webhook, to_slack = posts.came
    assert to_webhook.body["fields"] == {"k": r"\xe9"}
    assert "@\u200beveryone" in to_slack.body["text"]
