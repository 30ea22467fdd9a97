"""What became of places that the catalog knows: found true again, gone, damaged, removed.

Rows that say that a file has come to a place are written by `results` and `library`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog

Status = Literal["active", "missing", "damaged", "offloading", "offloaded"]

_MARK = """
UPDATE file_locations SET status = :status, updated_at = CURRENT_TIMESTAMP
WHERE id IN (SELECT value FROM json_each(:locations))
  AND status IN (SELECT value FROM json_each(:expected))
"""
_VERIFIED = """
UPDATE file_locations SET verified_at = CURRENT_TIMESTAMP, verified_by = :how
WHERE id IN (SELECT value FROM json_each(:locations)) AND status = 'active'
"""
_DAMAGED = """
UPDATE file_locations SET status = 'damaged', etag = :etag, updated_at = CURRENT_TIMESTAMP
WHERE id = :location AND status = 'active'
"""
_WHOLE = """
UPDATE file_locations SET status = 'active', etag = COALESCE(:etag, etag), verified_by = 'read',
    verified_at = CURRENT_TIMESTAMP, updated_at = CURRENT_TIMESTAMP
WHERE id = :location AND status = 'damaged'
"""
_SONGS = """
SELECT DISTINCT f.song_id FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.id IN (SELECT value FROM json_each(:locations)) AND f.song_id IS NOT NULL
"""


def mark(
    catalog: Catalog,
    location_ids: Sequence[int],
    status: Status,
    *,
    expected: Sequence[Status] = ("active",),
) -> int:
    """Give locations another status, and bring presence in line, in one transaction. Idempotent.

    Args:
        expected: only locations that still have one of these: what another program has recorded
            since they were looked at stays.

    Returns:
        How many were changed.
    """
    values = {"locations": json.dumps(list(location_ids)), "status": status}
    with catalog.transaction() as connection:
        changed = connection.execute(
            sa.text(_MARK), {**values, "expected": json.dumps(list(expected))}
        ).rowcount
        _refresh(connection, location_ids)
    return changed


def mark_damaged(catalog: Catalog, location_id: int, etag: str | None) -> None:
    """An object was read, and is not what it should be. Idempotent.

    Args:
        etag: of the object that was read: an upload may replace that very object.
    """
    with catalog.transaction() as connection:
        connection.execute(sa.text(_DAMAGED), {"location": location_id, "etag": etag})
        _refresh(connection, [location_id])


def mark_whole(catalog: Catalog, location_id: int, etag: str | None) -> None:
    """An object that was found damaged was read, and is what it should be. Idempotent.

    Args:
        etag: of the object that was read; None if it is not known.
    """
    with catalog.transaction() as connection:
        connection.execute(sa.text(_WHOLE), {"location": location_id, "etag": etag})
        _refresh(connection, [location_id])


def note_verified(catalog: Catalog, location_ids: Sequence[int], how: str) -> int:
    """Record that active locations have just been found true; how many still are active.

    Args:
        how: as in `verified_by`.
    """
    values = {"locations": json.dumps(list(location_ids)), "how": how}
    with catalog.transaction() as connection:
        noted = connection.execute(sa.text(_VERIFIED), values).rowcount
        _refresh(connection, location_ids)
    return noted


def _refresh(connection: sa.Connection, location_ids: Sequence[int]) -> None:
    songs = connection.scalars(sa.text(_SONGS), {"locations": json.dumps(list(location_ids))}).all()
    presence.refresh(connection, song_ids=list(songs))
