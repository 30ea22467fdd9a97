"""A catalog's database, read and written past the code under test."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.waiting import PATIENCE


def _path(database: Catalog | Path) -> Path:
    return database.path if isinstance(database, Catalog) else database


def rows(database: Catalog | Path, sql: str, *values: Any) -> list[Any]:
    """Rows as tuples, or bare values of one column."""
    with closing(sqlite3.connect(_path(database), timeout=PATIENCE)) as raw:
        found = raw.execute(sql, values).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


def change(database: Catalog | Path, sql: str, *values: Any) -> None:
    with closing(sqlite3.connect(_path(database), timeout=PATIENCE)) as raw, raw:
        raw.execute(sql, values)


def move_backend(catalog: Catalog, backend: ObjectBackend, endpoint: str) -> None:
    """A backend's row names another endpoint."""
    config = "json_set(config, '$.endpoint', ?)"
    change(
        catalog, f"UPDATE storage_backends SET config = {config} WHERE id = ?", endpoint, backend.id
    )


def rotten(catalog: Catalog, path: Path) -> None:
    """Let a file that was rewritten under its old mtime look as if its disk had done it."""
    ctime = path.stat().st_ctime_ns
    change(
        catalog,
        "UPDATE file_locations SET ctime_ns = ? WHERE absolute_path = ?",
        *(ctime, str(path)),
    )


def rows_of_all(catalog: Catalog, *, but: str) -> list[str]:
    """Every row of every table but one, as SQL."""
    with closing(sqlite3.connect(catalog.path)) as raw:
        return [line for line in raw.iterdump() if f'"{but}"' not in line]


def bytes_of(path: Path) -> bytes:
    """All bytes of a catalog's files: the database, its log, its backups. Not the log's index."""
    files = sorted(path.parent.glob(path.name + "*"))
    return b"".join(file.read_bytes() for file in files if not file.name.endswith("-shm"))
