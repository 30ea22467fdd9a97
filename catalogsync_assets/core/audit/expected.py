"""What the catalog expects of a backend's objects, for those who compare it with the store.

Expected is a location that is active; and one that was found missing or damaged and whose file is
wanted and nowhere else on that backend: it may have come back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.remote_copies import COPY_COLUMNS, RemoteCopy
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.stores.backend import ObjectBackend

_PAGE = 1_000
#: Rows that are looked through at a time for what was not met; of most, only the id is read.
_IDS_PAGE = 20_000


class Listed(NamedTuple):
    """How a page of a listing compares with the catalog."""

    #: Locations to be compared that are active, and whose object is listed in the right size.
    as_expected: list[int]
    unknown: list[str]  #: keys at which the catalog has nothing, or nothing any more


@dataclass(frozen=True)
class ExpectedObjects:
    """Which objects: those of a backend, limited by a scope and by their age."""

    catalog: Catalog
    backend: ObjectBackend
    scope: Scope = EVERYTHING
    #: Only those that have not been verified since then (UTC); None for all.
    since: datetime | None = None

    def count(self) -> int:
        """How many there are."""
        conditions, values = self._sql()
        statement = f"SELECT COUNT(*) {_FROM} WHERE {_HERE} {conditions}"
        with self.catalog.read() as connection:
            return int(connection.scalar(sa.text(statement), values) or 0)

    def by_key(self, *, after: str | None = None) -> Iterator[list[RemoteCopy]]:
        """All of them, some hundreds at a time, in the order of their keys (as bytes).

        Each page is a short transaction of its own. All of one key are in one page.

        Args:
            after: only keys behind this one.
        """
        conditions, values = self._sql()
        statement = sa.text(
            f"SELECT {_COLUMNS} {_FROM} WHERE {_HERE} AND l.locator > :after AND l.locator <="
            f" (SELECT MAX(locator) FROM (SELECT l.locator {_FROM} WHERE {_HERE}"
            f" AND l.locator > :after {conditions} ORDER BY l.locator LIMIT {_PAGE}))"
            f" {conditions} ORDER BY l.locator, l.id"
        )
        values["after"] = after or ""
        while True:
            with self.catalog.read() as connection:
                rows = connection.execute(statement, values).all()
            page = list(map(RemoteCopy._make, checked(self.catalog, rows)))
            if not page:
                return
            yield page
            values["after"] = page[-1].key

    def compare(self, sizes: Mapping[str, int | None]) -> Listed:
        """Compare a page of a listing with the catalog.

        SQLite does it all and gives back one row: 200 pages of 1,000 took 2 seconds of CPU with a
        row for each object.

        Args:
            sizes: of the listed objects, by key; None of one of which it is not told.
        """
        conditions, values = self._sql()
        limited = self.since is not None or self.scope != EVERYTHING
        expected = f"EXISTS (SELECT 1 FROM file_assets f WHERE f.id = l.file_asset_id {conditions})"
        # A digest that cannot be one is met by who reads the row.
        same = (
            "COALESCE(l.size_bytes, k.value) = k.value AND COALESCE((SELECT CASE WHEN"
            " COALESCE(LENGTH(sha256), 0) IN (0, 64) THEN size_bytes ELSE -1 END"
            " FROM file_assets WHERE id = l.file_asset_id), k.value) = k.value"
        )
        met = (
            f"SELECT json_group_array(l.id) FILTER (WHERE l.status = 'active' AND {same}"
            f"{' AND ' + expected if limited else ''}), COUNT(DISTINCT k.id)"
            " FROM json_each(:sizes) k CROSS JOIN file_locations l"
            f" ON {_HERE} AND l.locator = k.key AND l.status <> 'removed'"
        )
        unknown = (
            "SELECT k.key FROM json_each(:sizes) k WHERE NOT EXISTS"
            f" (SELECT 1 FROM file_locations l WHERE {_HERE} AND l.locator = k.key"
            " AND l.status <> 'removed')"
        )
        values["sizes"] = json.dumps(sizes)
        with self.catalog.read() as connection:
            ids, known = connection.execute(sa.text(met), values).one()
            if known == len(sizes):
                return Listed(json.loads(ids), [])
            return Listed(json.loads(ids), list(connection.scalars(sa.text(unknown), values).all()))

    def at(self, keys: Sequence[str]) -> list[RemoteCopy]:
        """Those at these keys, in the order of the keys."""
        return self._which("l.locator", keys)

    def get(self, location_ids: Sequence[int]) -> list[RemoteCopy]:
        """Those of these locations that still are expected, in the order of their keys."""
        return self._which("l.id", location_ids)

    def _which(self, column: str, wanted: Sequence[int] | Sequence[str]) -> list[RemoteCopy]:
        conditions, values = self._sql()
        statement = (
            f"SELECT {_COLUMNS} {_FROM} WHERE {_HERE} {conditions}"
            f" AND {column} IN (SELECT value FROM json_each(:wanted)) ORDER BY l.locator, l.id"
        )
        values["wanted"] = json.dumps(wanted)
        with self.catalog.read() as connection:
            rows = connection.execute(sa.text(statement), values).all()
        return list(map(RemoteCopy._make, checked(self.catalog, rows)))

    def ids(self, *, until: str) -> Iterator[list[int]]:
        """The locations that have not been written after a moment, thousands at a time.

        Some may not be expected; `get` tells.

        Args:
            until: `YYYY-MM-DD HH:MM:SS`, UTC.
        """
        statement = sa.text(
            # In the table's own order: by the index on places each page would have to be sorted.
            "SELECT l.id FROM file_locations l NOT INDEXED"
            f" WHERE {_HERE} AND l.id > :after"
            " AND l.status IN ('active', 'missing', 'damaged')"
            " AND (l.updated_at IS NULL OR l.updated_at <= :until)"
            f" ORDER BY l.id LIMIT {_IDS_PAGE}"
        )
        values: dict[str, object] = {**self._place(), "until": until, "after": 0}
        while True:
            with self.catalog.read() as connection:
                page = list(connection.scalars(statement, values).all())
            if not page:
                return
            yield page
            values["after"] = page[-1]

    def _place(self) -> dict[str, object]:
        return {"backend": self.backend.id, "bucket": self.backend.bucket}

    def _sql(self) -> tuple[str, dict[str, object]]:
        clauses, values = self.scope.sql()
        if self.since is not None:
            clauses += " AND (l.verified_at IS NULL OR l.verified_at < :since)"
            values["since"] = self.since.strftime("%Y-%m-%d %H:%M:%S")
        return f"AND {_EXPECTED} {clauses}", values | self._place()


_COLUMNS = COPY_COLUMNS + GUARDS.format(location="l")
_FROM = "FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
_HERE = "l.backend_id = :backend AND l.container_name = :bucket"
_EXPECTED = """
(l.status = 'active' OR (l.status IN ('missing', 'damaged') AND f.superseded_by_id IS NULL
 AND NOT EXISTS (SELECT 1 FROM file_locations x WHERE x.file_asset_id = l.file_asset_id
                 AND x.backend_id = l.backend_id AND x.status = 'active')))
"""
