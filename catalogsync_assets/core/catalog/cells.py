"""Which cells - a batch of files on a backend - are whole, in which of them files have moved, which
have work waiting, and what has failed in them.

A file counts as it does in `presence`: while it is the newest content of its path and exists
somewhere, or was lost.
Read in one pass over the files and their locations: 3.4 s of CPU for a million files on two
backends, 0.15 s for ten batches of 5,000.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lacking import MISPLACED
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.upload_plan import OWN_IS_ANOTHERS
from catalogsync_assets.core.stores.backend import OBJECT_STORAGE, ObjectBackend


@dataclass(frozen=True)
class Cell:
    """A batch on a backend."""

    #: The names of both.
    backend: str
    batch: str
    files: int  #: those of the batch that count
    present: int  #: how many of them are there
    #: How many of those have moved, and have objects that can follow them.
    moved: int = 0
    #: Differs once it is others that have moved, or their keys have become free.
    moves: str = ""

    @property
    def whole(self) -> bool:
        """Nothing is missing there; true of a batch whose files have all been superseded, too."""
        return self.present == self.files

    @property
    def key(self) -> str:
        """The cell as its partition is called."""
        return f"{self.backend}|{self.batch}"


# Counted batch by batch in the order of the index, all backends in the one pass; a cell that is in
# neither count has no file.
_CELLS = """
WITH current AS MATERIALIZED (
    SELECT f.batch_id, COUNT(*) AS files FROM file_assets f
    WHERE f.superseded_by_id IS NULL AND f.batch_id {chosen}
      AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {counts})
    GROUP BY f.batch_id),
there AS MATERIALIZED (
    SELECT f.batch_id, l.backend_id, COUNT(DISTINCT f.id) AS files FROM file_assets f
    CROSS JOIN file_locations l ON l.file_asset_id = f.id AND l.status = 'active'
    WHERE f.superseded_by_id IS NULL AND f.batch_id {chosen} AND {in_library}
    GROUP BY f.batch_id, l.backend_id)
SELECT b.name, k.key, COALESCE(c.files, 0), COALESCE(t.files, 0)
FROM batches k CROSS JOIN storage_backends b
LEFT JOIN current c ON c.batch_id = k.id
LEFT JOIN there t ON t.batch_id = k.id AND t.backend_id = b.id
WHERE b.backend_type = :stores AND k.id {chosen} {of_backend}
ORDER BY k.id, b.name
"""
# Whose key is free, or becomes so: who has it is to be copied away, too.
_MOVED = f"""
SELECT k.key, COUNT(*), SUM(m.free), SUM(m.planned), SUM(m.source), MAX(m.at)
FROM (SELECT f.batch_id AS batch_id, s.id AS source, f.updated_at AS at,
             CASE WHEN {OWN_IS_ANOTHERS} THEN 0 ELSE 1 END AS free,
             CASE WHEN EXISTS (
                 SELECT 1 FROM file_locations n JOIN file_assets g ON g.id = n.file_asset_id
                 WHERE n.backend_id = :backend AND n.container_name = :bucket
                   AND n.locator = :prefix || f.object_key AND n.status = 'active'
                   AND n.file_asset_id <> f.id AND g.object_key <> f.object_key)
                  THEN 1 ELSE 0 END AS becomes_free,
             CASE WHEN EXISTS (
                 SELECT 1 FROM upload_tasks t WHERE t.file_asset_id = f.id
                   AND t.target_backend_id = :backend AND t.status = 'pending')
                  THEN 1 ELSE 0 END AS planned
      {MISPLACED}) m
JOIN batches k ON k.id = m.batch_id
WHERE m.free = 1 OR m.becomes_free = 1
GROUP BY k.key
"""
_EVERY = "IS NOT NULL"
_CHOSEN = "IN (SELECT id FROM batches WHERE key IN (SELECT value FROM json_each(:batches)))"


def cells(
    catalog: Catalog,
    *,
    batches: Sequence[str] | None = None,
    backend: ObjectBackend | None = None,
) -> list[Cell]:
    """The cells of object stores, oldest batch first, then by name of backend.

    Args:
        batches: only these, by key; None for all.
        backend: only this one; None for all.
    """
    statement = _CELLS.format(
        counts=presence.COUNTS,
        in_library=presence.IN_LIBRARY,
        chosen=_EVERY if batches is None else _CHOSEN,
        of_backend="" if backend is None else "AND b.id = :backend",
    )
    chosen = json.dumps(list(batches or ()))
    found = catalog.rows(
        statement, stores=OBJECT_STORAGE, batches=chosen, backend=backend and backend.id
    )
    moved: dict[tuple[str, str], tuple[int, str]] = {}
    for store in object_backends(catalog) if backend is None else [backend]:
        if store.follows_paths:
            moves = catalog.rows(
                _MOVED.format(scope="" if batches is None else f"AND f.batch_id {_CHOSEN}"),
                batches=chosen,
                backend=store.id,
                bucket=store.bucket,
                prefix=store.key_prefix,
            )
            for batch, files, *mark in moves:
                moved[store.name, batch] = files, " ".join(map(str, mark))
    return [Cell(*row, *moved.get((row[0], row[1]), ())) for row in found]


def waiting_batches(
    catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING
) -> list[str]:
    """The keys of the batches that an upload to this backend has something to do for.

    Those are the only ones that it can make whole.
    """
    clauses, values = scope.sql()
    # Running ones, too: they may be those of a process that died.
    statement = (
        "SELECT key FROM batches WHERE id IN ("
        "SELECT f.batch_id FROM upload_tasks t JOIN file_assets f ON f.id = t.file_asset_id"
        " WHERE t.target_backend_id = :backend AND t.status IN ('pending', 'running')"
        f"{clauses}) ORDER BY id"
    )
    return [row[0] for row in catalog.rows(statement, backend=backend.id, **values)]


# From the batch to its tasks: by backend, SQLite looked through all that ever failed there. A task
# whose source has changed waits for the next scan, which the missing mtime asks for.
_FAILURES = """
SELECT t.target_locator, COALESCE(t.error_code, 'unknown'), COALESCE(t.last_error, '')
FROM batches k JOIN storage_backends b
CROSS JOIN file_assets f ON f.batch_id = k.id
CROSS JOIN upload_tasks t ON t.file_asset_id = f.id AND t.target_backend_id = b.id
LEFT JOIN file_locations s ON s.id = t.source_location_id
WHERE k.key = :batch AND b.name = :backend AND t.updated_at >= datetime(:since, 'unixepoch')
  AND (t.status = 'failed'
       OR (t.status = 'pending' AND t.last_error IS NOT NULL AND s.mtime_ns IS NULL))
UNION
SELECT x.locator, x.kind, COALESCE(x.detail, '')
FROM batches k JOIN storage_backends b
CROSS JOIN audits a ON a.backend_id = b.id AND a.finished_at >= datetime(:since, 'unixepoch')
CROSS JOIN audit_findings x ON x.audit_id = a.id AND x.repair IS NOT 'repaired'
CROSS JOIN file_assets f ON f.id = x.file_asset_id AND f.batch_id = k.id
WHERE k.key = :batch AND b.name = :backend
ORDER BY 1
"""


def failures(
    catalog: Catalog, backend: str, batch: str, *, since: float
) -> list[tuple[str, str, str]]:
    """The files of a cell whose upload failed, or that an audit found missing or damaged.

    Args:
        backend, batch: their names; unknown ones have no failures.
        since: seconds since the epoch; what failed earlier is left out.

    Returns:
        Of each the key in the store; the code of the failure, or the kind of the finding; and the
        reason, in one sentence.
    """
    rows = catalog.rows(_FAILURES, backend=backend, batch=batch, since=int(since))
    return [(str(key), str(code), str(reason)) for key, code, reason in rows]
