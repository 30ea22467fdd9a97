"""What a scan compares with the disk: each path known below a root, and how its file was last seen.

Of nearly all files that is all that a scan needs to know. What else the catalog has of a path is
read where something differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import KNOWN, OF_PATHS, UNREADABLE, KnownFile

_PAGE = 5_000
#: So many are read at least where something differs: the next one may, too.
_FEW = 8

#: Path, location, mtime, size, ctime, inode, file system. Without an mtime where a file is to be
#: looked at more closely than by these.
KnownPath = tuple[str, int, "int | None", "int | None", "int | None", "int | None", "str | None"]

_PATHS = f"""
SELECT l.library_path, l.id,
       CASE WHEN l.status = 'active' AND COALESCE(l.verified_by, '') <> 'inode' {{and_readable}}
            THEN l.mtime_ns END,
       l.size_bytes, l.ctime_ns, l.inode, l.file_system
FROM file_locations l
WHERE l.library_root = :root AND l.library_path > :after AND l.status IN {OF_PATHS}
ORDER BY l.library_path LIMIT :page
"""
_IS_UNREADABLE = f"f.tags_error IS NOT NULL AND f.tags_error LIKE '{UNREADABLE}%'"
# Hardly any library has one, and to look at each file's row would cost as much as all the rest.
_ANY_UNREADABLE = f"SELECT EXISTS (SELECT 1 FROM file_assets f WHERE {_IS_UNREADABLE})"
_AND_READABLE = (
    "AND NOT EXISTS"
    f" (SELECT 1 FROM file_assets f WHERE f.id = l.file_asset_id AND {_IS_UNREADABLE})"
)


def known_paths(catalog: Catalog, root: str) -> Iterator[list[KnownPath]]:
    """Every path known below a root, in pages, sorted by path as UTF-8 bytes.

    Each page is a short transaction; see `files.known_files`.
    """
    some = catalog.scalar(_ANY_UNREADABLE)
    statement = _PATHS.format(and_readable=_AND_READABLE if some else "")
    after = ""
    while True:
        with catalog.read() as connection:
            values = {"root": root, "after": after, "page": _PAGE}
            # As the driver gives them: an object for each row would take as long as reading it.
            cursor: Any = connection.exec_driver_sql(statement, values).cursor
            page: list[KnownPath] = cursor.fetchall()
        if not page:
            return
        yield page
        after = page[-1][0]


def count_known(catalog: Catalog, root: str) -> int:
    """About how many paths are known below a root: what was there in the past may be among them."""
    statement = "SELECT COUNT(*) FROM file_locations WHERE library_root = :root"
    return int(catalog.scalar(statement, root=root))


_FROM = KNOWN.replace("> :after", ">= :after")


class KnownFiles:
    """All that the catalog has of single paths, which are asked for in their order.

    Where one differs alone, little is read; where all do, as much at once as there is room for.
    """

    def __init__(self, catalog: Catalog, root: str) -> None:
        self._catalog = catalog
        self._root = root
        self._read: dict[int, KnownFile] = {}
        self._page = _FEW

    def get(self, path: str, location_id: int) -> KnownFile | None:
        """What is at a path; None if that has changed since the path was read."""
        if location_id not in self._read:
            self._page = _FEW if self._read else min(self._page * 4, _PAGE)
            found = self._catalog.rows(_FROM, root=self._root, after=path, page=self._page)
            self._read = {row[0]: KnownFile._make(row) for row in found}
        return self._read.pop(location_id, None)
