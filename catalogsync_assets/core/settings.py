"""Every setting that comes from an environment variable `CATALOGSYNC_…`.

Read when asked, never at import, so that a test or a Dagster run sees the environment it runs in.
Credentials of stores are not here; see `core.stores.credentials`.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from catalogsync_assets.core.errors import ConfigurationError

CATALOG_VARIABLE = "CATALOGSYNC_DB"
ROOTS_VARIABLE = "CATALOGSYNC_LIBRARY_ROOTS"
IGNORE_VARIABLE = "CATALOGSYNC_IGNORE"
FORGET_DAYS_VARIABLE = "CATALOGSYNC_FORGET_DAYS"
TIMEZONE_VARIABLE = "CATALOGSYNC_TIMEZONE"
ALERTS_VARIABLE = "CATALOGSYNC_ALERTS"
ALERT_CHECKS_VARIABLE = "CATALOGSYNC_ALERT_CHECKS"
WEBHOOK_VARIABLE = "CATALOGSYNC_ALERT_WEBHOOK_URL"
SLACK_VARIABLE = "CATALOGSYNC_ALERT_SLACK_URL"
SMTP_VARIABLE = "CATALOGSYNC_ALERT_SMTP_URL"
EMAIL_FROM_VARIABLE = "CATALOGSYNC_ALERT_EMAIL_FROM"
EMAIL_TO_VARIABLE = "CATALOGSYNC_ALERT_EMAIL_TO"
UI_VARIABLE = "CATALOGSYNC_UI_URL"
COMPANIONS_VARIABLE = "CATALOGSYNC_COMPANIONS"
KEEP_VARIABLE = "CATALOGSYNC_KEEP_REPLACED_DAYS"
WORKERS_VARIABLE = "CATALOGSYNC_WORKERS"
FAILING_VARIABLE = "CATALOGSYNC_FAILING_HOURS"
PASSPHRASE_VARIABLE = "CATALOGSYNC_PASSPHRASE"  # noqa: S105  (a name)
SNAPSHOTS_VARIABLE = "CATALOGSYNC_SNAPSHOTS"
AUTO = "auto"
#: Requests to a store at a time, whatever is asked for.
MAX_WORKERS = 256
DEFAULT_CATALOG = "catalogsync.db"
DEFAULT_FORGET_DAYS = 30
DEFAULT_NOTIFIER = "log"
DEFAULT_UI = "http://127.0.0.1:3000"
DEFAULT_KEEP_DAYS = 30
DEFAULT_FAILING_HOURS = 6
#: Of snapshots of the catalog: the last ones, and then one for each of so many weeks and months.
DEFAULT_SNAPSHOTS = (7, 4, 6)


def catalog_location(given: str | os.PathLike[str] | None = None) -> str:
    """Where the catalog is: as given, else `CATALOGSYNC_DB`, else `catalogsync.db` here.

    Returns:
        A file path or an SQLAlchemy URL, not yet opened.
    """
    return os.fspath(given) if given else os.environ.get(CATALOG_VARIABLE) or DEFAULT_CATALOG


def lies_inside(inner: Path, outer: Path) -> bool:
    """Whether a folder is another one or lies in it, by whatever path it is named: through links,
    or where the other is mounted a second time."""
    here = inner.resolve()
    if here.is_relative_to(outer.resolve()):
        return True
    try:
        there = outer.stat()
        return any(os.path.samestat(folder.stat(), there) for folder in (here, *here.parents))
    except OSError:  # not there, or not to be seen: then it is not scanned either
        return False


def overlap(one: Path, other: Path) -> bool:
    """Whether one of two folders lies in the other, or they are the same; see `lies_inside`."""
    return lies_inside(one, other) or lies_inside(other, one)


def roots_of_environment() -> list[str]:
    """What `CATALOGSYNC_LIBRARY_ROOTS` names, split as PATH is, as written."""
    return [part for part in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if part]


def library_roots(
    given: Sequence[str | os.PathLike[str]] = (), *, known: Sequence[str] = ()
) -> list[Path]:
    """The library roots: as given, else those of `CATALOGSYNC_LIBRARY_ROOTS`, split as PATH is.

    Args:
        given: relative paths are taken from the working directory.
        known: taken where nothing is given and the variable is not set: the roots of earlier
            scans.

    Returns:
        Absolute paths in the order given, each once. Symbolic links are kept as written, so that
        a root keeps its name when the link is pointed at a new disk.

    Raises:
        ConfigurationError: no root is given, or one lies inside another (its files would be
            cataloged twice).
    """
    names = [os.fspath(g) for g in given] or roots_of_environment() or list(known)
    if not names:
        raise ConfigurationError(
            "no library root is given",
            hint=f"set {ROOTS_VARIABLE}, or pass --library-root FOLDER (in Dagster: library_roots)",
        )
    roots = list(dict.fromkeys(Path(os.path.abspath(Path(n).expanduser())) for n in names))  # noqa: PTH100
    for inner in roots:
        try:
            os.fspath(inner).encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"the name of library root {os.fsencode(inner)!r} is not valid UTF-8",
                hint="rename the folder",
            ) from error
        for outer in roots:
            if inner != outer and lies_inside(inner, outer):
                raise ConfigurationError(
                    f"library root {inner} lies inside library root {outer}",
                    hint="name only the outer one",
                )
    return roots


def ignore_patterns() -> list[str]:
    """The patterns of `CATALOGSYNC_IGNORE`, separated as in PATH or by line ends, as written."""
    given = os.environ.get(IGNORE_VARIABLE, "")
    return [part for part in re.split(rf"[\n{os.pathsep}]", given) if part.strip()]


def companions() -> list[str]:
    """The words and patterns of `CATALOGSYNC_COMPANIONS`, separated as in PATH or by line ends."""
    given = os.environ.get(COMPANIONS_VARIABLE, "")
    parts = (part.strip() for part in re.split(rf"[\n{os.pathsep}]", given))
    return [part for part in parts if part]


def forget_days() -> int:
    """How many days a file must have been gone to be forgotten for that: `CATALOGSYNC_FORGET_DAYS`.

    Raises:
        ConfigurationError: it is not a whole number from 1 on.
    """
    given = os.environ.get(FORGET_DAYS_VARIABLE, "").strip()
    if given and not (given.isascii() and given.isdecimal() and int(given) > 0):
        raise ConfigurationError(
            f"{FORGET_DAYS_VARIABLE} is {given!r}, which is not a number of days",
            hint="set it to a whole number from 1 on",
        )
    return int(given or DEFAULT_FORGET_DAYS)


def timezone() -> str:
    """The time zone of the hours that schedules name: `CATALOGSYNC_TIMEZONE`, else the machine's,
    else UTC.

    Returns:
        A name of the IANA database, such as `Europe/Vienna`.

    Raises:
        ConfigurationError: the variable does not name one.
    """
    given = os.environ.get(TIMEZONE_VARIABLE, "").strip()
    name = given or _machine_timezone()
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError) as error:  # a folder, a path, an unknown name
        if not given:
            return "UTC"  # a machine may have rules of its own that go by no name
        raise ConfigurationError(
            f"{TIMEZONE_VARIABLE} is {given!r}, which is not a time zone",
            hint="set it to a name such as Europe/Vienna, or UTC",
        ) from error
    return name


def notifiers() -> list[str]:
    """The names in `CATALOGSYNC_ALERTS`, each once; `log` where it gives none."""
    names = [name.strip() for name in os.environ.get(ALERTS_VARIABLE, "").split(",")]
    return list(dict.fromkeys(name for name in names if name)) or [DEFAULT_NOTIFIER]


def alerts_warn() -> bool:
    """Whether checks that only warn are reported, too: `CATALOGSYNC_ALERT_CHECKS`.

    Raises:
        ConfigurationError: it is neither `error` nor `warn`.
    """
    least = os.environ.get(ALERT_CHECKS_VARIABLE, "").strip().lower() or "error"
    if least not in ("error", "warn"):
        raise ConfigurationError(
            f"{ALERT_CHECKS_VARIABLE} is {least!r}", hint="set it to error or warn"
        )
    return least == "warn"


def ui_url() -> str:
    """Where the web UI is: `CATALOGSYNC_UI_URL`, without a slash at its end."""
    return (os.environ.get(UI_VARIABLE, "").strip() or DEFAULT_UI).rstrip("/")


def keep_replaced_days() -> int:
    """For how many days a content that an edit replaces on a backend is kept there:
    `CATALOGSYNC_KEEP_REPLACED_DAYS`, else 30; 0 for not at all.

    Raises:
        ConfigurationError: it is not a whole number from 0 on.
    """
    given = os.environ.get(KEEP_VARIABLE, "").strip() or str(DEFAULT_KEEP_DAYS)
    if not (given.isascii() and given.isdecimal()):
        raise ConfigurationError(
            f"{KEEP_VARIABLE} is {given!r}, which is not a number of days",
            hint="set it to a whole number; 0 keeps nothing",
        )
    return int(given)


def failing_hours() -> int:
    """For how many hours a backend must have failed to be tried at times only:
    `CATALOGSYNC_FAILING_HOURS`, else 6.

    Raises:
        ConfigurationError: it is not a whole number from 1 on.
    """
    given = os.environ.get(FAILING_VARIABLE, "").strip() or str(DEFAULT_FAILING_HOURS)
    if not (given.isascii() and given.isdecimal() and int(given) > 0):
        raise ConfigurationError(
            f"{FAILING_VARIABLE} is {given!r}, which is not a number of hours",
            hint="set it to a whole number from 1 on",
        )
    return int(given)


def most_at_once() -> int | None:
    """How many requests to a store may be under way at most: `CATALOGSYNC_WORKERS`; None for as
    many as turn out to be of use, which is what `auto` says, too.

    Raises:
        ConfigurationError: it is neither `auto` nor a whole number from 1 to 256.
    """
    given = os.environ.get(WORKERS_VARIABLE, "").strip().lower()
    if given in ("", AUTO):
        return None
    if not (given.isascii() and given.isdecimal() and 0 < int(given) <= MAX_WORKERS):
        raise ConfigurationError(
            f"{WORKERS_VARIABLE} is {given!r}, which is not a number of workers",
            hint=f"set it to a whole number from 1 to {MAX_WORKERS}, or to {AUTO}",
        )
    return int(given)


def passphrase() -> str | None:
    """What snapshots of the catalog are encrypted with: `CATALOGSYNC_PASSPHRASE`; None for not at
    all. A secret: it stands in no message, log or table."""
    return os.environ.get(PASSPHRASE_VARIABLE) or None


def snapshots_to_keep() -> tuple[int, int, int]:
    """How many snapshots of the catalog a backend keeps: `CATALOGSYNC_SNAPSHOTS`, as `7,4,6`.

    Returns:
        The last ones, and then one for each of so many weeks and months.

    Raises:
        ConfigurationError: it is not three whole numbers, or keeps nothing.
    """
    given = os.environ.get(SNAPSHOTS_VARIABLE, "").strip()
    if not given:
        return DEFAULT_SNAPSHOTS
    parts = [part.strip() for part in given.split(",")]
    numbers = [int(part) for part in parts if part.isascii() and part.isdecimal()]
    if len(parts) != len(DEFAULT_SNAPSHOTS) or len(numbers) != len(parts) or numbers[0] < 1:
        raise ConfigurationError(
            f"{SNAPSHOTS_VARIABLE} is {given!r}, which is not three numbers",
            hint="write it like 7,4,6: the last 7, then 4 of weeks and 6 of months",
        )
    last, weeks, months = numbers
    return last, weeks, months


def required(variable: str, what: str) -> str:
    """A setting without a default.

    Args:
        what: it is, for the hint.

    Raises:
        ConfigurationError: the environment does not hold it.
    """
    value = os.environ.get(variable, "").strip()
    if not value:
        raise ConfigurationError(f"{variable} is not set", hint=f"set it to {what}")
    return value


def _machine_timezone() -> str:
    import tzlocal

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing is configured: then it is UTC
        try:
            return tzlocal.get_localzone_name() or "UTC"
        except (OSError, ValueError, LookupError):  # settings that contradict each other
            return "UTC"
