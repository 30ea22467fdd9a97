"""Folders that a person has named for downloads when the library roots were full."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.legacy import insert_row
from catalogsync_assets.core.catalog.schema import download_roots


def remembered_roots(catalog: Catalog) -> list[Path]:
    """The folders, in the order in which they were named."""
    query = sa.select(download_roots.c.path).order_by(download_roots.c.id)
    with catalog.read() as connection:
        return [Path(path) for path in connection.scalars(query)]


def remember_root(catalog: Catalog, root: Path) -> None:
    """Keep a folder for later runs. Idempotent."""
    query = sa.select(download_roots.c.id).where(download_roots.c.path == str(root))
    with catalog.transaction() as connection:
        if connection.execute(query).first() is None:
            insert_row(connection, "download_roots", {"path": str(root)})
