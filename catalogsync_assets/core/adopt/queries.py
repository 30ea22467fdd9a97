"""What the catalog asks and writes when a bucket that others have filled is taken over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.object_keys import as_on_disk, fold
from catalogsync_assets.core.catalog.songs import SONG_OF_FILE
from catalogsync_assets.core.catalog.upload_queue import Uploaded, UploadTask, record_uploaded
from catalogsync_assets.core.stores.backend import ObjectBackend

_PAGE = 5_000


class Wanted(NamedTuple):
    """A current file that a backend lacks, as far as the catalog knows."""

    file_asset_id: int
    task_id: int  #: the upload that would bring it to its usual key, if one is queued; else 0
    song_id: int | None
    object_key: str  #: its key below the backend's prefix
    size_bytes: int | None  #: None where it is not known
    sha256: str | None  #: in hex; None before the content is first read
    source_id: int | None  #: its local location; None where there is no local file
    path: str | None  #: its absolute path; None likewise
    #: The local file as the last scan saw it.
    source_size: int | None
    mtime_ns: int | None

    def task(self, locator: str, size_bytes: int) -> UploadTask:
        """The upload that need not be done, to be read from and to be recorded.

        Args:
            locator: the key under which the content is.
            size_bytes: of it.
        """
        return UploadTask(
            id=self.task_id,
            file_asset_id=self.file_asset_id,
            song_id=self.song_id,
            source_location_id=self.source_id or 0,
            path=self.path or "",
            size_bytes=size_bytes,
            mtime_ns=self.mtime_ns,
            sha256=self.sha256,
            locator=locator,
        )


_LACKING = """
f.superseded_by_id IS NULL AND f.object_key IS NOT NULL
AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                AND a.backend_id = :backend AND a.status = 'active')
"""
_KNOWN = """
SELECT DISTINCT locator FROM file_locations
WHERE backend_id = :backend AND container_name = :bucket AND status = 'active'
  AND locator IN (SELECT value FROM json_each(:keys))
"""
_WANTED = f"""
SELECT f.object_key_fold, f.id,
       COALESCE((SELECT t.id FROM upload_tasks t WHERE t.file_asset_id = f.id
                 AND t.target_backend_id = :backend
                 AND t.target_locator = :prefix || f.object_key), 0),
       {SONG_OF_FILE}, f.object_key, f.size_bytes, NULLIF(f.sha256, ''),
       s.id, COALESCE(s.absolute_path, s.locator), COALESCE(s.size_bytes, f.size_bytes), s.mtime_ns
       {GUARDS.format(location="s")}
FROM file_assets f
LEFT JOIN file_locations s ON s.id = (
    SELECT MIN(x.id) FROM file_locations x
    JOIN storage_backends local ON local.id = x.backend_id AND local.backend_type = 'local'
    WHERE x.file_asset_id = f.id AND x.status = 'active')
WHERE {{which}} IN (SELECT value FROM json_each(:wanted)) AND {_LACKING}
"""
# Of most files, path and key are the same text.
_OTHER_PATHS = """
SELECT f.id, l.library_path, f.object_key_fold FROM file_assets f
JOIN file_locations l ON l.file_asset_id = f.id AND l.library_path <> f.object_key
WHERE f.superseded_by_id IS NULL ORDER BY f.id
"""


def other_names(catalog: Catalog) -> dict[str, int]:
    """Files whose key is not their path, by the names that tools make of the path.

    A key is shortened where it would be longer than every store takes, and has no backslash; other
    tools write such paths as they are. Only these few files are in memory.

    Returns:
        The file asset, by the fold of the name below a prefix.
    """
    found: dict[str, int] = {}
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=_PAGE).execute(sa.text(_OTHER_PATHS))
        for asset, path, key_fold in rows:
            # SeaweedFS, for one, keeps a backslash as a slash.
            for name in (path, path.replace("\\", "/")):
                if (folded := fold(name)) != key_fold:
                    found.setdefault(folded, asset)
    return found


def find(
    catalog: Catalog, backend: ObjectBackend, keys: Sequence[str], others: Mapping[str, int]
) -> tuple[set[str], dict[str, Wanted]]:
    """Which of these keys the catalog knows already, and which are those of files that it wants.

    A key is a file's also where it differs in upper and lower case or in Unicode normalization
    alone, as other tools write names as they are on disk; where it is its path, and the file's
    own key is not; or where rclone has encoded characters of it. What is stored there is compared
    anyway.

    Args:
        others: as `other_names` gives them.

    Returns:
        The known keys; and the wanted files by key.
    """
    prefix = backend.key_prefix
    folds = {key: _names(key.removeprefix(prefix)) for key in keys}
    place = {"backend": backend.id, "bucket": backend.bucket, "prefix": prefix}
    names = {name for each in folds.values() for name in each}
    with catalog.read() as connection:
        known = set(
            connection.scalars(sa.text(_KNOWN), {**place, "keys": json.dumps(list(keys))}).all()
        )

        def wanted(which: str, values: Iterable[Any]) -> dict[Any, Wanted]:
            statement = sa.text(_WANTED.format(which=which))
            found = connection.execute(statement, {**place, "wanted": json.dumps(sorted(values))})
            rows = checked(catalog, found)
            return {row[0] if "fold" in which else row[1]: Wanted._make(row[1:]) for row in rows}

        by_fold = wanted("f.object_key_fold", names)
        ids = {others[name] for name in names if name in others}
        by_id = wanted("f.id", ids) if ids else {}
    found: dict[str, Wanted] = {}
    for key, each in folds.items():
        files = (by_fold.get(name) or by_id.get(others.get(name)) for name in each)
        file = next((file for file in files if file is not None), None)
        if file is not None and key not in known:
            found[key] = file
    return known, found


def _names(name: str) -> list[str]:
    """Folds of what a name below a prefix may be of, the likeliest first."""
    return list(dict.fromkeys((fold(name), fold(as_on_disk(name)))))


_LACKED = f"""
SELECT f.id, :prefix || f.object_key FROM file_assets f
WHERE {_LACKING} AND f.id > :after
  AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND e.status = 'active')
  AND {presence.IN_LIBRARY}
ORDER BY f.id LIMIT :page
"""


def lacked(catalog: Catalog, backend: ObjectBackend) -> Iterator[tuple[int, str]]:
    """The wanted files that exist somewhere, but not on the backend; each with its usual key.

    In order of file asset; read in pages, each a short transaction.
    """
    values = {"backend": backend.id, "prefix": backend.key_prefix, "after": 0, "page": _PAGE}
    while True:
        with catalog.read() as connection:
            page = connection.execute(sa.text(_LACKED), values).all()
        for row in page:
            yield row[0], row[1]
        if len(page) < _PAGE:
            return
        values["after"] = page[-1][0]


_CURRENT = """
SELECT id FROM file_assets WHERE id IN (SELECT value FROM json_each(:assets))
AND superseded_by_id IS NULL
"""


def record(catalog: Catalog, backend: ObjectBackend, found: Sequence[Uploaded]) -> list[Uploaded]:
    """Record objects that were found to hold files, in one transaction. Idempotent.

    Returns:
        Those that were recorded: all but files that have newer content by now, as an upload of
        that may have replaced the object since it was looked at; and but where the key is another
        file's.
    """
    assets = json.dumps([item.task.file_asset_id for item in found])
    with catalog.transaction() as connection:
        current = set(connection.scalars(sa.text(_CURRENT), {"assets": assets}))
        done = [item for item in found if item.task.file_asset_id in current]
        return record_uploaded(connection, backend, done)
