"""The plan of uploads: what a backend lacks, or holds under another key, becomes tasks.

A few statements, whatever the size of the catalog. A task whose key is still another file's
waits until that one has been copied away; where two files, or more, wait for each other, one of
them goes by a key of its own below `.catalogsync/moves/`. What becomes of the tasks is the affair
of `upload_queue`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from catalogsync_assets.core.catalog import keys, presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lacking import IS_IN_LIBRARY, MISPLACED, MISSING
from catalogsync_assets.core.catalog.lazy import sa, sa_text
from catalogsync_assets.core.catalog.legacy import insert_sql
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope, id_list, songs_sql
from catalogsync_assets.core.catalog.upload_queue import (
    IS_A_SOURCE,
    IS_ANOTHERS,
    QueuedFile,
    UploadLease,
    list_files,
)
from catalogsync_assets.core.stores.backend import MOVES, ObjectBackend

#: Whether the key that a file `f` would get on a backend is another's: then it is stored aside.
OWN_IS_ANOTHERS = keys.is_anothers_sql("f.id", ":backend", ":bucket", ":prefix || f.object_key")
_DROP_STALE = f"""
DELETE FROM upload_tasks WHERE id IN (
    SELECT t.id FROM upload_tasks t
    JOIN file_assets f ON f.id = t.file_asset_id
    LEFT JOIN file_locations s ON s.id = t.source_location_id AND {IS_A_SOURCE}
    WHERE t.target_backend_id = :backend AND t.status IN ('pending', 'failed')
      AND (s.id IS NULL OR f.superseded_by_id IS NOT NULL OR NOT {IS_IN_LIBRARY}
           OR t.target_container_name IS NOT :bucket
           OR (t.target_locator <> :prefix || f.object_key AND NOT {OWN_IS_ANOTHERS})
           OR CASE WHEN s.backend_id = :backend
                   THEN :copies = 0 OR s.status <> 'active' OR s.locator = t.target_locator
                   ELSE EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                                AND a.backend_id = :backend AND a.status = 'active') END))
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
WHERE t.target_backend_id = :backend AND t.status = 'pending' AND {IS_ANOTHERS}
"""
# Whether a file is about to be copied away from a key, and need not wait for that.
_LEAVES = f"""
SELECT 1 FROM upload_tasks t
JOIN file_locations s ON s.id = t.source_location_id AND s.backend_id = t.target_backend_id
WHERE t.file_asset_id = :asset AND t.target_backend_id = :backend
  AND t.status IN ('pending', 'running') AND s.status = 'active' AND s.locator = :locator
  AND NOT {IS_ANOTHERS} LIMIT 1
"""
# The same task under another key.
_INSTEAD = """
SELECT t.file_asset_id, t.source_location_id, t.target_backend_id, t.target_container_name,
       :locator, t.status, t.queue_order{more}
FROM upload_tasks t WHERE t.id = :id
"""
_DROP = "DELETE FROM upload_tasks WHERE id = :id"
_DROP_OTHERS = (
    "DELETE FROM upload_tasks WHERE file_asset_id = :asset AND target_backend_id = :backend"
    " AND status IN ('pending', 'failed') AND target_locator <> :locator"
)


def missing_candidates(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> Iterator[QueuedFile]:
    """The files that `enqueue` would queue, in order of file asset. A stream, as
    `upload_queue.list_files`. Changes nothing.
    """
    return list_files(catalog, backend, scope, _NEW_LOCATOR, MISSING)


def enqueue(
    catalog: Catalog,
    backend: ObjectBackend,
    scope: Scope = EVERYTHING,
    *,
    first: Scope | None = None,
) -> int:
    """Plan the missing uploads of a backend: every current file that it lacks gets a task.

    A few statements, whatever the size of the catalog; idempotent. A task that failed before
    becomes pending again, as do those of a run that was killed. Waiting tasks whose file has gone,
    changed, is left out or arrived otherwise are dropped.

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
        selects = [_ENQUEUE.format(missing=MISSING.format(scope=clauses), order=order)]
        if backend.follows_paths:
            selects.append(_ENQUEUE_COPIES.format(scope=clauses, order=order))
        queued = 0
        for select in selects:
            statement = insert_sql(connection, "upload_tasks", _COLUMNS, select + _QUEUE_AGAIN)
            queued += connection.execute(sa.text(statement), values).rowcount
        return queued + _Untangling(connection, backend).execute()


def plan_again(catalog: Catalog, backend: ObjectBackend, file_asset_ids: Collection[int]) -> int:
    """Plan these files anew: the objects that were to be copied to their keys turned out gone.

    Returns:
        How many tasks have another source now; a file that is nowhere else has none.
    """
    clause = f"AND f.id IN ({id_list(file_asset_ids)})"
    values = {"backend": backend.id, "bucket": backend.bucket, "prefix": backend.key_prefix}
    select = _ENQUEUE.format(missing=MISSING.format(scope=clause), order="0") + _QUEUE_AGAIN
    with catalog.transaction() as connection:
        statement = insert_sql(connection, "upload_tasks", _COLUMNS, select)
        return connection.execute(sa.text(statement), values).rowcount


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
            more -= self._connection.execute(sa_text(_DROP), values).rowcount
            self._connection.execute(sa_text(_DROP_OTHERS), values)
            return more
        return -self._connection.execute(sa_text(_DROP), {"id": task.id}).rowcount


def drop_unwanted(connection: sa.Connection, file_asset_ids: Collection[int]) -> None:
    """Drop the waiting and failed tasks of those of these files that are not wanted any more."""
    connection.execute(sa_text(_DROP_UNWANTED, "assets"), {"assets": list(file_asset_ids)})


_DROP_UNWANTED = (
    "DELETE FROM upload_tasks WHERE status IN ('pending', 'failed') AND file_asset_id IN"
    f" (SELECT f.id FROM file_assets f WHERE f.id IN :assets AND NOT {presence.IN_LIBRARY})"
)
