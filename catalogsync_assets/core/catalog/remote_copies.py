"""What the catalog says of objects that hold files, for whoever reads them or compares them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.stores.backend import REPLACED, ObjectBackend


class RemoteCopy(NamedTuple):
    """An object of a backend that holds a file's content, as its row said when it was read."""

    location_id: int  #: its row in `file_locations`
    file_asset_id: int
    backend_id: int
    bucket: str | None  #: None in a row of another program that names none
    key: str  #: the whole key
    size_bytes: int | None = None  #: of the content; None where the catalog does not know it
    sha256: str | None = None  #: of the content, in hex; None likewise
    #: Of the object when it was last verified; of a damaged one, the damaged object's.
    etag: str | None = None
    #: Of the location; one that is `damaged` is of use where there is no other.
    status: str = "active"
    #: Changes whenever the row's status does, or another program writes it.
    updated_at: str | None = None


#: A `RemoteCopy`, read of a location `l` and its file asset `f`.
COPY_COLUMNS = (
    "l.id, f.id, l.backend_id, l.container_name, l.locator, COALESCE(f.size_bytes, l.size_bytes),"
    " LOWER(NULLIF(f.sha256, '')), l.etag, l.status, l.updated_at"
)

_COPIES = (
    f"SELECT {COPY_COLUMNS} FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
)


def _copies(connection: sa.Connection, which: str, **values: object) -> list[RemoteCopy]:
    statement = f"{_COPIES} {which}"
    return list(map(RemoteCopy._make, connection.exec_driver_sql(statement, values)))


def digests_of(connection: sa.Connection, file_assets: Iterable[int]) -> dict[int, str | None]:
    """The SHA-256 of each content in hex, None where nobody has read it whole; newest first."""
    query = (
        "SELECT id, LOWER(NULLIF(sha256, '')) FROM file_assets"
        " WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id DESC"
    )
    found = connection.exec_driver_sql(query, {"ids": json.dumps(list(file_assets))})
    return dict[int, str | None](found.all())


def copies_at(
    connection: sa.Connection, backend: ObjectBackend, keys: Iterable[str]
) -> list[RemoteCopy]:
    """All that the catalog has, or had, at these keys of a backend."""
    which = (
        "WHERE l.backend_id = :backend AND l.container_name = :bucket"
        " AND l.locator IN (SELECT value FROM json_each(:keys))"
    )
    values = {"backend": backend.id, "bucket": backend.bucket, "keys": json.dumps(list(keys))}
    return _copies(connection, which, **values)


# First the files, of which there is hardly ever one: left to itself, SQLite looked through all that
# the backend holds.
_OF_THIS_CONTENT = "SELECT id FROM file_assets WHERE size_bytes = :size AND sha256 = :sha256"
_VERIFIED_HERE = f"""
{_COPIES}
WHERE l.file_asset_id IN (SELECT value FROM json_each(:assets)) AND l.backend_id = :backend
  AND l.container_name = :bucket AND l.verified_at IS NOT NULL AND l.locator <> :but
  AND (l.status = 'active' OR (l.status = 'superseded' AND l.locator LIKE :kept))
ORDER BY l.status = 'superseded', l.verified_at DESC, l.id LIMIT 1
"""


def copy_of_content(
    catalog: Catalog, backend: ObjectBackend, size_bytes: int, sha256: str, *, but: str
) -> RemoteCopy | None:
    """The most recently verified object of a backend that holds a content, if there is one; else
    one that is kept of a content that was replaced.

    Args:
        sha256: in hex, small letters.
        but: a key that does not count.
    """
    assets = [row[0] for row in catalog.rows(_OF_THIS_CONTENT, size=size_bytes, sha256=sha256)]
    if not assets:
        return None
    place = {"backend": backend.id, "bucket": backend.bucket, "but": but, "kept": f"%{REPLACED}%"}
    found = catalog.rows(_VERIFIED_HERE, **place, assets=json.dumps(assets))
    return RemoteCopy._make(found[0]) if found else None


_IS_ELSEWHERE = """
SELECT 1 FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id
WHERE f.sha256 = :sha256 AND (:size IS NULL OR f.size_bytes = :size) AND l.status = 'active'
  AND NOT (l.locator = :but AND l.container_name = :bucket)
  AND (l.verified_at IS NOT NULL
       OR l.backend_id IN (SELECT id FROM storage_backends WHERE backend_type = 'local')) LIMIT 1
"""


def is_elsewhere(
    connection: sa.Connection,
    backend: ObjectBackend,
    sha256: str,
    size_bytes: int | None,
    *,
    but: str,
) -> bool:
    """Whether a content is in the library, or a verified object of any backend holds it.

    Args:
        sha256: in hex, small letters.
        size_bytes: None where it is not known.
        but: a key in the backend's bucket that does not count.
    """
    values = {"sha256": sha256, "size": size_bytes, "but": but, "bucket": backend.bucket}
    return connection.exec_driver_sql(_IS_ELSEWHERE, values).first() is not None


#: By how much the clock of a store may differ from this machine's: what is signed further off is
#: refused.
_CLOCKS = timedelta(minutes=15)


def may_be_of(
    connection: sa.Connection, file_asset_id: int, sha256: str, put_at: datetime | None
) -> bool:
    """Whether an object that is tagged as a file's can have been put for it by this catalog.

    A catalog that was made anew gives numbers that the lost one has given before it.

    Args:
        sha256: that the object is said to have, in hex.
        put_at: when it was put, in UTC; None where the store does not tell.
    """
    told = "SELECT LOWER(NULLIF(sha256, '')), created_at FROM file_assets WHERE id = :id"
    row = connection.exec_driver_sql(told, {"id": file_asset_id}).first()
    if row is None:
        return False
    if row[0] is not None:
        return bool(row[0] == sha256)
    try:
        made = datetime.fromisoformat(str(row[1]))
    except ValueError:  # of another program
        return False
    made = made if made.tzinfo else made.replace(tzinfo=timezone.utc)
    return put_at is not None and put_at >= made - _CLOCKS


def copies_by_id(connection: sa.Connection, location_ids: Collection[int]) -> dict[int, RemoteCopy]:
    """These locations of objects, by id."""
    if not location_ids:
        return {}
    which = "WHERE l.id IN (SELECT value FROM json_each(:ids))"
    found = _copies(connection, which, ids=json.dumps(list(location_ids)))
    return {copy.location_id: copy for copy in found}


_OF_FILES = """
JOIN storage_backends b ON b.id = l.backend_id AND b.backend_type = 'object_storage'
    AND b.container_name = COALESCE(l.container_name, b.container_name)
WHERE l.file_asset_id IN (SELECT value FROM json_each(:assets))
  AND {which}
  AND (:backends IS NULL OR l.backend_id IN (SELECT value FROM json_each(:backends)))
ORDER BY l.file_asset_id, l.status = 'damaged', l.verified_at DESC, l.id
"""
_HOLDING = "(l.status = 'active' OR (:damaged AND l.status = 'damaged'))"
_KEPT = "l.status = 'superseded' AND l.locator LIKE :kept"


def copies_of(
    connection: sa.Connection,
    file_asset_ids: Iterable[int],
    *,
    backend_ids: Collection[int] | None = None,
    damaged: bool = False,
    kept: bool = False,
) -> dict[int, list[RemoteCopy]]:
    """The objects that hold these files, by file asset; the most recently verified first.

    Args:
        backend_ids: only on these; None for all.
        damaged: those that were found damaged, too, behind the others.
        kept: instead of those, the ones that are kept of contents that were replaced.
    """
    backends = None if backend_ids is None else json.dumps(list(backend_ids))
    assets = json.dumps(list(file_asset_ids))
    found: dict[int, list[RemoteCopy]] = {}
    values: dict[str, object] = {"kept": f"%{REPLACED}%"} if kept else {"damaged": damaged}
    which = _OF_FILES.format(which=_KEPT if kept else _HOLDING)
    for copy in _copies(connection, which, assets=assets, backends=backends, **values):
        found.setdefault(copy.file_asset_id, []).append(copy)
    return found
