"""What `test_model` asks the catalog, in SQL."""

# Contents of files that somebody wants, wherever they are.
WANTED = """
SELECT f.sha256 FROM file_assets f WHERE EXISTS (
    SELECT 1 FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id
    WHERE l.file_asset_id = f.id AND b.backend_type = 'local'
      AND l.status NOT IN ('superseded', 'forgotten', 'removed'))
"""
LOCAL = (
    "SELECT l.library_path, l.status, f.sha256 FROM file_locations l"
    " JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.library_path IS NOT NULL AND l.status <> 'superseded'"
)
CLAIMS = (
    "SELECT l.backend_id, l.locator, f.sha256, f.size_bytes FROM file_locations l"
    " JOIN file_assets f ON f.id = l.file_asset_id"
    " JOIN storage_backends b ON b.id = l.backend_id"
    " WHERE b.backend_type = 'object_storage' AND l.status = 'active'"
)
CONTENTS = "SELECT sha256 FROM file_assets WHERE sha256 <> ''"
# Of files that have a path, whatever became of them there.
CURRENT = (
    "SELECT f.id, f.object_key_fold FROM file_assets f WHERE f.superseded_by_id IS NULL AND EXISTS"
    " (SELECT 1 FROM file_locations l WHERE l.file_asset_id = f.id AND l.library_path IS NOT NULL"
    " AND l.status NOT IN ('superseded', 'removed'))"
)
SHARED = f"""
SELECT l.locator FROM file_locations l
WHERE l.status = 'active' AND l.library_path IS NULL
  AND l.file_asset_id IN (SELECT id FROM ({CURRENT}))
GROUP BY l.backend_id, l.locator HAVING COUNT(DISTINCT l.file_asset_id) > 1
"""
AT = """
SELECT l.library_path, f.object_key, r.locator, f.id FROM file_locations l
JOIN file_assets f ON f.id = l.file_asset_id
LEFT JOIN file_locations r ON r.file_asset_id = f.id AND r.backend_id = ? AND r.status = 'active'
WHERE l.library_path IS NOT NULL AND l.status = 'active' AND f.superseded_by_id IS NULL
"""
#: The contents of a file until now.
LINE = """
WITH RECURSIVE line(id) AS (
    SELECT ? UNION SELECT f.id FROM file_assets f JOIN line ON f.superseded_by_id = line.id)
SELECT f.sha256 FROM file_assets f JOIN line ON f.id = line.id
"""
PRUNING = "SELECT locator FROM file_locations WHERE status = 'pruning' AND backend_id = ?"
#: Other contents that have or had a key on some backend: then a file may have one with a suffix.
#: So it may if the key is another current file's, as of one that was offloaded and has given way:
#: its object may lie in the bucket of a backend that was taken out.
HOLDERS = """
SELECT l.locator FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id
WHERE l.locator LIKE '%/' || ?1 AND b.backend_type = 'object_storage' AND l.file_asset_id <> ?2
  AND l.status <> 'removed'
UNION ALL
SELECT f.object_key FROM file_assets f
WHERE f.object_key = ?1 AND f.id <> ?2 AND f.superseded_by_id IS NULL
"""
