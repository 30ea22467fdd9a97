"""The upload queue: what a backend lacks becomes tasks in `upload_tasks`.

The source of a task is a local file, else an object on another backend. Planning is one statement
whatever the size of the catalog. What became of tasks is written in transactions of many; a
location only after its object was verified.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog import locations, presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.leases import Lease, end, requeue
from catalogsync_assets.core.catalog.legacy import insert_sql
from catalogsync_assets.core.catalog.locations import Stored
from catalogsync_assets.core.catalog.roots import limits_of_links
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope, id_list, songs_sql
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.copies import RemoteCopy

_PAGE = 5_000


@dataclass(frozen=True)
class UploadTask:
    """A claimed task with all that is needed to carry it out."""

    id: int
    file_asset_id: int
    song_id: int | None
    source_location_id: int
    path: str  #: absolute path of the source, or its key on the store that it is on
    #: The source as the last scan saw it; -1 and None in a row of another program that no scan has
    #: met yet.
    size_bytes: int
    mtime_ns: int | None
    sha256: str | None  #: the content's digest in hex, or None before it is first read
    locator: str
    object_key_fold: str | None = None  #: of the file, as `object_keys.fold` makes it
    #: The object that is the source; None if that is a local file. One that was found damaged is
    #: taken where there is no other.
    source_copy: RemoteCopy | None = None
    #: Digests of every content that the catalog has had at this very key; only one of those may be
    #: replaced there.
    known_sha256: frozenset[str] = frozenset()
    #: File assets that were earlier contents of the same file. An object that we put for one of
    #: them may be replaced, too, though a kill kept its digest from us.
    earlier_ids: frozenset[int] = frozenset()
    #: Of objects that a verification has read at this very key and found damaged, without quotes;
    #: empty text for one whose ETag is not known. Without any, the key is not under suspicion.
    damaged_etags: frozenset[str] = frozenset()
    #: Real paths of the folders that a local source must lie in, once links are followed; empty: it
    #: may lie anywhere.
    within: tuple[str, ...] = ()


@dataclass(frozen=True)
class Uploaded:
    """A task's object is in the store, whole, and has been verified."""

    task: UploadTask
    sha256: str
    etag: str | None
    verified_by: str  #: `server-digest`, `head` or `read`
    adopted: bool  #: it was there already and nothing was sent
    #: How much of it was sent, where it was not the whole: an earlier run had begun.
    sent_bytes: int | None = None


@dataclass(frozen=True)
class Failed:
    """A task was not carried out."""

    task: UploadTask
    code: str  #: short name of the reason, the store's own where it has one
    reason: str  #: one sentence with what to do
    requeue: bool = False  #: leave it pending: it has not failed itself, the run could not go on
    retryable: bool = False  #: it may pass without anyone acting
    #: The file is not what the catalog says; the next scan must read it anew.
    source_changed: bool = False


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

_ON_ANOTHER = """(
    SELECT MIN(x.id) FROM file_locations x
    JOIN storage_backends other ON other.id = x.backend_id
        AND other.backend_type = 'object_storage' AND other.container_name = x.container_name
    WHERE x.file_asset_id = f.id AND x.status = '{status}' AND x.backend_id <> :backend
      AND f.sha256 <> '' AND f.size_bytes IS NOT NULL
)"""
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
), {_ON_ANOTHER.format(status="active")}, {_ON_ANOTHER.format(status="damaged")})
WHERE f.superseded_by_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active')
  AND {_IN_LIBRARY}
  {{scope}}
"""

_COLUMNS = (
    *("file_asset_id", "source_location_id", "target_backend_id", "target_container_name"),
    *("target_locator", "status", "queue_order"),
)
_NEW_LOCATOR = ":prefix || COALESCE(f.object_key, LTRIM(s.locator, '/'))"
_ENQUEUE = f"""
SELECT f.id, s.id, :backend, :bucket, {_NEW_LOCATOR}, 'pending', {{order}}{{{{more}}}}
{{missing}}
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


class QueuedFile(NamedTuple):
    """A current file that a backend lacks: its path, and the key that it would get there."""

    file_asset_id: int
    path: str
    size_bytes: int
    locator: str


def _stream(
    catalog: Catalog, backend: ObjectBackend, scope: Scope, locator: str, which: str
) -> Iterator[QueuedFile]:
    """Files in order of file asset, of `which`: SQL from FROM on. As `missing_candidates`."""
    clauses, values = scope.sql()
    statement = (
        f"SELECT f.id, COALESCE(s.absolute_path, s.locator), COALESCE(f.size_bytes, 0), {locator}"
        + GUARDS.format(location="s")
        + which.format(scope=clauses)
        + " ORDER BY f.id"
    )
    values |= {"backend": backend.id, "prefix": backend.key_prefix}
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=_PAGE).execute(sa.text(statement), values)
        yield from map(QueuedFile._make, checked(catalog, rows))


def missing_candidates(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> Iterator[QueuedFile]:
    """The files that `enqueue` would queue, in order of file asset. Changes nothing.

    A stream: memory does not grow with their number. It holds a read transaction open until it is
    exhausted or closed.
    """
    return _stream(catalog, backend, scope, _NEW_LOCATOR, _MISSING)


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
        order = f"-(f.song_id IN ({songs_sql(first.selections)}))"
    # First: what a killed run held may have become stale since.
    UploadLease(catalog, backend).take_over_abandoned()
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


def count_pending(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> tuple[int, int]:
    """How many tasks are pending, and the bytes of their files."""
    clauses, values = scope.sql()
    statement = "SELECT COUNT(*), COALESCE(SUM(f.size_bytes), 0)" + FROM_QUEUE.format(scope=clauses)
    ((files, size),) = catalog.rows(statement, backend=backend.id, **values)
    return int(files), int(size)


def list_pending(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> Iterator[QueuedFile]:
    """The files of the pending tasks, in order of file asset; a stream, as `missing_candidates`."""
    return _stream(catalog, backend, scope, "t.target_locator", FROM_QUEUE)


def drop_unwanted(connection: sa.Connection, file_asset_ids: Collection[int]) -> None:
    """Drop the waiting and failed tasks of those of these files that are not wanted any more."""
    connection.execute(_DROP_UNWANTED, {"assets": list(file_asset_ids)})


_DROP_UNWANTED = sa.text(
    "DELETE FROM upload_tasks WHERE status IN ('pending', 'failed') AND file_asset_id IN"
    f" (SELECT f.id FROM file_assets f WHERE f.id IN :assets AND NOT {presence.IN_LIBRARY})"
).bindparams(sa.bindparam("assets", expanding=True))


def requeue_failed(catalog: Catalog, backend: ObjectBackend) -> int:
    """Make a backend's failed tasks pending again; how many there were."""
    failed = "target_backend_id = :backend AND status = 'failed'"
    return requeue(catalog, "upload_tasks", failed, backend=backend.id)


# Of a source `s`: whether it is an object of a backend.
_ON_A_STORE = """
EXISTS (SELECT 1 FROM storage_backends b
        WHERE b.id = s.backend_id AND b.backend_type = 'object_storage')
"""


class UploadLease(Lease):
    """The claims of one run of one process on a backend's tasks."""

    def __init__(self, catalog: Catalog, backend: ObjectBackend) -> None:
        super().__init__(
            catalog, "upload_tasks", "target_backend_id = :backend", backend=backend.id
        )
        self._backend = backend

    def claim(self, scope: Scope, limit: int, *, but: Collection[int] = ()) -> list[UploadTask]:
        """Lease up to `limit` pending tasks, oldest first. No two leases ever hold the same one.

        Args:
            but: ids of tasks to leave alone, such as those that this run has put back.
        """
        clauses, values = scope.sql()
        if but:
            clauses += f" AND t.id NOT IN ({id_list(but)})"
        statement = (
            "SELECT t.id, f.id, f.song_id, s.id, CASE WHEN"
            f" {_ON_A_STORE} THEN s.locator ELSE COALESCE(s.absolute_path, s.locator) END,"
            " COALESCE(s.size_bytes, f.size_bytes, -1), s.mtime_ns, NULLIF(f.sha256, ''),"
            " t.target_locator, f.object_key_fold,"
            f" s.library_root IS NOT NULL, {_ON_A_STORE}"
            + GUARDS.format(location="s")
            + FROM_QUEUE.format(scope=clauses)
            + " ORDER BY t.queue_order, t.id LIMIT :limit"
        )
        values |= {"backend": self._backend.id, "limit": limit}
        within = limits_of_links(self._catalog)
        with self._catalog.transaction() as connection:
            found = connection.execute(sa.text(statement), values).all()
            rows = list(checked(self._catalog, found))
            if not rows:
                return []
            on_a_store = locations.copies_by_id(connection, [row[3] for row in rows if row[-1]])
            tasks = [
                replace(
                    UploadTask(*row[:-2]),
                    source_copy=on_a_store.get(row[3]),
                    # A row of another program that no scan has met is below no root that we know.
                    within=within if row[-2] else (),
                )
                for row in rows
            ]
            self._take(connection, [task.id for task in tasks])
            return _with_history(connection, self._backend, tasks)


_EARLIER = """
SELECT object_key_fold, id FROM file_assets
WHERE object_key_fold IN (SELECT value FROM json_each(:folds)) AND superseded_by_id IS NOT NULL
"""


def _with_history(
    connection: sa.Connection, backend: ObjectBackend, tasks: Sequence[UploadTask]
) -> list[UploadTask]:
    """The tasks with what was at their keys before; for most files that is nothing."""
    known: dict[str, list[RemoteCopy]] = {}
    for copy in locations.copies_at(connection, backend, [task.locator for task in tasks]):
        known.setdefault(copy.key, []).append(copy)
    earlier: dict[str | None, set[int]] = {}
    folds = json.dumps([task.object_key_fold for task in tasks if task.object_key_fold])
    for fold, asset_id in connection.execute(sa.text(_EARLIER), {"folds": folds}):
        earlier.setdefault(fold, set()).add(asset_id)
    return [
        replace(
            task,
            known_sha256=frozenset(copy.sha256 for copy in at_key if copy.sha256),
            damaged_etags=frozenset(
                (copy.etag or "").strip('"') for copy in at_key if copy.status == "damaged"
            ),
            earlier_ids=frozenset(earlier.get(task.object_key_fold, ())),
        )
        if (at_key := known.get(task.locator, [])) or task.object_key_fold in earlier
        else task
        for task in tasks
    ]


_NOTE_SUCCESS = sa.text(
    "UPDATE storage_backends SET last_success_at = CURRENT_TIMESTAMP WHERE id = :backend"
)


def record(
    catalog: Catalog,
    backend: ObjectBackend,
    owner: str,
    results: Collection[Uploaded | Failed],
) -> None:
    """Write down what became of tasks: locations, digests, task states, presence; all or nothing.

    Idempotent: a task done twice leaves one location.

    Args:
        owner: the lease under which the tasks were claimed; a failure of a task that has since
            been taken over by another lease is not written.
    """
    done = [r for r in results if isinstance(r, Uploaded)]
    failed = [r for r in results if isinstance(r, Failed)]
    with catalog.transaction() as connection:
        if done:
            record_uploaded(connection, backend, done)
        rows = [
            {
                "id": r.task.id,
                "status": "pending" if r.requeue else "failed",
                "last_error": r.reason,
                "error_code": r.code,
            }
            for r in failed
        ]
        end(connection, "upload_tasks", rows, owner=owner)
        changed = [r.task.source_location_id for r in failed if r.source_changed]
        locations.forget_stat(connection, changed)


def record_uploaded(
    connection: sa.Connection, backend: ObjectBackend, done: Sequence[Uploaded]
) -> None:
    """What `record` writes of objects that are there, as a part of another transaction."""
    objects = [
        Stored(
            r.task.file_asset_id, r.task.locator, r.task.size_bytes, r.sha256, r.etag, r.verified_by
        )
        for r in done
    ]
    locations.record_stored(connection, backend, objects)
    succeeded = {"status": "succeeded", "last_error": None, "error_code": None}
    end(connection, "upload_tasks", [{"id": r.task.id, **succeeded} for r in done])
    connection.execute(_NOTE_SUCCESS, {"backend": backend.id})
