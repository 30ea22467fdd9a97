"""What a backend holds: whether a batch is there whole, and when and how that was verified.

A file counts as it does in `presence`: while it is the newest content of its path and exists
somewhere, or was lost. Of a batch, its files are read first, by their index: SQLite alone would
read all that the backend has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog


@dataclass(frozen=True)
class Verification:
    """When and how the files that a backend holds were verified.

    Attributes:
        oldest, newest: UTC, `YYYY-MM-DD HH:MM:SS`; None if no file was ever verified.
        files: how many, by `file_locations.verified_by`; `never` for rows of other programs.
    """

    oldest: str | None = None
    newest: str | None = None
    files: dict[str, int] = field(default_factory=dict)


_VERIFIED = """
SELECT COALESCE(l.verified_by, 'never'), COUNT(*), MIN(l.verified_at), MAX(l.verified_at)
FROM {start} file_locations l {join}
WHERE l.backend_id = :backend AND l.status = 'active' {scope}
GROUP BY 1 ORDER BY 2 DESC, 1
"""
_OF_BATCH = "AND f.batch_id = (SELECT id FROM batches WHERE key = :batch)"


def verification(
    catalog: Catalog, backend: ObjectBackend, batch_key: str | None = None
) -> Verification:
    """Of all that a backend holds, or of one batch."""
    of_batch = batch_key is not None
    statement = _VERIFIED.format(
        start="file_assets f CROSS JOIN" if of_batch else "",
        join="ON l.file_asset_id = f.id" if of_batch else "",
        scope=_OF_BATCH if of_batch else "",
    )
    with catalog.read() as connection:
        rows = connection.execute(
            sa.text(statement), {"backend": backend.id, "batch": batch_key}
        ).all()
    return Verification(
        oldest=min((row[2] for row in rows if row[2]), default=None),
        newest=max((row[3] for row in rows if row[3]), default=None),
        files={row[0]: row[1] for row in rows},
    )


@dataclass(frozen=True)
class Absence:
    """Files of a batch that a backend lacks.

    Attributes:
        files: all of them.
        elsewhere: of those, the ones that the library has no more: other backends have them, or
            had.
    """

    files: int
    elsewhere: int


_ABSENT = f"""
SELECT COUNT(*), COALESCE(SUM(NOT EXISTS (
    SELECT 1 FROM file_locations x JOIN storage_backends b ON b.id = x.backend_id
    WHERE x.file_asset_id = f.id AND x.status = 'active' AND b.backend_type = 'local')), 0)
FROM file_assets f
WHERE f.superseded_by_id IS NULL {_OF_BATCH}
  AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {presence.COUNTS})
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active')
"""


def absence(catalog: Catalog, backend: ObjectBackend, batch_key: str) -> Absence:
    """What a backend lacks of a batch, by the locations alone, whatever the queue says."""
    with catalog.read() as connection:
        row = connection.execute(
            sa.text(_ABSENT), {"backend": backend.id, "batch": batch_key}
        ).one()
    return Absence(files=row[0], elsewhere=row[1])


@dataclass(frozen=True)
class SampleObject:
    """One object of a backend; the URL serves it without a signature, if there is one."""

    locator: str
    public_url: str | None


def sample_object(catalog: Catalog, backend: ObjectBackend, batch_key: str) -> SampleObject | None:
    """The first object of a batch on a backend; None if it has none."""
    query = (
        "SELECT l.locator, l.public_url FROM file_assets f"
        " CROSS JOIN file_locations l ON l.file_asset_id = f.id"
        f" WHERE l.backend_id = :backend AND l.status = 'active' {_OF_BATCH}"
        " ORDER BY f.id LIMIT 1"
    )
    with catalog.read() as connection:
        row = connection.execute(
            sa.text(query), {"backend": backend.id, "batch": batch_key}
        ).first()
    return None if row is None else SampleObject(*row)
