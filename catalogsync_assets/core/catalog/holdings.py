"""What a backend holds: whether a batch is there whole, and when and how that was verified.

A file counts as it does in `presence`: while it is the newest content of its path, is wanted, and
exists somewhere, or was lost. Of a batch, its files are read first, by their index: SQLite alone
would read all that the backend has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.status import FormatTotal
from catalogsync_assets.core.stores.backend import ObjectBackend


@dataclass(frozen=True)
class Verification:
    """When and how the files that a backend holds were verified."""

    #: UTC, `YYYY-MM-DD HH:MM:SS`; None if no file was ever verified.
    oldest: str | None = None
    newest: str | None = None
    #: How many, by `file_locations.verified_by`; `never` for rows of other programs.
    files: dict[str, int] = field(default_factory=dict)


_OF_BATCH = "AND f.batch_id = (SELECT id FROM batches WHERE key = :batch)"
# CROSS JOIN keeps the order: from the batch, which is a small part of what a backend holds. Left to
# itself, SQLite looked through the whole backend: 0.4 s a cell of a million files.
_VERIFIED = f"""
SELECT COALESCE(l.verified_by, 'never'), COUNT(*), MIN(l.verified_at), MAX(l.verified_at)
FROM file_assets f CROSS JOIN file_locations l
WHERE f.superseded_by_id IS NULL {{scope}}
  AND l.file_asset_id = f.id AND l.backend_id = :backend AND l.status = 'active'
  AND {presence.IN_LIBRARY}
GROUP BY 1 ORDER BY 2 DESC, 1
"""


def verification(
    catalog: Catalog, backend: ObjectBackend, batch_key: str | None = None
) -> Verification:
    """Of all that a backend holds, or of one batch."""
    statement = _VERIFIED.format(scope="" if batch_key is None else _OF_BATCH)
    rows = catalog.rows(statement, backend=backend.id, batch=batch_key)
    return Verification(
        oldest=min((row[2] for row in rows if row[2]), default=None),
        newest=max((row[3] for row in rows if row[3]), default=None),
        files={row[0]: row[1] for row in rows},
    )


@dataclass(frozen=True)
class Absence:
    """Files of a batch that a backend lacks."""

    files: int  #: all of them
    nowhere: int  #: of those, the ones that neither the library nor another backend has any more


_ABSENT = f"""
SELECT COUNT(*), COALESCE(SUM(NOT EXISTS (
    SELECT 1 FROM file_locations x WHERE x.file_asset_id = f.id AND x.status = 'active')), 0)
FROM file_assets f
WHERE f.superseded_by_id IS NULL {_OF_BATCH}
  AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {presence.COUNTS})
  AND NOT EXISTS (SELECT 1 FROM file_locations a WHERE a.file_asset_id = f.id
                  AND a.backend_id = :backend AND a.status = 'active')
"""


def absence(catalog: Catalog, backend: ObjectBackend, batch_key: str) -> Absence:
    """What a backend lacks of a batch, by the locations alone, whatever the queue says."""
    return Absence(*catalog.rows(_ABSENT, backend=backend.id, batch=batch_key)[0])


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
        f" WHERE f.superseded_by_id IS NULL {_OF_BATCH}"
        " AND l.backend_id = :backend AND l.status = 'active'"
        " ORDER BY f.id LIMIT 1"
    )
    found = catalog.rows(query, backend=backend.id, batch=batch_key)
    return SampleObject(*found[0]) if found else None


# From the batch to its locations: as a join, SQLite looked through all that the backend holds.
_FORMATS = f"""
SELECT COALESCE(f.format, '?'), COUNT(*), COALESCE(SUM(f.size_bytes), 0) FROM file_assets f
WHERE f.superseded_by_id IS NULL {{scope}} AND EXISTS (
    SELECT 1 FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id
    WHERE l.file_asset_id = f.id AND l.status = 'active' {{of_backend}})
  AND {presence.IN_LIBRARY}
GROUP BY 1 ORDER BY 3 DESC, 1
"""


def formats(catalog: Catalog, backend_type: str | None = None) -> list[FormatTotal]:
    """The files of songs by format, the largest first.

    Args:
        backend_type: only those that a backend of this type has, such as `backends.LOCAL`; None
            for all that exist anywhere.
    """
    of_type = "AND (:type IS NULL OR b.backend_type = :type)"
    found = catalog.rows(
        _FORMATS.format(scope="AND f.companion IS NULL", of_backend=of_type), type=backend_type
    )
    return [FormatTotal(*row) for row in found]


def batch_formats(catalog: Catalog, backend: ObjectBackend, batch_key: str) -> list[FormatTotal]:
    """What a backend holds of a batch's current files, by format, the largest first."""
    statement = _FORMATS.format(scope=_OF_BATCH, of_backend="AND b.id = :backend")
    found = catalog.rows(statement, backend=backend.id, batch=batch_key)
    return [FormatTotal(*row) for row in found]
