"""When a snapshot is due without anybody asking, and whether the newest one is good enough."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import sqlalchemy as sa

from catalogsync_assets.core.backup import concerns
from catalogsync_assets.core.backup.backup import BackupReport, back_up, utc_now
from catalogsync_assets.core.backup.concerns import why_left_out
from catalogsync_assets.core.backup.snapshots import (
    Snapshot,
    fetch_snapshot,
    list_snapshots,
    with_metadata,
)
from catalogsync_assets.core.catalog.backends import (
    OF_STORES,
    BackendRow,
    catalog_id,
    from_row,
)
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.schema import storage_backends
from catalogsync_assets.core.catalog.version import VERSION_TABLE
from catalogsync_assets.core.errors import (
    CatalogError,
    CatalogSyncError,
    StoreError,
)
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.runner.owners import new_part
from catalogsync_assets.core.settings import PASSPHRASE_VARIABLE, passphrase
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retries, Retry

_AT_MOST_EVERY = timedelta(hours=1)
#: How long a command is held up at most, in seconds, but for the request that is under way.
_PATIENCE = 60.0
#: A larger catalog takes too long: 290,000 files. It has its snapshot each night.
_MOST_BYTES = 512 * 1024 * 1024
#: How far the newest snapshot may be behind.
MOST_BEHIND = timedelta(hours=24)
#: By how much clocks may differ.
_CLOCKS = timedelta(minutes=15)
_NEVER = datetime(1970, 1, 1, tzinfo=timezone.utc)
_OF = storage_backends.c
_DUE = f"""
{OF_STORES} AND last_success_at IS NOT NULL AND failing_since IS NULL AND removed_at IS NULL
  AND (snapshot_at IS NULL OR snapshot_at <= :last) ORDER BY name
"""


def back_up_if_due(
    catalog: Catalog, *, connect: Callable[[ObjectBackend], StoreClient] = StoreClient
) -> list[BackupReport]:
    """Put a snapshot where the last one is more than an hour old, after something has changed much.

    For the end of a command, which it must not hold up for long: one try of each request, a minute
    in all; large catalogs wait for the night. A backend on which nothing has ever arrived, or that
    fails for long, is not asked.

    Raises:
        CatalogError: no snapshot could be made.
        ConfigurationError: a setting is malformed.
    """
    if catalog.changed_rows < concerns.MUCH or catalog.path.stat().st_size > _MOST_BYTES:
        return []
    last = utc_now().replace(tzinfo=None) - _AT_MOST_EVERY
    due = catalog.rows(_DUE, last=f"{last:%Y-%m-%d %H:%M:%S.%f}")
    backends = [from_row(BackendRow(*row)) for row in due]
    backends = [backend for backend in backends if why_left_out(backend) is None]
    if not backends:
        return []
    stop = threading.Event()
    timer = threading.Timer(_PATIENCE, stop.set)
    timer.daemon = True
    timer.start()
    try:
        return back_up(catalog, backends, attempts=1, stop=stop, connect=connect)
    finally:
        timer.cancel()


@dataclass(frozen=True)
class NewestSnapshot:
    """What is known of the newest snapshot of this catalog on a backend."""

    problem: str | None  #: why it is not good enough; None if it is
    hint: str | None = None  #: what to do about it
    #: Whether there is to be none; `problem` says why.
    left_out: bool = False
    snapshot: Snapshot | None = None
    #: When it was last what the catalog is, in UTC: made then, or found to be the same.
    true_at: datetime | None = None


def check_newest(
    catalog: Catalog,
    backend: ObjectBackend,
    *,
    attempts: int = 5,
    connect: Callable[[ObjectBackend], StoreClient] = StoreClient,
) -> NewestSnapshot:
    """Find out whether the newest snapshot is at most a day behind, and opens: it is read whole.

    Does not raise for what is wrong with it, a silent store included.
    """
    backup = f"`catalogsync catalog backup --backend {backend.name}` makes one"
    if (why := why_left_out(backend)) is not None:
        return NewestSnapshot(f"there is no snapshot: {why}", f"set {PASSPHRASE_VARIABLE}", True)
    retry = Retries(attempts=attempts, pace=ConcurrencyLimiter(1), stop=threading.Event())
    client = connect(backend)
    try:
        found = list_snapshots(client, catalog_id=catalog_id(catalog), retry=retry, look=False)
        if not found:
            return NewestSnapshot("there is no snapshot of this catalog", backup)
        first = with_metadata(client, found[0], retry=retry)
        newest = NewestSnapshot(None, None, False, first, _true_at(catalog, backend, first))
        if (problem := _why_not_opened(catalog, client, first, retry)) is not None:
            return replace(newest, problem=problem, hint=backup)
    except StoreError as error:
        return NewestSnapshot(error.message, error.hint)
    assert newest.true_at is not None
    if datetime.now(timezone.utc) - newest.true_at > MOST_BEHIND:
        since = f"{newest.true_at:%Y-%m-%d %H:%M} UTC"
        return replace(newest, problem=f"the newest snapshot is of {since}", hint=backup)
    return newest


def _true_at(catalog: Catalog, backend: ObjectBackend, newest: Snapshot) -> datetime:
    # A name may tell of a time that is still to come, by a clock that was wrong.
    of = sa.select(_OF.snapshot_at, _OF.snapshot_digest).where(_OF.id == backend.id)
    with catalog.read() as connection:
        row = connection.execute(of).one()
    found_at: datetime | None = row.snapshot_at
    digest: str | None = row.snapshot_digest
    now = datetime.now(timezone.utc)
    times = [newest.made_at]
    if found_at is not None and digest == newest.sha256:
        times.append(found_at.replace(tzinfo=timezone.utc))
    return max((time for time in times if time <= now + _CLOCKS), default=_NEVER)


def _why_not_opened(
    catalog: Catalog, client: StoreClient, snapshot: Snapshot, retry: Retry
) -> str | None:
    path = new_part(catalog.path, f"{catalog.path.name}.snapshot-")
    try:
        fetch_snapshot(client, snapshot, path, passphrase(), retry=retry)
        _open(path)
    except StoreError:
        raise
    except (CatalogSyncError, OSError) as error:
        return f"the newest snapshot cannot be opened: {getattr(error, 'message', error)}"
    finally:
        path.unlink(missing_ok=True)
    return None


def _open(path: Path) -> None:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            opened.execute("PRAGMA trusted_schema = OFF")
            version = opened.execute(f"SELECT version_num FROM {VERSION_TABLE}").fetchone()  # noqa: S608
            opened.execute("SELECT COUNT(*) FROM storage_backends").fetchone()
    except sqlite3.Error as error:
        raise CatalogError(f"it is no catalog: {error}") from error
    if version is None:
        raise CatalogError("it is no catalog: it does not say which tables it has")
