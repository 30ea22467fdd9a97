"""The upload queue: what a backend lacks becomes tasks in `upload_tasks`.

The source of a task is a local file, else an object on another backend; or the file's own object on
the same backend, where that is to be copied to the key of a path that the file has moved to.
Planning is a statement for each whatever the size of the catalog. A task whose key is still
another file's waits until that one has been copied away; where two files, or more, wait for each
other, one of them goes by a key of its own below `.catalogsync/moves/`. What became of tasks is
written in transactions of many; a location only after its object was verified.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog import keys, locations, presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.leases import Lease, end, requeue
from catalogsync_assets.core.catalog.legacy import insert_sql
from catalogsync_assets.core.catalog.locations import Stored
from catalogsync_assets.core.catalog.roots import limits_of_links
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope, id_list, songs_sql
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.copies import RemoteCopy
from catalogsync_assets.core.stores.listing import MOVES

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


# A file whose active local row is its source is in the library: nothing more to look up.
_IN_LIBRARY = f"(s.library_root IS NOT NULL OR {presence.IN_LIBRARY})"
# Whether a location `s` can be read for an upload: an object that was found damaged can, as a last
# resort.
_IS_A_SOURCE = """
(s.status = 'active' OR (s.status = 'damaged' AND s.backend_id NOT IN (
    SELECT id FROM storage_backends WHERE backend_type = 'local')))
"""

#: Whether the key of a task `t` has come to be another file's.
_IS_ANOTHERS = keys.is_anothers_sql(
    "t.file_asset_id", "t.target_backend_id", "t.target_container_name", "t.target_locator"
)
#: Whether the key that a file `f` would get on a backend is another's: then it is stored aside.
OWN_IS_ANOTHERS = keys.is_anothers_sql("f.id", ":backend", ":bucket", ":prefix || f.object_key")
_DROP_STALE = f"""
DELETE FROM upload_tasks WHERE id IN (
    SELECT t.id FROM upload_tasks t
    JOIN file_assets f ON f.id = t.file_asset_id
    LEFT JOIN file_locations s ON s.id = t.source_location_id AND {_IS_A_SOURCE}
    WHERE t.target_backend_id = :backend AND t.status IN ('pending', 'failed')
      AND (s.id IS NULL OR f.superseded_by_id IS NOT NULL OR NOT {_IN_LIBRARY}
           OR t.target_container_name IS NOT :bucket
           OR (t.target_locator <> :prefix || f.object_key AND NOT {OWN_IS_ANOTHERS})
           OR CASE WHEN s.backend_id = :backend
                   THEN :copies = 0 OR s.status <> 'active' OR s.locator = t.target_locator
                   ELSE EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                                AND a.backend_id = :backend AND a.status = 'active') END))
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

#: Files `f` whose object `s` is under another key than that of their path; with a digest, by which
#: a copy can be proven. One of two objects, where another program has left two. Takes a scope's
#: clauses. (From the files to their places: SQLite alone would read all that the backend holds, for
#: a batch as for everything; the COALESCE keeps it from the index by place.)
MISPLACED = f"""
FROM file_assets f CROSS JOIN file_locations s
WHERE s.file_asset_id = f.id AND s.backend_id = :backend
  AND COALESCE(s.container_name, '') = :bucket
  AND s.status = 'active' AND s.locator <> :prefix || f.object_key AND f.superseded_by_id IS NULL
  AND f.sha256 <> '' AND f.size_bytes IS NOT NULL AND {presence.IN_LIBRARY}
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active'
                  AND (a.id < s.id OR a.locator = :prefix || f.object_key))
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
"""
_ENQUEUE_COPIES = f"""
SELECT f.id, s.id, :backend, :bucket, :prefix || f.object_key, 'pending', {{order}}{{{{more}}}}
{MISPLACED}
"""
_QUEUE_AGAIN = """
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
# Of the tasks of a backend that have just been planned: those whose key is another file's.
_WAITING = f"""
SELECT t.id, t.file_asset_id, t.target_locator, s.backend_id = t.target_backend_id
FROM upload_tasks t JOIN file_locations s ON s.id = t.source_location_id
WHERE t.target_backend_id = :backend AND t.status = 'pending' AND {_IS_ANOTHERS}
"""
# Whether a file is about to be copied away from a key, and need not wait for that.
_LEAVES = f"""
SELECT 1 FROM upload_tasks t
JOIN file_locations s ON s.id = t.source_location_id AND s.backend_id = t.target_backend_id
WHERE t.file_asset_id = :asset AND t.target_backend_id = :backend
  AND t.status IN ('pending', 'running') AND s.status = 'active' AND s.locator = :locator
  AND NOT {_IS_ANOTHERS} LIMIT 1
"""
# The same task under another key.
_INSTEAD = """
SELECT t.file_asset_id, t.source_location_id, t.target_backend_id, t.target_container_name,
       :locator, t.status, t.queue_order{more}
FROM upload_tasks t WHERE t.id = :id
"""
_DROP = sa.text("DELETE FROM upload_tasks WHERE id = :id")
_DROP_OTHERS = sa.text(
    "DELETE FROM upload_tasks WHERE file_asset_id = :asset AND target_backend_id = :backend"
    " AND status IN ('pending', 'failed') AND target_locator <> :locator"
)


class QueuedFile(NamedTuple):
    """A current file that a backend lacks: its path, and the key that it would get there."""

    file_asset_id: int
    path: str
    size_bytes: int
    locator: str
    is_copy: bool = False  #: its object is there, and the store is to copy it to this key


def _stream(
    catalog: Catalog, backend: ObjectBackend, scope: Scope, locator: str, which: str
) -> Iterator[QueuedFile]:
    """Files in order of file asset, of `which`: SQL from FROM on. As `missing_candidates`."""
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
    values["copies"] = int(backend.follows_paths)
    order = "0"
    if first is not None and first.selections:
        order = f"-(f.song_id IN ({songs_sql(first.selections)}))"
    # First: what a killed run held may have become stale since.
    UploadLease(catalog, backend).take_over_abandoned()
    with catalog.transaction() as connection:
        connection.execute(sa.text(_DROP_STALE), values)
        selects = [_ENQUEUE.format(missing=_MISSING.format(scope=clauses), order=order)]
        if backend.follows_paths:
            selects.append(_ENQUEUE_COPIES.format(scope=clauses, order=order))
        queued = 0
        for select in selects:
            statement = insert_sql(connection, "upload_tasks", _COLUMNS, select + _QUEUE_AGAIN)
            queued += connection.execute(sa.text(statement), values).rowcount
        return queued + _Untangling(connection, backend).execute()


class _Waiting(NamedTuple):
    """A task that has just been planned, and whose key is another file's."""

    id: int
    file_asset_id: int
    locator: str  #: the key that it waits for
    is_copy: bool  #: whether the store is to copy the file's own object there


class _Untangling:
    """Sees to it that every planned task comes to its turn; there are hardly ever any to see to.

    Where the file that has the key is about to be copied away, a task may wait for that. Where such
    files wait for each other in a circle, one goes out of the way first. Else an upload is stored
    aside, and what is there already stays where it is.
    """

    def __init__(self, connection: sa.Connection, backend: ObjectBackend) -> None:
        self._connection = connection
        self._backend = backend
        found = connection.execute(sa.text(_WAITING), {"backend": backend.id}).all()
        self._waiting = {task.file_asset_id: task for task in map(_Waiting._make, found)}
        self._insert = ""

    def execute(self) -> int:
        """Do it; how many more tasks are pending for it."""
        if not self._waiting:
            return 0
        rest = _INSTEAD + _QUEUE_AGAIN
        self._insert = insert_sql(self._connection, "upload_tasks", _COLUMNS, rest)
        more = 0
        comes_to_its_turn: dict[int, bool] = {}
        for asset in self._waiting:
            path: list[int] = []  # each waits for the next
            at, answer = asset, comes_to_its_turn.get(asset)
            while answer is None:
                path.append(at)
                at, answer = self._next(self._waiting[at])
                if answer is None and at in path:
                    more += self._by_a_detour(self._waiting[min(path[path.index(at) :])])
                    answer = True
                elif answer is None:
                    answer = comes_to_its_turn.get(at)
            comes_to_its_turn |= dict.fromkeys(path, answer)
        for asset, comes in comes_to_its_turn.items():
            if not comes:
                more += self._instead(self._waiting[asset])
        return more

    def _next(self, task: _Waiting) -> tuple[int, bool | None]:
        """Whom a task waits for, and whether that one will make way; None if it waits itself."""
        found = keys.holders(self._connection, self._backend, task.locator, task.file_asset_id)
        if len(found) != 1:
            return 0, not found
        (holder,) = found
        values = {"asset": holder, "backend": self._backend.id, "locator": task.locator}
        if self._connection.scalar(sa.text(_LEAVES), values):
            return holder, True
        waits = self._waiting.get(holder)
        return holder, None if waits is not None and waits.is_copy else False

    def _by_a_detour(self, task: _Waiting) -> int:
        key = f"{self._backend.key_prefix}{MOVES}{task.file_asset_id}"
        values = {"id": task.id, "locator": key}
        return self._connection.execute(sa.text(self._insert), values).rowcount

    def _instead(self, task: _Waiting) -> int:
        if not task.is_copy:
            asset = task.file_asset_id
            key = keys.aside(self._connection, self._backend, task.locator, asset)
            values = {"id": task.id, "asset": asset, "locator": key, "backend": self._backend.id}
            more = self._connection.execute(sa.text(self._insert), values).rowcount
            more -= self._connection.execute(_DROP, values).rowcount
            self._connection.execute(_DROP_OTHERS, values)
            return more
        return -self._connection.execute(_DROP, {"id": task.id}).rowcount


# The pending tasks `t` of a backend with their file `f` and source `s`; takes a scope's clauses.
# Not those that have become stale since they were planned: the next plan drops them.
_FROM_PLANNED = f"""
FROM upload_tasks t
JOIN file_assets f ON f.id = t.file_asset_id
JOIN file_locations s ON s.id = t.source_location_id
WHERE t.target_backend_id = :backend AND t.status = 'pending'
  AND {_IS_A_SOURCE} AND NOT (s.backend_id = t.target_backend_id AND s.status <> 'active')
  AND f.superseded_by_id IS NULL AND {_IN_LIBRARY}
  {{scope}}
"""
#: The same, but for those that wait until their key is no longer another's.
FROM_QUEUE = f"{_FROM_PLANNED} AND NOT {_IS_ANOTHERS}"


def count_pending(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> tuple[int, int]:
    """How many tasks are pending, and the bytes of their files."""
    clauses, values = scope.sql()
    statement = "SELECT COUNT(*), COALESCE(SUM(f.size_bytes), 0)" + FROM_QUEUE.format(scope=clauses)
    ((files, size),) = catalog.rows(statement, backend=backend.id, **values)
    return int(files), int(size)


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
    """The files of the pending tasks, in order of file asset; a stream, as `missing_candidates`.

    Args:
        waiting: those that wait until their key is no longer another's, too. A file whose object
            goes by a further key is there twice then.
    """
    which = _FROM_PLANNED if waiting else FROM_QUEUE
    return _stream(catalog, backend, scope, "t.target_locator", which)


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
    connection: sa.Connection, backend: ObjectBackend, tasks: Sequence[UploadTask]
) -> list[UploadTask]:
    """The tasks with what was at their keys before; for most files that is nothing.

    Nothing of it is another current file's, unless that one has its object elsewhere by now: such
    tasks are not claimed.
    """
    known: dict[str, list[RemoteCopy]] = {}
    for copy in locations.copies_at(connection, backend, [task.locator for task in tasks]):
        known.setdefault(copy.key, []).append(copy)
    earlier: dict[str | None, set[int]] = {}
    folds = json.dumps([task.object_key_fold for task in tasks if task.object_key_fold])
    for fold, asset_id in connection.execute(sa.text(_EARLIER), {"folds": folds}):
        earlier.setdefault(fold, set()).add(asset_id)
    sizes = json.dumps([task.size_bytes for task in tasks])
    known_sizes = set(connection.scalars(sa.text(_KNOWN_SIZES), {"sizes": sizes}))
    return [
        replace(
            task,
            may_be_there=task.size_bytes in known_sizes,
            known_sha256=frozenset(copy.sha256 for copy in at_key if copy.sha256),
            damaged_etags=frozenset(
                (copy.etag or "").strip('"') for copy in at_key if copy.status == "damaged"
            ),
            earlier_ids=frozenset(earlier.get(task.object_key_fold, ())),
        )
        if (at_key := known.get(task.locator, []))
        or task.object_key_fold in earlier
        or task.size_bytes in known_sizes
        else task
        for task in tasks
    ]


# What went by a key below `.catalogsync/moves/` goes on from there.
_SOURCE_FOLLOWS = """
UPDATE upload_tasks SET source_location_id = (
    SELECT l.id FROM file_locations l WHERE l.file_asset_id = :asset AND l.backend_id = :backend
      AND l.locator = :locator)
WHERE file_asset_id = :asset AND target_backend_id = :backend AND status = 'pending'
  AND target_locator <> :locator
"""
_NOTE_SUCCESS = sa.text(
    "UPDATE storage_backends SET last_success_at = CURRENT_TIMESTAMP WHERE id = :backend"
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
        connection.execute(_NOTE_SUCCESS, {"backend": backend.id})
    return recorded
