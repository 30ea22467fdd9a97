"""The interface of a notifier, the notifiers that are installed, and sending an alert to them.

A notifier is a plug-in: a package names it in the entry point group `catalogsync.notifiers`, and
`CATALOGSYNC_ALERTS` chooses those to use. Trying again is not its business; see `Notifiers.send`.

Addresses of notifiers carry secrets (a token in the path, a password). They come from the
environment, and no error, log line or event shows more of them than scheme and host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, cast

import tenacity

from catalogsync_assets.core import plugins
from catalogsync_assets.core.errors import CatalogSyncError, ConfigurationError
from catalogsync_assets.core.redaction import redact
from catalogsync_assets.core.settings import ALERTS_VARIABLE, DEFAULT_NOTIFIER, notifiers
from catalogsync_assets.core.visible import visible, visible_lines

GROUP = "catalogsync.notifiers"
#: Of one notifier and one alert. Three notifiers that are out of reach still leave a sensor's tick
#: within the 60 s that Dagster gives it.
ATTEMPTS = 3
SECONDS = 12.0
#: For one answer.
TIMEOUT_SECONDS = 5.0

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Alert:
    """What a person should know. Holds no secret.

    What it tells of came from outside: names of files, answers of servers. It is made visible here,
    for all notifiers; see `core.visible`.
    """

    subject: str  #: one line
    text: str  #: what failed, why, and what to do; several lines
    severity: Severity = "error"
    link: str | None = None  #: where to look, or None
    #: Further facts by name, for those who read alerts with a program.
    fields: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in (
            ("subject", visible(" ".join(self.subject.split()))),
            ("text", visible_lines(self.text)),
            ("link", self.link and visible(self.link)),
            ("fields", {visible(k): visible(v) for k, v in self.fields.items()}),
        ):
            object.__setattr__(self, name, value)

    @property
    def body(self) -> str:
        """The text, and where to look."""
        return f"{self.text}\n\n{self.link}" if self.link else self.text


class NotificationError(CatalogSyncError):
    """An alert was not accepted, and would not be if sent again. The message holds no secret."""


class NotifierUnavailableError(NotificationError):
    """There was no answer, or a request to try again later."""


class Notifier(Protocol):
    """Brings alerts to people. What the entry point names is called without arguments, and raises
    ConfigurationError if a setting is missing."""

    def notify(self, alert: Alert) -> None:
        """Deliver an alert; returns when it was accepted. May be called any number of times.

        It must give up by itself: no single wait longer than `TIMEOUT_SECONDS`.

        Raises:
            NotifierUnavailableError: trying again may help; it is called again soon.
            NotificationError: it will not be accepted. Anything else that is raised counts as such.
        """
        ...


_HERE = "catalogsync_assets.notifications"
_BUILT_IN = {
    DEFAULT_NOTIFIER: f"{_HERE}.log:LogNotifier",
    "webhook": f"{_HERE}.webhook:WebhookNotifier",
    "email": f"{_HERE}.mail:MailNotifier",
    "slack": f"{_HERE}.slack:SlackNotifier",
}


def installed() -> list[str]:
    """The names of all notifiers."""
    return plugins.installed(GROUP, _BUILT_IN)


class Notifiers:
    """The notifiers of these names, made. One that cannot be made does not keep the others away.

    Args:
        names: by default those that `CATALOGSYNC_ALERTS` names.

    Attributes:
        problems: by name of those that cannot be made, why.
    """

    def __init__(self, names: Sequence[str] | None = None) -> None:
        self.problems: dict[str, str] = {}
        self._made: dict[str, Notifier] = {}
        for name in notifiers() if names is None else names:
            try:
                self._made[name] = _make(name)
            except ConfigurationError as error:
                self.problems[name] = str(error)

    @property
    def names(self) -> list[str]:
        """Those that can be used."""
        return list(self._made)

    def send(self, alert: Alert, *, wait: tenacity.wait.wait_base | None = None) -> dict[str, str]:
        """Send an alert to each. Raises nothing that a notifier raises.

        Args:
            wait: between two tries; by default up to 3 s.

        Returns:
            By name of those that did not accept it, why.
        """
        patiently = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(NotifierUnavailableError),
            stop=tenacity.stop_after_attempt(ATTEMPTS) | tenacity.stop_after_delay(SECONDS),
            wait=wait or tenacity.wait_random_exponential(multiplier=0.5, max=3),
            reraise=True,
        )
        failed = {}
        for name, notifier in self._made.items():
            try:
                patiently(notifier.notify, alert)
            except (Exception, SystemExit) as error:
                failed[name] = _shown(error)
        return failed


def _make(name: str) -> Notifier:
    """The notifier of this name.

    Raises:
        ConfigurationError: none is installed, it cannot be loaded, or lacks a setting.
    """
    try:
        return cast("Notifier", plugins.make(GROUP, name, _BUILT_IN))
    except plugins.UnknownPluginError:
        raise ConfigurationError(
            f"no notifier {name!r} is installed",
            hint=f"{ALERTS_VARIABLE} takes names separated by commas; installed:"
            f" {', '.join(installed())}",
        ) from None
    except ConfigurationError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigurationError(
            f"the notifier {name!r} cannot be loaded: {_shown(error)}",
            hint="reinstall or update the package that provides it",
        ) from None


def place(url: str) -> str:
    """Scheme and host of an address: all of it that may be shown."""
    return re.sub(r"^([^/]*//[^/]*)/.*$", r"\1", redact(url), flags=re.S)


def _shown(error: BaseException) -> str:
    """What may be shown of an error: our own sentences, with addresses cut down to the host. What
    others say may hold an address in any form, so only its kind is."""
    if not isinstance(error, CatalogSyncError):
        return f"{type(error).__name__}, from the notifier"
    return re.sub(r"(\w[\w+.-]*://[^\s/\"'<>]*)/[^\s\"'<>]*", r"\1/…", redact(str(error)))
