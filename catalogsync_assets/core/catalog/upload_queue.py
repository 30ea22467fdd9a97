"""The upload queue: what a backend lacks becomes tasks in `upload_tasks`.

A task is pending, running (leased, see `leases`), succeeded or failed (see `results`). Its source
is a local file, else an object on another backend. Planning is one statement whatever the size of
the catalog.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.legacy import insert_sql
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.runner.owners import is_dead
from catalogsync_assets.core.stores.backend import ObjectBackend

_PAGE = 5_000

# A file whose active local row is its source is in the library: nothing more to look up.
_IN_LIBRARY = f"(s.library_root IS NOT NULL OR {presence.IN_LIBRARY})"
# Whether a location `s` can be read for an upload: an object that was found damaged can, as a last
# resort.
_IS_A_SOURCE = """
(s.status = 'active' OR (s.status = 'damaged' AND s.backend_id NOT IN (
    SELECT id FROM storage_backends WHERE backend_type = 'local')))
"""

_DROP_STALE = f"""
DELETE FROM upload_tasks WHERE id IN (
    SELECT t.id FROM upload_tasks t
    JOIN file_assets f ON f.id = t.file_asset_id
    LEFT JOIN file_locations s ON s.id = t.source_location_id AND {_IS_A_SOURCE}
    WHERE t.target_backend_id = :backend AND t.status IN ('pending', 'failed')
      AND (s.id IS NULL OR f.superseded_by_id IS NOT NULL OR NOT {_IN_LIBRARY}
           OR t.target_container_name IS NOT :bucket
           OR t.target_locator <> :prefix || f.object_key
           OR EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                      AND a.backend_id = :backend AND a.status = 'active')))
"""

# In the order of file_assets, with one source for each: neither sorted nor grouped. A local one if
# there is any; else an object of another backend, if size and digest tell what it must be; one that
# was found damaged last of all, as it is read and compared anyway. (Looked for only where it must:
# with all files here, a plan takes as long as without.)
_MISSING = f"""
FROM file_assets f
CROSS JOIN file_locations s ON s.id = COALESCE((
    SELECT MIN(x.id) FROM file_locations x
    JOIN storage_backends local ON local.id = x.backend_id AND local.backend_type = 'local'
    WHERE x.file_asset_id = f.id AND x.status = 'active'
), (
    SELECT MIN(x.id) FROM file_locations x
    JOIN storage_backends other ON other.id = x.backend_id
        AND other.backend_type = 'object_storage' AND other.container_name = x.container_name
    WHERE x.file_asset_id = f.id AND x.status = 'active' AND x.backend_id <> :backend
      AND f.sha256 <> '' AND f.size_bytes IS NOT NULL
), (
    SELECT MIN(x.id) FROM file_locations x
    JOIN storage_backends other ON other.id = x.backend_id
        AND other.backend_type = 'object_storage' AND other.container_name = x.container_name
    WHERE x.file_asset_id = f.id AND x.status = 'damaged' AND x.backend_id <> :backend
      AND f.sha256 <> '' AND f.size_bytes IS NOT NULL))
WHERE f.superseded_by_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active')
  AND {_IN_LIBRARY}
  {{scope}}
"""

_COLUMNS = (
    "file_asset_id",
    "source_location_id",
    "target_backend_id",
    "target_container_name",
    "target_locator",
    "status",
    "queue_order",
)
_ENQUEUE = """
SELECT f.id, s.id, :backend, :bucket,
       :prefix || COALESCE(f.object_key, LTRIM(s.locator, '/')), 'pending', {order}{{more}}
{missing}
ON CONFLICT (file_asset_id, target_backend_id, target_locator) DO UPDATE SET
    status = 'pending',
    source_location_id = excluded.source_location_id,
    target_container_name = excluded.target_container_name,
    queue_order = excluded.queue_order,
    lease_owner = NULL,
    lease_expires_at = NULL,
    updated_at = CURRENT_TIMESTAMP
WHERE upload_tasks.status NOT IN ('pending', 'running')
   OR (upload_tasks.status = 'pending'
       AND (upload_tasks.queue_order > excluded.queue_order
            OR upload_tasks.source_location_id IS NOT excluded.source_location_id))
"""


class MissingFile(NamedTuple):
    """A current file that a backend lacks, and the key that it would get there."""

    file_asset_id: int
    path: str
    size_bytes: int
    locator: str


def missing_candidates(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> Iterator[MissingFile]:
    """The files that `enqueue` would queue, in order of file asset. Changes nothing.

    A stream: memory does not grow with their number. It holds a read transaction open until it is
    exhausted or closed.
    """
    clauses, values = scope.sql()
    statement = (
        "SELECT f.id, COALESCE(s.absolute_path, s.locator), COALESCE(f.size_bytes, 0),"
        " :prefix || COALESCE(f.object_key, LTRIM(s.locator, '/'))"
        + GUARDS.format(location="s")
        + _MISSING.format(scope=clauses)
        + "ORDER BY f.id"
    )
    values |= {"backend": backend.id, "prefix": backend.key_prefix}
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=_PAGE).execute(sa.text(statement), values)
        yield from map(MissingFile._make, checked(catalog, rows))


def enqueue(
    catalog: Catalog,
    backend: ObjectBackend,
    scope: Scope = EVERYTHING,
    *,
    first: Scope | None = None,
) -> int:
    """Plan the missing uploads of a backend: every current file that it lacks gets a task.

    One statement, whatever the size of the catalog; idempotent. A task that failed before becomes
    pending again, as do those of a run that was killed. Waiting tasks whose file has gone, changed,
    is left out or arrived otherwise are dropped.

    Args:
        scope: plan only these.
        first: songs whose files go before all others, by the scope's selections.

    Returns:
        How many tasks became pending, became more urgent, or got another source.
    """
    clauses, values = scope.sql()
    values |= {"backend": backend.id, "bucket": backend.bucket, "prefix": backend.key_prefix}
    order = "0"
    if first is not None and first.selections:
        order = f"-(f.song_id IN ({first.selected_songs_sql()}))"
    # First: what a killed run held may have become stale since.
    take_over_abandoned(catalog, backend)
    with catalog.transaction() as connection:
        connection.execute(sa.text(_DROP_STALE), values)
        select = _ENQUEUE.format(missing=_MISSING.format(scope=clauses), order=order)
        statement = insert_sql(connection, "upload_tasks", _COLUMNS, select)
        return connection.execute(sa.text(statement), values).rowcount


#: The pending tasks `t` of a backend with their file `f` and source `s`; takes a scope's clauses.
#: Not those that have become stale since they were planned: the next plan drops them.
FROM_QUEUE = f"""
FROM upload_tasks t
JOIN file_assets f ON f.id = t.file_asset_id
JOIN file_locations s ON s.id = t.source_location_id
WHERE t.target_backend_id = :backend AND t.status = 'pending'
  AND {_IS_A_SOURCE} AND f.superseded_by_id IS NULL AND {_IN_LIBRARY} {{scope}}
"""


_TAKE_OVER = sa.text(
    "UPDATE upload_tasks SET status = 'pending', lease_owner = NULL, lease_expires_at = NULL"
    " WHERE target_backend_id = :backend AND status = 'running' AND lease_owner IS :owner"
    " AND (:dead OR lease_expires_at IS NULL OR lease_expires_at < :now)"
)


def take_over_abandoned(catalog: Catalog, backend: ObjectBackend) -> int:
    """Make tasks pending again whose owner has died or let the lease expire; see `leases`.

    Returns:
        How many.
    """
    with catalog.read() as connection:
        owners = connection.execute(
            sa.text(
                "SELECT lease_owner, MIN(COALESCE(lease_expires_at, 0)) FROM upload_tasks"
                " WHERE target_backend_id = :backend AND status = 'running'"
                " GROUP BY lease_owner"
            ),
            {"backend": backend.id},
        ).all()
    now = time.time()
    gone = [
        # An owner that is alive may have renewed by the time we write.
        {"backend": backend.id, "owner": o, "now": now, "dead": is_dead(o)}
        for o, expiry in owners
        if expiry < now or is_dead(o)
    ]
    if not gone:
        return 0
    with catalog.transaction() as connection:
        return connection.execute(_TAKE_OVER, gone).rowcount


def count_pending(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> tuple[int, int]:
    """How many tasks are pending, and the bytes of their files."""
    clauses, values = scope.sql()
    statement = "SELECT COUNT(*), COALESCE(SUM(f.size_bytes), 0)" + FROM_QUEUE.format(scope=clauses)
    with catalog.read() as connection:
        row = connection.execute(sa.text(statement), {"backend": backend.id, **values}).one()
    return int(row[0]), int(row[1])


class PendingFile(NamedTuple):
    """A file that waits to be uploaded."""

    file_asset_id: int
    size_bytes: int
    locator: str


def list_pending(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> Iterator[PendingFile]:
    """The files of the pending tasks, in order of file asset; a stream, as `missing_candidates`."""
    clauses, values = scope.sql()
    statement = (
        "SELECT f.id, COALESCE(f.size_bytes, 0), t.target_locator"
        + GUARDS.format(location="s")
        + FROM_QUEUE.format(scope=clauses)
    )
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=_PAGE).execute(
            sa.text(statement + " ORDER BY f.id"), {"backend": backend.id, **values}
        )
        yield from map(PendingFile._make, checked(catalog, rows))


def requeue_failed(catalog: Catalog, backend: ObjectBackend) -> int:
    """Make a backend's failed tasks pending again; how many there were."""
    with catalog.transaction() as connection:
        return connection.execute(
            sa.text(
                "UPDATE upload_tasks SET status = 'pending', updated_at = CURRENT_TIMESTAMP"
                " WHERE target_backend_id = :backend AND status = 'failed'"
            ),
            {"backend": backend.id},
        ).rowcount
