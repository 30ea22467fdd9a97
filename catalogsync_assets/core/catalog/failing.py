"""Backends that cannot be worked with: since when, and how often they are still tried unasked.

A backend fails when a run about it ends as a whole: no answer, refused credentials, no bucket. It
has recovered once a run goes through, or an upload is recorded. A single file that fails says
nothing of its backend. What a person starts is never held back; see `automation` for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa_text
from catalogsync_assets.core.errors import (
    CatalogSyncError,
    ConfigurationError,
    RunAborted,
    StoreError,
    StoreUnavailableError,
)
from catalogsync_assets.core.settings import failing_hours
from catalogsync_assets.core.stores.backend import OBJECT_STORAGE, ObjectBackend

#: Between two tries of a backend that has failed for so many hours, and four times as long.
_PAUSE, _LONG_PAUSE = timedelta(hours=1), timedelta(hours=6)
_LONG = 4
_FAILING = f"""
SELECT name, failing_since FROM storage_backends
WHERE failing_since IS NOT NULL AND backend_type = '{OBJECT_STORAGE}'
"""
_NOTE = "UPDATE storage_backends SET failing_since = {since} WHERE id = :id"


@dataclass(frozen=True)
class Failing:
    """A backend that has not been worked with since a run about it failed."""

    backend: str
    since: datetime

    def pause(self, now: datetime) -> timedelta:
        """How long to wait from one try to the next; nothing while it has not failed for long.

        Raises:
            ConfigurationError: of `settings.failing_hours`.
        """
        hours, age = timedelta(hours=failing_hours()), now - self.since
        if age < hours:
            return timedelta()
        return _PAUSE if age < _LONG * hours else _LONG_PAUSE

    def in_words(self, now: datetime) -> str:
        """Since when it has failed, and what follows, as a part of a sentence."""
        said = f"has failed since {self.since:%Y-%m-%d %H:%M} UTC"
        if not (pause := self.pause(now)):
            return said
        often = "hour" if pause == _PAUSE else f"{pause // _PAUSE} hours"
        return f"{said}, and is tried once every {often} by itself"


def failing(catalog: Catalog, backend: ObjectBackend | None = None) -> list[Failing]:
    """The backends that fail now, by name.

    Args:
        backend: only this one; None for all.
    """
    only = "" if backend is None else " AND id = :id"
    rows = catalog.rows(f"{_FAILING}{only} ORDER BY name", id=backend and backend.id)
    return [
        Failing(name, datetime.fromisoformat(str(since)).replace(tzinfo=timezone.utc))
        for name, since in rows
    ]


def resting(catalog: Catalog, now: datetime) -> list[Failing]:
    """Those that have failed for so long that they are only tried at times.

    Args:
        now: with its time zone.
    """
    return [found for found in failing(catalog) if found.pause(now)]


@contextmanager
def noted(catalog: Catalog, backend: ObjectBackend) -> Iterator[None]:
    """Remember how a run about a backend ends: in the block its store is worked with."""
    try:
        yield
    except CatalogSyncError as error:
        if _is_the_stores(error.cause if isinstance(error, RunAborted) else error):
            with suppress(CatalogSyncError):  # why the run failed is what must be heard
                _note(catalog, backend, failing=True)
        raise
    note_recovered(catalog, backend)


def note_recovered(catalog: Catalog, backend: ObjectBackend) -> None:
    """A backend has been worked with. Writes only if it had failed."""
    if failing(catalog, backend):
        _note(catalog, backend, failing=False)


def _is_the_stores(error: CatalogSyncError) -> bool:
    """Whether every other run about the backend must be expected to fail as well."""
    if isinstance(error, StoreError):
        return error.fatal or isinstance(error, StoreUnavailableError)
    return isinstance(error, ConfigurationError)  # no credentials


def _note(catalog: Catalog, backend: ObjectBackend, *, failing: bool) -> None:
    since = "COALESCE(failing_since, CURRENT_TIMESTAMP)" if failing else "NULL"
    with catalog.transaction() as connection:
        connection.execute(sa_text(_NOTE.format(since=since)), {"id": backend.id})
