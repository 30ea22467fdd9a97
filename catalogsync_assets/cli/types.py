"""How a person writes a size, an age, a date, a share, a number of copies.

The one grammar. Space around a value, and between a number and its unit, is allowed everywhere.

- size: `1048576`, `10MB` (decimal), `256MiB`, `1.5GiB` (binary); of bandwidth also `10MiB/s`
- age: a whole number and `m`, `h`, `d` or `w`: `45m`, `12h`, `90d`, `8w`
- moment: an age, before now; or a date as ISO 8601 has it, with or without a time, in local time
  unless it names a zone: `2026-11-01`, `2026-11-01T12:00+02:00`
- share: `5%`, `0.5`, both of a hundred
- workers: a whole number, `auto`
- copies: a whole number, `all`, `default`

Each function reads one of these for `click.option(type=…)`, and raises a BadParameter, which
shows how it is written, for anything else.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import click

from catalogsync_assets.core.settings import AUTO, MAX_WORKERS

ALL, DEFAULT = "all", "default"
_SIZE = re.compile(r"\d+(\.\d+)? ?[A-Za-z]*")
_AGE = re.compile(r"(\d+)\s*([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def size(value: object, *, example: str = "256MiB") -> int:
    """A number of bytes."""
    from pydantic import ByteSize, TypeAdapter

    text = str(value).strip()
    try:
        if _SIZE.fullmatch(text):  # ByteSize would overlook what follows the unit
            return int(TypeAdapter(ByteSize).validate_python(text))
    except ValueError:
        pass
    raise click.BadParameter(f"{value!r} is not a size; write it like {example}")


def rate(value: object) -> int:
    """A number of bytes in a second."""
    return size(str(value).strip().removesuffix("/s"), example="10MiB/s")


def age(value: str) -> float:
    """A length of time in seconds, of hours at least: where files are removed by it, `3m` for
    three months must not be three minutes."""
    try:
        if not value.rstrip().endswith("m"):
            return _age(value).total_seconds()
    except (ValueError, OverflowError):
        pass
    raise click.BadParameter(f"{value!r} is not an age; write it like 90d, 8w or 12h")


def moment(value: str) -> datetime:
    """A moment in UTC, without a zone."""
    try:
        try:
            found = datetime.now(timezone.utc).replace(microsecond=0) - _age(value)
        except ValueError:
            found = datetime.fromisoformat(value.strip()).astimezone(timezone.utc)
        return found.replace(tzinfo=None)
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(
            f"{value!r} is not a time; write it like 30d, 12h or 2026-11-01"
        ) from error


def share(value: str) -> float:
    """A share of a hundred."""
    try:
        return float(value.strip().removesuffix("%"))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a share; write it like 5%") from error


def workers(value: object) -> int | None:
    """A number of requests at a time, at most; None for `auto`."""
    text = str(value).strip()
    if text == AUTO:
        return None
    if text.isascii() and text.isdecimal() and 0 < int(text) <= MAX_WORKERS:
        return int(text)
    raise click.BadParameter(
        f"{value!r} is not a number of workers; write 1 to {MAX_WORKERS}, or {AUTO}"
    )


def copies(value: str) -> int | str:
    """A number of copies, `ALL` or `DEFAULT`."""
    text = value.strip().lower()
    if text in (ALL, DEFAULT):
        return text
    if text.isascii() and text.isdecimal() and len(text) <= 4:  # noqa: PLR2004
        return int(text)
    raise click.BadParameter(f"{value!r} is not a number of copies, all or default")


def _age(text: str) -> timedelta:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
