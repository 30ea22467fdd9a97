"""Per song and backend, how many of its files are there: `song_backend_presence`.

A file counts while it is the newest content of its path and exists somewhere, or was lost: a
backend held it, and its object has been found missing or damaged. One that is left out of the
library does not count, whatever copies it has: nothing more is wanted of it. The rows are derived
from `file_locations` and `file_assets` alone, and refreshed in the transaction that changes those.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog.legacy import insert_sql

_COLUMNS = (
    "song_id",
    "backend_id",
    "files_total",
    "files_present",
    "bytes_present",
    "verified_at",
    "updated_at",
)
#: Whether a file `f` is not left out of the library: it is not, or another local place has it.
IN_LIBRARY = """
(NOT EXISTS (SELECT 1 FROM file_locations o
             WHERE o.file_asset_id = f.id AND o.status = 'excluded')
 OR EXISTS (SELECT 1 FROM file_locations o
            WHERE o.file_asset_id = f.id AND o.status IN ('active', 'offloading', 'offloaded')
              AND o.backend_id IN (SELECT id FROM storage_backends WHERE backend_type = 'local')))
"""
#: Whether a file `f` counts, asked of its locations `e`. A local file that is gone, and was nowhere
#: else, is no longer part of the library; one whose object is gone is, and must not drop out of
#: the sums unseen.
COUNTS = f"""
((e.status IN ('active', 'damaged') OR (e.status = 'missing' AND e.backend_id NOT IN (
    SELECT id FROM storage_backends WHERE backend_type = 'local')))
 AND {IN_LIBRARY})
"""
# Backend by backend in the order of the index on song_id: grouped without sorting, so memory does
# not grow with the catalog. (Grouped by song first it took 155 MiB at a million files.)
_COMPUTED = """
SELECT f.song_id, b.id AS backend_id, COUNT(*) AS files_total, COUNT(l.id) AS files_present,
       SUM(CASE WHEN l.id IS NULL THEN 0 ELSE COALESCE(f.size_bytes, 0) END) AS bytes_present,
       MIN(l.verified_at) AS verified_at{more}
FROM storage_backends b
CROSS JOIN file_assets f
LEFT JOIN file_locations l ON l.id = (
    SELECT MIN(x.id) FROM file_locations x
    WHERE x.file_asset_id = f.id AND x.backend_id = b.id AND x.status = 'active')
WHERE f.superseded_by_id IS NULL AND f.song_id IS NOT NULL
  AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {counts})
  {scope}
GROUP BY b.id, f.song_id
"""
_WRITE = """
ON CONFLICT (song_id, backend_id) DO UPDATE SET
    files_total = excluded.files_total,
    files_present = excluded.files_present,
    bytes_present = excluded.bytes_present,
    verified_at = excluded.verified_at,
    updated_at = excluded.updated_at
WHERE files_total IS NOT excluded.files_total
   OR files_present IS NOT excluded.files_present
   OR bytes_present IS NOT excluded.bytes_present
   OR verified_at IS NOT excluded.verified_at
"""

_DROP_GONE = """
DELETE FROM song_backend_presence
WHERE NOT EXISTS (
    SELECT 1 FROM file_assets f
    JOIN file_locations e ON e.file_asset_id = f.id AND {counts}
    WHERE f.song_id = song_backend_presence.song_id AND f.superseded_by_id IS NULL
) {scope}
"""


def refresh(
    connection: sa.Connection,
    *,
    song_ids: Sequence[int] | None = None,
    backend_id: int | None = None,
) -> int:
    """Bring presence in line with the locations. Idempotent; writes only what differs.

    Args:
        connection: one of `Catalog.transaction`.
        song_ids: only these songs; None for all.
        backend_id: only this backend; None for all.

    Returns:
        How many rows were written or removed.
    """
    if song_ids is not None and not song_ids:
        return 0
    scope, drop_scope = "", ""
    values: dict[str, object] = {}
    if song_ids is not None:
        # As JSON: a list that is expanded makes a new statement each time, and compiling it takes
        # longer than running it.
        scope += " AND f.song_id IN (SELECT value FROM json_each(:songs))"
        drop_scope += " AND song_backend_presence.song_id IN (SELECT value FROM json_each(:songs))"
        values["songs"] = json.dumps(list(song_ids))
    if backend_id is not None:
        scope += " AND b.id = :backend"
        drop_scope += " AND song_backend_presence.backend_id = :backend"
        values["backend"] = backend_id
    changed = 0
    computed = _COMPUTED.format(scope=scope, counts=COUNTS, more=", CURRENT_TIMESTAMP{more}")
    upsert = insert_sql(connection, "song_backend_presence", _COLUMNS, computed + _WRITE)
    for statement in (upsert, _DROP_GONE.format(scope=drop_scope, counts=COUNTS)):
        changed += connection.execute(sa.text(statement), values).rowcount
    return changed


class Disagreement(NamedTuple):
    """A song whose presence is not what its locations say.

    Attributes:
        recorded: files present and in all, as recorded; None without a row.
        computed: the same, as the locations have it; None where no row should be.
    """

    song_id: int
    title: str | None
    recorded: str | None
    computed: str | None


_DISAGREEMENTS = """
WITH computed AS ({computed})
SELECT c.song_id, s.title, p.files_present || ' of ' || p.files_total,
       c.files_present || ' of ' || c.files_total
FROM computed c
JOIN songs s ON s.id = c.song_id
LEFT JOIN song_backend_presence p ON p.song_id = c.song_id AND p.backend_id = c.backend_id
WHERE p.files_total IS NOT c.files_total OR p.files_present IS NOT c.files_present
   OR p.bytes_present IS NOT c.bytes_present OR p.verified_at IS NOT c.verified_at
UNION ALL
SELECT p.song_id, s.title, p.files_present || ' of ' || p.files_total, NULL
FROM song_backend_presence p LEFT JOIN songs s ON s.id = p.song_id
WHERE p.backend_id = :backend AND NOT EXISTS (
    SELECT 1 FROM file_assets f
    JOIN file_locations e ON e.file_asset_id = f.id AND {counts}
    WHERE f.song_id = p.song_id AND f.superseded_by_id IS NULL)
"""


def disagreements(
    connection: sa.Connection, *, backend_id: int, limit: int = 50
) -> tuple[int, list[Disagreement]]:
    """The songs of which presence says something else than the locations. Changes nothing.

    Args:
        connection: one of `Catalog.read`.
        limit: at most so many are listed.

    Returns:
        How many there are, and the first of them.
    """
    computed = _COMPUTED.format(scope="AND b.id = :backend", counts=COUNTS, more="")
    statement = _DISAGREEMENTS.format(computed=computed, counts=COUNTS)
    rows = connection.execute(sa.text(statement), {"backend": backend_id})
    first = [Disagreement(*row) for row in rows.fetchmany(limit)]
    return len(first) + sum(1 for _ in rows), first
