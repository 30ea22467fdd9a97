"""What is where, in figures: the questions that a person asks of the whole catalog."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog


@dataclass(frozen=True)
class BackendStatus:
    """One backend in figures.

    Attributes:
        name, backend_type, bucket: as registered; bucket is None for the local library.
        songs: songs with all of their current files there.
        songs_total: songs that exist anywhere.
        files, bytes: current files there, and their size.
        pending, failed: uploads to it that wait (or run), and that failed.
        missing: for the local library, files that a scan found gone.
    """

    name: str
    backend_type: str
    bucket: str | None
    songs: int
    songs_total: int
    files: int
    bytes: int
    pending: int
    failed: int
    missing: int


_STATUS = """
SELECT b.name, b.backend_type, b.container_name,
    COALESCE(p.songs, 0), (SELECT COUNT(DISTINCT song_id) FROM song_backend_presence),
    COALESCE(l.files, 0), COALESCE(l.bytes, 0),
    COALESCE(t.pending, 0), COALESCE(t.failed, 0), COALESCE(m.missing, 0)
FROM storage_backends b
LEFT JOIN (SELECT backend_id, COUNT(*) AS songs FROM song_backend_presence
           WHERE files_present = files_total GROUP BY backend_id) p ON p.backend_id = b.id
LEFT JOIN (SELECT l.backend_id, COUNT(DISTINCT f.id) AS files, SUM(f.size_bytes) AS bytes
           FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
           WHERE l.status = 'active' AND f.superseded_by_id IS NULL
           GROUP BY l.backend_id) l ON l.backend_id = b.id
LEFT JOIN (SELECT target_backend_id, SUM(status IN ('pending', 'running')) AS pending,
                  SUM(status = 'failed') AS failed
           FROM upload_tasks WHERE status IN ('pending', 'running', 'failed')
           GROUP BY target_backend_id) t ON t.target_backend_id = b.id
LEFT JOIN (SELECT backend_id, COUNT(*) AS missing FROM file_locations
           WHERE status = 'missing' GROUP BY backend_id) m ON m.backend_id = b.id
ORDER BY b.backend_type, b.name
"""


def backend_status(catalog: Catalog) -> list[BackendStatus]:
    """Every backend in figures: the local library first, then the stores by name."""
    with catalog.read() as connection:
        return [BackendStatus(*row) for row in connection.execute(sa.text(_STATUS))]


@dataclass(frozen=True)
class FailedUpload:
    """An upload that failed, as a person reads of it."""

    locator: str
    code: str | None
    reason: str | None
    attempts: int


def failed_uploads(
    catalog: Catalog, backend_name: str, *, batch_key: str | None = None, limit: int = 100
) -> list[FailedUpload]:
    """The uploads to a backend that failed, newest first."""
    query = (
        "SELECT t.target_locator, t.error_code, t.last_error, t.attempts FROM upload_tasks t"
        " JOIN storage_backends b ON b.id = t.target_backend_id"
        " JOIN file_assets f ON f.id = t.file_asset_id"
        " WHERE b.name = :name AND t.status = 'failed'"
        " AND (:batch IS NULL OR f.batch_id = (SELECT id FROM batches WHERE key = :batch))"
        " ORDER BY t.updated_at DESC, t.id LIMIT :limit"
    )
    with catalog.read() as connection:
        rows = connection.execute(
            sa.text(query), {"name": backend_name, "batch": batch_key, "limit": limit}
        )
        return [FailedUpload(*row) for row in rows]


def sample_public_url(catalog: Catalog, backend_name: str) -> str | None:
    """A URL that serves one of the backend's files without a signature, or None."""
    query = (
        "SELECT l.public_url FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id"
        " WHERE b.name = :name AND l.status = 'active' AND l.public_url IS NOT NULL"
        " ORDER BY l.id LIMIT 1"
    )
    with catalog.read() as connection:
        url = connection.scalar(sa.text(query), {"name": backend_name})
    return None if url is None else str(url)


@dataclass(frozen=True)
class FormatTotal:
    """Files and bytes of one audio format."""

    format: str
    files: int
    bytes: int


def batch_formats(catalog: Catalog, backend_name: str, batch_key: str) -> list[FormatTotal]:
    """What a backend holds of a batch's current files, by format, largest first."""
    query = (
        "SELECT COALESCE(f.format, '?'), COUNT(DISTINCT f.id), COALESCE(SUM(f.size_bytes), 0)"
        " FROM file_assets f JOIN file_locations l ON l.file_asset_id = f.id"
        " JOIN storage_backends b ON b.id = l.backend_id"
        " WHERE f.batch_id = (SELECT id FROM batches WHERE key = :batch)"
        " AND b.name = :name AND l.status = 'active'"
        " GROUP BY 1 ORDER BY 3 DESC"
    )
    with catalog.read() as connection:
        rows = connection.execute(sa.text(query), {"batch": batch_key, "name": backend_name})
        return [FormatTotal(*row) for row in rows]
