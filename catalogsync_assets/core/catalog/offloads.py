"""Local files that are to be removed, or are being removed, as the catalog has them.

A row goes from `active` to `offloading` before its file is touched, and to `offloaded` once that is
gone. How a file is removed, and what a kill leaves, is in `library.removal`; which files may go, in
`offload.queries`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked


class LocalFile(NamedTuple):
    """A file below a library root, as the catalog has it."""

    location_id: int
    file_asset_id: int
    root: str
    path: str  #: below the root, `/`-separated
    size_bytes: int
    mtime_ns: int | None
    sha256: str | None  #: of its content, in hex; None where it has not been read whole yet

    @property
    def absolute_path(self) -> str:
        """The root and the path below it."""
        return f"{self.root.rstrip('/')}/{self.path}"


_FILES = f"""
SELECT l.id, f.id, l.library_root, l.library_path, COALESCE(l.size_bytes, f.size_bytes, -1),
       l.mtime_ns, NULLIF(f.sha256, '') {GUARDS.format(location="l")}
"""
_UNFINISHED = """
FROM file_locations l INDEXED BY ix_file_locations_removed
JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.status IN ('offloading', 'offloaded') AND l.status = 'offloading'
  AND l.library_root IS NOT NULL AND (:root IS NULL OR l.library_root = :root)
ORDER BY l.id
"""


def local_files(catalog: Catalog, which: str, values: Mapping[str, Any]) -> list[LocalFile]:
    """The files of a location `l` and its file asset `f`, which `which` selects: SQL from FROM on.

    Raises:
        CatalogError: a size or a digest cannot be one.
    """
    rows = catalog.rows(_FILES + which, **values)
    return list(map(LocalFile._make, checked(catalog, rows)))


def unfinished(catalog: Catalog, root: str | None = None) -> list[LocalFile]:
    """The files that an offload has marked and neither removed nor left, below a root or all."""
    return local_files(catalog, _UNFINISHED, {"root": root})
