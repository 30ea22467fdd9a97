"""Per song and backend, how many of its files are there: `song_backend_presence`.

A file counts while it is the newest content of its path and exists somewhere, or was lost: a
backend held it, and its object has been found missing or damaged. The rows are derived from
`file_locations` and `file_assets` alone and are refreshed in the transaction that changes those.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import sqlalchemy as sa

from catalogsync_assets.core.catalog.foreign_columns import insert_sql

_COLUMNS = (
    "song_id",
    "backend_id",
    "files_total",
    "files_present",
    "bytes_present",
    "verified_at",
    "updated_at",
)
#: Whether a file counts, asked of its locations `e`. A local file that is gone, and was nowhere
#: else, is no longer part of the library; one whose object is gone is, and must not drop out of
#: the sums unseen.
COUNTS = """
(e.status IN ('active', 'damaged') OR (e.status = 'missing' AND e.backend_id NOT IN (
    SELECT id FROM storage_backends WHERE backend_type = 'local')))
"""
# Backend by backend in the order of the index on song_id: grouped without sorting, so memory does
# not grow with the catalog. (Grouped by song first it took 155 MiB at a million files.)
_REFRESH = """
SELECT f.song_id, b.id, COUNT(*), COUNT(l.id),
       SUM(CASE WHEN l.id IS NULL THEN 0 ELSE COALESCE(f.size_bytes, 0) END),
       MIN(l.verified_at), CURRENT_TIMESTAMP{{more}}
FROM storage_backends b
CROSS JOIN file_assets f
LEFT JOIN file_locations l ON l.id = (
    SELECT MIN(x.id) FROM file_locations x
    WHERE x.file_asset_id = f.id AND x.backend_id = b.id AND x.status = 'active')
WHERE f.superseded_by_id IS NULL AND f.song_id IS NOT NULL
  AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {counts})
  {scope}
GROUP BY b.id, f.song_id
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
    upsert = insert_sql(
        connection, "song_backend_presence", _COLUMNS, _REFRESH.format(scope=scope, counts=COUNTS)
    )
    for statement in (upsert, _DROP_GONE.format(scope=drop_scope, counts=COUNTS)):
        changed += connection.execute(sa.text(statement), values).rowcount
    return changed
