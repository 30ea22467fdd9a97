"""Lets a library root go: its files are forgotten, whether they are there or not.

Files that are gone from a root that stays are the affair of `forget`.
"""

from __future__ import annotations

from catalogsync_assets.core.catalog import locations, offloads, roots
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_plan import drop_unwanted
from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.library.removal import recover_if_alone

#: Files forgotten in one transaction.
CHUNK = 500
_NEXT = """
SELECT library_path, id, file_asset_id FROM file_locations
WHERE library_root = :root AND library_path >= :path AND (library_path > :path OR id > :last)
  AND status NOT IN ('superseded', 'forgotten') ORDER BY library_path, id LIMIT :chunk
"""


def let_root_go(catalog: Catalog, root: str) -> int:
    """Forget the files of a root, and then the root.

    Objects stay, and what is on disk. A scan takes the root up again, with all that was known of
    its files. May be stopped at any moment and called again.

    Args:
        root: the path of a known one.

    Returns:
        How many files were forgotten.

    Raises:
        LibraryError: some of its files are on their way out by an offload.
    """
    recover_if_alone(catalog, root)
    _require_none_on_its_way_out(catalog, root)
    forgotten, path, last = 0, "", 0
    while page := catalog.rows(_NEXT, root=root, path=path, last=last, chunk=CHUNK):
        with catalog.transaction() as connection:
            forgotten += locations.apply(connection, "forgotten", [row[1] for row in page])
            drop_unwanted(connection, [row[2] for row in page])
        path, last, _ = page[-1]
    _require_none_on_its_way_out(catalog, root)  # by an offload that began meanwhile
    roots.let_go(catalog, root)
    return forgotten


def _require_none_on_its_way_out(catalog: Catalog, root: str) -> None:
    if offloads.unfinished(catalog, root):
        raise LibraryError(
            f"files of {root} are being offloaded, or a stopped run was about to",
            hint="wait for it; if none runs, mount the disk of the root",
        )
