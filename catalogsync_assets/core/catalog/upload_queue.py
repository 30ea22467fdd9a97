"""The upload queue: what waits in `upload_tasks`, and what became of it.

The source of a task is a local file, else an object on another backend; or the file's own object on
the same backend, where that is to be copied to the key of a path that the file has moved to. Which
tasks there are is the affair of `upload_plan`; a task whose key is still another file's is not
claimed. Results are written many in one transaction; a location only after its object was verified.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from catalogsync_assets.core.catalog import keys, locations, presence, remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.lacking import IS_IN_LIBRARY
from catalogsync_assets.core.catalog.lazy import sa, sa_text
from catalogsync_assets.core.catalog.leases import Lease, end, requeue
from catalogsync_assets.core.catalog.locations import Stored
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.roots import limits_of_links
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope, id_list
from catalogsync_assets.core.catalog.songs import SONG_OF_FILE
from catalogsync_assets.core.stores.backend import ObjectBackend

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
    #: Whether the catalog knows the digest of a file of this size: only then may the content be on
    #: the backend already, under another key.
    may_be_there: bool = False
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
    #: The location of the object that the store has copied to make it; None if it has not.
    copied_from: int | None = None


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


#: Whether a location `s` can be read for an upload: an object that was found damaged can, as a last
#: resort.
IS_A_SOURCE = """
(s.status = 'active' OR (s.status = 'damaged' AND s.backend_id NOT IN (
    SELECT id FROM storage_backends WHERE backend_type = 'local')))
"""
#: Whether the key of a task `t` has come to be another file's.
IS_ANOTHERS = keys.is_anothers_sql(
    "t.file_asset_id", "t.target_backend_id", "t.target_container_name", "t.target_locator"
)


class QueuedFile(NamedTuple):
    """A current file that a backend lacks: its path, and the key that it would get there."""

    file_asset_id: int
    path: str
    size_bytes: int
    locator: str
    is_copy: bool = False  #: its object is there, and the store is to copy it to this key


def list_files(
    catalog: Catalog, backend: ObjectBackend, scope: Scope, locator: str, which: str
) -> Iterator[QueuedFile]:
    """Files that a backend lacks, in order of file asset; those that the plan is yet to queue, too.

    A stream: memory does not grow with their number. It holds a read transaction open until it is
    exhausted or closed.

    Args:
        locator: SQL of the key that a file is meant to get.
        which: SQL from FROM on, of files `f` with their source `s`; takes a scope's clauses.
    """
    clauses, values = scope.sql()
    is_anothers = keys.is_anothers_sql("f.id", ":backend", ":bucket", locator)
    statement = (
        "SELECT f.id, COALESCE(s.absolute_path, s.locator), COALESCE(f.size_bytes, 0),"
        f" {locator}, s.backend_id = :backend, {is_anothers}"
        + GUARDS.format(location="s")
        + which.format(scope=clauses)
        + " ORDER BY f.id"
    )
    values |= {"backend": backend.id, "bucket": backend.bucket, "prefix": backend.key_prefix}
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=_PAGE).execute(sa.text(statement), values)
        for *row, key_is_anothers in checked(catalog, rows):
            asset, path, size, key, is_copy = row
            file = QueuedFile(asset, path, size, key, bool(is_copy))
            if key_is_anothers and not file.is_copy:
                key = keys.aside(connection, backend, file.locator, file.file_asset_id)
                file = file._replace(locator=key)
            yield file


# The pending tasks `t` of a backend with their file `f` and source `s`; takes a scope's clauses.
# Not those that have become stale since they were planned: the next plan drops them.
_FROM_PLANNED = f"""
FROM upload_tasks t
JOIN file_assets f ON f.id = t.file_asset_id
JOIN file_locations s ON s.id = t.source_location_id
WHERE t.target_backend_id = :backend AND t.status = 'pending'
  AND {IS_A_SOURCE} AND NOT (s.backend_id = t.target_backend_id AND s.status <> 'active')
  AND f.superseded_by_id IS NULL AND {IS_IN_LIBRARY}
  {{scope}}
"""
# The same, but for those that wait until their key is no longer another's.
_FROM_QUEUE = f"{_FROM_PLANNED} AND NOT {IS_ANOTHERS}"


def count_pending(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> tuple[int, int]:
    """How many tasks are pending, and the bytes of their files."""
    clauses, values = scope.sql()
    figures = "SELECT COUNT(*), COALESCE(SUM(f.size_bytes), 0)"
    waiting = _FROM_QUEUE.format(scope=clauses)
    ((files, size),) = catalog.rows(figures + waiting, backend=backend.id, **values)
    return int(files), int(size)


def sendable(catalog: Catalog, backend: ObjectBackend, file_asset_ids: Collection[int]) -> set[int]:
    """Those of these files that have a pending task, with a source that can be read."""
    clause = f"AND f.id IN ({id_list(file_asset_ids)})"
    statement = f"SELECT f.id {_FROM_PLANNED.format(scope=clause)}"
    return {int(row[0]) for row in catalog.rows(statement, backend=backend.id)}


_HAS_COPIES = """
SELECT 1 FROM upload_tasks t
JOIN file_locations s ON s.id = t.source_location_id AND s.backend_id = t.target_backend_id
WHERE t.target_backend_id = :backend AND t.status = 'pending' LIMIT 1
"""


def has_copies(catalog: Catalog, backend: ObjectBackend) -> bool:
    """Whether the store is to copy objects to other keys."""
    return catalog.scalar(_HAS_COPIES, backend=backend.id) is not None


def list_pending(
    catalog: Catalog,
    backend: ObjectBackend,
    scope: Scope = EVERYTHING,
    *,
    waiting: bool = False,
) -> Iterator[QueuedFile]:
    """The files of the pending tasks, in order of file asset; a stream, as `list_files`.

    Args:
        waiting: those that wait until their key is no longer another's, too. A file whose object
            goes by a further key is there twice then.
    """
    which = _FROM_PLANNED if waiting else _FROM_QUEUE
    return list_files(catalog, backend, scope, "t.target_locator", which)


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
            f"SELECT t.id, f.id, {SONG_OF_FILE}, s.id, CASE WHEN"
            f" {_ON_A_STORE} THEN s.locator ELSE COALESCE(s.absolute_path, s.locator) END,"
            " COALESCE(s.size_bytes, f.size_bytes, -1), s.mtime_ns, NULLIF(f.sha256, ''),"
            " t.target_locator, f.object_key_fold,"
            f" s.library_root IS NOT NULL, {_ON_A_STORE}"
            + GUARDS.format(location="s")
            + _FROM_QUEUE.format(scope=clauses)
            + " ORDER BY t.queue_order, t.id LIMIT :limit"
        )
        values |= {"backend": self._backend.id, "limit": limit}
        within = limits_of_links(self._catalog)
        with self._catalog.transaction() as connection:
            found = connection.execute(sa.text(statement), values).all()
            rows = list(checked(self._catalog, found))
            if not rows:
                return []
            self._take(connection, [row[0] for row in rows])
            return list(_with_history(connection, self._backend, rows, within))


# By the index; of a library, hardly any.
_KNOWN_SIZES = """
SELECT DISTINCT size_bytes FROM file_assets
WHERE size_bytes IN (SELECT value FROM json_each(:sizes)) AND sha256 <> ''
"""
_EARLIER = f"""
SELECT object_key_fold, id FROM file_assets
WHERE object_key_fold IN (SELECT value FROM json_each(:folds)) AND superseded_by_id IS NOT NULL
  AND NOT {presence.current_sql("file_assets.id", or_forgotten=True)}
"""


def _with_history(
    connection: sa.Connection, backend: ObjectBackend, rows: Sequence[Any], within: tuple[str, ...]
) -> Iterator[UploadTask]:
    """The tasks with what was at their keys before; for most files that is nothing.

    Nothing of it is another current file's, unless that one has its object elsewhere by now: such
    tasks are not claimed.

    Args:
        rows: the first fields of a task; whether a scan has met its source, and whether that is an
            object.
        within: of what a scan has met. A row of another program that no scan has met is below no
            root that we know.
    """
    on_a_store = remote_copies.copies_by_id(connection, [row[3] for row in rows if row[-1]])
    known: dict[str, list[RemoteCopy]] = {}
    for copy in remote_copies.copies_at(connection, backend, [row[8] for row in rows]):
        known.setdefault(copy.key, []).append(copy)
    earlier: dict[str | None, set[int]] = {}
    folds = json.dumps([row[9] for row in rows if row[9]])
    for fold, asset_id in connection.execute(sa.text(_EARLIER), {"folds": folds}):
        earlier.setdefault(fold, set()).add(asset_id)
    sizes = json.dumps(list({row[5] for row in rows}))
    known_sizes = set(connection.scalars(sa.text(_KNOWN_SIZES), {"sizes": sizes}))
    for *fields, was_scanned, _ in rows:
        at_key = known.get(fields[8], ())
        damaged = (copy.etag or "" for copy in at_key if copy.status == "damaged")
        history: dict[str, Any] = {
            "source_copy": on_a_store.get(fields[3]),
            "known_sha256": frozenset(copy.sha256 for copy in at_key if copy.sha256),
            "earlier_ids": frozenset(earlier.get(fields[9], ())),
            "damaged_etags": frozenset(etag.strip('"') for etag in damaged),
            "may_be_there": fields[5] in known_sizes,
            "within": within if was_scanned else (),
        }
        yield UploadTask(*fields, **history)


# What went by a key below `.catalogsync/moves/` goes on from there.
_SOURCE_FOLLOWS = """
UPDATE upload_tasks SET source_location_id = (
    SELECT l.id FROM file_locations l WHERE l.file_asset_id = :asset AND l.backend_id = :backend
      AND l.locator = :locator)
WHERE file_asset_id = :asset AND target_backend_id = :backend AND status = 'pending'
  AND target_locator <> :locator
"""
_NOTE_SUCCESS = (
    "UPDATE storage_backends SET last_success_at = CURRENT_TIMESTAMP, failing_since = NULL"
    " WHERE id = :backend"
)


def record(
    catalog: Catalog,
    backend: ObjectBackend,
    owner: str,
    results: Collection[Uploaded | Failed],
) -> list[Uploaded]:
    """Write down what became of tasks: locations, digests, task states, presence; all or nothing.

    Idempotent: a task done twice leaves one location.

    Args:
        owner: the lease under which the tasks were claimed; a failure of a task that has since
            been taken over by another lease is not written.

    Returns:
        What was recorded as uploaded: all but where the key has come to be another file's.
    """
    done = [r for r in results if isinstance(r, Uploaded)]
    failed = [r for r in results if isinstance(r, Failed)]
    with catalog.transaction() as connection:
        recorded = record_uploaded(connection, backend, done)
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
    return recorded


def record_uploaded(
    connection: sa.Connection, backend: ObjectBackend, done: Sequence[Uploaded]
) -> list[Uploaded]:
    """What `record` writes of objects that are there, as a part of another transaction."""
    if not done:
        return []
    objects = [
        Stored(
            *(r.task.file_asset_id, r.task.locator, r.task.size_bytes, r.sha256, r.etag),
            *(r.verified_by, r.copied_from),
        )
        for r in done
    ]
    stored = set(locations.record_stored(connection, backend, objects))
    recorded = [r for r, o in zip(done, objects, strict=True) if o in stored]
    succeeded = {"status": "succeeded", "last_error": None, "error_code": None}
    end(connection, "upload_tasks", [{"id": r.task.id, **succeeded} for r in recorded])
    copied = [
        {"asset": r.task.file_asset_id, "backend": backend.id, "locator": r.task.locator}
        for r in recorded
        if r.copied_from is not None
    ]
    if copied:
        connection.exec_driver_sql(_SOURCE_FOLLOWS, copied)
    # Those whose key has come to be another's get one of their own by the next plan.
    left = [r for r, o in zip(done, objects, strict=True) if o not in stored]
    end(connection, "upload_tasks", [{"id": r.task.id, "status": "pending"} for r in left])
    if recorded:
        connection.execute(sa_text(_NOTE_SUCCESS), {"backend": backend.id})
    return recorded
