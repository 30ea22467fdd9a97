"""What a backend lacks, or holds under another key, in SQL; and whether that is nothing.

Apart from `upload_plan`, which makes tasks of it, as an upload with nothing to do asks no more.
"""

from __future__ import annotations

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.stores.backend import ObjectBackend

#: Whether a file `f` with a source `s` is in the library. If that is its active local row, it is:
#: nothing more to look up.
IS_IN_LIBRARY = f"(s.library_root IS NOT NULL OR {presence.IN_LIBRARY})"

_ON_ANOTHER = """(
    SELECT MIN(x.id) FROM file_locations x
    JOIN storage_backends other ON other.id = x.backend_id
        AND other.backend_type = 'object_storage' AND other.container_name = x.container_name
    WHERE x.file_asset_id = f.id AND x.status = '{status}' AND x.backend_id <> :backend
      AND f.sha256 <> '' AND f.size_bytes IS NOT NULL
)"""
#: Files `f` that a backend lacks, each with a source `s`. Takes a scope's clauses.
# In the order of file_assets, with one source for each: neither sorted nor grouped. A local one if
# there is any; else an object of another backend, if size and digest tell what it must be; one that
# was found damaged last of all, as it is read and compared anyway. (Looked for only where it must:
# with all files here, a plan takes as long as without.)
MISSING = f"""
FROM file_assets f
CROSS JOIN file_locations s ON s.id = COALESCE((
    SELECT MIN(x.id) FROM file_locations x
    JOIN storage_backends local ON local.id = x.backend_id AND local.backend_type = 'local'
    WHERE x.file_asset_id = f.id AND x.status = 'active'
), {_ON_ANOTHER.format(status="active")}, {_ON_ANOTHER.format(status="damaged")})
WHERE f.superseded_by_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active')
  AND {IS_IN_LIBRARY}
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
# What a run of uploads has to do with, besides what is missing.
_OPEN = """
SELECT 1 FROM upload_tasks
WHERE target_backend_id = :backend AND status IN ('pending', 'running', 'failed')
UNION ALL SELECT 1 FROM multipart_uploads WHERE backend_id = :backend
UNION ALL SELECT 1 FROM file_locations WHERE +backend_id = :backend AND status = 'pruning' LIMIT 1
"""
# Without any there is nothing missing, and nothing misplaced; asked of the newest first.
_NOT_AT_ITS_KEY = """
SELECT 1 FROM file_assets f WHERE f.superseded_by_id IS NULL
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active'
                  AND a.locator = :prefix || f.object_key)
  {scope} ORDER BY f.id DESC LIMIT 1
"""


def is_settled(catalog: Catalog, backend: ObjectBackend, scope: Scope = EVERYTHING) -> bool:
    """Whether there is nothing to plan for a backend, to send there or to set right.

    What `enqueue` would queue, asked in the same words, but without writing. The newest files are
    looked at first: where there is something to do, it is mostly with those.
    """
    clauses, values = scope.sql()
    values |= {"backend": backend.id, "bucket": backend.bucket, "prefix": backend.key_prefix}
    missing, misplaced = (f"SELECT 1 {w} ORDER BY f.id DESC LIMIT 1" for w in (MISSING, MISPLACED))
    with catalog.view() as rows:
        if rows(_OPEN, **values):
            return False

        def is_any(statement: str) -> bool:
            return bool(rows(statement.format(scope=clauses), **values))

        if backend.follows_paths:
            return not is_any(_NOT_AT_ITS_KEY) or not (is_any(missing) or is_any(misplaced))
        return not is_any(missing)
