"""Per song and backend, how many of its files are there: `song_backend_presence`.

A file counts while it is the newest content of its path and exists somewhere, or was lost: a
backend held it, and its object has been found missing or damaged. One that is left out of the
library, or that a person has forgotten, does not count, whatever copies it has: nothing more is
wanted of it. Files beside music have no rows here: they are of no song, and `status` counts them by
themselves. The rows are derived from `file_locations` and `file_assets` alone, and refreshed in
the transaction that changes those.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import insert_sql

_COLUMNS = (
    *("song_id", "backend_id", "files_total", "files_present", "bytes_present"),
    *("verified_at", "updated_at"),
)
_LOCAL = "(SELECT id FROM storage_backends WHERE backend_type = 'local')"


def current_sql(asset: str = "f.id", *, or_forgotten: bool = False) -> str:
    """An SQL condition: whether a file asset is current, and not only what a path once held.

    It is while it is at a path below a library root, or is known to have been and not to have made
    way for something else; and one that never was on a local disk is, too.

    Args:
        asset: the SQL expression of its id.
        or_forgotten: those that a person has let go of count as well: their objects still stand.
    """
    over = "'superseded', 'removed'" + ("" if or_forgotten else ", 'forgotten'")
    local = f"FROM file_locations c WHERE c.file_asset_id = {asset} AND c.backend_id IN {_LOCAL}"
    return (
        f"(EXISTS (SELECT 1 {local} AND c.status NOT IN ({over})) OR NOT EXISTS (SELECT 1 {local}))"
    )


# The first condition is that of the index, which holds these few rows only.
_UNLESS = """
(NOT EXISTS (SELECT 1 FROM file_locations o
             WHERE o.file_asset_id = f.id AND o.status IN ('excluded', 'forgotten') {and_only})
 OR EXISTS (SELECT 1 FROM file_locations o
            WHERE o.file_asset_id = f.id AND o.status NOT IN ({those}, 'superseded')
              AND o.backend_id IN {local}))
"""
#: Whether a file `f` is wanted in the library: it is neither left out nor forgotten, or another of
#: its local places is not, be the file there or gone.
IN_LIBRARY = _UNLESS.format(and_only="", those="'excluded', 'forgotten'", local=_LOCAL)
#: The same of what was forgotten alone: what is left out may still be asked for.
NOT_FORGOTTEN = _UNLESS.format(
    and_only="AND o.status = 'forgotten'", those="'forgotten'", local=_LOCAL
)
#: Whether a file exists, or was lost, asked of its locations `e`, wanted or not. A local file that
#: is gone, and was nowhere else, is no longer part of the library; one whose object is gone is, and
#: must not drop out of the sums unseen. Nor must a local file that looks damaged.
EXISTS = f"""
(e.status IN ('active', 'damaged') OR (e.status = 'missing' AND e.backend_id NOT IN {_LOCAL}))
"""
#: Whether a file `f` counts, asked of its locations `e`.
COUNTS = f"({EXISTS} AND {IN_LIBRARY})"
# Backend by backend in the order of the index on song_id: grouped without sorting, so memory does
# not grow with the catalog. (Grouped by song first it took 155 MiB at a million files.)
_COMPUTED = f"""
SELECT f.song_id, b.id AS backend_id, COUNT(*) AS files_total, COUNT(l.id) AS files_present,
       SUM(CASE WHEN l.id IS NULL THEN 0 ELSE COALESCE(f.size_bytes, 0) END) AS bytes_present,
       MIN(l.verified_at) AS verified_at, CURRENT_TIMESTAMP{{more}}
FROM storage_backends b
CROSS JOIN file_assets f
LEFT JOIN file_locations l ON l.id = (
    SELECT MIN(x.id) FROM file_locations x
    WHERE x.file_asset_id = f.id AND x.backend_id = b.id AND x.status = 'active')
WHERE f.superseded_by_id IS NULL AND f.song_id IS NOT NULL AND f.companion IS NULL
  AND b.removed_at IS NULL
  AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {COUNTS})
  {{scope}}
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

_DROP_GONE = f"""
DELETE FROM song_backend_presence AS p
WHERE NOT EXISTS (
    SELECT 1 FROM file_assets f
    JOIN file_locations e ON e.file_asset_id = f.id AND {COUNTS}
    WHERE f.song_id = p.song_id AND f.superseded_by_id IS NULL AND f.companion IS NULL
) {{scope}}
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
    scope = ""
    if song_ids is not None:
        # As JSON: a list that is expanded makes a new statement each time, and compiling it takes
        # longer than running it.
        scope += " AND {song} IN (SELECT value FROM json_each(:songs))"
    if backend_id is not None:
        scope += " AND {backend} = :backend"
    values = {"songs": json.dumps(list(song_ids or ())), "backend": backend_id}
    computed = _COMPUTED.replace("{scope}", scope.format(song="f.song_id", backend="b.id"))
    gone = _DROP_GONE.format(scope=scope.format(song="p.song_id", backend="p.backend_id"))
    upsert = insert_sql(connection, "song_backend_presence", _COLUMNS, computed + _WRITE)
    # Straight to the driver: SQLAlchemy would look through them for parameters each time.
    statements = (upsert, gone)
    return sum(connection.exec_driver_sql(s, values).rowcount for s in statements)


def drop_backend(connection: sa.Connection, backend_id: int) -> None:
    """Keep nothing of a backend that was taken out, and count anew what was there alone."""
    of_backend = "DELETE FROM song_backend_presence WHERE backend_id = :backend"
    connection.exec_driver_sql(of_backend, {"backend": backend_id})
    refresh(connection)
